"""The one gate on a real database: what it refuses, counts and writes."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from app.billing.alarms import count_crossings
from app.billing.cutoff import ReasonTooLong, halt, order_stop
from app.billing.freeze import freeze_if_unusual, is_unusual, lift_freeze, open_freeze
from app.billing.models import Agreement, Stop, StopFreeze, SupplyAccount
from app.billing.stop_policy import Basis
from app.kernel.actor import Actor
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import State
from app.meters.command_models import Command, Permit
from app.meters.models import Meter, Mount, ReadingCase
from app.tenants.models import AuditRecord, Party
from app.tenants.service import resume_stops
from tests.factories.supply import (
    command,
    end,
    hear,
    judgement_of,
    notices_of,
    prove_notices,
    run_dry,
    stop,
    stops_of,
    wait,
)

MANAGER = Actor.user(3, name="李经理")


def ripe(world, clock):
    """Everything a zero stop needs: empty wallet, every notice proved, the warning old enough."""
    run_dry(world)
    prove_notices(world)
    clock.set(clock.now() + timedelta(minutes=31))


def ask(world, basis=Basis.ZERO_STOP, **wishes):
    with unit_of_work(world.tenant_id) as session:
        return order_stop(
            session, supply_account_id=world.supply_account_ids[0], basis=basis, actor=Actor.user(3), **wishes
        )


def change(world, table, where, **values):
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(table).where(where).values(**values))


def nothing_was_written(world):
    with unit_of_work(world.tenant_id) as session:
        counts = [session.scalars(select(func.count()).select_from(t)).one() for t in (Command, Permit, Stop)]
    return counts == [0, 0, 0]


OBSTACLES = {
    "no_agreement": lambda w: change(w, Agreement, Agreement.id > 0, ended_on=date(2026, 7, 2)),
    "guaranteed": lambda w: change(w, Mount, Mount.meter_id == w.meter_ids[0], guaranteed_supply=True),
    "protected": lambda w: change(w, Party, Party.id == w.party_ids[0], protected_until=date(2026, 7, 15)),
    "bypassed": lambda w: change(w, Mount, Mount.meter_id == w.meter_ids[0], control="bypassed"),
    "data_stale": lambda w: change(
        w, Meter, Meter.id == w.meter_ids[0], reading_at=datetime(2026, 7, 14, 2, tzinfo=UTC)
    ),
    "data_missing": lambda w: change(w, Meter, Meter.id == w.meter_ids[0], reading_at=None),
}


@pytest.mark.parametrize("refusal", OBSTACLES)
def test_one_missing_fact_is_enough_to_refuse(world, business_clock, refusal):
    """D04, D05: refused under lock, nothing written but the judgement that says why."""
    ripe(world, business_clock)
    OBSTACLES[refusal](world)
    outcome = ask(world)
    assert (outcome.verdict, outcome.ordered) == (refusal, ())
    assert nothing_was_written(world)
    assert judgement_of(world).verdict == refusal


def test_a_reading_that_a_person_must_look_at_holds_the_stop(world, business_clock):
    ripe(world, business_clock)
    with unit_of_work(world.tenant_id) as session:
        case = ReadingCase(
            property_id=world.property_id, meter_id=world.meter_ids[0], register="total", register_wh=1,
            read_at=business_clock.now(), flag="negative", source="headend", facts={}, received_at=business_clock.now(),
        )  # fmt: skip
        session.add(case)
    assert ask(world).verdict == "data_suspect"


def test_no_proof_no_stop_and_a_failed_notice_is_no_proof(world, business_clock):
    """D05: undelivered notices; an hour later the ladder sends the failed ones again."""
    run_dry(world)
    prove_notices(world, delivered=False)
    assert ask(world).verdict == "notice_zero"
    business_clock.set(business_clock.now() + timedelta(minutes=61))
    with unit_of_work(world.tenant_id) as session:
        from_event = session.scalars(select(Stop)).all()
    assert from_event == []
    hear(world)
    assert nothing_was_written(world)


def test_the_evidence_of_a_permit_is_everything_the_gate_saw(world, business_clock):
    ripe(world, business_clock)
    assert ask(world).verdict == "allowed"
    with unit_of_work(world.tenant_id) as session:
        permit = session.scalars(select(Permit)).one()
    facts = permit.evidence["facts"]
    assert permit.basis == "zero_stop"
    assert facts["available_fen"] == -3136
    assert facts["agreement_on_file"] is True
    assert [proof["notice"] for proof in facts["notices"]] == ["alarm_1", "alarm_2", "zero", "last_warning"]
    assert permit.valid_until == business_clock.now() + timedelta(minutes=5)


def test_asking_twice_orders_once(world, business_clock):
    ripe(world, business_clock)
    first, second = ask(world), ask(world)
    assert (len(first.ordered), len(second.ordered)) == (1, 0)
    assert len(stops_of(world)) == 1


def test_the_balance_is_read_anew_under_lock(world, business_clock):
    ripe(world, business_clock)
    change(world, SupplyAccount, SupplyAccount.id == world.supply_account_ids[0], overdraft_fen_max=5_000)
    assert ask(world).verdict == "balance_above_floor"


def test_a_real_tenant_only_rehearses(make_world, business_clock):
    world = make_world(kind="real", usage_class="commercial")
    ripe(world, business_clock)
    assert ask(world).verdict == "dry_run"
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(func.count()).select_from(Command)).one() == 0
    assert [s.state for s in stops_of(world)] == ["dry_run"]


def test_a_real_home_is_refused_while_nobody_watches_the_weather(make_world, business_clock):
    """D03: a dead source holds."""
    world = make_world(kind="real")
    ripe(world, business_clock)
    assert ask(world).verdict == "weather_unknown"


def test_a_gateway_that_is_not_simulated_only_rehearses_even_in_a_demo(make_world, business_clock):
    world = make_world(simulated=False)
    ripe(world, business_clock)
    assert ask(world).verdict == "dry_run"


def test_a_manual_stop_needs_a_reason_and_no_notices(world, business_clock):
    assert ask(world, Basis.MANUAL).verdict == "manual_reason_missing"
    assert ask(world, Basis.MANUAL, reason="更换进线电缆").verdict == "allowed"


def test_arrears_are_not_a_basis_yet(world, business_clock):
    assert ask(world, Basis.ARREARS).verdict == "arrears_not_available_yet"


def test_a_stop_on_a_debt_that_is_none_of_ours_cannot_be_written(world, business_clock):
    """D01: the database refuses a basis outside the four, whatever asks for it."""
    ripe(world, business_clock)
    with pytest.raises(IntegrityError, match="basis_known"), unit_of_work(world.tenant_id) as session:
        session.execute(
            text(
                "INSERT INTO permits (tenant_id, property_id, meter_id, basis, evidence, granted_at, valid_until)"
                " VALUES (:t, :p, :m, 'property_fee', '{}', :at, :at)"
            ),
            {"t": world.tenant_id, "p": world.property_id, "m": world.meter_ids[0], "at": business_clock.now()},
        )


def test_the_kill_switch_takes_back_what_was_permitted_and_lets_nothing_new_through(world, business_clock):
    """D19."""
    ordered = stop(world, business_clock)
    with unit_of_work(world.tenant_id) as session:
        halt(session, property_id=world.property_id, reason="演练", by=MANAGER)
    assert command(world, ordered.trip_command_id).state == "cancelled"
    hear(world)
    assert stops_of(world)[0].state == "cancelled"
    assert ask(world).verdict == "kill_switch"
    with unit_of_work(world.tenant_id) as session:
        resume_stops(session, property_id=world.property_id, by=MANAGER)
    assert ask(world).verdict == "allowed"


def test_the_hour_limit_lets_exactly_so_many_through(make_world, business_clock):
    """D07: five unexplained stops an hour in a small property; the sixth waits."""
    world = make_world(spaces=7)
    verdicts = []
    for account_id in world.supply_account_ids:
        with unit_of_work(world.tenant_id) as session:
            outcome = order_stop(
                session, supply_account_id=account_id, basis=Basis.MANUAL, actor=Actor.user(3), reason="检修"
            )
            verdicts.append(outcome.verdict)
    assert verdicts == ["allowed"] * 5 + ["hour_limit"] * 2
    business_clock.set(business_clock.now() + timedelta(minutes=61))
    with unit_of_work(world.tenant_id) as session:
        outcome = order_stop(
            session,
            supply_account_id=world.supply_account_ids[5],
            basis=Basis.MANUAL,
            actor=Actor.user(3),
            reason="检修",
        )
    assert outcome.verdict == "day_limit"


@pytest.mark.parametrize(
    ("crossings", "before", "accounts", "unusual"),
    [
        (10, 0, 100, False),
        (11, 0, 100, True),
        (11, 0, 1000, False),
        (21, 0, 1000, True),
        (60, 80, 1000, False),
        (61, 80, 1000, True),
    ],
)
def test_what_counts_as_unusual(crossings, before, accounts, unusual):
    assert is_unusual(crossings=crossings, before=before, supply_accounts=accounts) is unusual


def test_a_mass_crossing_freezes_automatic_stops_until_a_person_has_looked(world, business_clock):
    ripe(world, business_clock)
    now = business_clock.now()
    with unit_of_work(world.tenant_id) as session:
        count_crossings(session, property_id=world.property_id, at=now, crossings=30)
        assert freeze_if_unusual(session, at=now) is True
        assert freeze_if_unusual(session, at=now) is False
    assert ask(world).verdict == "frozen"
    assert ask(world, Basis.MANUAL, reason="检修").verdict == "allowed"
    with unit_of_work(world.tenant_id) as session:
        lift_freeze(session, by=MANAGER)
        assert open_freeze(session) is None
        assert session.scalars(select(StopFreeze.lifted_by)).one() == "user:3"


def test_an_expired_trip_on_a_meter_that_is_away_waits_for_its_return(world, business_clock):
    """D09, D21: the decision is taken anew, the old trip is not replayed."""
    ordered = stop(world, business_clock)
    end(world, ordered.trip_command_id, State.EXPIRED)
    assert (stops_of(world)[0].state, judgement_of(world).verdict) == ("cancelled", "expired")
    assert judgement_of(world).next_at is None


def test_a_meter_that_refuses_is_seen_and_asked_again_a_day_later(world, business_clock):
    ordered = stop(world, business_clock)
    end(world, ordered.trip_command_id, State.REFUSED)
    judged = judgement_of(world)
    assert (judged.verdict, judged.next_at) == ("meter_refused", business_clock.now() + timedelta(hours=24))


def test_a_trip_nobody_could_read_back_stays_open(world, business_clock):
    """D12: it may have tripped, so the stop stands until money closes it."""
    ordered = stop(world, business_clock)
    end(world, ordered.trip_command_id, State.UNCONFIRMED)
    assert stops_of(world)[0].state == "ordered"
    assert command(world, ordered.trip_command_id).state == "unconfirmed"


def test_a_trip_that_turned_out_a_rehearsal_is_written_down_as_one(world, business_clock):
    ordered = stop(world, business_clock)
    end(world, ordered.trip_command_id, State.DRY_RUN)
    assert stops_of(world)[0].state == "dry_run"


def test_a_meter_without_a_gateway_is_nothing_a_command_can_stop(world, business_clock):
    ripe(world, business_clock)
    change(world, Meter, Meter.id == world.meter_ids[0], gateway_id=None)
    assert ask(world, Basis.MANUAL, reason="检修").verdict == "no_gateway"
    assert nothing_was_written(world)


def test_an_account_that_is_not_there(world, business_clock):
    with unit_of_work(world.tenant_id) as session, pytest.raises(NotFound):
        order_stop(session, supply_account_id=10**9, basis=Basis.MANUAL, actor=Actor.user(3), reason="x")


def test_waiting_changes_nothing_while_nothing_is_due(world, business_clock):
    wait(world, business_clock, 5)
    assert notices_of(world) == []


def test_an_agreement_counts_from_the_morning_it_is_signed(world, business_clock):
    """Before eight in Shanghai it is still yesterday in UTC; the paper is dated by the property's own day."""
    ripe(world, business_clock)
    business_clock.set(datetime(2026, 7, 15, 22, 30, tzinfo=UTC))
    change(world, Agreement, Agreement.id > 0, signed_on=date(2026, 7, 16))
    assert ask(world).verdict != "no_agreement"
    change(world, Agreement, Agreement.id > 0, signed_on=date(2026, 7, 17))
    assert ask(world).verdict == "no_agreement"


def audit_of(world, deed):
    with unit_of_work(world.tenant_id) as session:
        return [
            (record.actor, record.result, record.facts["verdict"])
            for record in session.scalars(select(AuditRecord).where(AuditRecord.deed == deed))
        ]


def test_a_stop_by_hand_leaves_who_and_why_also_when_it_is_refused(world, business_clock):
    ripe(world, business_clock)
    change(world, Mount, Mount.meter_id == world.meter_ids[0], guaranteed_supply=True)
    ask(world, basis=Basis.MANUAL, reason="检修")
    change(world, Mount, Mount.meter_id == world.meter_ids[0], guaranteed_supply=False)
    ask(world, basis=Basis.MANUAL, reason="检修")
    assert audit_of(world, "supply:stop:order") == [
        ("user:3", "refused", "guaranteed"),
        ("user:3", "done", "allowed"),
    ]


def test_a_reason_longer_than_a_command_keeps_is_refused(world, business_clock):
    with pytest.raises(ReasonTooLong):
        ask(world, basis=Basis.MANUAL, reason="长" * 121)
    assert nothing_was_written(world)
