"""Taking readings in, thousands at a time: judge each, keep it as it came, mark what must be computed anew.

A reading newer than the last good one of its meter is judged against that one; a late one against its neighbours
in time. What contradicts them is kept with its flag and shown to a person, and what is impossible by itself
(future, beyond the register, another value for an instant already known) only goes to the person. The flag is the
first impression: `meters.intervals` judges the whole series anew in the order of its instants, so the order of
arrival never decides what is billed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.kernel.clock import business_now, wall_now
from app.kernel.outbox import tell
from app.meters import ingest_rows
from app.meters.ingest_rows import CONTRADICTS, KnownMeter, Neighbours
from app.meters.readings import CLOCK_EPOCH, Flag, RegisterFacts, RegisterReading, judge

TOTAL = "total"


class NewReading(NamedTuple):
    """A register's value at a business instant (aware, UTC), in Wh before the ratio.

    `clock_off_s`: the meter's own clock minus ours; None when nobody asked the meter.
    """

    meter_id: int
    read_at: datetime
    register_wh: int
    register: str = TOTAL
    clock_off_s: int | None = None


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of a row: stored | duplicate | case | refused, and the flag that names why."""

    status: str
    flag: str


@dataclass(slots=True)
class _Judged:
    """A row on its way: what it turned out to be, and from where on the past changes."""

    row: NewReading
    result: RowResult
    dirty_from: datetime | None = None
    previous: RegisterReading | None = None


_STORED = {flag: RowResult("stored", flag.value) for flag in Flag}
_CASE = {flag: RowResult("case", flag.value) for flag in Flag}
_DUPLICATE = RowResult("duplicate", Flag.DUPLICATE.value)
_UNKNOWN = RowResult("refused", "meter_unknown")
_TOO_OLD = RowResult("refused", "too_old")
#: Partitions always reach back this far, so younger readings need no look at the catalogue.
_SURELY_KEPT = timedelta(days=40)


def take_readings(
    session: Session, *, rows: Sequence[NewReading], source: str, received_at: datetime | None = None
) -> list[RowResult]:
    """Judge and keep readings of any meters of the tenant; results in the order of the rows.

    `source`: headend | api | sheet | manual. `received_at`: business instant of arrival, now when not given.
    Tells `readings.arrived` once per property that got something new.
    """
    meters = ingest_rows.load_meters(session, {row.meter_id for row in rows})
    now = received_at or business_now()
    begins = _archive_begins(session, rows, now)
    judged = _judge_all(session, rows, meters, now, begins)
    arrived_at = wall_now()
    stored = [line for line in judged if line.dirty_from is not None]
    taken = ingest_rows.insert_readings(
        session,
        source=source,
        received_at=arrived_at,
        lines=[(line.row, meters[line.row.meter_id].property_id, line.result.flag) for line in stored],
    )
    if taken < len(stored):
        stored = _sort_out_known(session, stored, arrived_at)
    _keep_cases(session, judged, meters, source, arrived_at)
    _mark(session, stored, meters)
    return [line.result for line in judged]


def _judge_all(
    session: Session, rows: Sequence[NewReading], meters: Mapping[int, KnownMeter], now: datetime, begins: datetime
) -> list[_Judged]:
    judged = [_Judged(row, _UNKNOWN) for row in rows]
    late = []
    previous: RegisterReading | None = None
    group: tuple[int, str] | None = None
    for line in sorted(judged, key=_by_instant):
        row = line.row
        meter = meters.get(row.meter_id)
        if meter is None:
            continue
        if CLOCK_EPOCH <= row.read_at < begins:
            line.result = _TOO_OLD
            continue
        if (row.meter_id, row.register) != group:
            group = (row.meter_id, row.register)
            previous = meter.last if row.register == TOTAL else None
        if row.register != TOTAL or (meter.last is not None and row.read_at <= meter.last.read_at):
            late.append(line)
        else:
            previous = _judge_newer(line, previous, meter.facts, now)
    if late:
        _judge_late(session, late, meters, now)
    return judged


def _archive_begins(session: Session, rows: Sequence[NewReading], now: datetime) -> datetime:
    if all(row.read_at > now - _SURELY_KEPT for row in rows):
        return CLOCK_EPOCH
    return ingest_rows.archive_begins(session)


def _by_instant(line: _Judged) -> tuple[int, str, datetime]:
    row = line.row
    return row.meter_id, row.register, row.read_at


def _judge_newer(
    line: _Judged, previous: RegisterReading | None, facts: RegisterFacts, now: datetime
) -> RegisterReading | None:
    """Judge a row against the last good one; returns what the next row is judged against."""
    row = line.row
    new = RegisterReading(row.read_at, row.register_wh, now, row.clock_off_s)
    verdict = judge(previous, new, facts)
    line.previous = previous
    if verdict.is_baseline:
        line.result = _STORED[verdict.flag]
        line.dirty_from = _since(previous)
        return new
    _set_aside(line, verdict.flag)
    return previous


