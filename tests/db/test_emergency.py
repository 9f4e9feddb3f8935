"""The duty officer's light for a night: given back, held against stops, over by time or usage, once a day."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.billing.cutoff import order_stop
from app.billing.emergency import (
    EmergencyAllowanceWrong,
    EmergencyAppliances,
    EmergencyByPerson,
    EmergencyForSafety,
    EmergencyNotStopped,
    EmergencyReasonMissing,
    EmergencyTooSoon,
    give_emergency_supply,
    set_allowance,
)
from app.billing.emergency_models import EmergencySupply
from app.billing.ledger.models import Entry
from app.billing.models import Stop, SupplyAccount
from app.billing.stop_policy import Basis
from app.kernel.actor import Actor
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import State
from app.meters.command_models import Command
from app.meters.models import Meter
from app.tenants.models import AuditRecord
from tests.factories.supply import darken, end, hear, judgement_of, pay, stops_of, wait
from tests.factories.usage import price_all, read

DUTY = Actor.user(9, name="夜班赵师傅")


def give(world, *, reason="孩子发烧，夜里无处充值", off=True, number=0):
    with unit_of_work(world.tenant_id) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[number]))
        return give_emergency_supply(session, account=account, reason=reason, appliances_off=off, actor=DUTY)


def light(world):
    """The head-end reads the relay back closed."""
    end(world, stops_of(world)[-1].close_command_id, State.CONFIRMED, read_back="closed")


def use_more(world, clock, kwh):
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 100_000 + 14 * 4_000 + kwh * 1000, clock.now())
        price_all(session, world.property_id)
    hear(world)


def ask(world, basis=Basis.ZERO_STOP, **wishes):
    with unit_of_work(world.tenant_id) as session:
        return order_stop(
            session, supply_account_id=world.supply_account_ids[0], basis=basis, actor=Actor.user(3), **wishes
        )


def test_light_comes_back_without_money_and_stays_until_the_time_is_over(world, business_clock):
    darken(world, business_clock)
    with unit_of_work(world.tenant_id) as session:
        entries = session.scalars(select(Entry.id)).all()
    given = give(world)
    assert (given.until_at - given.given_at, given.fen_max) == (timedelta(hours=12), 3_000)
    assert stops_of(world)[-1].state == "restoring"
    light(world)
    assert stops_of(world)[-1].state == "lifted"
    assert ask(world).verdict == "emergency_supply"
    assert ask(world, Basis.MANUAL, reason="检修").verdict == "emergency_supply"
    business_clock.set(business_clock.now() + timedelta(hours=12))
    assert ask(world).verdict != "emergency_supply"
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(Entry.id)).all() == entries
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "supply:emergency:give")).one()
    assert (told.reason, told.after["fen_max"], told.actor) == ("孩子发烧，夜里无处充值", 3_000, str(DUTY))


def test_the_gate_is_asked_again_by_itself_and_the_supply_is_not_stopped_anew(world, business_clock):
    darken(world, business_clock)
    give(world)
    light(world)
    wait(world, business_clock, 61)
    judged = judgement_of(world)
    assert judged.verdict == "emergency_supply"
    assert judged.next_at - judged.judged_at <= timedelta(hours=1)
    assert len(stops_of(world)) == 1


def test_usage_ends_it_before_its_time(world, business_clock):
    darken(world, business_clock)
    give(world)
    light(world)
    business_clock.set(business_clock.now() + timedelta(hours=1))
    use_more(world, business_clock, 50)  # 28 yuan
    assert ask(world).verdict == "emergency_supply"
    business_clock.set(business_clock.now() + timedelta(hours=1))
    use_more(world, business_clock, 54)  # 30.24 yuan
    assert ask(world).verdict != "emergency_supply"


def test_a_close_that_got_lost_is_ordered_again_though_the_wallet_is_empty(world, business_clock):
    darken(world, business_clock)
    give(world)
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(Meter).values(online=True))
    first = stops_of(world)[-1].close_command_id
    end(world, first, State.UNCONFIRMED)
    wait(world, business_clock, 1)
    again = stops_of(world)[-1]
    assert again.close_command_id not in (None, first)


def test_danger_is_stopped_all_the_same(world, business_clock):
    darken(world, business_clock)
    give(world)
    light(world)
    assert ask(world, Basis.SAFETY).verdict == "allowed"


def test_once_a_day_and_then_again(world, business_clock):
    darken(world, business_clock)
    give(world)
    light(world)
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(Stop).values(state="in_force", lifted_at=None, close_command_id=None))
    with pytest.raises(EmergencyTooSoon):
        give(world)
    business_clock.set(business_clock.now() + timedelta(hours=24))
    give(world)
    with unit_of_work(world.tenant_id) as session:
        assert len(session.scalars(select(EmergencySupply)).all()) == 2


@pytest.mark.parametrize(("basis", "refusal"), [("safety", EmergencyForSafety), ("manual", EmergencyByPerson)])
def test_what_was_not_stopped_for_money_is_not_given_back_at_night(world, business_clock, basis, refusal):
    darken(world, business_clock)
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(Stop).values(basis=basis))
    with pytest.raises(refusal):
        give(world)
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(Command.kind).where(Command.kind != "trip")).all() == []


def test_what_is_not_dark_needs_none(world, business_clock):
    with pytest.raises(EmergencyNotStopped):
        give(world)
    darken(world, business_clock)
    pay(world, 10_000)
    hear(world)
    with pytest.raises(EmergencyNotStopped):
        give(world)


def test_it_says_why_and_that_heaters_are_off(world, business_clock):
    darken(world, business_clock)
    for reason in ("", " ", "因" * 201):
        with pytest.raises(EmergencyReasonMissing):
            give(world, reason=reason)
    with pytest.raises(EmergencyAppliances):
        give(world, off=False)


def test_a_property_sets_what_a_night_is(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        for hours, fen in ((0, 3_000), (73, 3_000), (12, 99), (12, 100_001)):
            with pytest.raises(EmergencyAllowanceWrong):
                set_allowance(session, property_id=world.property_id, hours=hours, fen_max=fen, by=DUTY)
        set_allowance(session, property_id=world.property_id, hours=8, fen_max=1_000, by=DUTY)
        set_allowance(session, property_id=world.property_id, hours=6, fen_max=1_500, by=DUTY)
    darken(world, business_clock)
    given = give(world)
    assert (given.until_at - given.given_at, given.fen_max) == (timedelta(hours=6), 1_500)
    with unit_of_work(world.tenant_id) as session:
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "supply:emergency:set")).all()
    assert [record.after["hours"] for record in told] == [8, 6]
