"""The readings API: who may, how often a batch counts, and what each row is called."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import response_schema_conformance
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.batches import BatchRow
from app.meters.models import Reading
from app.permissions.models import ApiToken
from app.permissions.policy import Permission
from app.permissions.tokens import issue_token, revoke_token
from app.tenants.models import Node
from app.web.api.readings import ROWS_MAX, parse_row
from tests.factories.world import World, add_property

LOADS = (Permission.READING_IMPORT_LOAD,)
BY = Actor.system("tests")
ROW = {"meter": "000000000001", "read_at": "2026-07-15T09:00:00+08:00", "register_wh": 120_500}


def token_for(db: Database, world: World, permissions: tuple[Permission, ...] = LOADS, at: int | None = None) -> str:
    """A token of the world's property."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return issue_token(
            session,
            node_id=at or world.property_id,
            name="抄表系统",
            permissions=permissions,
            expires_at=wall_now() + timedelta(days=1),
            by=BY,
        )


class Machine:
    """Another system that sends batches."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self.client, self.token = client, token

    def send(self, body: Any, *, key: str | None = "batch-1", **headers: str) -> TestResponse:
        """Post a batch; a list is taken for its rows."""
        given = {"Authorization": f"Bearer {self.token}", **headers}
        if key is not None:
            given["Idempotency-Key"] = key
        if isinstance(body, bytes):
            return self.client.post("/api/v1/readings", data=body, headers=given)
        return self.client.post(
            "/api/v1/readings", json={"readings": body} if isinstance(body, list) else body, headers=given
        )


@pytest.fixture
def machine(app: Flask, db: Database, world: World) -> Machine:
    """A machine with a token of the world's property."""
    return Machine(app.test_client(), token_for(db, world))


def code_of(answer: TestResponse) -> tuple[int, str]:
    """Status and error code."""
    return answer.status_code, answer.get_json()["error"]["code"]


