"""Nobody of a property sees a word of the sibling's, nobody at all one of another tenant's (S03, S09).

Every page, part, list, search and file is opened with its own address and with addresses that guess: foreign ids as place,
filter, sort and paging key. What comes back is read to the bottom: headers, CSV, the sheets inside a workbook.
"""

import io
import logging
import os
import random
import zipfile
from urllib.parse import urlencode

import pytest
import redis

from app.kernel.unit_of_work import unit_of_work
from tests.factories.history import pay
from tests.matrix.asking import SEED, address_of, masked
from tests.matrix.canaries import SEEN, leaked
from tests.matrix.routes import PUBLIC, Route, routes, signed_in_only
from tests.matrix.table import QUERIES
from tests.matrix.test_routes import WHOLE
from tests.matrix.town import FOREIGN, OWN, PHONES, SIBLING, Guest, Town

READS = [route for route in routes() if route.is_safe and route.need != PUBLIC]
HTMX = {"HX-Request": "true"}
#: Keys that lists are asked with, whether or not a module's text shows them.
ALWAYS_GUESSED = ("p", "q", "after", "before", "node", "property", "sort", "state", "kind", "user", "account")


@pytest.mark.parametrize("route", READS, ids=lambda route: route.name)
def test_no_page_tells_what_is_somebody_else_s(town: Town, route: Route, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = [finding for guest in _readers(town, route) for finding in _crawl(town, route, guest)]
    assert not found, "\n".join(found)
    assert SEEN.search(caplog.text) is None


def _readers(town: Town, route: Route) -> list[Guest]:
    """Everybody who gets in, in the short form one of the property and one of headquarters."""
    holders = [
        g
        for g in town.guests.values()
        if not g.stale and g.role and (signed_in_only(route) or route.need in g.permissions)
    ]
    if WHOLE:
        return holders
    chance = random.Random(f"{SEED}:{route.name}")
    crowds = [[g for g in holders if _is_of_property(town, g)], [g for g in holders if not _is_of_property(town, g)]]
    return [chance.choice(crowd) for crowd in crowds if crowd]


def _is_of_property(town: Town, guest: Guest) -> bool:
    return guest.by_pin or guest.node_id == town.worlds[OWN].property_id


def _crawl(town: Town, route: Route, guest: Guest) -> list[str]:
    own = address_of(town, route, guest, OWN)
    asked = [(own, {}), (own, HTMX)] + [(address, {}) for address in _guesses(town, route, own)]
    found = []
    for address, headers in asked:
        answer = town.ask(guest, "GET", address, headers=headers)
        said = all_text(answer)
        answer.close()
        if answer.status_code >= 500:
            found.append(f"{address} by {guest.name}: {answer.status_code}")
        found += [f"{address} by {guest.name}: {word}" for word in strange_words(town, guest, said)]
    return found


def strange_words(town: Town, guest: Guest, said: str) -> list[str]:
    """What a guest must not read: canaries, and the phones of others."""
    of_property = _is_of_property(town, guest)
    phones = [PHONES[FOREIGN], *([PHONES[SIBLING]] if of_property else [])]
    return leaked(said, sibling_too=of_property) + [phone for phone in phones if phone in said]


def all_text(answer: object) -> str:
    """Headers and body of an answer, and what lies in a workbook or archive."""
    body = answer.get_data()  # type: ignore[attr-defined]
    said = str(answer.headers) + body.decode(errors="replace")  # type: ignore[attr-defined]
    if body[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            said += "".join(packed.read(name).decode(errors="replace") for name in packed.namelist())
    return said


def _guesses(town: Town, route: Route, own: str) -> list[str]:
    """The same address with foreign things in every key it might read."""
    keys = sorted({*route.fields("args", "values"), *ALWAYS_GUESSED} - _said(route))
    joint = "&" if "?" in own else "?"
    found = []
    for place in (SIBLING, FOREIGN):
        world, public_id = town.worlds[place], town.public_id(place)
        words = {**dict.fromkeys(keys, public_id), "q": PHONES[place][-3:] + "0", "format": "csv"}
        number = {**dict.fromkeys(keys, str(world.supply_account_ids[0])), "q": "CANARY", "p": "all"}
        words.pop("p")
        found += [{"p": public_id}, words, number]
    return [own + joint + urlencode(query) for query in found]


def _said(route: Route) -> set[str]:
    """Keys whose value the table has chosen."""
    return {pair.split("=")[0] for pair in QUERIES.get(route.name, "?").lstrip("?").split("&")}


def test_nothing_of_the_others_waits_in_redis(town: Town) -> None:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    kept = [key for key in client.scan_iter(count=500)]
    said = [repr(key) + repr(client.dump(key)) for key in kept]
    client.close()
    assert [line for line in said if SEEN.search(line)] == []


def test_what_happens_next_door_changes_no_page_here(town: Town) -> None:
    """Totals, counts and lists of a property stay as they were, whatever the sibling and other tenants do meanwhile."""
    crowd = [
        town.guests["property_manager@property"],
        town.guests["cashier@property"],
        town.guests["group_auditor@property"],
    ]
    before = _pages(town, crowd)
    for place in (SIBLING, FOREIGN):
        for index in range(4):
            pay(town.db, town.worlds[place], index, fen=9_124_683)
    after = _pages(town, crowd)
    assert [where for where, page in before.items() if after[where] != page] == []


def _pages(town: Town, crowd: list[Guest]) -> dict[str, str]:
    pages = {}
    for guest in crowd:
        for route in READS:
            if route.need in guest.permissions:
                answer = town.ask(guest, "GET", address_of(town, route, guest, OWN))
                said = answer.get_data()
                # A workbook says when it was made.
                pages[f"{route.name} by {guest.name}"] = masked(said.decode()) if said[:2] != b"PK" else ""
                answer.close()
    return pages


def test_the_canaries_are_alive(town: Town) -> None:
    """Who may see the sibling does see its words: otherwise their absence would say nothing."""
    guest = town.guests["group_auditor@headquarters"]
    said = all_text(town.ask(guest, "GET", "/accounts")) + all_text(town.ask(guest, "GET", "/meters"))
    assert "CANARY_P2_" in said
    with unit_of_work(town.worlds[FOREIGN].tenant_id, db=town.db) as session:
        assert (
            session.connection()
            .exec_driver_sql("SELECT name FROM spaces LIMIT 1")
            .scalar_one()
            .startswith("CANARY_T2_")
        )