def _since(previous: RegisterReading | None) -> datetime:
    # Nothing before it: the usage since the mount began is this reading's.
    return previous.read_at if previous else CLOCK_EPOCH


def _set_aside(line: _Judged, flag: Flag) -> None:
    """A reading that is no baseline: known already, contradicting, or impossible by itself."""
    if flag is Flag.DUPLICATE:
        line.result = _DUPLICATE
        return
    line.result = _CASE[flag]
    if flag in CONTRADICTS:
        line.dirty_from = _since(line.previous)


def _judge_late(session: Session, late: Sequence[_Judged], meters: Mapping[int, KnownMeter], now: datetime) -> None:
    pending = []
    for line in late:
        last = meters[line.row.meter_id].last
        if last and line.row[:4] == (line.row.meter_id, last.read_at, last.register_wh, TOTAL):
            line.result = _DUPLICATE
        else:
            pending.append(line)
    keys = [(line.row.meter_id, line.row.register, line.row.read_at) for line in pending]
    around = ingest_rows.load_neighbours(session, keys) if keys else []
    for line, neighbours in zip(pending, around, strict=True):
        _judge_between(line, neighbours, meters[line.row.meter_id].facts, now)


def _judge_between(line: _Judged, around: Neighbours, facts: RegisterFacts, now: datetime) -> None:
    """Judge a late row: it must follow from the one before it, and the one after it must follow from it."""
    row = line.row
    new = RegisterReading(row.read_at, row.register_wh, now, row.clock_off_s)
    line.previous = around.before
    if around.same_wh is not None:
        _set_aside(line, Flag.DUPLICATE if around.same_wh == row.register_wh else Flag.CONFLICT)
        return
    verdict = judge(around.before, new, facts)
    if verdict.is_baseline and around.after is not None:
        following = judge(new, around.after, facts)
        verdict = following if following.flag in CONTRADICTS else verdict
    if verdict.flag in CONTRADICTS or not verdict.is_baseline:
        _set_aside(line, verdict.flag)
        return
    line.result = _STORED[_late_flag(row, verdict.flag, around)]
    line.dirty_from = _since(around.before)


def _late_flag(row: NewReading, flag: Flag, around: Neighbours) -> Flag:
    # A band register is always looked up, so it is late only when something newer is known.
    return flag if around.after is None and row.register != TOTAL else Flag.OUT_OF_ORDER


def _sort_out_known(session: Session, stored: Sequence[_Judged], arrived_at: datetime) -> list[_Judged]:
    """Some rows were there already (sent twice at once, or in one batch): same value or another one?"""
    keys = [(line.row.meter_id, line.row.register, line.row.read_at) for line in stored]
    known = ingest_rows.load_known(session, keys, arrived_at)
    fresh = []
    for line, key in zip(stored, keys, strict=True):
        if key not in known:
            fresh.append(line)
            continue
        _set_aside(line, Flag.DUPLICATE if known[key] == line.row.register_wh else Flag.CONFLICT)
        line.dirty_from = None
    return fresh


def _keep_cases(
    session: Session,
    judged: Iterable[_Judged],
    meters: Mapping[int, KnownMeter],
    source: str,
    arrived_at: datetime,
) -> None:
    cases = [line for line in judged if line.result.status == "case"]
    if cases:
        ingest_rows.insert_cases(
            session,
            source=source,
            received_at=arrived_at,
            lines=[
                (line.row, meters[line.row.meter_id].property_id, line.result.flag, _facts_of(line)) for line in cases
            ],
        )


def _facts_of(line: _Judged) -> dict[str, object]:
    """What the judgement rested on, for the person who looks."""
    if line.previous is None:
        return {}
    return {
        "previous_at": line.previous.read_at.isoformat(),
        "previous_wh": line.previous.register_wh,
        "clock_off_s": line.row.clock_off_s,
    }


def _mark(session: Session, stored: Sequence[_Judged], meters: Mapping[int, KnownMeter]) -> None:
    """Mark dirty ranges, move the meters' last good reading on, and tell whoever prices."""
    dirty: dict[int, datetime] = {}
    newest: dict[int, tuple[datetime, int]] = {}
    for line in stored:
        row, from_at = line.row, line.dirty_from
        if row.register != TOTAL or from_at is None:
            continue
        dirty[row.meter_id] = min(dirty.get(row.meter_id, from_at), from_at)
        if line.result.status == "stored":
            newest[row.meter_id] = max(newest.get(row.meter_id, (row.read_at, 0)), row[1:3])
    ingest_rows.mark_dirty(session, {key: (meters[key].property_id, at) for key, at in dirty.items()})
    ingest_rows.advance_meters(session, newest)
    for property_id in sorted({meters[line.row.meter_id].property_id for line in stored}):
        tell(session, kind="readings.arrived", payload={"property_id": property_id})
