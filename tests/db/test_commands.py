"""Ordering, overruling, revoking, claiming: what the database holds before any frame leaves."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.outbox import OutboxEvent, register_consumers
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import Kind, State
from app.meters.command_models import Command, Permit
from app.meters.commands import (
    MeterNotSwitchable,
    Ordered,
    PermitMissing,
    expire_commands,
    grant_permit,
    order_command,
    revoke_permits,
)
from app.meters.delivery import LeaseLost, claim_commands, mark_acknowledged, settle_command
from app.meters.epoch import use_epoch_file
from app.meters.headend.leases import GatewayRefused, drop_dead_leases, release_lease, renew_leases, take_lease
from app.meters.models import Gateway, Meter, Mount
from tests.conftest import MovableClock
from tests.factories.site import CONSUMERS, order
from tests.factories.world import World

NOW = datetime(2026, 7, 15, 2, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _installation(business_clock: MovableClock) -> None:
    register_consumers(CONSUMERS)
    use_epoch_file("")


def states(db: Database, world: World) -> list[tuple[str, str]]:
    """Kind and state of every command, in order."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return [(c.kind, c.state) for c in session.scalars(select(Command).order_by(Command.id))]


def ask(session: Session, world: World, kind: Kind, permit: Permit | None = None, key: str = "k") -> Ordered:
    """Order something of the world's first meter."""
    meter = session.get_one(Meter, (world.tenant_id, world.meter_ids[0]))
    facts: dict[str, Any] = {"reason": "test", "actor": "system:tests", "valid_until": NOW + timedelta(hours=1)}
    return order_command(session, meter=meter, kind=kind, permit=permit, idempotency_key=key, **facts)


def permit_for(session: Session, world: World, which: int = 0) -> Permit:
    """A live permit for one of the world's meters."""
    meter = session.get_one(Meter, (world.tenant_id, world.meter_ids[which]))
    return grant_permit(session, meter=meter, basis="zero_stop", evidence={}, valid_until=NOW + timedelta(hours=1))


def test_the_same_key_is_the_same_command(db: Database, world: World) -> None:
    first = order(db, world, Kind.TRIP, key="stop-1")
    assert order(db, world, Kind.TRIP, key="stop-1") == first
    assert states(db, world) == [("trip", "queued")]


def test_a_trip_without_a_live_permit_for_this_meter_is_refused(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        revoked = permit_for(session, world)
        revoked.revoked_at = NOW
        for permit in (None, revoked, permit_for(session, world, 1)):
            with pytest.raises(PermitMissing):
                ask(session, world, Kind.TRIP, permit)


def test_the_database_refuses_a_trip_without_a_permit_whoever_asks(db: Database, world: World) -> None:
    row = {"property_id": world.property_id, "meter_id": world.meter_ids[0], "kind": "trip", "seq": 9, "reason": ""}
    with pytest.raises(IntegrityError, match="no_trip_without_permit"):
        with unit_of_work(world.tenant_id, db=db) as session:
            session.execute(
                insert(Command).values(
                    tenant_id=world.tenant_id, actor="", idempotency_key="x", queued_at=NOW, valid_until=NOW, **row
                )
            )


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"actuator": "shunt_trip"}, Kind.CLOSE),
        ({"actuator": "shunt_trip"}, Kind.PERMIT_CLOSE),
        ({"actuator": "hv_switch"}, Kind.CLOSE),
        ({"actuator": "motor_breaker"}, Kind.PERMIT_CLOSE),
        ({"ended_at": NOW, "register_wh_last": 1}, Kind.CLOSE),
    ],
)
def test_what_cannot_be_done_from_afar_is_not_ordered(
    db: Database, world: World, change: dict[str, Any], kind: Kind
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Mount).values(**change))
        with pytest.raises(MeterNotSwitchable):
            ask(session, world, kind)


def test_a_meter_without_a_gateway_cannot_be_told_anything(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Meter).values(gateway_id=None))
        with pytest.raises(MeterNotSwitchable):
            ask(session, world, Kind.READ_TOTAL)


def test_a_close_cancels_the_trip_that_was_not_sent_and_is_needless_where_the_relay_is_closed(
    db: Database, world: World
) -> None:
    trip = order(db, world, Kind.TRIP)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Meter).values(relay_state="closed"))
        assert ask(session, world, Kind.CLOSE) == Ordered(None, (trip,))
    assert states(db, world) == [("trip", "cancelled")]


def test_a_close_follows_the_trip_that_may_have_been_sent(db: Database, world: World) -> None:
    order(db, world, Kind.TRIP)
    claim(db, world)
    order(db, world, Kind.CLOSE)
    assert states(db, world) == [("trip", "sent"), ("close", "queued")]
    assert claim(db, world, in_flight=[1, 2, 3, *range(4, 2_000)]) == []


def claim(db: Database, world: World, in_flight: list[int] | None = None) -> list[Any]:
    """Claim everything under the gateway's present lease."""
    with unit_of_work(world.tenant_id, db=db) as session:
        epoch = session.scalars(select(Gateway.lease_epoch)).one()
        return claim_commands(session, lease_epochs={world.gateway_id: epoch}, in_flight=in_flight or [])


