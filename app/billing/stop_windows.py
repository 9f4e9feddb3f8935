"""When a stop may happen: windows by class of usage, quiet days, and the next opening.

Windows are half open, [opens, closes), in the property's own time. At night, on a holiday or on its eve
nobody can pay at a desk or be helped, so nothing is stopped; a day the calendar does not know is quiet too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from types import MappingProxyType

#: How far ahead an opening is looked for; the longest statutory block is nine days.
HORIZON_DAYS = 60
_DAY = timedelta(days=1)
_EVERY_DAY = frozenset(range(7))


class UsageClass(StrEnum):
    """What a supply account is used for."""

    RESIDENTIAL = "residential"
    COMMERCIAL = "commercial"
    DORMITORY = "dormitory"
    #: Common parts: lifts, pumps, lighting. Never stopped.
    COMMON = "common"


class DayKind(StrEnum):
    """What the State Council's calendar says about a day."""

    ORDINARY = "ordinary"
    #: A day of a weekend that is worked instead of another (调休): a working day.
    MAKE_UP = "make_up"
    HOLIDAY = "holiday"
    SPRING_FESTIVAL = "spring_festival"
    #: Beyond the years published: nobody can say, so nothing is stopped.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StopCalendar:
    """The calendar of a property: the State Council's, and days of its own (school holidays, exams)."""

    day_kind: Callable[[date], DayKind]
    no_stop_days: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class StopWindow:
    """The hours of a day in which a stop may happen, and the days on which none may."""

    opens: time
    closes: time
    skip_holidays: bool = False
    skip_eves: bool = False
    skip_spring_festival: bool = False
    #: Monday is 0. A make-up day counts as working whatever weekday it falls on.
    weekdays: frozenset[int] = _EVERY_DAY


#: The defaults; every property may edit its own.
WINDOWS: Mapping[UsageClass, StopWindow] = MappingProxyType(
    {
        UsageClass.RESIDENTIAL: StopWindow(
            time(8), time(18), skip_holidays=True, skip_eves=True, skip_spring_festival=True
        ),
        UsageClass.COMMERCIAL: StopWindow(time(8, 30), time(20), skip_spring_festival=True),
        UsageClass.DORMITORY: StopWindow(time(7), time(21, 30)),
        UsageClass.COMMON: StopWindow(time(0), time(0), weekdays=frozenset()),
    }
)


@dataclass(frozen=True, slots=True)
class WindowRule:
    """A window with the calendar and the time zone it is read in."""

    window: StopWindow
    calendar: StopCalendar
    zone: tzinfo

    def day_allows(self, day: date) -> bool:
        """May anything be stopped on this civil day at all?"""
        kind = self.calendar.day_kind(day)
        if kind is DayKind.UNKNOWN or day in self.calendar.no_stop_days:
            return False
        if day.weekday() not in self.window.weekdays and kind is not DayKind.MAKE_UP:
            return False
        return self.window.weekdays != frozenset() and not self._skips(day, kind)

    def is_open(self, now: datetime) -> bool:
        """May a stop happen at this instant?"""
        local = now.astimezone(self.zone)
        return self.window.opens <= local.time() < self.window.closes and self.day_allows(local.date())

    def next_opening(self, now: datetime) -> datetime | None:
        """The first instant from `now` on (UTC) at which a stop may happen; None if none is in sight."""
        for opens, closes in self._openings(now):
            if now < closes:
                return max(opens, now).astimezone(UTC)
        return None

    def last_moment_today(self, now: datetime) -> datetime | None:
        """When today's window closes (UTC); None if it has closed already or never opens today."""
        day = now.astimezone(self.zone).date()
        closes = self._instant(day, self.window.closes)
        return closes if self.day_allows(day) and now < closes else None

    def quiet_block(self, now: datetime) -> tuple[datetime, datetime] | None:
        """The present or coming time without stops: when it begins (`now` if already in it), when it ends."""
        begins = (self.last_moment_today(now) or now) if self.is_open(now) else now.astimezone(UTC)
        ends = self.next_opening(begins)
        return (begins, ends) if ends is not None else None

    def possible_in_week(self, monday: date) -> timedelta:
        """In how many hours of that week a stop is possible."""
        per_day = datetime.combine(monday, self.window.closes) - datetime.combine(monday, self.window.opens)
        return per_day * sum(self.day_allows(monday + _DAY * offset) for offset in range(7))

    def _skips(self, day: date, kind: DayKind) -> bool:
        if kind is DayKind.SPRING_FESTIVAL:
            return self.window.skip_spring_festival
        if kind is DayKind.HOLIDAY:
            return self.window.skip_holidays
        return self.window.skip_eves and self._unknown_or_holiday(day + _DAY)

    def _unknown_or_holiday(self, day: date) -> bool:
        return self.calendar.day_kind(day) in {DayKind.HOLIDAY, DayKind.SPRING_FESTIVAL, DayKind.UNKNOWN}

    def _openings(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        today = now.astimezone(self.zone).date()
        for day in (today + _DAY * offset for offset in range(HORIZON_DAYS)):
            if self.day_allows(day):
                yield self._instant(day, self.window.opens), self._instant(day, self.window.closes)

    def _instant(self, day: date, clock: time) -> datetime:
        return datetime.combine(day, clock, tzinfo=self.zone).astimezone(UTC)
