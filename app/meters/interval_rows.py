"""The set-based statements of `meters.intervals`: dirty meters, mounts, series and spans, thousands at a time.

What is looked up per meter is LATERAL and fenced by OFFSET 0: PostgreSQL then looks up each meter by its key, and
never reads the whole property for one batch, whatever its statistics believe.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel.clock import business_now, wall_now
from app.kernel.db import current_tenant_id
from app.meters.columns import AT, micros, packed, unnest
from app.meters.ingest_rows import GOOD_FLAGS, insert_cases
from app.meters.readings import CLOCK_EPOCH, RegisterFacts, RegisterReading

_GOOD = "('" + "', '".join(GOOD_FLAGS) + "')"
_DAY_ZERO = date(1970, 1, 1)
SpanKey = tuple[int, datetime]


class DirtyMeter(NamedTuple):
    """From when on a meter's series is computed anew."""

    from_at: datetime
    version: int


class MountRow(NamedTuple):
    """A mount with the facts its series is judged by. `last` is what the meter's row says is its last good reading."""

    id: int
    meter_id: int
    property_id: int
    supply_account_id: int | None
    began_at: datetime
    ended_at: datetime | None
    register_wh_first: int
    register_wh_last: int | None
    ratio: int
    facts: RegisterFacts
    last: tuple[datetime | None, int | None]


class SeriesRow(NamedTuple):
    """A stored reading, with the flag it got on arrival."""

    meter_id: int
    read_at: datetime
    register_wh: int
    flag: str
    source: str
    register: str = "total"


class SpanRow(NamedTuple):
    """What a span says, beside its key (mount, from_at)."""

    to_at: datetime
    supply_account_id: int | None
    day: date
    usage_wh: int
    quality: str


def lock_dirty(
    session: Session, *, property_id: int, meter_ids: Sequence[int] | None, limit: int
) -> dict[int, DirtyMeter]:
    """Dirty meters of a property, locked in the order of their ids: meter → mark."""
    values: dict[str, Any] = {"t": current_tenant_id(), "property": property_id, "limit": limit}
    if meter_ids is None:
        rows = session.execute(_LOCK_FREE, values)
    else:
        rows = session.execute(_LOCK_NAMED, {**values, "meters": list(meter_ids)})
    return {row.meter_id: DirtyMeter(row.from_at, row.version) for row in rows}


def load_mounts(session: Session, dirty: Mapping[int, DirtyMeter]) -> list[MountRow]:
    """Mounts of these meters that reach beyond their marks, by meter and beginning."""
    facts: dict[int, RegisterFacts] = {}
    mounts = []
    for row in session.execute(_MOUNTS, _marks(dirty)):
        model = facts.get(row.model_id)
        if model is None:
            model = facts[row.model_id] = RegisterFacts(row.modulus_wh, row.rated_power_w, row.step_wh)
        mounts.append(MountRow._make((*row[:9], model, (row.reading_at, row.register_wh))))
    return mounts


def load_baselines(session: Session, dirty: Mapping[int, DirtyMeter]) -> dict[int, RegisterReading]:
    """The last reading at or before each mark that was never doubted."""
    rows = session.execute(_BASELINES, _marks(dirty))
    return {row.meter_id: RegisterReading(row.read_at, row.register_wh, row.read_at) for row in rows}


def load_series(
    session: Session, since: Mapping[int, datetime], dirty: Mapping[int, DirtyMeter]
) -> dict[int, list[SeriesRow]]:
    """Every total reading after the baseline, in order of instants; a correction replaces what it corrects."""
    froms = [micros(since.get(meter_id, CLOCK_EPOCH)) for meter_id in dirty]
    values = {"t": current_tenant_id(), "meters": list(dirty), "froms": froms}
    # Constants for the planner, so that it opens only the months that can hold a row.
    bounds = {
        "lower": min(since.get(meter_id, CLOCK_EPOCH) for meter_id in dirty),
        "upper": business_now() + timedelta(days=1),
    }
    series: dict[int, list[SeriesRow]] = {}
    for row in session.execute(_SERIES, packed({**values, **bounds})):
        rows = series.setdefault(row[0], [])
        if rows and rows[-1].read_at == row[1]:
            rows.pop()
        rows.append(SeriesRow(*row))
    return series


