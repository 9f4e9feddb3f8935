"""S02: what is not yours and what is not there cannot be told apart: same body, same headers, same time."""

import statistics
import time

import pytest

from tests.matrix.asking import address_of, form_of, masked, nowhere
from tests.matrix.expected import belongs_to
from tests.matrix.routes import PUBLIC, Route, routes, signed_in_only
from tests.matrix.table import OF_NOBODY, OF_PERSON, OF_TENANT
from tests.matrix.town import FOREIGN, OWN, SIBLING, Guest, Town

WITH_ID = [r for r in routes() if r.arguments and r.need != PUBLIC and belongs_to(r) != OF_NOBODY]
MEDIANS_DIFFER_MS = 5
TIMES = 200
#: A machine under load tells medians apart by chance, an oracle does so each time.
SERIES = 5
#: Drawn anew for each answer.
CHANGING = {"Content-Security-Policy", "Set-Cookie", "Date"}


@pytest.mark.parametrize("route", WITH_ID, ids=lambda route: route.name)
def test_foreign_and_missing_answer_alike(town: Town, route: Route) -> None:
    guest = _holder(town, route)
    right = _answer(town, route, guest, nowhere(route))
    assert right[0] == 404
    for place in _strange_places(route):
        assert _answer(town, route, guest, address_of(town, route, guest, place)) == right, place


@pytest.mark.long
@pytest.mark.parametrize("route", [r for r in WITH_ID if r.is_safe], ids=lambda route: route.name)
def test_foreign_and_missing_take_as_long(town: Town, route: Route) -> None:
    guest = _holder(town, route)
    apart: list[float] = []
    for _series in range(SERIES):
        apart.append(_medians_apart_ms(town, route, guest))
        if abs(apart[-1]) < MEDIANS_DIFFER_MS:
            return
    raise AssertionError(f"foreign takes longer than missing by {apart} ms, each time anew")


def _medians_apart_ms(town: Town, route: Route, guest: Guest) -> float:
    """Median of what is foreign minus median of what is missing, asked for in turn."""
    addresses = [address_of(town, route, guest, FOREIGN), nowhere(route)]
    spent: dict[str, list[float]] = {address: [] for address in addresses}
    for _round in range(TIMES):
        for address in addresses:
            began = time.perf_counter()
            town.ask(guest, "GET", address)
            spent[address].append((time.perf_counter() - began) * 1000)
    foreign, missing = (statistics.median(spent[address]) for address in addresses)
    return foreign - missing


def _strange_places(route: Route) -> tuple[str, ...]:
    of = belongs_to(route)
    return (FOREIGN,) if of == OF_TENANT else (SIBLING, FOREIGN)


def _holder(town: Town, route: Route) -> Guest:
    """Somebody of the property who may do it there; who holds it at headquarters only where nobody else does."""
    guests = [g for g in town.guests.values() if g.role and not g.stale and not g.by_pin]
    holders = [g for g in guests if signed_in_only(route) or route.need in g.permissions]
    here = town.worlds[OWN].property_id
    return next((g for g in holders if g.node_id == here), holders[0])


def _answer(town: Town, route: Route, guest: Guest, address: str) -> tuple[int, str, dict[str, str]]:
    form = {} if route.is_safe else {"data": form_of(town, route, OWN)}
    answer = town.ask(guest, route.method, address, **form)
    said = masked(answer.get_data(as_text=True)).replace(address, "ADDRESS").replace(address.split("?")[0], "ADDRESS")
    headers = {name: value for name, value in answer.headers if name not in CHANGING}
    headers["Content-Length"] = str(len(said))
    answer.close()
    return answer.status_code, said, headers


def test_a_person_s_own_things_are_nobody_else_s(town: Town) -> None:
    assert {belongs_to(r) for r in WITH_ID} >= {OF_PERSON}