def stored(db: Database, world: World) -> int:
    """Readings of the tenant."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(Reading)) or 0


def test_each_row_gets_its_own_result_and_good_rows_are_taken(machine: Machine, db: Database, world: World) -> None:
    rows = [
        ROW,
        ROW,
        ROW | {"meter": "000000000002", "register_wh": None, "register_kwh": "99.5"},
        ROW | {"meter": "404"},
        ROW | {"read_at": "2026-07-15T09:30:00"},
        ROW | {"read_at": "2026-07-15T09:30:00+08:00", "register_wh": 100},
        ROW | {"read_at": "2026-01-01T09:30:00+08:00"},
        ROW | {"read_at": "2025-12-31T09:30:00Z"},
    ]
    rows[2].pop("register_wh")
    answer = machine.send(rows)
    assert answer.status_code == 200
    said = answer.get_json()
    assert [(row["status"], row["flag"]) for row in said["rows"]] == [
        ("stored", "gap"),
        ("duplicate", "duplicate"),
        ("stored", "first"),
        ("refused", "meter_unknown"),
        ("refused", "read_at_without_offset"),
        ("case", "negative"),
        ("stored", "first"),
        ("refused", "too_old"),
    ]
    assert said["counts"] == {"stored": 3, "duplicate": 1, "refused": 3, "case": 1}
    assert stored(db, world) == 4


def test_a_batch_sent_again_gets_the_first_answer_and_counts_once(machine: Machine, db: Database, world: World) -> None:
    first, second = machine.send([ROW]), machine.send([ROW])
    assert first.get_json() | {"replayed": True} == second.get_json()
    assert (second.get_json()["rows"][0]["status"], stored(db, world)) == ("stored", 1)


def test_a_key_with_another_batch_is_refused(machine: Machine) -> None:
    machine.send([ROW])
    assert code_of(machine.send([ROW | {"register_wh": 1}])) == (409, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("authorization", "code"),
    [("", "token_missing"), ("Basic abc", "token_missing"), ("Bearer", "token_missing"), ("Bearer x", "token_unknown")],
)
def test_without_a_good_token_nobody_gets_in(machine: Machine, authorization: str, code: str) -> None:
    assert code_of(machine.send([ROW], Authorization=authorization)) == (401, code)


def test_a_revoked_or_expired_token_is_dead_at_once(machine: Machine, db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        token = session.scalars(select(ApiToken)).one()
        token.created_at, token.expires_at = wall_now() - timedelta(days=2), wall_now() - timedelta(days=1)
    assert code_of(machine.send([ROW])) == (401, "token_expired")
    with unit_of_work(world.tenant_id, db=db) as session:
        revoke_token(session, token_id=token.id, allowed=[world.property_id], by=BY)
    assert code_of(machine.send([ROW])) == (401, "token_unknown")


def test_a_token_without_the_permission_is_forbidden(app: Flask, db: Database, world: World) -> None:
    machine = Machine(app.test_client(), token_for(db, world, (Permission.METER_METER_READ,)))
    assert code_of(machine.send([ROW])) == (403, "forbidden")


def test_meters_of_a_sibling_property_or_another_tenant_are_unknown(
    app: Flask, db: Database, world: World, make_world: Callable[..., World]
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        sibling = add_property(session, world, name="隔壁苑")
    for token in (token_for(db, world, at=sibling), token_for(db, make_world(spaces=1))):
        answer = Machine(app.test_client(), token).send([ROW | {"meter": "000000000004"}])
        assert answer.get_json()["rows"] == [{"row": 0, "status": "refused", "flag": "meter_unknown"}]
    assert stored(db, world) == 0


def test_a_property_that_is_named_must_be_the_tokens(machine: Machine, db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        ids = {node.id: str(node.public_id) for node in session.scalars(select(Node))}
    body = {"readings": [ROW]}
    assert machine.send(body | {"property": ids[world.property_id]}).status_code == 200
    for other in (ids[world.headquarters_id], "00000000-0000-7000-8000-000000000000"):
        assert code_of(machine.send(body | {"property": other}, key="b")) == (404, "not_found")


def test_a_token_of_headquarters_must_name_the_property(app: Flask, db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        add_property(session, world, name="隔壁苑")
        own = str(session.scalars(select(Node.public_id).where(Node.id == world.property_id)).one())
    machine = Machine(app.test_client(), token_for(db, world, at=world.headquarters_id))
    assert code_of(machine.send([ROW])) == (422, "property_not_named")
    assert stored(db, world) == 0
    assert machine.send({"property": own, "readings": [ROW]}).status_code == 200
    assert stored(db, world) == 1


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        ([ROW], None, (422, "idempotency_key_missing")),
        ([ROW], "k" * 121, (422, "idempotency_key_missing")),
        (b"{", "k", (400, "body_unreadable")),
        (b"[" * 100_000, "k", (400, "body_unreadable")),
        ({}, "k", (422, "batch_invalid")),
        ([], "k", (422, "batch_invalid")),
        ({"readings": {}}, "k", (422, "batch_invalid")),
        ({"readings": [ROW], "extra": 1}, "k", (422, "batch_invalid")),
        ({"readings": [ROW], "property": "x"}, "k", (422, "batch_invalid")),
        ([ROW] * (ROWS_MAX + 1), "k", (413, "batch_too_large")),
        (b" " * (8 * 1024 * 1024 + 1), "k", (413, "http_413")),
    ],
)
def test_a_batch_that_is_no_batch_is_refused_whole(
    machine: Machine, body: Any, key: str | None, expected: tuple[int, str]
) -> None:
    headers = {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
    assert code_of(machine.send(body, key=key, **headers)) == expected


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (7, "row_not_an_object"),
        (ROW | {"price": 1}, "field_unknown"),
        (ROW | {"meter": ""}, "meter_missing"),
        (ROW | {"meter": "a\0"}, "meter_missing"),
        (ROW | {"meter": 12}, "meter_missing"),
        (ROW | {"register": "deep"}, "register_unknown"),
        (ROW | {"register": []}, "register_unknown"),
        (ROW | {"read_at": None}, "read_at_unreadable"),
        (ROW | {"read_at": "noon"}, "read_at_unreadable"),
        (ROW | {"read_at": "0001-01-01T00:00:00+08:00"}, "read_at_unreadable"),
        (ROW | {"read_at": "9999-12-31T23:59:59-08:00"}, "read_at_unreadable"),
        (ROW | {"register_wh": -1}, "register_unreadable"),
        (ROW | {"register_wh": True}, "register_unreadable"),
        (ROW | {"register_wh": 1.5}, "register_unreadable"),
        (ROW | {"register_wh": 10**30}, "register_unreadable"),
        (ROW | {"register_kwh": "1"}, "register_unreadable"),
        ({"meter": "1", "read_at": ROW["read_at"]}, "register_missing"),
        ({"meter": "1", "read_at": ROW["read_at"], "register_kwh": "x"}, "register_unreadable"),
        ({"meter": "1", "read_at": ROW["read_at"], "register_kwh": "1.2345"}, "register_too_fine"),
    ],
)
def test_each_way_a_row_can_be_wrong_has_a_name(row: Any, code: str) -> None:
    assert parse_row(row) == code


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
_rows = _json | st.fixed_dictionaries(
    {},
    optional={
        "meter": _json | st.just("000000000001"),
        "read_at": _json
        | st.datetimes().map(str)
        | st.datetimes(timezones=st.timezones()).map(lambda d: d.isoformat()),
        "register_wh": _json,
        "register_kwh": _json | st.decimals(allow_nan=True).map(str),
        "register": _json | st.sampled_from(["total", "peak"]),
    },
)


@given(row=_rows)
def test_no_row_whatever_it_holds_is_a_crash(row: Any) -> None:
    assert isinstance(parse_row(row), str | BatchRow)


@given(rows=st.lists(_rows, min_size=1, max_size=5))
def test_no_batch_whatever_it_holds_is_a_crash(machine: Machine, rows: list[Any]) -> None:
    answer = machine.send(
        json.dumps({"readings": rows}).encode(), key=str(uuid4()), **{"Content-Type": "application/json"}
    )
    assert answer.status_code == 200
    assert len(answer.get_json()["rows"]) == len(rows)


@pytest.fixture
def machine_app(app: Flask, db: Database, world: World) -> tuple[Flask, str]:
    """The application and a token."""
    return app, token_for(db, world)


def test_the_api_does_what_its_description_says(machine_app: tuple[Flask, str]) -> None:
    app, token = machine_app
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    assert set(schema["/api/v1/readings"]) == {"post"}

    @given(case=schema["/api/v1/readings"]["POST"].as_strategy())
    def ask(case: Any) -> None:
        answer = case.call(headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code in (200, 400, 401, 404, 409, 413, 422)
        case.validate_response(answer, checks=[response_schema_conformance])

    ask()