def load_spans(session: Session, since: Mapping[int, datetime]) -> dict[SpanKey, SpanRow]:
    """The spans of mounts that begin at or after an instant: mount → instant."""
    if not since:
        return {}
    values = {
        "t": current_tenant_id(),
        "mounts": list(since),
        "froms": [micros(at) for at in since.values()],
        "lower": min(since.values()),
        "upper": business_now() + timedelta(days=1),
    }
    return {(row[0], row[1]): SpanRow(*row[2:]) for row in session.execute(_SPANS, packed(values))}


def delete_spans(session: Session, keys: Sequence[SpanKey]) -> None:
    """Take away spans that came out of readings no longer trusted or cut differently now."""
    if keys:
        mounts, froms = [key[0] for key in keys], [micros(key[1]) for key in keys]
        session.execute(_DELETE_SPANS, packed({"t": current_tenant_id(), "mounts": mounts, "froms": froms}))


def upsert_spans(session: Session, property_id: int, spans: Mapping[SpanKey, SpanRow]) -> None:
    """Write spans; one that was there gets its new content and a higher revision."""
    if not spans:
        return
    session.execute(
        _UPSERT_SPANS,
        packed(
            {
                "t": current_tenant_id(),
                "property": property_id,
                "mounts": [mount_id for mount_id, _ in spans],
                "froms": [micros(from_at) for _, from_at in spans],
                "tos": [micros(span.to_at) for span in spans.values()],
                "accounts": [span.supply_account_id for span in spans.values()],
                "days": [(span.day - _DAY_ZERO).days for span in spans.values()],
                "whs": [span.usage_wh for span in spans.values()],
                "qualities": [span.quality for span in spans.values()],
            }
        ),
    )


def clear_dirty(session: Session, property_id: int, dirty: Mapping[int, DirtyMeter]) -> None:
    """Clear the marks of a property that were worked off, unless they were raised meanwhile."""
    meters, versions = list(dirty), [mark.version for mark in dirty.values()]
    place = {"t": current_tenant_id(), "property": property_id, "lowest": min(meters), "highest": max(meters)}
    session.execute(_CLEAR, packed({**place, "meters": meters, "versions": versions}))


def keep_rejected(session: Session, rejected: Sequence[tuple[SeriesRow, int, str]]) -> None:
    """Show a person the readings (row, property, flag) that looked good on arrival and do not fit the series."""
    for source in {row.source for row, _, _ in rejected}:
        insert_cases(
            session,
            source=source,
            received_at=wall_now(),
            lines=[(row, prop, flag, {"series": True}) for row, prop, flag in rejected if row.source == source],
            each=True,
        )


def settle_healed(session: Session, healed: Sequence[SeriesRow]) -> None:
    """Close the cases of readings that looked wrong on arrival and fit now that the ones before them came."""
    values = {
        "t": current_tenant_id(),
        "meters": [row.meter_id for row in healed],
        "ats": [micros(row.read_at) for row in healed],
        "whs": [row.register_wh for row in healed],
        "now": business_now(),
    }
    session.execute(_SETTLE_HEALED, packed(values))


def correct_last(session: Session, last: Mapping[int, tuple[datetime, int]]) -> None:
    """Set meters' last good reading to what the series says: meter → (instant, register in Wh)."""
    ordered = sorted(last.items())
    values = {
        "t": current_tenant_id(),
        "meters": [meter_id for meter_id, _ in ordered],
        "ats": [micros(at) for _, (at, _) in ordered],
        "whs": [wh for _, (_, wh) in ordered],
    }
    session.execute(_CORRECT_LAST, packed(values))


def mark_dirty_meters(session: Session, *, meter_ids: Sequence[int], from_at: datetime) -> None:
    """Compute the usage of these meters anew from an instant on."""
    values = {"t": current_tenant_id(), "meters": list(meter_ids), "from_at": max(from_at, CLOCK_EPOCH)}
    session.execute(_MARK_METERS, values)


