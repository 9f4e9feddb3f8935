"""Many at once: each through the one gate, one line and one record each, above the limit by two."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.billing import approved
from app.billing.approved import Desk
from app.billing.mass_control import MassNothingChosen, MassReasonMissing, MassTooMany, check_mass
from app.billing.models import Stop, SupplyAccount
from app.kernel.clock import wall_now
from app.kernel.errors import Forbidden, NotFound
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import State
from app.meters.models import Meter, Mount
from app.permissions import approvals
from app.permissions.approvals import ApprovalNeeded, ApprovalOwn, request_approval
from app.permissions.policy import Role
from app.reports.mass import mass_lines
from app.tenants.models import AuditRecord
from tests.factories.people import person
from tests.factories.supply import end, pay, stops_of
from tests.factories.world import add_property

REASON = "检修 3 号配电箱"


@pytest.fixture
def many(make_world, business_clock):
    world = make_world(spaces=8)
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(Meter).values(online=True, reading_at=business_clock.now()))
    return world


@pytest.fixture
def manager(many, db):
    return person(db, many, Role.PROPERTY_MANAGER)


def switch(world, who, numbers, deed="stop", reason=REASON):
    ids = [world.supply_account_ids[number] for number in numbers]
    with unit_of_work(world.tenant_id) as session:
        return approved.control_many(
            session, property_id=world.property_id, account_ids=ids, deed=deed, reason=reason, actor=who
        )


def ask(world, who, numbers, deed="stop"):
    ids = [world.supply_account_ids[number] for number in numbers]
    with unit_of_work(world.tenant_id) as session:
        with pytest.raises(ApprovalNeeded) as needed, session.begin_nested():
            approved.control_many(
                session, property_id=world.property_id, account_ids=ids, deed=deed, reason=REASON, actor=who
            )
        return request_approval(session, wish=needed.value.wish, reason=REASON, by=who)


def say_yes(world, row, who):
    with unit_of_work(world.tenant_id) as session:
        done = approvals.approve(
            session, public_id=row.public_id, by=who, seen=row.content_hash, execute=approved.executor(Desk("."))
        )
        return done.state


def records(world, deed):
    with unit_of_work(world.tenant_id) as session:
        return session.scalars(select(AuditRecord).where(AuditRecord.deed == deed).order_by(AuditRecord.id)).all()


def stops(world):
    with unit_of_work(world.tenant_id) as session:
        return session.scalars(select(Stop.supply_account_id).order_by(Stop.supply_account_id)).all()


def test_each_passes_the_gate_and_what_it_refuses_is_a_line(many, manager):
    with unit_of_work(many.tenant_id) as session:
        session.execute(update(Mount).where(Mount.meter_id == many.meter_ids[1]).values(guaranteed_supply=True))
    lines = switch(many, manager, [0, 1, 2])
    assert [(line.done, line.answer) for line in lines] == [
        (True, "allowed"), (False, "guaranteed"), (True, "allowed")
    ]  # fmt: skip
    assert stops(many) == [many.supply_account_ids[0], many.supply_account_ids[2]]
    each, whole = records(many, "supply:stop:order"), records(many, "supply:mass:control")
    assert [record.result for record in each] == ["done", "refused", "done"]
    (mass,) = whole
    assert (mass.reason, mass.facts["accounts"], mass.facts["done"]) == (REASON, 3, 2)
    assert [line["answer"] for line in mass.facts["lines"]] == ["allowed", "guaranteed", "allowed"]


def test_a_second_time_orders_nothing_and_says_so(many, manager):
    switch(many, manager, [0])
    lines = switch(many, manager, [0, 1])
    assert [line.answer for line in lines] == ["stopped_already", "allowed"]
    assert len(stops(many)) == 2


def test_many_come_back_whatever_they_owe(many, manager):
    switch(many, manager, [0, 1])
    for number in (0, 1):
        end(many, stops_of(many, number=number)[-1].trip_command_id, State.CONFIRMED, read_back="open")
    lines = switch(many, manager, [0, 1, 2], deed="restore")
    assert [line.done for line in lines] == [True, True, False]
    assert lines[2].answer == "nothing_stopped"
    assert [stops_of(many, number=number)[-1].state for number in (0, 1)] == ["restoring", "restoring"]
    assert [record.result for record in records(many, "supply:restore:order")] == ["done", "done", "refused"]


def test_the_gates_own_limit_of_an_hour_still_holds(many, db):
    admin = person(db, many, Role.GROUP_ADMINISTRATOR, at=many.headquarters_id)
    lines = switch(many, admin, range(8))
    assert [line.answer for line in lines] == ["allowed"] * 5 + ["hour_limit"] * 3


def test_above_the_limit_nothing_moves_until_another_has_seen_the_list(many, manager, db):
    admin = person(db, many, Role.GROUP_ADMINISTRATOR, at=many.headquarters_id)
    row = ask(many, manager, range(6))
    assert (row.amount, len(row.content["account_ids"])) == (6, 6)
    assert row.expires_at - wall_now() <= timedelta(minutes=15)
    assert (stops(many), records(many, "supply:mass:control")) == ([], [])
    with pytest.raises(ApprovalOwn):
        say_yes(many, row, manager)
    assert say_yes(many, row, admin) == "done"
    assert len(stops(many)) == 5
    (mass,) = records(many, "supply:mass:control")
    assert (mass.approval_id, mass.actor) == (row.id, str(manager))
    with unit_of_work(many.tenant_id) as session:
        assert [line["done"] for line in mass_lines(session, approval_id=row.id)] == [True] * 5 + [False]


def test_an_account_closed_meanwhile_fails_the_request(many, manager, db):
    admin = person(db, many, Role.GROUP_ADMINISTRATOR, at=many.headquarters_id)
    row = ask(many, manager, range(6))
    with unit_of_work(many.tenant_id) as session:
        closed = SupplyAccount.id == many.supply_account_ids[0]
        session.execute(update(SupplyAccount).where(closed).values(state="closed"))
    assert say_yes(many, row, admin) == "failed"
    assert stops(many) == []


def test_what_is_not_of_the_property_is_not_there(many, manager, db):
    with unit_of_work(many.tenant_id) as session:
        elsewhere = add_property(session, many, name="邻园")
        with pytest.raises(NotFound):
            approved.control_many(
                session, property_id=elsewhere, account_ids=many.supply_account_ids[:1], deed="stop", reason=REASON,
                actor=manager,
            )  # fmt: skip


@pytest.mark.parametrize("role", [Role.METER_ENGINEER, Role.DUTY_OFFICER, Role.CASHIER])
def test_who_switches_one_does_not_switch_many(many, db, role):
    with pytest.raises(Forbidden):
        switch(many, person(db, many, role), [0])
    assert stops(many) == []


def test_nothing_too_much_and_no_word_are_refused(many, manager):
    pay(many, 100)
    with pytest.raises(MassNothingChosen):
        switch(many, manager, [])
    with pytest.raises(MassReasonMissing):
        switch(many, manager, [0], reason="  ")
    with pytest.raises(MassTooMany):
        check_mass(accounts=301, reason=REASON)
