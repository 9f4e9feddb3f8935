"""The call list: a steward sees their own buildings and nothing else; calls are noted, numbers unmasked with a reason."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.billing.collection import (
    CallOutcomeMissing,
    CallPromiseWrong,
    StewardUnfit,
    assign_building,
    buildings_of,
    note_call,
    withdraw_building,
)
from app.billing.collection_models import BuildingSteward, CollectionCall
from app.billing.models import SupplyAccount
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import User
from app.permissions.policy import Role
from app.tenants.models import AuditRecord, Building, Floor, Party, Space
from app.tenants.personal_data import change_phone
from tests.conftest import MovableClock
from tests.factories.history import pay, public_id
from tests.factories.people import person
from tests.factories.supply import run_dry
from tests.factories.world import World, build_sibling
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]


def give(db: Database, world: World, user_id: int, building_id: int | None = None) -> None:
    """Assign a building of the world."""
    with unit_of_work(world.tenant_id, db=db) as session:
        building = session.get_one(Building, (world.tenant_id, building_id or world.building_id))
        assign_building(session, building=building, user_id=user_id, by=person(db, world, Role.PROPERTY_MANAGER))


def second_building(db: Database, world: World, number: int) -> int:
    """Move one of the world's rooms into a building of its own; returns that building's id."""
    with unit_of_work(world.tenant_id, db=db) as session:
        building = Building(property_id=world.property_id, name="B座")
        session.add(building)
        session.flush()
        floor = Floor(property_id=world.property_id, building_id=building.id, level=1, name="1F")
        session.add(floor)
        session.flush()
        moved = update(Space).where(Space.id == world.space_ids[number])
        session.execute(moved.values(building_id=building.id, floor_id=floor.id))
        return building.id


def listed(page: str) -> set[str]:
    """Accounts on a call list."""
    return set(re.findall(r'href="/collection/([0-9a-f-]{36})"', page))


@pytest.fixture
def poor(world: World, business_clock: MovableClock) -> World:
    """Two rooms past zero; the others have never paid either and stand at zero."""
    run_dry(world, number=0)
    run_dry(world, number=1, kwh=5)
    return world


def test_a_steward_sees_their_own_buildings_only(visit: Visit, poor: World, db: Database) -> None:
    other = second_building(db, poor, 1)
    steward = visit(poor, Role.BUILDING_STEWARD)
    assert listed(steward.text("/collection")) == set()
    assert steward.get(f"/collection/{public_id(db, poor)}").status_code == 404
    give(db, poor, steward.user_id, other)
    assert listed(steward.text("/collection")) == {public_id(db, poor, 1)}
    assert steward.get(f"/collection/{public_id(db, poor)}").status_code == 404
    assert steward.get(f"/collection/{public_id(db, poor, 1)}").status_code == 200
    assert "A座" not in steward.text("/collection")
    whole = visit(poor, Role.PROPERTY_MANAGER).text("/collection")
    assert {public_id(db, poor), public_id(db, poor, 1)} <= listed(whole)


def test_debts_come_first_and_the_longest_without_a_payment(visit: Visit, poor: World, db: Database) -> None:
    with unit_of_work(poor.tenant_id, db=db) as session:
        opened = SupplyAccount.opened_on - timedelta(days=30)
        session.execute(
            update(SupplyAccount).where(SupplyAccount.id == poor.supply_account_ids[1]).values(opened_on=opened)
        )
    pay(db, poor, 2, fen=500)
    page = visit(poor, Role.PROPERTY_MANAGER).text("/collection")
    found = re.findall(r'href="/collection/([0-9a-f-]{36})"', page)
    assert found[:2] == [public_id(db, poor, 1), public_id(db, poor, 0)]
    assert public_id(db, poor, 2) in found[2:]
    pay(db, poor, 2, fen=500_000)
    assert public_id(db, poor, 2) not in listed(visit(poor, Role.PROPERTY_MANAGER).text("/collection"))


def test_the_rate_counts_who_owes_nothing_and_what_came_in(
    visit: Visit, poor: World, db: Database, business_clock: MovableClock
) -> None:
    now = business_clock.now()
    business_clock.set(now - timedelta(days=14))
    pay(db, poor, 2, fen=1_234)
    business_clock.set(now)
    page = visit(poor, Role.GROUP_AUDITOR, at=poor.headquarters_id).text("/collection")
    assert "50%" in page
    assert "2/4" in page
    assert "¥12.34" in page


def test_a_call_is_noted_with_its_promise(
    visit: Visit, poor: World, db: Database, business_clock: MovableClock
) -> None:
    steward, account = visit(poor, Role.BUILDING_STEWARD), public_id(db, poor)
    give(db, poor, steward.user_id)
    address = f"/collection/{account}"
    day = (business_clock.now() + timedelta(days=3)).date().isoformat()
    for wrong in ({}, {"outcome": "sang"}, {"outcome": "promised"}, {"outcome": "reached", "promised_on": day},
                  {"outcome": "promised", "promised_on": "2026-07-01"}, {"outcome": "promised", "promised_on": "soon"},
                  {"outcome": "reached", "note": "话" * 301}):  # fmt: skip
        assert steward.post(address, dict(wrong), token_from=address).status_code == 422, wrong
    form = {"outcome": "promised", "promised_on": day, "note": "周五发工资"}
    assert steward.post(address, form, token_from=address).status_code == 303
    for words in ("承诺缴费", day, "周五发工资", "陈静怡"):
        assert words in steward.text(address), words
    assert day in steward.text("/collection")
    business_clock.set(business_clock.now() + timedelta(days=5))
    assert "已过期" in steward.text("/collection")


def test_a_number_is_shown_for_a_reason_and_recorded(visit: Visit, poor: World, db: Database) -> None:
    with unit_of_work(poor.tenant_id, db=db) as session:
        change_phone(session, party=session.get_one(Party, (poor.tenant_id, poor.party_ids[0])), phone="13800005678")
    steward, address = visit(poor, Role.BUILDING_STEWARD), f"/collection/{public_id(db, poor)}"
    give(db, poor, steward.user_id)
    page = steward.text(address)
    assert "138****5678" in page
    assert "13800005678" not in page
    assert steward.post(f"{address}/phone", {"reason": ""}, token_from=address).status_code == 422
    shown = steward.post(f"{address}/phone", {"reason": "催缴电话"}, token_from=address)
    assert "13800005678" in shown.get_data(as_text=True)
    assert "13800005678" not in steward.text(address)
    with unit_of_work(poor.tenant_id, db=db) as session:
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "person:phone:unmask")).one()
    assert (told.actor, told.reason) == (f"user:{steward.user_id}", "催缴电话")


def test_the_auditor_reads_and_notes_nothing(visit: Visit, poor: World, db: Database) -> None:
    auditor = visit(poor, Role.GROUP_AUDITOR, at=poor.headquarters_id)
    address = f"/collection/{public_id(db, poor)}"
    assert "记下这次通话" not in auditor.text(address)
    assert auditor.post(address, {"outcome": "reached"}, token_from="/search").status_code == 403
    assert auditor.post(f"{address}/phone", {"reason": "看看"}, token_from="/search").status_code == 403


def test_the_duty_officer_has_numbers_and_no_call_list(visit: Visit, poor: World, db: Database) -> None:
    duty, address = visit(poor, Role.DUTY_OFFICER), f"/collection/{public_id(db, poor)}"
    assert duty.get("/collection").status_code == 403
    assert duty.post(address, {"outcome": "reached"}, token_from="/emergency").status_code == 404


def test_the_manager_gives_buildings_and_takes_them_back(visit: Visit, poor: World, db: Database) -> None:
    steward, manager = visit(poor, Role.BUILDING_STEWARD), visit(poor, Role.PROPERTY_MANAGER)
    with unit_of_work(poor.tenant_id, db=db) as session:
        wanted = str(session.get_one(User, (poor.tenant_id, steward.user_id)).public_id)
    assert wanted in manager.text("/collection")
    form = {"user": wanted, "building": str(poor.building_id)}
    for _n in range(2):
        assert manager.post("/collection/stewards", dict(form), token_from="/collection").status_code == 303
    with unit_of_work(poor.tenant_id, db=db) as session:
        assert session.scalars(select(BuildingSteward.user_id)).all() == [steward.user_id]
    assert listed(steward.text("/collection"))
    assert (
        manager.post("/collection/stewards", {**form, "deed": "withdraw"}, token_from="/collection").status_code == 303
    )
    assert not listed(steward.text("/collection"))
    for wrong in ({"user": "x"}, {"building": "0"}, {"building": "99999999999999999999"}, {"building": "x"}):
        answer = manager.post("/collection/stewards", {**form, **wrong}, token_from="/collection")
        assert answer.status_code == 404, wrong
    assert manager.post("/collection/stewards", {}, token_from="/collection").status_code == 422
    assert steward.post("/collection/stewards", dict(form), token_from="/collection").status_code == 403


def test_a_neighbour_is_not_there(visit: Visit, poor: World, db: Database) -> None:
    sibling = build_sibling(db, poor, name="邻园")
    neighbour, steward = (
        visit(poor, role, at=sibling.property_id) for role in (Role.PROPERTY_MANAGER, Role.BUILDING_STEWARD)
    )
    account = public_id(db, poor)
    assert account not in listed(neighbour.text("/collection"))
    assert neighbour.get(f"/collection/{account}").status_code == 404
    form = {"user": "00000000-0000-7000-8000-000000000000", "building": str(poor.building_id)}
    assert neighbour.post("/collection/stewards", form, token_from="/collection").status_code == 404
    with unit_of_work(poor.tenant_id, db=db) as session, pytest.raises(StewardUnfit):
        building = session.get_one(Building, (poor.tenant_id, poor.building_id))
        assign_building(session, building=building, user_id=steward.user_id, by=person(db, poor, Role.PROPERTY_MANAGER))


def test_the_deeds_say_what_is_wrong(poor: World, db: Database, business_clock: MovableClock) -> None:
    who = person(db, poor, Role.BUILDING_STEWARD)
    with unit_of_work(poor.tenant_id, db=db) as session:
        account = session.get_one(SupplyAccount, (poor.tenant_id, poor.supply_account_ids[0]))
        said = {"account": account, "note": "", "by": who, "promised_on": None}
        with pytest.raises(CallOutcomeMissing):
            note_call(session, outcome="", **said)
        with pytest.raises(CallPromiseWrong):
            note_call(session, outcome="promised", **said)
        note_call(session, outcome="no_answer", **said)
        building = session.get_one(Building, (poor.tenant_id, poor.building_id))
        withdraw_building(session, building=building, user_id=int(who.ref), by=who)
        assert buildings_of(session, user_id=int(who.ref), property_ids=[poor.property_id]) == []
        assert session.scalars(select(CollectionCall.outcome)).all() == ["no_answer"]
