"""What is done by the clock: rows of (kind, period, tenant), due by the business clock, run once each."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True)
class Deed:
    """Something done once per period for every tenant. `period` formats local business time into the period's name."""

    kind: str
    period: str
    queue: str

    def period_at(self, now: datetime) -> str:
        """The name of the period that an instant lies in."""
        return now.astimezone(ZONE).strftime(self.period)


MINUTE, HOUR, DAY = "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d"

DEEDS: tuple[Deed, ...] = (
    Deed("expire_commands", MINUTE, "commands"),
    Deed("judge_stops", MINUTE, "commands"),
    Deed("expire_holds", MINUTE, "money"),
    Deed("close_days", HOUR, "money"),
    Deed("open_periods", DAY, "money"),
    Deed("seal", MINUTE, "default"),
    Deed("fold_accounts", HOUR, "default"),
    Deed("sweep_files", HOUR, "default"),
    Deed("prune", DAY, "default"),
)


def due(now: datetime) -> Iterator[tuple[Deed, str]]:
    """Every deed with the period it is due for at a business instant."""
    for deed in DEEDS:
        yield deed, deed.period_at(now)
