"""Whatever leaves the database is first a row written in the same transaction as its cause.

An event is written once and fanned out into (event, consumer) rows when it is written, from the visible table the
shell registers at start-up. Each (event, consumer) row has its own state and its own order per `order_key`. Transport
only carries the hint "tenant 7 has work for consumer pricing": it may be lost or repeated.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    UniqueConstraint,
    delete,
    event,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from app.kernel.clock import wall_now
from app.kernel.db import Base, TenantRow, TenantScoped, current_tenant_id, run_sql

#: After so many failures an event's delivery is a dead letter that a human looks at.
ATTEMPTS_MAX = 5
#: How many deliveries are pruned in one unit of work.
PRUNE_MAX = 5_000


class OutboxEvent(TenantRow, Base):
    """Something that happened and that others must hear."""

    __tablename__ = "outbox_events"
    __table_args__ = ({"info": {"grants": "SELECT, INSERT, DELETE"}},)

    #: `<area>.<what happened>`, e.g. `payments.succeeded`.
    kind: Mapped[str] = mapped_column(String(60))
    #: Ids only, never personal data.
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    #: Events with the same key are handled in order; '' means no order.
    order_key: Mapped[str] = mapped_column(String(60), server_default="")
    #: Wall instant.
    created_at: Mapped[datetime]


class OutboxLane(TenantScoped, Base):
    """One row per consumer; who drains it holds it, so that deliveries with one order key never overtake each other."""

    __tablename__ = "outbox_lanes"
    consumer: Mapped[str] = mapped_column(String(40), primary_key=True)


class OutboxDelivery(TenantRow, Base):
    """One event for one consumer, with its own life."""

    __tablename__ = "outbox_deliveries"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "event_id"], ["outbox_events.tenant_id", "outbox_events.id"], name="event"),
        CheckConstraint("state IN ('waiting', 'done', 'dead')", name="state_known"),
        UniqueConstraint("tenant_id", "event_id", "consumer", name="once"),
        Index(
            "ix_outbox_deliveries_waiting",
            "tenant_id",
            "consumer",
            "id",
            postgresql_where=text("state = 'waiting'"),
        ),
    )

    event_id: Mapped[int]
    #: Name of the consumer in the table of `jobs`.
    consumer: Mapped[str] = mapped_column(String(40))
    #: The event's key, kept here so that one look at this table tells what must wait.
    order_key: Mapped[str] = mapped_column(String(60), server_default="")
    state: Mapped[str] = mapped_column(String(8), server_default="waiting")
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    #: Wall instant before which it is not tried (back-off).
    not_before: Mapped[datetime]
    done_at: Mapped[datetime | None]
    #: Code of the last failure, for the one who looks.
    last_error: Mapped[str | None] = mapped_column(String(300))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a consumer is handed."""

    id: int
    kind: str
    payload: dict[str, Any]
    attempts: int
    order_key: str
    #: The event and when it was told (wall): for what is told on.
    event_id: int = 0
    told_at: datetime | None = None


#: (tenant id, consumer): "there is work here"; may be lost or repeated.
Hint = tuple[int, str]

_consumers: dict[str, tuple[str, ...]] = {}
_sink: Callable[[set[Hint]], None] | None = None


def register_consumers(table: Mapping[str, Sequence[str]]) -> None:
    """Install the table event kind → consumers. Called once by the shell that owns it (`app.jobs`)."""
    _consumers.clear()
    _consumers.update({kind: tuple(names) for kind, names in table.items()})


_TELL = """
    WITH e AS (
        INSERT INTO outbox_events (tenant_id, kind, payload, order_key, created_at)
        SELECT %(tenant)s, %(kind)s, s.payload::jsonb, s.order_key, %(now)s
          FROM unnest(%(payloads)s::text[], %(order_keys)s::text[]) WITH ORDINALITY AS s(payload, order_key, place)
         ORDER BY s.place
        RETURNING id, order_key)
    INSERT INTO outbox_deliveries (tenant_id, event_id, consumer, order_key, not_before)
    SELECT %(tenant)s, e.id, c.name, e.order_key, %(now)s FROM e CROSS JOIN unnest(%(consumers)s::text[]) AS c(name)
     ORDER BY e.id
"""


def tell(session: Session, *, kind: str, payload: dict[str, Any], order_key: str = "") -> None:
    """Write an event and one delivery per consumer. Raises KeyError for a kind that is not in the table."""
    tell_many(session, kind=kind, events=[(payload, order_key)])


def tell_many(session: Session, *, kind: str, events: Sequence[tuple[dict[str, Any], str]]) -> None:
    """Write many events of one kind, each (payload, order key), in a few statements. Raises as `tell`."""
    consumers, tenant_id = _consumers[kind], current_tenant_id()
    facts = {
        "tenant": tenant_id,
        "kind": kind,
        "now": wall_now(),
        "payloads": [json.dumps(payload, default=str) for payload, _ in events],
        "order_keys": [order_key for _, order_key in events],
        "consumers": list(consumers),
    }
    run_sql(session, _TELL, facts)
    _hint_after_commit(session, {(tenant_id, name) for name in consumers})


