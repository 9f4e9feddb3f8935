"""What an answer must be: from the view's permission, the roles and the place of the thing; the table has the last word."""

from app.permissions.policy import Role
from tests.matrix.routes import PUBLIC as IS_PUBLIC
from tests.matrix.routes import Route, signed_in_only
from tests.matrix.table import (
    EXAMPLES,
    HEADQUARTERS_PAGES,
    MACHINES,
    OF_NOBODY,
    OF_PERSON,
    OF_PLACE,
    OF_TENANT,
    OTHER_THAN_200,
    PUBLIC,
    SEEN_BY_SOME,
)
from tests.matrix.town import FOREIGN, OWN, Guest, Town

TO_SIGN_IN = frozenset({302})
REFUSED, NOT_THERE = frozenset({403}), frozenset({404})
#: A factor shown too long ago: a page is left for the one that asks, a form is kept on it.
ASKED_FOR_FACTOR = {True: frozenset({303}), False: frozenset({403})}
SHOWN = frozenset({200})
#: A form that was let in: done, sent on, or refused for what it says. What is missing from it may not be "not there".
TAKEN = frozenset({200, 201, 202, 204, 302, 303, 400, 401, 403, 409, 413, 415, 422, 429, 503})


class Unlisted(AssertionError):
    """A rule that the table has no word about."""


def expected(town: Town, route: Route, guest: Guest, place: str) -> frozenset[int]:
    """Statuses that are right. Raises Unlisted."""
    if route.name in MACHINES:
        return frozenset({MACHINES[route.name][{"token": 2, "token@nothing": 1}.get(guest.name, 0)]})
    if route.need == IS_PUBLIC:
        return _public(route)
    if guest.role is None:
        return TO_SIGN_IN
    if not signed_in_only(route) and route.need not in guest.permissions:
        return REFUSED
    if guest.stale and getattr(route.view, "fresh_factor", False):
        return ASKED_FOR_FACTOR[route.is_safe]
    if guest.by_pin and signed_in_only(route) and not route.is_safe:
        # A counter's PIN is too little for one's own factors, whosever thing is named.
        return REFUSED | NOT_THERE | (TAKEN if place == OWN else frozenset())
    if route.arguments and not _is_within(town, route, guest, place):
        return NOT_THERE
    if route.name in SEEN_BY_SOME:
        return _admitted(town, route, guest) | NOT_THERE
    return _admitted(town, route, guest)


def examples_of(route: Route) -> list[str]:
    """The table's lines for the route's arguments. Raises Unlisted."""
    missing = [part for part in route.parts() if part not in EXAMPLES]
    if missing and route.need != IS_PUBLIC:
        raise Unlisted(
            f"{route.name}: no example for {missing}. Add to EXAMPLES in tests/matrix/table.py a line such as "
            f'    "{missing[0]}": at(Model.public_id),    # a row of the property; tenants(…) or persons(…) otherwise'
        )
    return route.parts()


def belongs_to(route: Route) -> str:
    """Whose the thing is that the address names: the last argument says."""
    owners = [EXAMPLES[part].of for part in examples_of(route)]
    return next((of for of in reversed(owners) if of != OF_NOBODY), OF_NOBODY if owners else OF_PLACE)


def _public(route: Route) -> frozenset[int]:
    if route.name not in PUBLIC:
        raise Unlisted(
            f"{route.name} is public and not in the table. If everybody may really ask for it, add to PUBLIC in "
            f'tests/matrix/table.py:    "{route.name}": frozenset({{200}}),'
        )
    return PUBLIC[route.name]


def _is_within(town: Town, route: Route, guest: Guest, place: str) -> bool:
    of = belongs_to(route)
    if of == OF_PERSON:
        return place == OWN
    if of == OF_NOBODY:
        return True
    if of == OF_TENANT:
        return place != FOREIGN
    return town.reaches(guest, place)


def _admitted(town: Town, route: Route, guest: Guest) -> frozenset[int]:
    if not route.is_safe:
        return TAKEN | HEADQUARTERS_PAGES.get(route.name, frozenset())
    right = OTHER_THAN_200.get(route.name, SHOWN)
    at_headquarters = guest.node_id == town.worlds[OWN].headquarters_id
    return right if at_headquarters else HEADQUARTERS_PAGES.get(route.name, right)


def everybody() -> list[Role]:
    """The roles of the table."""
    return list(Role)
