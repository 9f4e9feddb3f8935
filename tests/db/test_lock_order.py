"""One order of locks for stops, money, the kill switch and the head-end: property, wallet, meters, commands, permits."""

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.billing.cutoff import halt, order_stop
from app.billing.models import Payment
from app.billing.stop_policy import Basis
from app.billing.wallets import lock_wallet
from app.kernel.actor import Actor
from app.kernel.db import database
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import Kind
from app.meters.command_models import Command, Permit
from app.meters.commands import revoke_permits
from app.meters.delivery import Claimed, claim_commands
from app.meters.models import Meter, Mount
from app.meters.mounting import set_guaranteed_supply
from app.tenants.models import Property
from app.tenants.service import resume_stops
from tests.factories.site import order
from tests.factories.supply import pay
from tests.factories.world import World

MANAGER = Actor.user(3, name="李经理")
Together = Callable[..., list[BaseException]]


def stop(world: World, number: int = 0) -> None:
    """A manager stops supply for works."""
    with unit_of_work(world.tenant_id) as session:
        account_id = world.supply_account_ids[number]
        order_stop(session, supply_account_id=account_id, basis=Basis.MANUAL, actor=MANAGER, reason="检修")


def claim(world: World) -> list[Claimed]:
    """What a head-end does when it is woken."""
    with unit_of_work(world.tenant_id) as session:
        return claim_commands(session, lease_epochs={world.gateway_id: 1}, in_flight=range(1, 20_000))


def until_waiting(session: Session, number: int) -> None:
    """Until so many connections of this database wait for a lock."""
    here = "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database()"
    waiting = f"SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN ({here})"
    deadline = time.monotonic() + 60
    while session.connection().exec_driver_sql(waiting).scalar_one() < number:
        assert time.monotonic() < deadline


def begun(deed: Callable[[], object], raised: list[BaseException]) -> threading.Thread:
    """The deed, under way in a thread of its own."""

    def run() -> None:
        try:
            deed()
        except BaseException as failure:
            raised.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def together(*deeds: Callable[[], object]) -> list[BaseException]:
    """What the deeds raise when all begin at once."""
    raised: list[BaseException] = []
    barrier = threading.Barrier(len(deeds))
    threads = [begun(partial(_after, barrier, deed), raised) for deed in deeds]
    for thread in threads:
        thread.join()
    return raised


def _after(barrier: threading.Barrier, deed: Callable[[], object]) -> None:
    barrier.wait()
    deed()


def test_money_a_stop_and_a_head_end_in_the_worst_order_wait_for_each_other_and_end(
    world: World, business_clock: object
) -> None:
    """The wallet is held by money, the property by a stop that waits for the wallet; then a head-end comes to claim."""
    order(database(), world, Kind.TRIP)
    raised: list[BaseException] = []
    with unit_of_work(world.tenant_id) as money:
        lock_wallet(money, supply_account_id=world.supply_account_ids[0])
        stopping = begun(partial(stop, world), raised)
        until_waiting(money, 1)
        claiming = begun(partial(claim, world), raised)
        until_waiting(money, 2)
        revoke_permits(money, meter_ids=world.meter_ids[:1], reason="credit")
    stopping.join()
    claiming.join()
    assert raised == []
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(Command.state).order_by(Command.id)).first() == "cancelled"


def test_a_head_end_that_waited_for_the_kill_switch_sends_no_trip(world: World, business_clock: object) -> None:
    order(database(), world, Kind.TRIP)
    claimed: list[Claimed] = []
    raised: list[BaseException] = []
    with unit_of_work(world.tenant_id) as session:
        halt(session, property_id=world.property_id, reason="演练", by=MANAGER)
        claiming = begun(lambda: claimed.extend(claim(world)), raised)
        until_waiting(session, 1)
    claiming.join()
    assert (raised, claimed) == ([], [])


def test_a_guarantee_waits_for_the_meter_before_it_touches_commands(world: World, business_clock: object) -> None:
    """Whoever orders holds the meter and then looks at its commands; so does the guarantee."""
    order(database(), world, Kind.TRIP)
    raised: list[BaseException] = []

    def guarantee() -> None:
        with unit_of_work(world.tenant_id) as session:
            mount = session.scalars(select(Mount).where(Mount.meter_id == world.meter_ids[0])).one()
            set_guaranteed_supply(session, mount=mount, on=True, reason="病人", by=MANAGER)

    with unit_of_work(world.tenant_id) as session:
        held = select(Meter).where(Meter.id == world.meter_ids[0]).with_for_update(key_share=True)
        session.scalars(held).one()
        guaranteeing = begun(guarantee, raised)
        until_waiting(session, 1)
        session.scalars(select(Command).where(Command.meter_id == world.meter_ids[0]).with_for_update()).all()
    guaranteeing.join()
    assert raised == []


@pytest.mark.parametrize("attempt", range(3))
def test_stops_money_the_kill_switch_and_a_head_end_at_once_never_deadlock(
    make_world: Callable[..., World], business_clock: object, attempt: int
) -> None:
    world = make_world(spaces=3)

    def halt_and_resume() -> None:
        with unit_of_work(world.tenant_id) as session:
            halt(session, property_id=world.property_id, reason="演练", by=MANAGER)
        with unit_of_work(world.tenant_id) as session:
            resume_stops(session, property_id=world.property_id, by=MANAGER)

    for turn in range(4):
        for number in range(3):
            order(database(), world, Kind.TRIP, number)
        stops = [partial(stop, world, number) for number in range(3)]
        payments = [partial(pay, world, 1_000, number=number) for number in range(3)]
        assert together(*stops, *payments, partial(claim, world), halt_and_resume) == [], turn
    with unit_of_work(world.tenant_id) as session:
        assert session.scalar(select(func.sum(Payment.amount_fen))) == 3 * 4 * 1_000
        assert session.scalars(select(Property.stops_halted)).one() is False
        queued = select(Command.permit_id).where(Command.kind == "trip", Command.state == "queued")
        live = select(Permit.id).where(Permit.revoked_at.is_(None))
        assert set(session.scalars(queued)) <= set(session.scalars(live))
