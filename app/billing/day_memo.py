"""The memo of a day close: every posting says from what amounts it came, so that the page alone can be recomputed.

`2026-07-01 3.00 kWh ¥1.68 − ¥1.12 + ¥0.004 − ¥0.001`: the day so far, what it is worth, what was posted of it before,
the rest carried from before, and the rest carried on. Figures only, so that it reads alike in every language.
"""

import re
from dataclasses import dataclass
from datetime import date

from app.kernel.quantity import format_kwh, format_m3

MICROFEN_DIGITS = 8
_SHAPE = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2}) (?P<usage>[\d,.-]+ \S+) "
    r"(?P<rated>-?¥[\d.]+) − (?P<posted>-?¥[\d.]+) \+ (?P<before>¥[\d.]+) − (?P<after>¥[\d.]+)"
)


@dataclass(frozen=True, slots=True)
class DayMemo:
    """Amounts in microfen: rated − posted + carried before − carried after is the posting's whole fen."""

    day: date
    #: The day's usage so far with its unit.
    usage: str
    rated_microfen: int
    posted_microfen: int
    carry_before_microfen: int
    carry_after_microfen: int

    @property
    def owed_microfen(self) -> int:
        """What the day added since it was last posted, before the carry."""
        return self.rated_microfen - self.posted_microfen

    @property
    def difference_microfen(self) -> int:
        """What the posting comes to."""
        return self.owed_microfen + self.carry_before_microfen - self.carry_after_microfen

    def knows(self, *, usage_wh: int, rated_microfen: int) -> bool:
        """Was it written of a day that stood exactly so? Then the day's present lines were this posting's as well."""
        usage = self.usage.partition(" ")[0]
        return rated_microfen == self.rated_microfen and usage in (format_kwh(usage_wh), format_m3(usage_wh))


def write_memo(memo: DayMemo) -> str:
    """The memo as it stands in the ledger, exact to the microfen."""
    rated, posted = exact_yuan(memo.rated_microfen), exact_yuan(memo.posted_microfen)
    before, after = exact_yuan(memo.carry_before_microfen), exact_yuan(memo.carry_after_microfen)
    return f"{memo.day} {memo.usage} {rated} − {posted} + {before} − {after}"


def read_memo(text: str) -> DayMemo | None:
    """The amounts of a memo; None for one that was written without them."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        return None
    amounts = [_microfen(found[name]) for name in ("rated", "posted", "before", "after")]
    return DayMemo(date.fromisoformat(found["day"]), found["usage"], *amounts)


def exact_yuan(microfen: int) -> str:
    """`¥1.68`, `-¥0.00345`: every digit that is not a trailing zero, at least two after the point."""
    whole, fraction = divmod(abs(microfen), 10**MICROFEN_DIGITS)
    digits = f"{fraction:0{MICROFEN_DIGITS}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if microfen < 0 else ''}¥{whole}.{digits}"


def _microfen(text: str) -> int:
    whole, _point, fraction = text.lstrip("-").removeprefix("¥").partition(".")
    amount = int(whole + fraction.ljust(MICROFEN_DIGITS, "0"))
    return -amount if text.startswith("-") else amount
