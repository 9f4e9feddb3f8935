"""What forms may not do: reach for foreign things (S03), set what is not theirs (S11), go without their token (S12),
or fall over what was typed (S22). Generated over every unsafe route and every field its module reads.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel.db import Base
from app.web import MACHINES
from tests.matrix.asking import SEED, address_of, form_of, good_form
from tests.matrix.planting import placed
from tests.matrix.routes import PUBLIC, Route, routes, signed_in_only
from tests.matrix.table import GOOD_FORMS
from tests.matrix.test_canaries import all_text, strange_words
from tests.matrix.test_routes import NOTES, WHOLE
from tests.matrix.town import FOREIGN, OWN, SIBLING, Guest, Town, viewing

OF_MACHINES = tuple(blueprint.name for blueprint in MACHINES)
UNSAFE = [r for r in routes() if not r.is_safe and r.endpoint.split(".")[0] not in OF_MACHINES]
BEHIND_SIGN_IN = [r for r in UNSAFE if r.need != PUBLIC]
#: A figure and a word that nothing has by chance.
FIGURE, WORD = "987654321", "zz987654321"
#: Rows that this transaction and its savepoints have written.
WRITTEN = "xmin::text::bigint >= (pg_current_xact_id_if_assigned()::text::bigint & 4294967295)"

#: Asks a process that does not run here, and says so with 503.
AWAY = {"POST /demo/gateways/<uuid:public_id>"}
#: Longer than any column for words.
LONG = "9" * 700
NASTY = (
    "' OR '1'='1' --",
    "'); DROP TABLE users; --",
    "1; SELECT pg_sleep(5)",
    "{{7*7*191}}",
    "${7*7*191}",
    "{% for x in ().__class__.__mro__ %}{{x}}{% endfor %}",
    "%(x)s %s {0.__class__}",
    "=cmd|' /C calc'!A0",
    "../../../../etc/passwd",
    "<script>alert(987654321)</script>",
    '"><img src=x onerror=alert(987654321)>',
    LONG,
    "-9223372036854775809",
    "NaN",
    "1e400",
    "0001-01-01",
    "9999-12-31T23:59:59+14:00",
    "\u202e\u2066\ufeff",
    "𝟙𝟚𝟛",
    "[]",
    '{"a": {"b": []}}',
)


def holder_of(town: Town, route: Route) -> Guest:
    """Somebody who may do it at the property, and nowhere else if there is such a person."""
    guests = [g for g in town.guests.values() if g.role and not g.stale and not g.by_pin]
    holders = [g for g in guests if route.need == PUBLIC or signed_in_only(route) or route.need in g.permissions]
    here = [g for g in holders if g.node_id == town.worlds[OWN].property_id]
    return random.Random(f"{SEED}:{route.name}").choice(here or holders)


@contextmanager
def looking(town: Town, look: Any) -> Iterator[list[str]]:
    """What a look at the request's own transaction found, just before it is taken back."""
    found: list[str] = []
    town.look = lambda session: found.extend(look(session))
    try:
        yield found
    finally:
        town.look = None


def written_next_door(town: Town, session: Session) -> list[str]:
    """Tables in which the open transaction wrote rows of the sibling property."""
    session.flush()
    found = []
    for table in Base.metadata.sorted_tables:
        if "property_id" in table.c or "node_id" in table.c:
            column = "property_id" if "property_id" in table.c else "node_id"
            query = text(f"SELECT count(*) FROM {table.name} WHERE {column} = :there AND {WRITTEN}")
            if session.execute(query, {"there": town.worlds[SIBLING].property_id}).scalar_one():
                found.append(f"wrote {table.name} of the sibling")
    return found


def written_words(session: Session) -> list[str]:
    """Tables in which the open transaction wrote the figure or the word."""
    session.flush()
    return [
        f"{table.name} took it"
        for table in Base.metadata.sorted_tables
        if table.c[0].name == "tenant_id"
        and session.execute(
            text(f"SELECT count(*) FROM {table.name} t WHERE {WRITTEN} AND t::text LIKE '%{FIGURE}%'")
        ).scalar_one()
    ]


@pytest.mark.parametrize("route", BEHIND_SIGN_IN, ids=lambda route: route.name)
def test_foreign_ids_in_a_form_reach_nothing(town: Town, route: Route) -> None:
    guest, wrong = holder_of(town, route), []
    address, base = address_of(town, route, guest, OWN), form_of(town, route, OWN)
    with looking(town, lambda session: written_next_door(town, session)) as found:
        for form in _foreign_forms(town, route, base):
            answer = town.ask(guest, route.method, address, data=form)
            said = all_text(answer)
            for value in form.values():
                said = said.replace(str(value), "")
            if (answer.status_code >= 500 and route.name not in AWAY) or strange_words(town, guest, said):
                wrong.append(f"{form}: {answer.status_code} {strange_words(town, guest, said)}")
    assert not wrong + found, f"{guest.name}: {wrong + found}"


