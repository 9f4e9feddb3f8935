"""A supply account on its way from low balance to dark and back to light, step by step."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from app.billing.models import Receipt, Stop, StopJudgement, SupplyAccount
from app.billing.payments.counter import take_payment
from app.billing.supply import judge_again
from app.jobs.handlers import drain
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import State
from app.meters.command_models import Command
from app.meters.commands import end_command
from app.meters.models import Meter
from app.notify.models import Notice
from app.notify.service import DeliveryReport, record_report
from tests.factories.usage import use
from tests.factories.world import World, unique

CASHIER = Actor.user(7, name="王敏")


def hear(world: World) -> None:
    """Let billing hear everything that waits: readings priced, accounts decided on."""
    while drain(world.tenant_id, "pricing") + drain(world.tenant_id, "supply"):
        continue


def run_dry(world: World, *, number: int = 0, kwh: int = 4) -> None:
    """Two weeks of usage on an empty wallet: past the overdraft of ¥20, newest reading two hours old."""
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [kwh] * 14, number=number)
    hear(world)


def prove_notices(world: World, *, delivered: bool = True) -> list[str]:
    """The provider reports on everything queued; returns the kinds, in order."""
    with unit_of_work(world.tenant_id) as session:
        waiting = session.scalars(select(Notice).where(Notice.state == "queued").order_by(Notice.id)).all()
        for notice in waiting:
            report = DeliveryReport(notice.id, f"m-{notice.id}", delivered, "2026-07-15T02:00:00Z")
            record_report(session, report=report)
        kinds = [notice.kind for notice in waiting]
    hear(world)
    return kinds


def wait(world: World, clock: Any, minutes: int) -> None:
    """Time passes, and the schedule asks again."""
    clock.set(clock.now() + timedelta(minutes=minutes))
    with unit_of_work(world.tenant_id) as session:
        judge_again(session, limit=100)
    hear(world)


def stop(world: World, clock: Any, *, number: int = 0) -> Stop:
    """The whole way to a trip that waits for the head-end."""
    run_dry(world, number=number)
    prove_notices(world)
    wait(world, clock, 31)
    return stops_of(world, number=number)[-1]


def darken(world: World, clock: Any, *, number: int = 0) -> Stop:
    """The whole way to a relay read back open."""
    ordered = stop(world, clock, number=number)
    end(world, ordered.trip_command_id, State.CONFIRMED, read_back="open")
    return stops_of(world, number=number)[-1]


def end(world: World, command_id: int | None, state: State, *, read_back: str | None = None) -> None:
    """What the head-end writes when a command comes to its end; billing hears of it."""
    with unit_of_work(world.tenant_id) as session:
        command = session.scalars(select(Command).where(Command.id == command_id).with_for_update()).one()
        if command.state == State.QUEUED and state in (State.CONFIRMED, State.UNCONFIRMED):
            command.state, command.attempts = State.SENT.value, 1
        command.read_back = read_back
        if read_back:
            meter = session.scalars(select(Meter).where(Meter.id == command.meter_id)).one()
            meter.relay_state, meter.relay_read_at = read_back, business_now()
        end_command(session, command=command, state=state)
    hear(world)


def pay(
    world: World, amount_fen: int, *, number: int = 0, key: str | None = None, appliances_off: bool = True
) -> Receipt:
    """Cash at the counter."""
    with unit_of_work(world.tenant_id) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[number]))
        receipt = take_payment(
            session,
            supply_account=account,
            amount_fen=amount_fen,
            channel="cash",
            till="T1",
            actor=CASHIER,
            idempotency_key=key or unique("pay"),
            appliances_off=appliances_off,
        )
    return receipt


def stops_of(world: World, *, number: int = 0) -> list[Stop]:
    """The account's stops, oldest first."""
    with unit_of_work(world.tenant_id) as session:
        query = select(Stop).where(Stop.supply_account_id == world.supply_account_ids[number])
        return list(session.scalars(query.order_by(Stop.id)))


def judgement_of(world: World, *, number: int = 0) -> StopJudgement | None:
    """The gate's last answer."""
    with unit_of_work(world.tenant_id) as session:
        return session.get(StopJudgement, (world.tenant_id, world.supply_account_ids[number]))


def command(world: World, command_id: int | None) -> Command:
    """A command as it stands."""
    with unit_of_work(world.tenant_id) as session:
        return session.scalars(select(Command).where(Command.id == command_id)).one()


def notices_of(world: World, *, number: int = 0) -> list[tuple[str, str]]:
    """(kind, state) of the account's notices, oldest first."""
    with unit_of_work(world.tenant_id) as session:
        subject = f"supply_account:{world.supply_account_ids[number]}"
        rows = session.scalars(select(Notice).where(Notice.subject == subject).order_by(Notice.id))
        return [(row.kind, row.state) for row in rows]
