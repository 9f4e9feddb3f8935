"""The sign-ins of the demo: a cashier at each property's counter and none at another's; each begins on a page of its own."""

from collections.abc import Callable

import pytest
from flask import Flask

from app.demo.signins import SIGN_INS, SignIn, make_users, password_of
from app.demo.town import TOWN
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.permissions.sign_in import sign_in
from app.settings import Settings
from tests.factories.history import public_id
from tests.factories.world import World, add_property
from tests.web.conftest import Visitor

CASHIERS = [who for who in SIGN_INS if who.role is Role.CASHIER]


@pytest.fixture
def at_the_counter(app: Flask, world: World, db: Database) -> Callable[[SignIn], Visitor]:
    """A demo cashier, signed in; the world's property stands for 和风苑, the others are empty."""
    settings: Settings = app.config["SETTINGS"]
    with unit_of_work(world.tenant_id, db=db) as session:
        others = {site.name: add_property(session, world, name=site.name) for site in TOWN.sites[1:]}
        nodes = {TOWN.sites[0].name: world.property_id, **others}
        make_users(session, settings=settings, nodes=nodes, headquarters_id=world.headquarters_id)

    def visit(who: SignIn) -> Visitor:
        done = sign_in(db, login=who.login, password=password_of(settings), address="127.0.0.1")
        visitor = Visitor(app.test_client(), who.login, done.user_id)
        # Not by the page: it is closed to the demo's sign-ins when another test made a real group in this database.
        with visitor.client.session_transaction() as cookie:
            cookie["_user_id"] = done.token
        return visitor

    return visit


def test_every_property_of_the_demo_has_one_cashier_of_its_own() -> None:
    assert sorted(who.site for who in CASHIERS) == sorted(site.name for site in TOWN.sites)


def test_a_demo_cashier_takes_money_for_no_other_property_and_everybody_begins_on_a_page_they_may_open(
    at_the_counter: Callable[[SignIn], Visitor], world: World, db: Database
) -> None:
    counter = f"/counter/{public_id(db, world)}"
    answers = {}
    for who in CASHIERS:
        visitor = at_the_counter(who)
        form = {"amount": "50", "channel": "cash", "key": who.login}
        answers[who.login] = (visitor.get(counter).status_code, visitor.post(counter, form).status_code)
    assert answers == {"cashier-hefeng": (200, 303), "cashier-linjiang": (404, 404), "cashier-xuefu": (404, 404)}
    # In the same test: the sign-ins of the demo can be made once in a database.
    assert {who.login: begins(at_the_counter(who)) for who in SIGN_INS} == {who.login: 200 for who in SIGN_INS}
    steward = at_the_counter(next(who for who in SIGN_INS if who.role is Role.BUILDING_STEWARD))
    assert "A座" in steward.text("/collection")


def begins(visitor: Visitor) -> int:
    """How the first page of one's role answers."""
    return visitor.get(visitor.get("/home").location).status_code