def send_hints_to(sink: Callable[[set[Hint]], None] | None) -> None:
    """Pass hints of committed transactions to this function from now on (the shell's Redis); None passes none."""
    global _sink
    _sink = sink


def _hint_after_commit(session: Session, hints: set[Hint]) -> None:
    waiting: set[Hint] | None = session.info.get("outbox_hints")
    if waiting is not None:
        waiting |= hints
        return
    session.info["outbox_hints"] = hints
    event.listen(session, "after_commit", _send_hints, once=True)


def _send_hints(session: Session) -> None:
    hints = session.info.pop("outbox_hints", None)
    if hints and _sink is not None:
        _sink(hints)


def hold_lane(session: Session, *, consumer: str) -> None:
    """Wait until no other worker drains this consumer of this tenant, and hold it until the transaction ends."""
    lane = select(OutboxLane).where(OutboxLane.consumer == consumer).with_for_update()
    if session.scalar(lane) is None:
        session.execute(insert(OutboxLane).values(consumer=consumer).on_conflict_do_nothing())
        session.scalar(lane)


def take(session: Session, *, consumer: str, limit: int) -> list[Delivery]:
    """Lock due deliveries of one consumer, oldest first; none whose order key has an earlier one waiting for a retry."""
    earlier = aliased(OutboxDelivery)
    blocked = (
        select(earlier.id)
        .where(
            earlier.tenant_id == OutboxDelivery.tenant_id,
            earlier.consumer == consumer,
            earlier.state == "waiting",
            earlier.not_before > wall_now(),
            earlier.order_key == OutboxDelivery.order_key,
            earlier.order_key != "",
            earlier.id < OutboxDelivery.id,
        )
        .exists()
    )
    rows = session.execute(
        select(OutboxDelivery, OutboxEvent)
        .join(
            OutboxEvent,
            (OutboxEvent.tenant_id == OutboxDelivery.tenant_id) & (OutboxEvent.id == OutboxDelivery.event_id),
        )
        .where(
            OutboxDelivery.consumer == consumer,
            OutboxDelivery.state == "waiting",
            OutboxDelivery.not_before <= wall_now(),
            ~blocked,
        )
        .order_by(OutboxDelivery.id)
        .limit(limit)
        .with_for_update(of=OutboxDelivery, skip_locked=True)
    )
    return [Delivery(d.id, e.kind, e.payload, d.attempts, d.order_key, e.id, e.created_at) for d, e in rows]


def finish(session: Session, *, ids: Sequence[int]) -> None:
    """Mark deliveries done, in the same transaction as their effect."""
    session.execute(
        update(OutboxDelivery).where(OutboxDelivery.id.in_(ids)).values(state="done", done_at=wall_now()),
        execution_options={"synchronize_session": False},
    )


def put_back(session: Session, *, delivery: Delivery, error: str, not_before: datetime) -> None:
    """Count a failure; past ATTEMPTS_MAX the delivery is dead and shown to a human.

    A delivery that is done after all stays done: its commit may have arrived though its reply was lost.
    """
    attempts = delivery.attempts + 1
    session.execute(
        update(OutboxDelivery)
        .where(OutboxDelivery.id == delivery.id, OutboxDelivery.state == "waiting")
        .values(
            attempts=attempts,
            state="dead" if attempts >= ATTEMPTS_MAX else "waiting",
            not_before=not_before,
            last_error=error[:300],
        ),
        execution_options={"synchronize_session": False},
    )


def waiting_consumers(session: Session) -> list[str]:
    """Consumers of the tenant that have a delivery due."""
    query = select(OutboxDelivery.consumer).where(
        OutboxDelivery.state == "waiting", OutboxDelivery.not_before <= wall_now()
    )
    return list(session.scalars(query.distinct()))


def prune(session: Session, *, done_before: datetime, limit: int = PRUNE_MAX) -> int:
    """Delete deliveries done before an instant, and events nobody waits for any more. Returns how many deliveries."""
    old = (
        select(OutboxDelivery.id)
        .where(OutboxDelivery.state == "done", OutboxDelivery.done_at < done_before)
        .order_by(OutboxDelivery.id)
        .limit(limit)
    )
    gone = session.execute(
        delete(OutboxDelivery).where(OutboxDelivery.id.in_(old)).returning(OutboxDelivery.event_id),
        execution_options={"synchronize_session": False},
    )
    event_ids = list(gone.scalars())
    left = select(OutboxDelivery.event_id).where(OutboxDelivery.event_id.in_(event_ids))
    session.execute(
        delete(OutboxEvent).where(OutboxEvent.id.in_(event_ids), OutboxEvent.id.not_in(left)),
        execution_options={"synchronize_session": False},
    )
    return len(event_ids)
