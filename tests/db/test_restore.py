"""Giving supply back: how, by whom, and what stays visible until the relay was read back closed."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.billing.models import SupplyAccount
from app.billing.restore import (
    confirm_appliances_off,
    paid_not_delivered,
    relay_changed,
    report_closed_by_hand,
    restore_supply,
)
from app.billing.stop_policy import Basis
from app.billing.supply import judge_again, meter_returned
from app.kernel.actor import Actor
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import State
from app.meters.command_models import Command
from app.meters.models import Meter, Mount
from tests.db.test_cutoff import MANAGER, ask
from tests.factories.supply import command, darken, end, hear, notices_of, pay, stop, stops_of


def mount(world, **values):
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(Mount).where(Mount.meter_id == world.meter_ids[0]).values(**values))


def waiting(world, clock):
    with unit_of_work(world.tenant_id) as session:
        found = paid_not_delivered(session, property_ids=[world.property_id], now=clock.now())
    return [(row.how, row.age) for row in found]


def test_a_reachable_button_gets_a_permit_and_waits_for_the_finger(world, business_clock):
    """D13: 1B where the resident can press, light when the relay is read back closed."""
    mount(world, button_reachable=True)
    darken(world, business_clock)
    pay(world, 10_000, appliances_off=False)
    hear(world)
    close = command(world, stops_of(world)[0].close_command_id)
    assert close.kind == "permit_close"
    end(world, close.id, State.CONFIRMED, read_back="open")
    assert (stops_of(world)[0].state, waiting(world, business_clock)) == ("restoring", [("button", timedelta(0))])
    with unit_of_work(world.tenant_id) as session:
        relay_changed(session, meter_id=world.meter_ids[0], relay_state="closed")
    assert (stops_of(world)[0].state, waiting(world, business_clock)) == ("lifted", [])


def test_without_a_button_nothing_closes_before_the_cooker_is_known_to_be_off(world, business_clock):
    darken(world, business_clock)
    pay(world, 10_000, appliances_off=False)
    hear(world)
    assert (stops_of(world)[0].state, waiting(world, business_clock)) == ("in_force", [("appliances", timedelta(0))])
    with unit_of_work(world.tenant_id) as session:
        confirm_appliances_off(session, supply_account_id=world.supply_account_ids[0], actor=MANAGER)
    assert command(world, stops_of(world)[0].close_command_id).kind == "close"


@pytest.mark.parametrize("actuator", ["shunt_trip", "hv_switch"])
def test_what_no_command_can_close_becomes_a_duty_task(world, business_clock, actuator):
    darken(world, business_clock)
    mount(world, actuator=actuator)
    pay(world, 10_000)
    hear(world)
    assert (stops_of(world)[0].state, waiting(world, business_clock)) == ("restoring", [("duty_task", timedelta(0))])
    with unit_of_work(world.tenant_id) as session:
        report_closed_by_hand(session, stop_id=stops_of(world)[0].id, actor=MANAGER)
    assert (stops_of(world)[0].state, notices_of(world)[-1][0]) == ("lifted", "restored")
    with unit_of_work(world.tenant_id) as session, pytest.raises(NotFound):
        report_closed_by_hand(session, stop_id=stops_of(world)[0].id, actor=MANAGER)


def test_too_little_money_restores_nothing(world, business_clock):
    darken(world, business_clock)
    pay(world, 500)
    hear(world)
    assert (stops_of(world)[0].state, stops_of(world)[0].paid_at) == ("in_force", None)


def test_money_up_to_the_restore_threshold_is_enough(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(SupplyAccount).values(restore_fen_min=1_000))
    darken(world, business_clock)
    pay(world, 3_136 + 999)
    hear(world)
    assert stops_of(world)[0].state == "in_force"
    pay(world, 1)
    hear(world)
    assert stops_of(world)[0].state == "restoring"


def test_what_a_person_stopped_a_person_gives_back(world, business_clock):
    ask(world, Basis.MANUAL, reason="检修")
    end(world, stops_of(world)[0].trip_command_id, State.CONFIRMED, read_back="open")
    pay(world, 10_000)
    hear(world)
    assert stops_of(world)[0].state == "in_force"
    with unit_of_work(world.tenant_id) as session:
        verdicts = restore_supply(
            session,
            supply_account_id=world.supply_account_ids[0],
            actor=Actor.user(3),
            by_person=True,
            appliances_off=True,
        )
    assert [v.how for v in verdicts] == ["direct_close"]


def test_a_close_that_came_to_nothing_is_ordered_anew(world, business_clock):
    darken(world, business_clock)
    pay(world, 10_000)
    hear(world)
    first = stops_of(world)[0].close_command_id
    end(world, first, State.UNCONFIRMED)
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(Meter).values(online=True))
        judge_again(session, limit=10)
    second = stops_of(world)[0].close_command_id
    assert second != first
    end(world, second, State.CONFIRMED, read_back="closed")
    assert stops_of(world)[0].state == "lifted"


def test_a_meter_that_comes_back_is_caught_up_by_a_new_decision(world, business_clock):
    """D21: away while it was paid; on its return the close is decided and ordered."""
    darken(world, business_clock)
    pay(world, 10_000)
    hear(world)
    end(world, stops_of(world)[0].close_command_id, State.EXPIRED)
    assert waiting(world, business_clock)[0][0] == "offline"
    with unit_of_work(world.tenant_id) as session:
        meter_returned(session, meter_id=world.meter_ids[0])
    assert command(world, stops_of(world)[0].close_command_id).state == "queued"


def test_deciding_twice_orders_one_close(world, business_clock):
    darken(world, business_clock)
    pay(world, 10_000)
    for _ in range(3):
        with unit_of_work(world.tenant_id) as session:
            restore_supply(
                session,
                supply_account_id=world.supply_account_ids[0],
                actor=Actor.system("supply"),
                appliances_off=True,
            )
    with unit_of_work(world.tenant_id) as session:
        kinds = session.scalars(select(Command.kind).order_by(Command.id)).all()
    assert kinds == ["trip", "close"]


def test_a_trip_found_done_later_counts(world, business_clock):
    """D12: unconfirmed, and a later read-back finds the relay open."""
    ordered = stop(world, business_clock)
    end(world, ordered.trip_command_id, State.UNCONFIRMED)
    with unit_of_work(world.tenant_id) as session:
        relay_changed(session, meter_id=world.meter_ids[0], relay_state="open")
    assert stops_of(world)[0].state == "in_force"