def mark_dirty_accounts(session: Session, *, supply_account_ids: Sequence[int], from_at: datetime) -> None:
    """Compute the usage of these supply accounts anew from an instant on."""
    values = {"t": current_tenant_id(), "accounts": list(supply_account_ids), "from_at": max(from_at, CLOCK_EPOCH)}
    session.execute(_MARK_ACCOUNTS, values)


def _marks(dirty: Mapping[int, DirtyMeter]) -> dict[str, Any]:
    columns = {
        "t": current_tenant_id(),
        "meters": list(dirty),
        "froms": [micros(mark.from_at) for mark in dirty.values()],
    }
    return packed(columns)


_LOCK = (
    "SELECT d.meter_id, d.from_at, d.version FROM dirty_ranges d WHERE d.tenant_id = :t AND d.property_id = :property"
)
_LOCK_FREE = text(_LOCK + " ORDER BY d.meter_id LIMIT :limit FOR UPDATE SKIP LOCKED")
_LOCK_NAMED = text(_LOCK + " AND d.meter_id = ANY(:meters) ORDER BY d.meter_id LIMIT :limit FOR UPDATE")

_MARKS = unnest("u", meters="meter_id bigint", froms="from_us bigint")
_DIRTY = f"(SELECT u.meter_id, {AT.format('u.from_us')} AS from_at FROM {_MARKS}) d"

_MOUNTS = text(
    "SELECT o.id, o.meter_id, o.property_id, o.supply_account_id, o.began_at, o.ended_at, o.register_wh_first,"
    " o.register_wh_last, o.ratio, m.reading_at, m.register_wh, m.model_id, k.modulus_wh, k.rated_power_w, k.step_wh"
    f" FROM {_DIRTY}"
    " JOIN mounts o ON o.tenant_id = :t AND o.meter_id = d.meter_id"
    " JOIN meters m ON m.tenant_id = :t AND m.id = o.meter_id"
    " JOIN meter_models k ON k.tenant_id = :t AND k.id = m.model_id"
    " WHERE o.ended_at IS NULL OR o.ended_at > d.from_at"
    " ORDER BY o.meter_id, o.began_at"
)

_BASELINES = text(
    f"SELECT d.meter_id, b.read_at, b.register_wh FROM {_DIRTY}"
    " CROSS JOIN LATERAL (SELECT r.read_at, r.register_wh FROM readings r"
    " WHERE r.tenant_id = :t AND r.meter_id = d.meter_id AND r.register = 'total' AND r.read_at <= d.from_at"
    f" AND r.flag IN {_GOOD} AND NOT EXISTS (SELECT 1 FROM reading_cases c WHERE c.tenant_id = :t"
    " AND c.meter_id = r.meter_id AND c.register = r.register AND c.read_at = r.read_at"
    " AND c.register_wh = r.register_wh)"
    " ORDER BY r.read_at DESC, r.revision DESC LIMIT 1) b"
)

_SERIES = text(
    f"SELECT r.meter_id, r.read_at, r.register_wh, r.flag, r.source FROM {_DIRTY}"
    " CROSS JOIN LATERAL (SELECT e.* FROM readings e WHERE e.tenant_id = :t AND e.meter_id = d.meter_id"
    " AND e.register = 'total' AND e.read_at > d.from_at AND e.read_at > :lower AND e.read_at <= :upper OFFSET 0) r"
    " ORDER BY r.meter_id, r.read_at, r.revision"
)

_FROMS = unnest("u", mounts="mount_id bigint", froms="from_us bigint")
_STARTS = f"(SELECT u.mount_id, {AT.format('u.from_us')} AS from_at FROM {_FROMS}) d"

_SPANS = text(
    f"SELECT s.mount_id, s.from_at, s.to_at, s.supply_account_id, s.day, s.usage_wh, s.quality FROM {_STARTS}"
    " CROSS JOIN LATERAL (SELECT e.* FROM usage_spans e WHERE e.tenant_id = :t AND e.mount_id = d.mount_id"
    " AND e.from_at >= d.from_at AND e.from_at >= :lower AND e.from_at <= :upper OFFSET 0) s"
)

