"""A shared computer at the counter: registered, changed by PIN, and never a way to more than a cashier's rights."""

import re
import uuid
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.permissions.counter_pcs import CounterPcNameMissing, CounterPcUnknown, PinWrong, register_pc, take_over
from app.permissions.models import Grant, User, UserSession
from app.permissions.pins import PinEasy, PinUnreadable, set_pin
from app.permissions.policy import Role
from app.permissions.sign_in import Visitor as Stranger
from app.tenants.models import AuditRecord, Node
from tests.factories.world import World, add_property
from tests.web.conftest import PASSWORD, Visitor, make_user

PIN = "839471"
BY = Actor.system("tests")


def token_of(client: FlaskClient, page: str) -> str:
    """The forgery token of a page."""
    found = re.search(
        r'name="csrf_token" value="([^"]+)"', client.get(page, follow_redirects=True).get_data(as_text=True)
    )
    assert found
    return found[1]


@pytest.fixture
def counter(world: World, visit: Callable[..., Visitor], db: Database) -> Visitor:
    """A computer that the manager has registered, with nobody signed in any more."""
    manager = visit(world, Role.PROPERTY_MANAGER)
    with unit_of_work(world.tenant_id, db=db) as session:
        site = str(session.scalars(select(Node.public_id).where(Node.id == world.property_id)).one())
    answer = manager.post("/counter-pcs", {"property": site, "name": "前台左侧"}, token_from="/counter-pcs")
    assert answer.status_code == 303, answer.get_data(as_text=True)
    manager.post("/sign-out", token_from="/counter-pcs")
    return manager


def cashier_with_pin(db: Database, world: World, *, at: int | None = None, pin: str = PIN) -> tuple[str, str, int]:
    """(login, public id, id) of a cashier who has a PIN."""
    login, user_id = make_user(db, world, Role.CASHIER, at or world.property_id)
    with unit_of_work(world.tenant_id, db=db) as session:
        user = session.scalars(select(User).where(User.id == user_id)).one()
        set_pin(session, user=user, pin=pin, by=BY)
        return login, str(user.public_id), user_id


def type_pin(counter: Visitor, person: str, pin: str = PIN) -> int:
    """Type a PIN under a face; the status of the answer."""
    token = token_of(counter.client, "/sign-in")
    return counter.client.post(f"/switch/{person}", data={"csrf_token": token, "pin": pin}).status_code


def test_six_digits_change_the_person_and_end_the_one_before(counter: Visitor, world: World, db: Database) -> None:
    _, first, first_id = cashier_with_pin(db, world)
    _, second, second_id = cashier_with_pin(db, world, pin="406158")
    assert type_pin(counter, first) == 302
    assert counter.get("/counter").status_code == 200
    assert type_pin(counter, second, "406158") == 302
    with unit_of_work(world.tenant_id, db=db) as session:
        living = session.scalars(
            select(UserSession).where(UserSession.revoked_at.is_(None), UserSession.user_id.in_([first_id, second_id]))
        ).all()
        assert [(one.user_id, one.opened_by) for one in living] == [(second_id, "pin")]


