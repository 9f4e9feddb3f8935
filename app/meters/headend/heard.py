"""Writing down what meters said: one transaction for many meters of a tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.kernel.db import current_tenant_id
from app.kernel.outbox import tell_many
from app.meters.columns import AT, micros, packed, unnest
from app.meters.delivery import SeenRelay
from app.meters.ingest import NewReading, take_readings
from app.meters.models import Meter


@dataclass(frozen=True, slots=True)
class Heard:
    """What one meter said when it was asked at a business instant. `register_wh` is its total."""

    meter_id: int
    at: datetime
    register_wh: int | None = None
    relay: SeenRelay | None = None
    clock_off_s: int | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """A meter that did not answer so many times that it counts as offline."""

    meter_id: int


def write_heard(session: Session, *, items: Sequence[Heard | Lost]) -> None:
    """Keep readings, relay states, clock drifts and who is online; tell who returned and whose relay moved."""
    heard = [item for item in items if isinstance(item, Heard)]
    rows = [
        NewReading(item.meter_id, item.at, item.register_wh, clock_off_s=item.clock_off_s)
        for item in heard
        if item.register_wh is not None
    ]
    if rows:
        take_readings(session, rows=rows, source="headend")
    if heard:
        _write_answers(session, {item.meter_id: item for item in heard}, heard)
    lost = [item.meter_id for item in items if isinstance(item, Lost)]
    if lost:
        session.execute(
            update(Meter).where(Meter.id.in_(lost)).values(online=False),
            execution_options={"synchronize_session": False},
        )


def _write_answers(session: Session, last: dict[int, Heard], heard: Sequence[Heard]) -> None:
    known = {
        row.id: row
        for row in session.execute(
            select(Meter.id, Meter.online, Meter.answered_at, Meter.relay_state)
            .where(Meter.id.in_(last))
            .order_by(Meter.id)
            .with_for_update(key_share=True)
        )
    }
    relays = _latest_relays(heard)
    drifts = {item.meter_id: item.clock_off_s for item in heard if item.clock_off_s is not None}
    written = session.execute(
        _ANSWERS,
        packed(
            {
                "t": current_tenant_id(),
                "meters": list(last),
                "ats": [micros(item.at) for item in last.values()],
                "relays": [relays[id_].state if id_ in relays else None for id_ in last],
                "relay_ats": [micros(relays[id_].at) if id_ in relays else None for id_ in last],
                "drifts": [drifts.get(id_) for id_ in last],
            }
        ),
    )
    returned = [
        ({"meter_id": id_}, f"meter:{id_}") for id_, row in known.items() if _was_lost(row.online, row.answered_at)
    ]
    now = {row.id: row.relay_state for row in written}
    moved = [
        ({"meter_id": id_, "relay_state": now[id_]}, f"meter:{id_}")
        for id_, row in known.items()
        if _moved(row.relay_state, now[id_])
    ]
    for kind, events in (("meters.returned", returned), ("meters.relay_changed", moved)):
        if events:
            tell_many(session, kind=kind, events=events)


def _latest_relays(heard: Sequence[Heard]) -> dict[int, SeenRelay]:
    """Of each meter the relay's latest reading; of two at one instant the one heard last."""
    seen = [(item.relay.at, item.meter_id, item.relay) for item in heard if item.relay is not None]
    return {meter_id: relay for _at, meter_id, relay in sorted(seen, key=lambda one: one[0])}


def _was_lost(online: bool, answered_at: datetime | None) -> bool:
    """It was on the line before and did not answer for a while."""
    return not online and answered_at is not None


def _moved(before: str, after: str) -> bool:
    """Somebody has to hear of it; a meter first seen with its relay closed is as it should be."""
    return before != after and (before, after) != ("unknown", "closed")


_SAID = unnest(
    "u",
    meters="meter_id bigint",
    ats="at_us bigint",
    relays="relay text",
    relay_ats="relay_us bigint",
    drifts="drift bigint",
)
# A reading that waited to be written may be older than a command's read-back that did not: it changes no relay.
_STANDS = f"{AT.format('u.relay_us')} >= coalesce(m.relay_read_at, '-infinity')"
_ANSWERS = text(
    f"UPDATE meters m SET answered_at = {AT.format('u.at_us')}, online = true,"
    f" relay_state = CASE WHEN {_STANDS} THEN u.relay ELSE m.relay_state END,"
    f" relay_read_at = greatest({AT.format('u.relay_us')}, m.relay_read_at),"
    " clock_drift_s = coalesce(u.drift, m.clock_drift_s)"
    f" FROM {_SAID}"
    " WHERE m.tenant_id = :t AND m.id = u.meter_id"
    " RETURNING m.id, m.relay_state"
)