_DELETE_SPANS = text(
    f"DELETE FROM usage_spans s USING {_STARTS}"
    " WHERE s.tenant_id = :t AND s.mount_id = d.mount_id AND s.from_at = d.from_at"
)

_NEW_SPANS = unnest(
    "u",
    mounts="mount_id bigint",
    froms="from_us bigint",
    tos="to_us bigint",
    accounts="account_id bigint",
    days="day_nr int",
    whs="wh bigint",
    qualities="quality text",
)
_UPSERT_SPANS = text(
    "INSERT INTO usage_spans (tenant_id, mount_id, from_at, to_at, property_id, supply_account_id, day, usage_wh,"
    " quality)"
    f" SELECT :t, u.mount_id, {AT.format('u.from_us')}, {AT.format('u.to_us')}, :property, u.account_id,"
    " DATE '1970-01-01' + u.day_nr, u.wh, u.quality"
    f" FROM {_NEW_SPANS}"
    " ON CONFLICT (tenant_id, mount_id, from_at) DO UPDATE SET to_at = excluded.to_at,"
    " supply_account_id = excluded.supply_account_id, day = excluded.day, usage_wh = excluded.usage_wh,"
    " quality = excluded.quality, revision = usage_spans.revision + 1"
)

_DONE = unnest("u", meters="meter_id bigint", versions="version bigint")
# The marks are a queue: counted while it is empty, they look like one row, and a join would compare each with each.
# IS TRUE keeps the planner from making a join of it: the pairs are hashed once, and only the batch's range is read.
_CLEAR = text(
    "DELETE FROM dirty_ranges d WHERE d.tenant_id = :t AND d.property_id = :property"
    " AND d.meter_id BETWEEN :lowest AND :highest"
    f" AND ((d.meter_id, d.version) IN (SELECT u.meter_id, u.version FROM {_DONE})) IS TRUE"
)

_HEALED = unnest("u", meters="meter_id bigint", ats="at_us bigint", whs="wh bigint")
_SETTLE_HEALED = text(
    "UPDATE reading_cases c SET settled_at = :now FROM"
    f" {_HEALED}"
    " WHERE c.tenant_id = :t AND c.meter_id = u.meter_id AND c.register = 'total' AND c.register_wh = u.wh"
    f" AND c.read_at = {AT.format('u.at_us')} AND c.settled_at IS NULL"
)

_LASTS = unnest("u", meters="meter_id bigint", ats="at_us bigint", whs="wh bigint")
_CORRECT_LAST = text(
    f"UPDATE meters m SET reading_at = {AT.format('u.at_us')}, register_wh = u.wh"
    f" FROM {_LASTS}"
    " WHERE m.tenant_id = :t AND m.id = u.meter_id"
)

_UPSERT_MARK = (
    " ON CONFLICT (tenant_id, meter_id) DO UPDATE SET from_at = least(dirty_ranges.from_at, excluded.from_at),"
    " version = dirty_ranges.version + 1 WHERE dirty_ranges.from_at > excluded.from_at"
)

_MARK_METERS = text(
    "INSERT INTO dirty_ranges (tenant_id, meter_id, property_id, from_at)"
    " SELECT m.tenant_id, m.id, m.property_id, :from_at FROM meters m"
    " WHERE m.tenant_id = :t AND m.id = ANY(:meters) ORDER BY m.id" + _UPSERT_MARK
)

_MARK_ACCOUNTS = text(
    "INSERT INTO dirty_ranges (tenant_id, meter_id, property_id, from_at)"
    " SELECT o.tenant_id, o.meter_id, min(o.property_id), CAST(:from_at AS timestamptz) FROM mounts o"
    " WHERE o.tenant_id = :t AND o.supply_account_id = ANY(:accounts)"
    " AND (o.ended_at IS NULL OR o.ended_at > :from_at)"
    " GROUP BY o.tenant_id, o.meter_id ORDER BY o.meter_id" + _UPSERT_MARK
)