def test_an_administrators_rights_are_not_left_at_the_counter(counter: Visitor, world: World, db: Database) -> None:
    _, person, user_id = cashier_with_pin(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.add(Grant(user_id=user_id, role="meter_engineer", node_id=world.headquarters_id))
    assert type_pin(counter, person) == 302
    assert counter.get("/counter").status_code == 200
    for page in ("/meters", "/counter-pcs", "/readings/import"):
        assert counter.get(page).status_code == 403, page
    answer = counter.post("/security/pin", {"pin": "927360", "again": "927360"}, token_from="/security")
    assert answer.status_code == 403


def test_a_pin_opens_nothing_on_a_computer_that_is_not_registered(app: Flask, world: World, db: Database) -> None:
    _, person, _ = cashier_with_pin(db, world)
    stranger = Visitor(app.test_client())
    assert type_pin(stranger, person) == 303
    assert "没有登记为柜台电脑" in stranger.text("/sign-in")
    assert stranger.get("/counter").status_code == 302


def test_a_wrong_pin_is_counted_and_the_password_still_opens(counter: Visitor, world: World, db: Database) -> None:
    login, person, user_id = cashier_with_pin(db, world)
    assert [type_pin(counter, person, "111111") for _ in range(4)] == [401, 401, 401, 429]
    assert type_pin(counter, person) == 429
    answer = counter.post("/sign-in", {"login": login, "password": PASSWORD}, token_from="/sign-in")
    assert answer.status_code == 302
    with unit_of_work(world.tenant_id, db=db) as session:
        refused = select(AuditRecord).where(
            AuditRecord.subject == f"users:{user_id}", AuditRecord.deed == "user:session:refuse"
        )
        assert [record.facts["reason"] for record in session.scalars(refused)] == ["pin"] * 3


@pytest.mark.parametrize(
    ("token", "pin", "refusal"),
    [("nobody's", PIN, CounterPcUnknown), ("", PIN, CounterPcUnknown), (None, "111111", PinWrong)],
)
def test_each_refusal_has_a_name(
    world: World, db: Database, token: str | None, pin: str, refusal: type[AppError]
) -> None:
    _, person, _ = cashier_with_pin(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        own = register_pc(session, property_id=world.property_id, name="前台", by=BY)
        with pytest.raises(CounterPcNameMissing):
            register_pc(session, property_id=world.property_id, name=" ", by=BY)
    with pytest.raises(refusal):
        take_over(
            db, token=own if token is None else token, person=uuid.UUID(person), pin=pin, visitor=Stranger("127.0.0.1")
        )


@pytest.mark.parametrize(
    ("pin", "refusal"), [("12345", PinUnreadable), ("１２３４５６", PinUnreadable), ("123123", PinEasy)]
)
def test_a_pin_that_is_none_or_easy_is_refused_by_name(
    world: World, db: Database, pin: str, refusal: type[AppError]
) -> None:
    with pytest.raises(refusal):
        cashier_with_pin(db, world, pin=pin)


def test_nobody_takes_over_at_a_counter_where_they_do_not_sell(counter: Visitor, world: World, db: Database) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        sibling = add_property(session, world, name="隔壁苑")
    _, person, _ = cashier_with_pin(db, world, at=sibling)
    assert type_pin(counter, person) == 401
    assert "00000000-0000-7000-8000-000000000000" not in counter.text("/switch")
    assert type_pin(counter, "00000000-0000-7000-8000-000000000000") == 401


def test_a_computer_taken_out_signs_everybody_on_it_out(
    counter: Visitor, world: World, db: Database, visit: Callable[..., Visitor]
) -> None:
    _, person, _ = cashier_with_pin(db, world)
    assert type_pin(counter, person) == 302
    manager = visit(world, Role.PROPERTY_MANAGER)
    address = re.search(r'action="(/counter-pcs/[^"]+/revoke)"', manager.text("/counter-pcs"))
    assert address
    assert manager.post(address[1], token_from="/counter-pcs").status_code == 303
    assert counter.get("/counter").status_code == 302
    assert counter.get("/switch").status_code == 303


def test_one_sets_ones_own_pin_and_easy_ones_are_refused(visit: Callable[..., Visitor], world: World) -> None:
    cashier = visit(world, Role.CASHIER)
    for pin, again, status in (("123456", "123456", 422), ("12a456", "12a456", 422), ("839471", "839472", 422)):
        answer = cashier.post("/security/pin", {"pin": pin, "again": again}, token_from="/security/pin")
        assert answer.status_code == status
    assert cashier.post("/security/pin", {"pin": PIN, "again": PIN}, token_from="/security/pin").status_code == 303
    assert "已设置 PIN" in cashier.text("/security/pin")
    assert cashier.post("/security/pin", {"deed": "remove"}, token_from="/security/pin").status_code == 303
    assert "还没有 PIN" in cashier.text("/security/pin")


def test_a_computer_needs_a_name_and_a_property_in_reach(
    visit: Callable[..., Visitor], world: World, make_world: Callable[..., World], db: Database
) -> None:
    manager = visit(world, Role.PROPERTY_MANAGER)
    with unit_of_work(world.tenant_id, db=db) as session:
        site = str(session.scalars(select(Node.public_id).where(Node.id == world.property_id)).one())
    elsewhere = make_world(spaces=1)
    with unit_of_work(elsewhere.tenant_id, db=db) as session:
        foreign = str(session.scalars(select(Node.public_id).where(Node.id == elsewhere.property_id)).one())
    for body, status in (({"property": site, "name": " "}, 422), ({"property": foreign, "name": "a"}, 404), ({}, 404)):
        assert manager.post("/counter-pcs", dict(body), token_from="/counter-pcs").status_code == status
