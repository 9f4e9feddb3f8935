"""The prepaid loop as people live it."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from app.billing.models import SupplyAccount
from app.billing.restore import paid_not_delivered
from app.jobs.handlers import drain
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import State
from app.meters.command_models import Permit
from tests.factories.supply import (
    command,
    darken,
    end,
    hear,
    judgement_of,
    notices_of,
    pay,
    prove_notices,
    run_dry,
    stop,
    stops_of,
    wait,
)


def test_a_home_runs_out_is_warned_goes_dark_pays_and_has_its_light_back(world, business_clock):
    run_dry(world)
    assert notices_of(world) == [
        ("alarm_1", "cancelled"),
        ("alarm_2", "cancelled"),
        ("zero", "queued"),
        ("last_warning", "queued"),
    ]
    assert judgement_of(world).verdict == "notice_zero"

    prove_notices(world)
    assert judgement_of(world).verdict == "last_warning_too_recent"
    assert judgement_of(world).next_at == business_clock.now() + timedelta(minutes=30)
    assert stops_of(world) == []

    wait(world, business_clock, 30)
    ordered = stops_of(world)[0]
    assert (ordered.state, ordered.basis) == ("ordered", "zero_stop")
    trip = command(world, ordered.trip_command_id)
    assert (trip.kind, trip.state) == ("trip", "queued")
    assert trip.valid_until == business_clock.now() + timedelta(minutes=5)

    end(world, trip.id, State.CONFIRMED, read_back="open")
    assert stops_of(world)[0].state == "in_force"
    assert notices_of(world)[-1] == ("stopped", "queued")

    pay(world, 10_000)
    hear(world)
    restoring = stops_of(world)[0]
    assert (restoring.state, restoring.paid_at) == ("restoring", business_clock.now())
    close = command(world, restoring.close_command_id)
    assert (close.kind, close.seq) == ("close", trip.seq + 1)

    end(world, close.id, State.CONFIRMED, read_back="closed")
    assert stops_of(world)[0].state == "lifted"
    assert notices_of(world)[-1] == ("restored", "queued")


def test_a_resident_who_pays_on_the_last_evening_keeps_the_lights_on(world, business_clock):
    run_dry(world)
    prove_notices(world)
    pay(world, 5_000)
    hear(world)
    wait(world, business_clock, 31)
    assert stops_of(world) == []
    assert judgement_of(world) is None


def test_money_that_comes_between_the_order_and_the_relay_cancels_the_trip(world, business_clock):
    """D06: the payment's own transaction takes the permit back."""
    ordered = stop(world, business_clock)
    pay(world, 5_000)
    assert command(world, ordered.trip_command_id).state == "cancelled"
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(Permit.revoked_reason)).all() == ["credit"]
    hear(world)
    assert stops_of(world)[0].state == "cancelled"


def test_money_that_comes_while_the_trip_is_on_the_wire_is_followed_by_a_close(world, business_clock):
    ordered = stop(world, business_clock)
    with unit_of_work(world.tenant_id) as session:
        session.merge(command(world, ordered.trip_command_id)).state = "sent"
    pay(world, 5_000)
    hear(world)
    restoring = stops_of(world)[0]
    assert restoring.state == "restoring"
    end(world, ordered.trip_command_id, State.CONFIRMED, read_back="open")
    end(world, restoring.close_command_id, State.CONFIRMED, read_back="closed")
    assert stops_of(world)[0].state == "lifted"


def test_a_second_low_balance_is_a_new_episode_and_warned_of_anew(world, business_clock):
    run_dry(world)
    prove_notices(world)
    pay(world, 50_000)
    hear(world)
    with unit_of_work(world.tenant_id) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        assert (account.alarm_level, account.episode) == (0, 1)


def test_a_small_payment_after_the_warning_restarts_nothing(world, business_clock):
    run_dry(world)
    prove_notices(world)
    before = notices_of(world)
    pay(world, 1_200)
    hear(world)
    assert notices_of(world) == before
    assert judgement_of(world) is None


def test_at_night_nothing_stops_and_the_warning_waits_for_the_morning(world, business_clock):
    """D02: outside the window no trip; half an hour before it opens the last warning goes out."""
    business_clock.set(datetime(2026, 7, 15, 12, 0, tzinfo=UTC))  # 20:00 in Shanghai
    run_dry(world)
    assert [kind for kind, _ in notices_of(world)] == ["alarm_1", "alarm_2", "zero"]
    judged = judgement_of(world)
    assert judged.verdict == "after_hours"
    assert judged.next_at == datetime(2026, 7, 15, 23, 30, tzinfo=UTC)
    prove_notices(world)
    business_clock.set(judged.next_at)
    wait(world, business_clock, 0)
    assert notices_of(world)[-1] == ("last_warning", "queued")
    prove_notices(world)
    wait(world, business_clock, 29)
    assert stops_of(world) == []
    wait(world, business_clock, 1)
    assert [s.state for s in stops_of(world)] == ["ordered"]


def test_a_paid_supply_that_is_still_dark_is_seen_with_its_age(world, business_clock):
    darken(world, business_clock)
    pay(world, 10_000)
    drain(world.tenant_id, "supply")
    business_clock.set(business_clock.now() + timedelta(minutes=7))
    with unit_of_work(world.tenant_id) as session:
        waiting = paid_not_delivered(session, property_ids=[world.property_id], now=business_clock.now())
    assert [(w.number, w.age, w.how) for w in waiting] == [("00000001", timedelta(minutes=7), "offline")]
