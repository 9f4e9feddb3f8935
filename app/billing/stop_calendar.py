"""The State Council's holiday calendar as the stop windows read it. Years not yet published are unknown, never guessed."""

from datetime import date
from functools import cache
from zoneinfo import ZoneInfo

import chinese_calendar

from app.billing.stop_windows import WINDOWS, DayKind, StopCalendar, UsageClass, WindowRule


@cache
def day_kind(day: date) -> DayKind:
    """What kind of day it is; make-up days (调休) are working days."""
    try:
        is_holiday, name = chinese_calendar.get_holiday_detail(day)
    except NotImplementedError:
        return DayKind.UNKNOWN
    if is_holiday and name == chinese_calendar.Holiday.spring_festival.value:
        return DayKind.SPRING_FESTIVAL
    if is_holiday and name is not None:
        return DayKind.HOLIDAY
    return DayKind.MAKE_UP if not is_holiday and day.weekday() >= 5 else DayKind.ORDINARY


def window_rule(usage_class: UsageClass, zone: ZoneInfo) -> WindowRule:
    """The default window of a class, read by this calendar in a property's time zone."""
    return WindowRule(WINDOWS[usage_class], StopCalendar(day_kind), zone)
