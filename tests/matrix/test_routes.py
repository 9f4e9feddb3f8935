"""S01: every rule × method × who × place answers as its permission, the roles and the place say, and never with 500."""

import os
from collections import defaultdict

import pytest

from app.permissions.policy import Role
from tests.matrix.asking import address_of, cast_of, form_of, places_of
from tests.matrix.expected import examples_of, expected
from tests.matrix.routes import PUBLIC, Route, routes, skeleton
from tests.matrix.town import Guest, Town

ROUTES = routes()
WHOLE = os.environ.get("TALLYHOUSE_TIER_LONG") == "1"
#: What a refusal may leave behind: that it happened.
NOTES = {"audit_records", "sign_in_attempts", "sign_in_steps", "outbox_events", "outbox_deliveries"}


def _turns() -> dict[str, tuple[int, int]]:
    """Route → (its number within its area, how many the area has)."""
    by_area: dict[str, list[Route]] = defaultdict(list)
    for route in ROUTES:
        by_area[route.area].append(route)
    return {r.name: (number, len(area)) for area in by_area.values() for number, r in enumerate(area)}


TURNS = _turns()


def test_the_rules_tried_here_are_those_of_the_application(town: Town) -> None:
    def said(app: object) -> set[tuple[str, str]]:
        return {(rule.rule, rule.endpoint) for rule in app.url_map.iter_rules()}  # type: ignore[attr-defined]

    assert said(skeleton()) == said(town.app)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_has_its_line_in_the_table(route: Route) -> None:
    if route.need != PUBLIC:
        examples_of(route)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_everybody_is_answered_as_the_table_says(town: Town, route: Route) -> None:
    wrong = []
    for guest in cast_of(town, route, turn=TURNS[route.name], whole=WHOLE):
        for place in places_of(route):
            wrong += _try(town, route, guest, place)
    assert not wrong, "\n".join(wrong)


def _try(town: Town, route: Route, guest: Guest, place: str) -> list[str]:
    right, address = expected(town, route, guest, place), address_of(town, route, guest, place)
    asking = town.again(guest) if route.need == PUBLIC and not route.is_safe else guest
    with town.writes() as written:
        form = {} if route.is_safe else {"data": form_of(town, route, place)}
        answer = town.ask(asking, route.method, address, **form)
    said = answer.get_data().decode(errors="replace")
    answer.close()
    where = f"{route.method} {address} ({place}) by {guest.name}"
    found = []
    if answer.status_code not in right:
        found.append(f"{where}: {answer.status_code}, right were {sorted(right)}")
    if answer.status_code == 403 and right != {403} and isinstance(route.need, str) and f"（{route.need}）" in said:
        found.append(f"{where}: refused for want of {route.need}, which is held")
    if _may_not_write(route, answer.status_code) and set(written) - NOTES:
        found.append(f"{where}: wrote {written}")
    return found


def _may_not_write(route: Route, status: int) -> bool:
    """Reading and being refused change nothing; public forms keep books of their own on who tries what."""
    return route.is_safe or (status >= 400 and route.need != PUBLIC)


def test_every_role_is_seen_in_every_area(town: Town) -> None:
    seen: dict[str, set[Role | None]] = defaultdict(set)
    for route in ROUTES:
        seen[route.area] |= {g.role for g in cast_of(town, route, turn=TURNS[route.name], whole=False)}
    assert {area for area, roles in seen.items() if not set(Role) <= roles} == set()
