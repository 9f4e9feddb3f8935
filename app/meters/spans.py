"""Cutting usage at civil midnights and at given instants, so that a day and a price each own what is theirs.

Between two readings nothing is known but the total, so it is laid out evenly over the time. Parts are the
differences of a floored cumulative sum: they always add up to the whole, in whole watt-hours.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from itertools import pairwise

from app.kernel.errors import AppError

#: Readings further apart than this say how much was used, not when: their spans are marked.
SPREAD_AFTER = timedelta(hours=6)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)


class SpanBackwards(AppError):
    """A span ends at or before its start while carrying usage, or ends before its start at all."""

    code, status = "span_backwards", 422
    message_zh = "用量区间的结束时间不晚于开始时间。请核对两次抄表的时间。"
    message_en = "The span does not end after it starts. Check the times of the two readings."


class UsageNegative(AppError):
    """Usage below zero: a person decides what such a difference means, never this module."""

    code, status = "usage_negative", 422
    message_zh = "用量为负数（{usage_wh} Wh），不能计费。请人工核对示数、换表或接线。"
    message_en = "Usage is negative ({usage_wh} Wh) and cannot be billed. Check registers, meter change, wiring."


class Quality(StrEnum):
    """How well the *timing* and the amount of usage are known."""

    #: Between two readings close together.
    ACTUAL = "actual"
    #: Amount measured, timing spread over a gap.
    SPREAD = "spread"
    #: Amount not measured at all.
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class UsageSpan:
    """Usage in real watt-hours over [from_at, to_at), all of it on one civil day of the property."""

    from_at: datetime
    to_at: datetime
    usage_wh: int
    quality: Quality
    day: date


def local_day(instant: datetime, zone: tzinfo) -> date:
    """The civil day of an instant in the property's time zone."""
    return instant.astimezone(zone).date()


def day_bounds(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """The instants, in UTC, at which a civil day begins and ends."""
    return _midnight(day, zone), _midnight(day + _DAY, zone)


def midnights(from_at: datetime, to_at: datetime, zone: tzinfo) -> list[datetime]:
    """The civil midnights strictly between two instants, in UTC."""
    found = []
    day = local_day(from_at, zone) + _DAY
    while (instant := _midnight(day, zone)) < to_at:
        found.append(instant)
        day += _DAY
    return found


def split_usage(
    *,
    from_at: datetime,
    to_at: datetime,
    usage_wh: int,
    zone: tzinfo,
    cuts: Iterable[datetime] = (),
    quality: Quality = Quality.ACTUAL,
    spread_after: timedelta = SPREAD_AFTER,
) -> tuple[UsageSpan, ...]:
    """Cut usage at civil midnights and at `cuts`; parts sum exactly. Nothing used in no time gives no span.

    Actual usage over more than `spread_after` comes out as SPREAD. Raises UsageNegative, then SpanBackwards.
    """
    if usage_wh < 0:
        raise UsageNegative(usage_wh=usage_wh)
    if to_at < from_at or (to_at == from_at and usage_wh):
        raise SpanBackwards()
    if to_at == from_at:
        return ()
    if quality is Quality.ACTUAL and to_at - from_at > spread_after:
        quality = Quality.SPREAD
    inner = {cut for cut in cuts if from_at < cut < to_at}
    inner.update(midnights(from_at, to_at, zone))
    if not inner:
        return (UsageSpan(from_at, to_at, usage_wh, quality, local_day(from_at, zone)),)
    return tuple(_laid_out([from_at, *sorted(inner), to_at], usage_wh, quality, zone))


def pro_rata(instants: list[datetime], usage_wh: int) -> list[int]:
    """Lay whole watt-hours evenly over consecutive instants: differences of the floored cumulative sum."""
    start, whole = instants[0], (instants[-1] - instants[0]) // _MICROSECOND
    reached = [usage_wh * ((instant - start) // _MICROSECOND) // whole for instant in instants]
    return [later - earlier for earlier, later in pairwise(reached)]


def _laid_out(instants: list[datetime], usage_wh: int, quality: Quality, zone: tzinfo) -> Iterable[UsageSpan]:
    parts = pro_rata(instants, usage_wh)
    for (earlier, later), part_wh in zip(pairwise(instants), parts, strict=True):
        yield UsageSpan(earlier, later, part_wh, quality, local_day(earlier, zone))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
