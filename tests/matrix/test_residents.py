"""The resident's column: every rule × method as somebody who proved a phone number at the property, and is no operator."""

from dataclasses import dataclass

import pytest
from flask import Flask
from sqlalchemy import select

from app.billing.models import Payment, Receipt, SupplyAccount
from app.kernel.unit_of_work import unit_of_work
from app.web.resident import resident
from app.web.resident.blueprint import RESIDENT
from tests.factories.residents import open_residents, resident_token
from tests.matrix.asking import address_of, masked
from tests.matrix.canaries import leaked
from tests.matrix.expected import expected
from tests.matrix.routes import Route, routes
from tests.matrix.table import NO_UUID
from tests.matrix.town import FOREIGN, HOME, OWN, PLACES, REHEARSAL, SIBLING, Town

HERE = "/r/<uuid:place>"
COOKIE = "__Host-resident"
MADE = ("resident", "token")
HOMES_ROOM, NEIGHBOUR = 1, 2
ROOMS = ("A-0101", "A-0102", "A-0103", "A-0104")


def residents_routes() -> list[tuple[str, str, object]]:
    """(rule, method, whom its view names) of the residents' own door."""
    bare = Flask("bare")
    bare.register_blueprint(resident)
    found = [
        (rule.rule, method, getattr(bare.view_functions[rule.endpoint], "permission", ""))
        for rule in bare.url_map.iter_rules()
        if rule.endpoint.startswith("resident.")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]
    return sorted(found, key=str)


OURS = [(rule, method) for rule, method, need in residents_routes() if need == RESIDENT]
OPEN = [(rule, method) for rule, method, need in residents_routes() if need is None]
ELSEWHERE = [route for route in routes() if not route.rule.startswith(HERE)]


@dataclass(frozen=True)
class Asker:
    """A phone that asks."""

    town: Town
    token: str

    def ask(self, method: str, address: str) -> tuple[int, str]:
        """Status and body of one request; an unsafe one is rehearsed."""
        client = self.town.client(self.town.guests["stranger"])
        client.set_cookie(COOKIE, self.token)
        headers = {"Referer": HOME, REHEARSAL: "1"}
        data = {"csrf_token": self.town.guests["stranger"].form_token} if method == "POST" else None
        answer = client.open(address, method=method, headers=headers, base_url=HOME, data=data)
        said = answer.get_data().decode(errors="replace")
        answer.close()
        return answer.status_code, said


@pytest.fixture
def asker(town: Town) -> Asker:
    """A resident of one room of the property; everywhere else the page is open too. Made once."""
    if MADE not in town.pages:
        for place in PLACES:
            open_residents(town.db, town.worlds[place])
        town.pages[MADE] = resident_token(town.db, town.worlds[OWN], HOMES_ROOM, phone=None)
    return Asker(town, town.pages[MADE])


def things_of(town: Town, rule: str, place: str, home: int) -> str:
    """The path below the property's address, for a home's own things."""
    world = town.worlds[place]
    with unit_of_work(world.tenant_id, db=town.db) as session:
        account_id = world.supply_account_ids[home]
        account = session.scalars(select(SupplyAccount.public_id).where(SupplyAccount.id == account_id)).one()
        paid = select(Payment.id).where(Payment.supply_account_id == account_id)
        receipt = session.scalars(select(Receipt.public_id).where(Receipt.payment_id.in_(paid)).limit(1)).one()
    return below(rule, str(receipt if "/receipts/" in rule else account))


def below(rule: str, public_id: str) -> str:
    """A rule's path after the place, filled in."""
    return rule.removeprefix(HERE).replace("<uuid:public_id>", public_id)


def test_every_view_of_the_door_says_whom_it_is_for() -> None:
    assert [(rule, need) for rule, _method, need in residents_routes() if need not in (None, RESIDENT)] == []
    assert len(OURS) >= 4
    assert {rule.removeprefix(HERE) for rule, _method in OPEN} == {"", "/sign-in", "/sign-in/code"}


@pytest.mark.parametrize("route", ELSEWHERE, ids=lambda route: route.name)
def test_a_residents_cookie_is_worth_nothing_elsewhere(asker: Asker, route: Route) -> None:
    """The console answers as it answers a stranger, and the API as without a token."""
    stranger = asker.town.guests["stranger"]
    status, said = asker.ask(route.method, address_of(asker.town, route, stranger, OWN))
    assert status in expected(asker.town, route, stranger, OWN), said[:300]


@pytest.mark.parametrize(("rule", "method"), [*OURS, (HERE, "GET")])
def test_what_is_their_own_is_shown_and_nothing_of_others_is_in_it(asker: Asker, rule: str, method: str) -> None:
    address = f"/r/{asker.town.public_id(OWN)}{things_of(asker.town, rule, OWN, HOMES_ROOM)}"
    status, said = asker.ask(method, address)
    assert status == (200 if method == "GET" else 303), said[:300]
    assert leaked(said, sibling_too=True) == []
    assert [room for room in ROOMS if room in said] == ([ROOMS[HOMES_ROOM]] if method == "GET" else [])


@pytest.mark.parametrize(("rule", "method"), [one for one in OURS if "<uuid:public_id>" in one[0]])
def test_a_neighbours_and_others_things_are_not_there(asker: Asker, rule: str, method: str) -> None:
    town, here = asker.town, f"/r/{asker.town.public_id(OWN)}"
    others = [things_of(town, rule, OWN, NEIGHBOUR), *(things_of(town, rule, place, 0) for place in (SIBLING, FOREIGN))]
    said = set()
    for path in (*others, below(rule, NO_UUID)):
        status, body = asker.ask(method, here + path)
        said.add((status, masked(body).replace(path, "")))
    assert len(said) == 1
    assert {status for status, _body in said} == {404}


@pytest.mark.parametrize("place", [SIBLING, FOREIGN])
@pytest.mark.parametrize(("rule", "method"), OURS)
def test_at_another_property_they_are_asked_for_a_number(asker: Asker, rule: str, method: str, place: str) -> None:
    path = things_of(asker.town, rule, place, 0)
    status, said = asker.ask(method, f"/r/{asker.town.public_id(place)}{path}")
    assert status == 303
    assert leaked(said, sibling_too=True) == []


@pytest.mark.parametrize("name", ["stranger", "token", "group_administrator@headquarters", "cashier@property, by PIN"])
@pytest.mark.parametrize(("rule", "method"), OURS)
def test_operators_machines_and_strangers_are_asked_for_a_number(
    asker: Asker, rule: str, method: str, name: str
) -> None:
    town = asker.town
    address = f"/r/{town.public_id(OWN)}{things_of(town, rule, OWN, HOMES_ROOM)}"
    assert town.ask(town.guests[name], method, address).status_code == 303


@pytest.mark.parametrize(("rule", "method"), [*OURS, *OPEN])
def test_a_place_without_a_page_is_not_there_for_anybody(asker: Asker, rule: str, method: str) -> None:
    for place in (NO_UUID, str(asker.town.worlds[OWN].property_id)):
        assert asker.ask(method, f"/r/{place}{below(rule, NO_UUID)}")[0] == 404
