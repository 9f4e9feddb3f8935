"""When a stop may happen: windows by class over a stretch of the 2026 calendar.

Wed 30 Sep  eve of National Day      Thu 1 – Wed 7 Oct  holiday      Thu 8 Oct  ordinary
Sat 10 Oct  make-up working day      Mon 15 Feb … Spring Festival 16–22 Feb
"""

from datetime import date, datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.stop_windows import WINDOWS, DayKind, StopCalendar, StopWindow, UsageClass, WindowRule

SHANGHAI = ZoneInfo("Asia/Shanghai")
MONDAYS = [date(2026, 1, 5) + timedelta(weeks=n) for n in range(51)]


def day_kind(day: date) -> DayKind:
    """Enough of the 2026 calendar for these tables; 2027 is not published yet."""
    if day.year != 2026:
        return DayKind.UNKNOWN
    if date(2026, 2, 16) <= day <= date(2026, 2, 22):
        return DayKind.SPRING_FESTIVAL
    if date(2026, 10, 1) <= day <= date(2026, 10, 7):
        return DayKind.HOLIDAY
    return DayKind.MAKE_UP if day == date(2026, 10, 10) else DayKind.ORDINARY


CALENDAR = StopCalendar(day_kind, no_stop_days=frozenset({date(2026, 6, 8)}))


def rule(usage_class: UsageClass) -> WindowRule:
    return WindowRule(WINDOWS[usage_class], CALENDAR, SHANGHAI)


def t(text: str) -> datetime:
    """An instant of 2026 in Shanghai: "07-01 12:00"."""
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI)


# class, now | is it open? | first instant at which a stop may happen | when today's window closes
TABLE = """
    residential  07-01 07:59  | -    | 07-01 08:00  | 07-01 18:00
    residential  07-01 08:00  | open | 07-01 08:00  | 07-01 18:00
    residential  07-01 17:59  | open | 07-01 17:59  | 07-01 18:00
    residential  07-01 18:00  | -    | 07-02 08:00  | -
    residential  07-04 12:00  | open | 07-04 12:00  | 07-04 18:00
    residential  06-08 12:00  | -    | 06-09 08:00  | -
    residential  09-29 20:00  | -    | 10-08 08:00  | -
    residential  09-30 12:00  | -    | 10-08 08:00  | -
    residential  10-01 12:00  | -    | 10-08 08:00  | -
    residential  10-07 12:00  | -    | 10-08 08:00  | -
    residential  10-10 12:00  | open | 10-10 12:00  | 10-10 18:00
    residential  02-15 12:00  | -    | 02-23 08:00  | -
    residential  12-30 20:00  | -    | never        | -
    residential  12-31 12:00  | -    | never        | -
    commercial   07-01 08:29  | -    | 07-01 08:30  | 07-01 20:00
    commercial   07-01 19:59  | open | 07-01 19:59  | 07-01 20:00
    commercial   09-30 12:00  | open | 09-30 12:00  | 09-30 20:00
    commercial   10-01 12:00  | open | 10-01 12:00  | 10-01 20:00
    commercial   02-15 12:00  | open | 02-15 12:00  | 02-15 20:00
    commercial   02-16 12:00  | -    | 02-23 08:30  | -
    commercial   12-31 12:00  | open | 12-31 12:00  | 12-31 20:00
    dormitory    07-01 21:29  | open | 07-01 21:29  | 07-01 21:30
    dormitory    07-01 21:30  | -    | 07-02 07:00  | -
    dormitory    06-08 12:00  | -    | 06-09 07:00  | -
    common       07-01 12:00  | -    | never        | -
"""


@pytest.mark.parametrize("row", TABLE.strip().splitlines(), ids=lambda row: " ".join(row.split()))
def test_when_a_stop_may_happen(row: str) -> None:
    situation, is_open, opening, closing = (part.strip() for part in row.split("|"))
    usage_class, clock = situation.split(maxsplit=1)
    window, now = rule(UsageClass(usage_class)), t(clock)
    assert window.is_open(now) is (is_open == "open")
    assert window.next_opening(now) == (None if opening == "never" else t(opening))
    assert window.last_moment_today(now) == (None if closing == "-" else t(closing))


@pytest.mark.parametrize(
    ("usage_class", "monday", "hours"),
    [
        (UsageClass.RESIDENTIAL, date(2026, 7, 6), timedelta(hours=70)),
        (UsageClass.RESIDENTIAL, date(2026, 9, 28), timedelta(hours=20)),
        (UsageClass.RESIDENTIAL, date(2026, 2, 16), timedelta(0)),
        (UsageClass.COMMERCIAL, date(2026, 9, 28), timedelta(hours=80, minutes=30)),
        (UsageClass.DORMITORY, date(2026, 6, 8), timedelta(hours=87)),
        (UsageClass.COMMON, date(2026, 7, 6), timedelta(0)),
    ],
)
def test_hours_of_a_week_in_which_a_stop_is_possible(usage_class: UsageClass, monday: date, hours: timedelta) -> None:
    assert rule(usage_class).possible_in_week(monday) == hours


@pytest.mark.parametrize(
    ("now", "begins", "ends"),
    [
        ("09-29 12:00", "09-29 18:00", "10-08 08:00"),
        ("09-29 20:00", "09-29 20:00", "10-08 08:00"),
        ("07-01 12:00", "07-01 18:00", "07-02 08:00"),
        ("07-01 03:00", "07-01 03:00", "07-01 08:00"),
    ],
)
def test_the_coming_quiet_block_is_known_beforehand(now: str, begins: str, ends: str) -> None:
    assert rule(UsageClass.RESIDENTIAL).quiet_block(t(now)) == (t(begins), t(ends))


def test_at_the_end_of_the_known_calendar_the_quiet_has_no_end() -> None:
    assert rule(UsageClass.RESIDENTIAL).quiet_block(t("12-31 12:00")) is None


def test_a_window_of_working_days_counts_make_up_days() -> None:
    weekdays = StopWindow(time(10), time(15), skip_holidays=True, weekdays=frozenset(range(5)))
    window = WindowRule(weekdays, CALENDAR, SHANGHAI)
    assert window.next_opening(t("07-03 15:00")) == t("07-06 10:00")
    assert window.is_open(t("10-10 12:00"))
    assert not window.is_open(t("10-11 12:00"))


def test_a_year_of_residential_windows_never_touches_a_night_a_holiday_or_an_eve() -> None:
    window = rule(UsageClass.RESIDENTIAL)
    for monday, offset, hour in product(MONDAYS, range(7), range(24)):
        day = monday + timedelta(days=offset)
        holiday = {day_kind(day), day_kind(day + timedelta(days=1))} & {
            DayKind.HOLIDAY,
            DayKind.SPRING_FESTIVAL,
        }
        allowed = 8 <= hour < 18 and not holiday and day not in CALENDAR.no_stop_days
        if day_kind(day + timedelta(days=1)) is not DayKind.UNKNOWN:
            assert window.is_open(datetime.combine(day, time(hour), tzinfo=SHANGHAI)) is allowed


@given(st.integers(0, 300 * 24 * 60), st.sampled_from([*UsageClass]))
def test_the_next_opening_is_open_and_nothing_opens_before_it(minute: int, usage_class: UsageClass) -> None:
    window, now = rule(usage_class), t("01-01 00:00") + timedelta(minutes=minute)
    opening = window.next_opening(now)
    if opening is None:
        assert usage_class is UsageClass.COMMON
        return
    assert window.is_open(opening)
    assert (opening == now) is window.is_open(now)
    assert not window.is_open(now + (opening - now) / 2) or opening == now