def _foreign_forms(town: Town, route: Route, base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    fields = [name for name in route.fields("form", "values") if name != "csrf_token"]
    for place in (SIBLING, FOREIGN):
        for value in town.foreign_ids(place)[:: 1 if WHOLE else 2]:
            yield base | dict.fromkeys(fields, value)
            if WHOLE:
                yield from (base | {name: value} for name in fields)
        yield base | dict.fromkeys([name for name in fields if name not in base], town.public_id(place))


@pytest.mark.parametrize("route", BEHIND_SIGN_IN, ids=lambda route: route.name)
def test_fields_that_a_form_does_not_have_are_not_taken(town: Town, route: Route) -> None:
    """Every column of the database as a further field: tenant, role, balance, price, state, protection…"""
    guest, most = holder_of(town, route), town.guests["group_administrator@headquarters"]
    if route.name in GOOD_FORMS and route.need in most.permissions:
        guest = most
    known = set(route.fields("form", "values", "args", "files")) | {"csrf_token"}
    columns = {column.name: column for table in Base.metadata.sorted_tables for column in table.c}
    extras = {
        name: FIGURE if column.type.python_type is int else WORD
        for name, column in columns.items()
        if name not in known
    }
    extras |= {"tenant_id": str(town.worlds[FOREIGN].tenant_id), "property_id": str(town.worlds[SIBLING].property_id)}
    form = form_of(town, route, OWN) | good_form(town, route) | extras
    address = address_of(town, route, guest, OWN)
    with looking(town, lambda session: written_next_door(town, session) + written_words(session)) as found:
        answer = town.ask(guest, route.method, address, data=form)
    assert not found, f"{guest.name} {answer.status_code}"
    assert answer.status_code < 500 or route.name in AWAY
    if route.name in GOOD_FORMS:
        assert answer.status_code < 400, f"GOOD_FORMS in tests/matrix/table.py: {answer.get_data(as_text=True)[-3000:]}"


@pytest.mark.parametrize("route", UNSAFE, ids=lambda route: route.name)
def test_nothing_is_done_without_the_form_s_own_token(town: Town, route: Route) -> None:
    guest = holder_of(town, route)
    stranger = town.guests["stranger"]
    address = address_of(town, route, guest, OWN)
    form = form_of(town, route, OWN) | good_form(town, route)
    tries: list[dict[str, Any]] = [
        {"data": form | {"csrf_token": ""}},
        {"data": form | {"csrf_token": stranger.form_token}},
        {"data": form | {"csrf_token": guest.form_token[:-3] + "AAA"}},
        {"data": '{"deed": "stop"}', "headers": {"X-CSRFToken": "", "Content-Type": "text/plain"}},
        {"json": form, "headers": {"X-CSRFToken": stranger.form_token}},
        {"data": form, "headers": {"Referer": "https://evil.example/"}},
    ]
    with town.writes() as written:
        said = [town.ask(guest, route.method, address, **options).status_code for options in tries]
    assert set(said) <= {400, 403, 415}, said
    assert set(written) <= NOTES


@pytest.mark.parametrize("route", BEHIND_SIGN_IN, ids=lambda route: route.name)
def test_who_looks_through_somebody_s_eyes_changes_nothing(town: Town, route: Route) -> None:
    guest = viewing(town, town.guests["group_administrator@headquarters"], town.guests["property_manager@property"])
    form = form_of(town, route, OWN) | good_form(town, route)
    if getattr(route.view, "while_viewing", False):
        return
    with town.writes() as written:
        answer = town.ask(guest, route.method, address_of(town, route, guest, OWN), data=form)
    assert answer.status_code in {403, 409}
    assert set(written) <= NOTES


@pytest.mark.parametrize("route", UNSAFE, ids=lambda route: route.name)
def test_whatever_is_typed_is_taken_for_words(town: Town, route: Route) -> None:
    guest, wrong = holder_of(town, route), []
    if route.need == PUBLIC:
        guest = town.guests["stranger"]
    fields = [name for name in route.fields("form", "values") if name != "csrf_token"]
    nasty = NASTY if WHOLE else random.Random(f"{SEED}:{route.name}").sample(NASTY, 2)
    base = form_of(town, route, OWN) | good_form(town, route)
    for words in dict.fromkeys((LONG, *nasty)):
        for form in (dict.fromkeys(fields, words), base | dict.fromkeys([f for f in fields if f not in base], words)):
            address = address_of(town, route, guest, OWN)
            answer = town.ask(guest, route.method, address, data=form)
            said = answer.get_data().decode(errors="replace")
            if answer.status_code >= 500 and route.name not in AWAY:
                wrong.append(f"{words[:40]}: {answer.status_code}")
            if "9359" in said or "<script>alert(" in said or "<img src=x" in said:
                wrong.append(f"{words[:40]} was not taken for words")
    assert not wrong, f"{guest.name}: {wrong}"


def test_every_table_that_knows_places_was_looked_at() -> None:
    known = [table.name for table in Base.metadata.sorted_tables if placed(table, 0) is not None]
    assert len(known) > 30
