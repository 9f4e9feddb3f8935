"""Usage intervals: registers turned into usage, split exactly at civil midnights and price changes.

One engine, two readers: billing prices the spans, energy explains them. Whatever arrives marks its meter dirty from
an instant on; a run takes up to 2,000 dirty meters, judges their series anew in the order of its instants from the
last good reading before the mark, and writes only the spans that came out different.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo

from sqlalchemy.orm import Session

from app.kernel.quantity import Ratio
from app.meters import interval_rows
from app.meters.ingest_rows import CONTRADICTS
from app.meters.interval_rows import DirtyMeter, MountRow, SeriesRow, SpanRow, mark_dirty_accounts, mark_dirty_meters
from app.meters.readings import CLOCK_EPOCH, Flag, RegisterReading, Verdict, judge
from app.meters.spans import SPREAD_AFTER, Quality, UsageSpan, day_bounds, local_day, split_usage

__all__ = ["CutsFor", "Recomputed", "mark_dirty", "mark_dirty_meters", "recompute"]

#: Supply account ids → every instant at which their price changes.
CutsFor = Callable[[Sequence[int]], Mapping[int, Sequence[datetime]]]


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What a run changed: the civil days of each supply account whose usage is now another."""

    days: dict[int, set[date]]
    meters: int
    #: There may be more dirty meters: run again in another transaction.
    more: bool


@dataclass(slots=True)
class _Outcome:
    """What judging the series of many mounts brought to light."""

    spans: dict[tuple[int, datetime], SpanRow] = field(default_factory=dict)
    #: Mount → the instant from which its spans were made anew.
    since: dict[int, datetime] = field(default_factory=dict)
    rejected: list[tuple[SeriesRow, MountRow, Flag]] = field(default_factory=list)
    healed: list[SeriesRow] = field(default_factory=list)
    #: Meter → last good reading, where the meter's own row says otherwise.
    last: dict[int, tuple[datetime, int]] = field(default_factory=dict)


def mark_dirty(session: Session, *, supply_account_ids: Sequence[int], from_at: datetime) -> None:
    """A price or plan change reaches back to an instant: compute the usage of these accounts anew from there."""
    mark_dirty_accounts(session, supply_account_ids=supply_account_ids, from_at=from_at)


def recompute(
    session: Session,
    *,
    property_id: int,
    zone: tzinfo,
    cuts_for: CutsFor,
    meter_ids: Sequence[int] | None = None,
    limit: int = 2_000,
) -> Recomputed:
    """Bring the usage spans of dirty meters of a property up to date.

    Without `meter_ids` it takes what no other run holds; with them it waits for the others. `zone` decides what a
    civil day is. Locks the dirty rows, which holds up arriving readings of the same meters until the commit.
    """
    dirty = interval_rows.lock_dirty(session, property_id=property_id, meter_ids=meter_ids, limit=limit)
    if not dirty:
        return Recomputed({}, 0, more=False)
    mounts = interval_rows.load_mounts(session, dirty)
    accounts = sorted({mount.supply_account_id for mount in mounts if mount.supply_account_id is not None})
    cuts = cuts_for(accounts) if accounts else {}
    outcome = _judge_mounts(session, dirty, mounts, zone, cuts)
    days = _write_spans(session, property_id, outcome)
    _keep_findings(session, outcome)
    interval_rows.clear_dirty(session, property_id, dirty)
    return Recomputed(days, len(dirty), more=meter_ids is None and len(dirty) == limit)


def _judge_mounts(
    session: Session,
    dirty: Mapping[int, DirtyMeter],
    mounts: Sequence[MountRow],
    zone: tzinfo,
    cuts: Mapping[int, Sequence[datetime]],
) -> _Outcome:
    baselines = interval_rows.load_baselines(session, dirty)
    series = interval_rows.load_series(session, {key: found.read_at for key, found in baselines.items()}, dirty)
    outcome, calendar = _Outcome(), _Calendar(zone)
    for mount in mounts:
        start = _start_of(mount, baselines.get(mount.meter_id))
        rows = [row for row in series.get(mount.meter_id, ()) if _within(mount, row.read_at, start.read_at)]
        account_cuts = cuts.get(mount.supply_account_id, ()) if mount.supply_account_id is not None else ()
        _judge_mount(outcome, mount, start, rows, calendar, sorted(account_cuts))
    return outcome


