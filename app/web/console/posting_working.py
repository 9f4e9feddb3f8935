"""How the amount of one posting of a day close came about: the day as that posting knew it, not as it stands now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row

from app.billing.day_memo import DayMemo


@dataclass(frozen=True, slots=True)
class PostingWorking:
    """The exact amounts of the posting's memo (None for an old one without), and the priced lines where they were its own.

    Lines are kept as they stand now. Once late usage changed the day, those an earlier posting knew are gone, and its
    memo explains it alone.
    """

    memo: DayMemo | None
    lines: Sequence[Mapping[str, Any]]

    def __bool__(self) -> bool:
        return self.memo is not None or bool(self.lines)


def posting_working(memo: DayMemo | None, day: Row[Any] | None) -> PostingWorking:
    """The working of a posting from its memo and the account-day as it stands now (None when there is none)."""
    if day is None:
        return PostingWorking(memo, ())
    if memo is None:
        # It does not say what it knew: only a day that was posted once, and whole, can speak for it.
        untouched = day.revision <= 1 and day.rated_microfen == day.posted_microfen
        return PostingWorking(None, day.lines if untouched else ())
    same = memo.knows(usage_wh=day.usage_wh, rated_microfen=day.rated_microfen)
    return PostingWorking(memo, day.lines if same else ())
