"""The page of API tokens: issue, show once, revoke; and what the API answers to tokens that are none."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select

from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import ApiToken
from app.permissions.policy import Permission, Role
from app.tenants.models import AuditRecord, Node
from tests.factories.world import World, add_property
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
SHOWN = re.compile(r'id="token-raw">(th_[A-Za-z0-9_-]{43})<')


def form(db: Database, world: World, node_id: int, **more: object) -> dict[str, object]:
    with unit_of_work(world.tenant_id, db=db) as session:
        place = session.scalars(select(Node.public_id).where(Node.id == node_id)).one()
    return {
        "name": "抄表系统", "place": str(place), "permissions": ["reading:import:load"], "days": "90", "addresses": "",
        **more,
    }  # fmt: skip


def test_a_token_is_issued_shown_once_used_and_revoked(visit: Visit, app: Flask, db: Database, world: World) -> None:
    visitor = visit(world)
    answer = visitor.post("/tokens", form(db, world, world.property_id, addresses="127.0.0.1\n203.0.113.0/24\n"))
    raw = SHOWN.search(answer.get_data(as_text=True))
    assert answer.status_code == 200
    assert raw
    assert raw[1] not in visitor.text("/tokens")
    send = {"headers": {"Authorization": f"Bearer {raw[1]}", "Idempotency-Key": "k"}, "json": {"readings": []}}
    assert app.test_client().post("/api/v1/readings", **send).status_code == 422
    away = app.test_client().post("/api/v1/readings", **send, environ_base={"REMOTE_ADDR": "198.51.100.7"})
    assert (away.status_code, away.get_json()["error"]["code"]) == (403, "token_from_elsewhere")
    assert "198.51.100.7" in visitor.text("/tokens")
    with unit_of_work(world.tenant_id, db=db) as session:
        public_id = session.scalars(select(ApiToken.public_id)).one()
    assert visitor.post(f"/tokens/{public_id}/revoke").status_code == 303
    assert app.test_client().post("/api/v1/readings", **send).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [{"permissions": []}, {"permissions": ["money:topup:sell"]}, {"days": "3650"}, {"days": ""}, {"name": " "},
     {"addresses": "10.0.0.5/8"}],
)  # fmt: skip
def test_what_is_refused_keeps_what_was_typed(
    visit: Visit, db: Database, world: World, wrong: dict[str, object]
) -> None:
    visitor = visit(world)
    answer = visitor.post("/tokens", form(db, world, world.property_id, **wrong))
    assert answer.status_code == 422
    assert "没有签发" in answer.get_data(as_text=True)


def test_a_manager_sees_and_issues_at_their_own_place_only(visit: Visit, db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        sibling = add_property(session, world, name="隔壁苑")
    headquarters, manager = visit(world), visit(world, Role.PROPERTY_MANAGER)
    assert headquarters.post("/tokens", form(db, world, sibling, name="隔壁的令牌")).status_code == 200
    assert manager.post("/tokens", form(db, world, sibling)).status_code == 404
    assert manager.post("/tokens", form(db, world, world.headquarters_id)).status_code == 404
    page = manager.text("/tokens")
    assert "隔壁" not in page
    with unit_of_work(world.tenant_id, db=db) as session:
        theirs = session.scalars(select(ApiToken.public_id)).one()
    assert manager.post(f"/tokens/{theirs}/revoke").status_code == 404


def test_a_cashier_has_no_such_page(visit: Visit, world: World) -> None:
    assert visit(world, Role.CASHIER).get("/tokens").status_code == 403


def test_the_log_holds_the_deed_and_not_the_token(visit: Visit, db: Database, world: World) -> None:
    raw = SHOWN.search(visit(world).post("/tokens", form(db, world, world.property_id)).get_data(as_text=True))
    with unit_of_work(world.tenant_id, db=db) as session:
        record = session.scalars(select(AuditRecord).where(AuditRecord.deed == "api:token:issue")).one()
    assert raw is not None
    assert raw[1] not in str((record.after, record.facts))
    assert (record.after or {})["permissions"] == [Permission.READING_IMPORT_LOAD]


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "bearer th_", "Basic dGhfOg==", "Token x", "Bearer th_" + "a" * 43, "Bearer " + "é" * 43,
     "Bearer th_" + "a" * 5_000, "Bearer a b c", "Bearer ' OR 1=1 --", "Bearer eyJhbGciOiJub25lIn0.e30."],
)  # fmt: skip
def test_malformed_tokens_get_one_answer_and_no_trace(app: Flask, header: str) -> None:
    answer = app.test_client().post("/api/v1/readings", json={"readings": []}, headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.get_json()["error"]["code"] in ("token_missing", "token_unknown")
    assert "Traceback" not in answer.get_data(as_text=True)
