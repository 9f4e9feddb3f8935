"""Refusals of weight leave a record although the request's own work is rolled back; and nothing typed forges a line."""

import logging
from collections.abc import Callable

import pytest
from flask import Flask, request
from sqlalchemy import select

from app.kernel.db import Database
from app.kernel.logs import LineFormatter
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.tenants.models import AuditRecord
from tests.factories.history import pay, public_id
from tests.factories.world import World
from tests.web.audit_watch import UNRECORDED
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
DEED = "access:deed:refuse"


def refusals(db: Database, world: World) -> list[AuditRecord]:
    """Records of refused requests, oldest first."""
    with unit_of_work(world.tenant_id, db=db) as session:
        found = select(AuditRecord).where(AuditRecord.deed == DEED).order_by(AuditRecord.id)
        return list(session.scalars(found))


def test_a_page_without_the_right_is_refused_and_recorded(visit: Visit, world: World, db: Database) -> None:
    cashier = visit(world, Role.CASHIER)
    assert cashier.get("/entries").status_code == 403
    [told] = refusals(db, world)
    assert (told.actor, told.subject, told.result) == (f"user:{cashier.user_id}", "routes:entries", "refused")
    assert told.facts == {"code": "forbidden", "method": "GET", "status": 403}
    assert told.address == "127.0.0.1"


def test_a_form_that_was_not_ours_is_refused_and_recorded(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    assert visitor.client.post(f"/accounts/{public_id(db, world)}/supply", data={"deed": "stop"}).status_code == 403
    assert [(told.subject, told.facts["code"]) for told in refusals(db, world)] == [
        ("routes:order_supply", "form_expired")
    ]


@pytest.mark.parametrize(
    ("address", "status"),
    [("/accounts/00000000-0000-7000-8000-000000000000", 404), ("/accounts", 200), ("/no/such/page", 404)],
)
def test_what_was_not_found_and_what_was_shown_leaves_no_refusal(
    visit: Visit, world: World, db: Database, address: str, status: int
) -> None:
    assert visit(world).get(address).status_code == status
    assert refusals(db, world) == []


def test_what_was_merely_typed_wrong_leaves_no_refusal(visit: Visit, world: World, db: Database) -> None:
    account = public_id(db, world)
    form = {"deed": "dance"}
    assert visit(world).post(f"/accounts/{account}/supply", form, token_from=f"/accounts/{account}").status_code == 422
    assert refusals(db, world) == []


def test_a_refused_request_takes_nothing_else_into_the_database(visit: Visit, world: World, db: Database) -> None:
    receipt = pay(db, world)
    cashier = visit(world, Role.CASHIER)
    before = records(db, world)
    assert cashier.post(f"/receipts/{receipt}/reverse", {"reason": "x"}, token_from="/counter").status_code == 403
    assert [told.deed for told in records(db, world)[len(before) :]] == [DEED]


def records(db: Database, world: World) -> list[AuditRecord]:
    """Every record, oldest first."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return list(session.scalars(select(AuditRecord).order_by(AuditRecord.id)))


FORGED = "\r\n2026-07-15 10:00:00 WARNING app.web: user:1 signed in\x1b[31m\u2028\u0085"


def test_nothing_typed_becomes_a_line_of_the_log_or_reaches_it_at_all(
    visit: Visit, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = visit(world)
    with caplog.at_level(logging.DEBUG, logger="app"):
        visitor.get("/search", query_string={"q": f"13912345678{FORGED}"})
        visitor.get("/audit", query_string={"words": FORGED, "who": FORGED, "subject": FORGED})
        visitor.get("/accounts/%0d%0aforged")
        visitor.client.post("/sign-in", data={"login": f"admin{FORGED}", "password": "geheim"})
    said = "\n".join(record.getMessage() for record in caplog.records)
    for typed in ("signed in", "13912345678", "geheim", "\x1b", "\u2028", "\r"):
        assert typed not in said


def test_a_failure_that_nobody_foresaw_is_logged_without_what_was_typed(
    app: Flask, visit: Visit, world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ValueError(f"cannot read {request.args['q']!r}")

    visitor = visit(world)
    monkeypatch.setitem(app.view_functions, "console.search", _as_view(app, fail))
    with caplog.at_level(logging.DEBUG, logger="app"):
        answer = visitor.get("/search", query_string={"q": f"张三 13912345678 {FORGED[2:20]}"})
    assert answer.status_code == 500
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    written = LineFormatter().format(record)
    assert "unexpected failure at GET /search" in written
    for typed in ("张三", "13912345678"):
        assert typed not in written
        assert typed not in answer.get_data(as_text=True)


def _as_view(app: Flask, fail: Callable[[], None]) -> Callable[[], None]:
    """A view that only fails, behind the guards of the one it stands in for."""
    fail.permission = app.view_functions["console.search"].permission  # type: ignore[attr-defined]
    return fail


def test_every_excuse_names_a_route_and_gives_a_reason(app: Flask) -> None:
    unsafe = {rule.endpoint for rule in app.url_map.iter_rules() if rule.methods and "POST" in rule.methods}
    assert set(UNRECORDED) <= unsafe
    assert all(len(reason) > 5 for reason in UNRECORDED.values())