class _Calendar:
    """Splits usage; remembers the civil day at hand, because most usage lies within one."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._day, self._from, self._to = date.min, datetime.max.replace(tzinfo=UTC), CLOCK_EPOCH

    def split(
        self, from_at: datetime, to_at: datetime, usage_wh: int, cuts: Sequence[datetime]
    ) -> tuple[UsageSpan, ...]:
        """The parts of usage between two readings; `cuts` in order."""
        if not self._from <= from_at < self._to:
            self._day = local_day(from_at, self._zone)
            self._from, self._to = day_bounds(self._day, self._zone)
        near = cuts[bisect_right(cuts, from_at) : bisect_left(cuts, to_at)] if cuts else ()
        if not near and from_at < to_at <= self._to and to_at - from_at <= SPREAD_AFTER:
            return (UsageSpan(from_at, to_at, usage_wh, Quality.ACTUAL, self._day),)
        return split_usage(from_at=from_at, to_at=to_at, usage_wh=usage_wh, zone=self._zone, cuts=near)


def _start_of(mount: MountRow, baseline: RegisterReading | None) -> RegisterReading:
    if baseline is not None and baseline.read_at > mount.began_at:
        return baseline
    return RegisterReading(mount.began_at, mount.register_wh_first, mount.began_at)


def _within(mount: MountRow, instant: datetime, start: datetime) -> bool:
    return start < instant and (mount.ended_at is None or instant < mount.ended_at)


def _judge_mount(
    outcome: _Outcome,
    mount: MountRow,
    start: RegisterReading,
    rows: Sequence[SeriesRow],
    calendar: "_Calendar",
    cuts: Sequence[datetime],
) -> None:
    outcome.since[mount.id] = start.read_at
    previous, ratio = start, Ratio(mount.ratio)
    for row, reading in _readings_of(mount, rows):
        verdict = judge(previous, reading, mount.facts, ratio)
        _note(outcome, mount, row, verdict)
        if verdict.billable and verdict.usage_wh is not None:
            for span in calendar.split(previous.read_at, reading.read_at, verdict.usage_wh, cuts):
                outcome.spans[mount.id, span.from_at] = SpanRow(
                    span.to_at, mount.supply_account_id, span.day, span.usage_wh, span.quality.value
                )
            previous = reading
    if mount.ended_at is None and mount.last != (previous.read_at, previous.register_wh):
        outcome.last[mount.meter_id] = (previous.read_at, previous.register_wh)


def _readings_of(mount: MountRow, rows: Iterable[SeriesRow]) -> Iterator[tuple[SeriesRow | None, RegisterReading]]:
    """The readings of a mount in order; the last one of an ended mount is its own."""
    for row in rows:
        # What was impossible by itself never came into the series, so arrival is not judged again.
        yield row, RegisterReading(row.read_at, row.register_wh, row.read_at)
    if mount.ended_at is not None and mount.register_wh_last is not None:
        yield None, RegisterReading(mount.ended_at, mount.register_wh_last, mount.ended_at)


def _note(outcome: _Outcome, mount: MountRow, row: SeriesRow | None, verdict: Verdict) -> None:
    """The series may overrule the first impression, either way."""
    if row is None:
        return
    if verdict.billable and row.flag in CONTRADICTS:
        outcome.healed.append(row)
    elif verdict.flag.value in CONTRADICTS and row.flag not in CONTRADICTS:
        outcome.rejected.append((row, mount, verdict.flag))


def _write_spans(session: Session, property_id: int, outcome: _Outcome) -> dict[int, set[date]]:
    """Write what differs from what is there; the days touched, by supply account."""
    present = interval_rows.load_spans(session, outcome.since)
    gone = {key: span for key, span in present.items() if key not in outcome.spans}
    fresh = {key: span for key, span in outcome.spans.items() if present.get(key) != span}
    interval_rows.delete_spans(session, list(gone))
    interval_rows.upsert_spans(session, property_id, fresh)
    days: dict[int, set[date]] = {}
    replaced = [present[key] for key in fresh if key in present]
    for span in (*gone.values(), *fresh.values(), *replaced):
        if span.supply_account_id is not None:
            days.setdefault(span.supply_account_id, set()).add(span.day)
    return days


def _keep_findings(session: Session, outcome: _Outcome) -> None:
    if outcome.rejected:
        interval_rows.keep_rejected(
            session, [(row, mount.property_id, flag.value) for row, mount, flag in outcome.rejected]
        )
    if outcome.healed:
        interval_rows.settle_healed(session, outcome.healed)
    if outcome.last:
        interval_rows.correct_last(session, outcome.last)
