"""Emergency supply 应急供电 as arithmetic: how much is given, and when it is used up. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.kernel.money import floor_fen

#: Once per account within this.
EVERY = timedelta(hours=24)
HOURS, FEN_MAX = 12, 3_000
#: What a manager may set them to: a night at least for an hour, and no week of free light.
HOURS_RANGE, FEN_RANGE = (1, 72), (100, 100_000)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a property's duty officer may give: hours from now, and the usage in fen that ends it sooner."""

    hours: int = HOURS
    fen_max: int = FEN_MAX

    def until(self, now: datetime) -> datetime:
        """When it ends at the latest."""
        return now + timedelta(hours=self.hours)


@dataclass(frozen=True, slots=True)
class Given:
    """One emergency supply and what was used since, in 10⁻⁶ fen."""

    given_at: datetime
    until_at: datetime
    fen_max: int
    used_microfen: int

    @property
    def used_fen(self) -> int:
        """What was used since, in fen."""
        return max(floor_fen(self.used_microfen), 0)

    def holds(self, now: datetime) -> bool:
        """Whether it still keeps stops away: neither its time nor its usage is over."""
        return self.given_at <= now < self.until_at and self.used_fen < self.fen_max

    def bars_next(self, now: datetime) -> bool:
        """Whether it is too recent for another one."""
        return now < self.given_at + EVERY
