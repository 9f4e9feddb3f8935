"""From a route and a place to an address, and to an answer that can be judged."""

import random
import re
from collections.abc import Mapping
from typing import Any

from app.kernel.unit_of_work import unit_of_work
from tests.matrix.expected import examples_of
from tests.matrix.routes import PUBLIC, Route
from tests.matrix.table import A_PLACE, EXAMPLES, FORMS, GOOD_FORMS, OF_PERSON, PUBLIC_ARGUMENTS, QUERIES
from tests.matrix.town import AT_HEADQUARTERS, OWN, PLACES, Guest, Town

_ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")
#: What differs in two answers that say the same: reference numbers, nonces, form tokens.
_CHANGING = re.compile(
    r'<span class="hex">\w+</span>|name="csrf_token"[^>]*|nonce="[^"]*"|hx-headers=\'[^\']*\'|'
    r'"reference": ?"\w+"|name="key" value="[^"]*"|name="csrf-token"[^>]*'
)
SEED = 20260715
#: How often the sample asks as somebody with an own role, or with a grant that ended.
ODD_ONES = 0.3


def address_of(town: Town, route: Route, guest: Guest, place: str) -> str:
    """The route's address for a thing of a place."""
    values = [_value(town, route, part, guest, place) for part in examples_of(route)]
    return fill_in(route, values) + QUERIES.get(route.name, "")


def nowhere(route: Route) -> str:
    """The route's address for a thing that nobody has."""
    return fill_in(route, [EXAMPLES[part].missing for part in examples_of(route)]) + QUERIES.get(route.name, "")


def fill_in(route: Route, values: list[Any]) -> str:
    """The rule with its arguments filled in from the left."""
    said = iter(values)
    return _ARGUMENT.sub(lambda _found: str(next(said)), route.rule)


def _value(town: Town, route: Route, part: str, guest: Guest, place: str) -> Any:
    if route.need == PUBLIC:
        return PUBLIC_ARGUMENTS[part.split("<")[-1].rstrip(">").split(":")[-1]]
    example, world = EXAMPLES[part], town.worlds[place]
    key = (part, place, guest.user_id if example.of == OF_PERSON and place == OWN else 0)
    if key not in town.found:
        with unit_of_work(world.tenant_id, db=town.db) as session:
            town.found[key] = example.find(session, world, key[2])
        assert town.found[key] is not None, (
            f"{part}: no row at the {place} place; see EXAMPLES in tests/matrix/table.py"
        )
    return town.found[key]


def form_of(town: Town, route: Route, place: str) -> dict[str, Any]:
    """What a harmless form of the route says besides nothing: public ids of the place where it asks for one."""
    return _with_place(town, FORMS.get(route.name, {}), place)


def good_form(town: Town, route: Route) -> dict[str, Any]:
    """A form of the route that is taken, at the property; empty where the table holds none."""
    return _with_place(town, GOOD_FORMS.get(route.name, {}), OWN)


def _with_place(town: Town, form: Mapping[str, str], place: str) -> dict[str, Any]:
    return {name: town.public_id(place) if said == A_PLACE else said for name, said in form.items()}


def masked(page: str) -> str:
    """An answer's body without what differs each time."""
    return _CHANGING.sub("", page)


def cast_of(town: Town, route: Route, *, turn: tuple[int, int], whole: bool) -> list[Guest]:
    """Who asks for a route. The whole: everybody. The sample, by a seed that names the route: a stranger, a machine, one
    who holds the permission at the property and one at headquarters, one who does not, and those whose turn it is in the
    route's area – so that each area sees every role.
    """
    guests = list(town.guests.values())
    if whole:
        return guests
    chance = random.Random(f"{SEED}:{route.name}")
    holders = [g for g in guests if route.need in g.permissions]
    others = [g for g in guests if g.role and g not in holders]
    stale = [g for g in guests if g.stale and getattr(route.view, "fresh_factor", False)]
    pins = [g for g in guests if g.by_pin]
    guests = [g for g in guests if not g.stale and not g.by_pin]
    picked = [*stale, chance.choice(pins), town.guests["stranger"], town.guests["token"], town.guests["token@nothing"]]
    for crowd in ([g for g in holders if not _at_top(g)], [g for g in holders if _at_top(g)], others):
        picked += chance.sample(crowd, 1) if crowd else []
    number, of = turn
    picked += [town.guests[name] for name in ("own role@property", "ended@property") if chance.random() < ODD_ONES]
    crowd = [g for g in guests if g.role and not _at_top(g) and g.held is None]
    picked += [guest for order, guest in enumerate(crowd) if order % of == number]
    return list({g.name: g for g in picked}.values())


def _at_top(guest: Guest) -> bool:
    return guest.role in AT_HEADQUARTERS and guest.name.endswith("@headquarters")


def places_of(route: Route) -> tuple[str, ...]:
    """Which things of whom are asked for."""
    return PLACES if route.arguments and route.need != PUBLIC else (OWN,)
