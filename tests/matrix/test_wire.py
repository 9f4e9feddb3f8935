"""What holds on the wire whatever is asked: headers of every status (S13), hosts and proxies (S14), files (S22), jobs (S08)."""

import io
import tempfile
import tracemalloc
import zipfile
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from app.jobs.handlers import HANDLERS
from app.kernel.errors import AppError
from app.kernel.outbox import Delivery, OutboxDelivery, OutboxEvent
from app.kernel.unit_of_work import unit_of_work
from app.web.guards import public
from tests.matrix.asking import address_of, form_of
from tests.matrix.headers import faults_of
from tests.matrix.routes import PUBLIC, Route, routes
from tests.matrix.test_forms import holder_of
from tests.matrix.town import FOREIGN, HOME, OWN, Guest, Town

STATUSES = [
    (200, "GET", "/rooms"), (200, "GET", "/static/app.css?v=1"), (302, "GET", "/home"), (404, "GET", "/no/such/page"),
    (404, "GET", "/static/no-such.css"), (405, "DELETE", "/rooms"), (405, "POST", "/rooms"), (413, "POST", "/onboarding"),
    (403, "POST", "/onboarding"), (422, "GET", "/search?q=a%00b"), (404, "GET", "/receipts/not-an-id"),
]  # fmt: skip
EVIL = "evil.example"
#: Headers by which a visitor or a proxy nobody trusts might claim another place.
CLAIMS: list[dict[str, str]] = [
    {"Host": EVIL}, {"Host": f"localhost.{EVIL}"}, {"Host": f"localhost@{EVIL}"}, {"Host": f"{EVIL}#localhost"},
    {"Host": "localhost:80@evil.example"}, {"Host": "[::ffff:1.2.3.4]"}, {"Host": "127.1"}, {"Host": "0x7f.1"},
    {"Host": "localhost\\evil.example"}, {"Host": "localhost/evil"}, {"Host": "LOCALHOST.evil.example"},
    {"Host": "ｌocalhost".encode().decode("latin1")}, {"Host": "localhost,evil.example"}, {"Host": "localhost evil.example"},
    {"X-Forwarded-Host": EVIL}, {"X-Forwarded-Host": f"localhost, {EVIL}"}, {"X-Host": EVIL}, {"X-Forwarded-Server": EVIL},
    {"X-Original-Host": EVIL}, {"X-HTTP-Host-Override": EVIL}, {"Forwarded": f"host={EVIL};proto=http"},
    {"X-Forwarded-Proto": "http"}, {"X-Forwarded-Scheme": "http"}, {"X-Forwarded-Port": "8080"},
    {"X-Forwarded-Prefix": f"//{EVIL}"},
    {"X-Script-Name": f"//{EVIL}"}, {"X-Rewrite-URL": "/audit"}, {"X-Original-URL": "/audit"}, {"X-Forwarded-For": "203.0.113.7"},
    {"X-Real-IP": "203.0.113.7"}, {"True-Client-IP": "203.0.113.7"},
]  # fmt: skip


@pytest.mark.parametrize(("status", "method", "address"), STATUSES)
def test_every_status_carries_its_headers(town: Town, status: int, method: str, address: str) -> None:
    guest = town.guests["property_manager@property"]
    body: Any = {"file": "x" * (9 * 1024 * 1024)} if status == 413 else {}
    if status == 403:
        guest = town.guests["cashier@property"]
    # `ask` itself refuses an answer whose headers or cookies are not right.
    assert town.ask(guest, method, address, **({"data": body} if method != "GET" else {})).status_code == status


def test_a_failure_inside_carries_its_headers(town: Town) -> None:
    def broken() -> str:
        raise RuntimeError("the innards")

    if "broken" not in town.app.view_functions:
        town.app._got_first_request = False
        town.app.add_url_rule("/broken", "broken", public(broken))
    answer = town.ask(town.guests["stranger"], "GET", "/broken")
    town.app.view_functions.pop("broken")
    assert answer.status_code == 500
    assert b"innards" not in answer.data


@pytest.mark.parametrize(
    "claim", CLAIMS, ids=lambda claim: next(iter(claim.items()))[0] + "=" + next(iter(claim.values()))[:20]
)
@pytest.mark.parametrize("address", ["/sign-in", "/password", "/no/such/page", "/rooms"])
def test_nobody_talks_us_into_another_host(town: Town, address: str, claim: dict[str, str]) -> None:
    answer = town.app.test_client().get(address, base_url=HOME, headers=claim, buffered=True)
    said = str(answer.headers) + answer.get_data(as_text=True)
    if "Host" in claim:
        assert answer.status_code == 400
    assert EVIL not in said
    assert "http://" not in answer.headers.get("Location", "")
    assert faults_of(answer) == []