def test_revoking_cancels_unsent_trips_once_and_tells_their_end(db: Database, world: World) -> None:
    trips = [order(db, world, Kind.TRIP, which) for which in range(2)]
    for expected in (tuple(trips), ()):
        with unit_of_work(world.tenant_id, db=db) as session:
            assert revoke_permits(session, meter_ids=world.meter_ids, reason="paid") == expected
    with unit_of_work(world.tenant_id, db=db) as session:
        told = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.kind == "commands.ended")).all()
        assert session.scalar(select(func.count()).where(Permit.revoked_at.is_(None)).select_from(Permit)) == 0
    assert sorted(event["command_id"] for event in told) == trips
    assert {event["state"] for event in told} == {"cancelled"}


@pytest.mark.parametrize(
    ("late", "sent", "expected"),
    [
        (timedelta(minutes=-1), False, "queued"),
        (timedelta(minutes=1), False, "expired"),
        (timedelta(minutes=1), True, "sent"),
        (timedelta(minutes=11), True, "unconfirmed"),
    ],
)
def test_past_its_time_only_what_never_left_has_surely_done_nothing(
    db: Database, world: World, late: timedelta, sent: bool, expected: str
) -> None:
    order(db, world, Kind.TRIP)
    if sent:
        claim(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        expire_commands(session, now=NOW + timedelta(minutes=30) + late)
    assert states(db, world) == [("trip", expected)]


def test_two_claims_at_once_take_a_command_once(db: Database, world: World) -> None:
    for which in range(4):
        order(db, world, Kind.CLOSE, which)
    together, taken = threading.Barrier(4), []

    def take() -> None:
        together.wait()
        taken.extend(c.command_id for c in claim(db, world, in_flight=list(range(10_000))))

    workers = [threading.Thread(target=take) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(taken) == len(set(taken)) == 4


def test_a_payment_that_races_the_last_look_either_cancels_the_trip_or_finds_it_sent(
    db: Database, world: World
) -> None:
    order(db, world, Kind.TRIP)
    together = threading.Barrier(2)
    found: dict[str, int] = {}

    def pay() -> None:
        together.wait()
        with unit_of_work(world.tenant_id, db=db) as session:
            found["cancelled"] = len(revoke_permits(session, meter_ids=world.meter_ids, reason="paid"))

    payer = threading.Thread(target=pay)
    payer.start()
    together.wait()
    found["sent"] = len(claim(db, world))
    payer.join()
    assert found["cancelled"] + found["sent"] == 1


def test_only_one_head_end_holds_a_gateway_and_the_next_one_only_after_its_time(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        first = take_lease(session, gateway_id=world.gateway_id, holder="a")
        with pytest.raises(GatewayRefused):
            take_lease(session, gateway_id=world.gateway_id, holder="b")
        assert renew_leases(session, holder="a", epochs={world.gateway_id: first.epoch}) == {world.gateway_id}
        session.execute(update(Gateway).values(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
        second = take_lease(session, gateway_id=world.gateway_id, holder="b")
        assert second.epoch == first.epoch + 1
        assert renew_leases(session, holder="a", epochs={world.gateway_id: first.epoch}) == set()
        release_lease(session, lease=first, lost=True)
        assert session.scalars(select(Gateway.lease_holder)).one() == "b"


def test_a_lease_nobody_keeps_takes_its_gateway_and_meters_offline(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        take_lease(session, gateway_id=world.gateway_id, holder="a")
        session.execute(update(Meter).values(online=True))
        assert drop_dead_leases(session) == 0
        session.execute(update(Gateway).values(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
        assert drop_dead_leases(session) == 1
        assert session.scalars(select(Gateway.online)).all() == [False]
        assert set(session.scalars(select(Meter.online))) == {False}


def test_a_head_end_that_lost_its_lease_writes_nothing_about_a_command(db: Database, world: World) -> None:
    order(db, world, Kind.TRIP)
    with unit_of_work(world.tenant_id, db=db) as session:
        epochs = {world.gateway_id: take_lease(session, gateway_id=world.gateway_id, holder="a").epoch}
        old = claim_commands(session, lease_epochs=epochs)[0]
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Gateway).values(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
        epochs = {world.gateway_id: take_lease(session, gateway_id=world.gateway_id, holder="b").epoch}
        taken_over = claim_commands(session, lease_epochs=epochs)
    assert [(c.command_id, c.uncertain) for c in taken_over] == [(old.command_id, True)]
    with unit_of_work(world.tenant_id, db=db) as session:
        with pytest.raises(LeaseLost):
            mark_acknowledged(session, claimed=old)
        with pytest.raises(LeaseLost):
            settle_command(session, claimed=old, state=State.CONFIRMED, relay=None, failure=None, frames=[])
    assert states(db, world) == [("trip", "sent")]


def test_what_a_head_end_holds_never_prints_the_password(db: Database, world: World) -> None:
    order(db, world, Kind.TRIP)
    held = claim(db, world)[0]
    assert held.password == "02000000"
    assert held.password not in f"{held!r} {held}"
