"""Everything at once on the same wallets: nothing deadlocks, nothing is lost, no trip outlives the money."""

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select

from app.billing.cutoff import halt, order_stop
from app.billing.day_close import close_days_due
from app.billing.models import Payment, Stop
from app.billing.stop_policy import Basis
from app.billing.supply import judge_again
from app.billing.wallets import find_wallet
from app.jobs.handlers import drain
from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_models import Command, Permit
from app.tenants.service import resume_stops
from tests.factories.supply import hear, pay, prove_notices, run_dry
from tests.factories.usage import read
from tests.factories.world import BEGAN_AT

MANAGER = Actor.user(3, name="李经理")


def together(*deeds: Callable[[], object]) -> list[BaseException]:
    """Run the deeds at the same time; returns what they raised, expected refusals aside."""
    barrier, raised = threading.Barrier(len(deeds)), []

    def run(deed):
        barrier.wait()
        try:
            deed()
        except AppError:
            return
        except BaseException as failure:
            raised.append(failure)

    threads = [threading.Thread(target=run, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.mark.parametrize("attempt", range(4))
def test_a_payment_and_the_gate_at_the_same_moment_leave_no_live_trip(world, business_clock, attempt):
    """Whoever gets the wallet first: either the gate sees the money, or the payment takes the permit back."""
    run_dry(world)
    prove_notices(world)
    business_clock.set(business_clock.now() + timedelta(minutes=31))

    def stop():
        with unit_of_work(world.tenant_id) as session:
            order_stop(
                session,
                supply_account_id=world.supply_account_ids[0],
                basis=Basis.ZERO_STOP,
                actor=Actor.system("supply"),
            )

    assert together(stop, lambda: pay(world, 5_000)) == []
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(Permit).where(Permit.revoked_at.is_(None))).all() == []
        assert session.scalars(select(Command).where(Command.kind == "trip", Command.state == "queued")).all() == []
    hear(world)
    with unit_of_work(world.tenant_id) as session:
        assert set(session.scalars(select(Stop.state))) <= {"cancelled"}


def test_pricing_paying_closing_deciding_and_halting_together_neither_deadlock_nor_lose(
    make_world, business_clock, caplog
):
    world = make_world(spaces=8)
    for number in range(4):
        run_dry(world, number=number)
    at = BEGAN_AT + timedelta(days=14)

    def use(turn):
        with unit_of_work(world.tenant_id) as session:
            for number in range(8):
                read(session, world, 156_000 + 100 * turn, at + timedelta(minutes=turn), number=number)
        drain(world.tenant_id, "pricing")

    def halt_and_resume():
        with unit_of_work(world.tenant_id) as session:
            halt(session, property_id=world.property_id, reason="演练", by=MANAGER)
        with unit_of_work(world.tenant_id) as session:
            resume_stops(session, property_id=world.property_id, by=MANAGER)

    def stop(number):
        with unit_of_work(world.tenant_id) as session:
            order_stop(
                session,
                supply_account_id=world.supply_account_ids[number],
                basis=Basis.MANUAL,
                actor=Actor.user(3),
                reason="检修",
            )

    def ask_again():
        with unit_of_work(world.tenant_id) as session:
            judge_again(session, limit=50)

    chance = random.Random(11)
    for turn in range(6):
        deeds = [
            partial(use, turn),
            lambda: drain(world.tenant_id, "supply"),
            lambda: close_days_due(world.tenant_id),
            ask_again,
            halt_and_resume,
            *(partial(pay, world, 1_000, number=chance.randrange(8)) for _ in range(4)),
            *(partial(stop, chance.randrange(8)) for _ in range(2)),
        ]
        chance.shuffle(deeds)
        assert together(*deeds) == []
    hear(world)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("app.")] == []
    with unit_of_work(world.tenant_id) as session:
        paid = sum(session.scalars(select(Payment.amount_fen)))
        kept = [find_wallet(session, supply_account_id=id_).kept for id_ in world.supply_account_ids]
    assert paid == 6 * 4 * 1_000
    rated = sum(k.accrued_microfen for k in kept) + (paid - sum(k.balance_fen for k in kept)) * 1_000_000
    assert rated == 8 * 56_500 * 56_000