TAKES_FILES = [r for r in routes() if not r.is_safe and r.need != PUBLIC and r.takes_files()]
NAMES = (
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "a/../../b.xlsx",
    "%2e%2e%2fx.xlsx",
    "x" * 300 + ".xlsx",
)
MEMORY_MAX = 100 * 1024 * 1024


@pytest.mark.parametrize("route", TAKES_FILES, ids=lambda route: route.name)
def test_files_that_are_not_what_they_seem_are_refused(town: Town, route: Route) -> None:
    guest = holder_of(town, route)
    tracemalloc.start()
    said = [_send(town, route, guest, name, content) for name, content in _files()]
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(said) <= {200, 303, 400, 413, 415, 422}, said
    assert most < MEMORY_MAX


def _send(town: Town, route: Route, guest: Guest, name: str, content: bytes) -> int:
    file = (io.BytesIO(content), name)
    form = form_of(town, route, OWN) | {"deed": "check", "csrf_token": guest.form_token, "file": file}
    answer = town.ask(guest, route.method, address_of(town, route, guest, OWN), data=form)
    page = answer.get_data(as_text=True)
    assert "root:x:0" not in page
    assert tempfile.gettempdir() not in page
    return int(answer.status_code)


def _files() -> list[tuple[str, bytes]]:
    """(name, content) of files that bite: bombs, entities, links out, and what is no workbook at all."""
    entity = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
    laughs = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
    ) + b"]><x>&j;</x>"  # fmt: skip
    zeros = b"\0" * (60 * 1024 * 1024)
    parts = ("[Content_Types].xml", "xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml")
    books = [_packed(dict.fromkeys(parts, content)) for content in (entity, laughs, zeros, b"")]
    return [
        *((f"book{number}.xlsx", content) for number, content in enumerate(books)),
        ("slip.xlsx", _packed({"../../../../tmp/slip": b"x", **dict.fromkeys(parts, b"<x/>")})),
        ("plain.xlsx", b"not a workbook"), ("empty.xlsx", b""), ("page.html", b"<script>alert(1)</script>"),
        ("formula.csv", "表号,示数\n=cmd|' /C calc'!A0,1\n".encode()), *((name, b"PK\x03\x04") for name in NAMES),
    ]  # fmt: skip


def _packed(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("consumer", sorted(HANDLERS))
def test_a_job_handed_another_tenant_s_ids_does_nothing_with_them(town: Town, consumer: str) -> None:
    """S08: the tenant of a job is its own; ids of another's payload are nobody's there."""
    deliveries = _of_others(town, consumer)
    with unit_of_work(town.worlds[FOREIGN].tenant_id, db=town.db) as session:
        before = _told(session)
    said = [word for delivery in deliveries for word in _handle(town, consumer, delivery)]
    assert said == []
    with unit_of_work(town.worlds[FOREIGN].tenant_id, db=town.db) as session:
        assert _told(session) == before


def _handle(town: Town, consumer: str, delivery: Delivery) -> list[str]:
    """What the handler wrote with a canary in it; a loud refusal writes nothing."""
    with suppress(SQLAlchemyError, AppError, LookupError, ValueError):
        with unit_of_work(town.worlds[OWN].tenant_id, db=town.db) as session, session.begin_nested() as taken_back:
            HANDLERS[consumer](session, [delivery])
            session.flush()
            written = session.execute(text(WRITTEN_HERE)).scalars().all()
            taken_back.rollback()
            return [row for row in written if "CANARY" in row]
    return []


#: Notices and outbox rows that the open transaction has written.
WRITTEN_HERE = """
    SELECT t::text FROM notices t WHERE xmin::text::bigint >= pg_current_xact_id()::text::bigint & 4294967295 UNION ALL
    SELECT t::text FROM webhook_deliveries t WHERE xmin::text::bigint >= pg_current_xact_id()::text::bigint & 4294967295"""


def _of_others(town: Town, consumer: str) -> list[Delivery]:
    with unit_of_work(town.worlds[FOREIGN].tenant_id, db=town.db) as session:
        told = (
            select(OutboxEvent)
            .where(OutboxEvent.id.in_(select(OutboxDelivery.event_id).where(OutboxDelivery.consumer == consumer)))
            .order_by(OutboxEvent.id)
            .limit(20)
        )  # fmt: skip
        return [Delivery(e.id, e.kind, e.payload, 0, "", e.id, e.created_at) for e in session.scalars(told)]


def _told(session: Any) -> list[int]:
    tables = ("notices", "commands", "ledger_entries", "receipts", "account_days", "audit_records", "outbox_events")
    return [session.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in tables]
