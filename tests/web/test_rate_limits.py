"""Limits: whose they are, what the answer says, that nobody else feels them, and that Redis may be away.

The windows of these tests are a day long, so that no test depends on how long it takes.
"""

import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Permission, Role
from app.permissions.tokens import issue_token
from app.web.limits import EXPORT, SIGN_IN, UNCOUNTED, Known, TooManyRequests
from app.web.limits import Asker as Whose
from tests.factories.world import World, unique
from tests.web.conftest import PASSWORD, SEEDER, Visitor, make_user

MakeApp = Callable[..., Flask]
MANY = "1000/day"
#: A customer whom nobody has.
NOBODY = "/customers/00000000-0000-7000-8000-000000000000"


@pytest.fixture
def limited(make_app: MakeApp) -> MakeApp:
    """An application with limits, on counters of its own."""
    return lambda **wishes: make_app(SECRET_KEY=unique("limits-") + "0" * 32, **wishes)


def signed_in(app: Flask, db: Database, world: World, role: Role = Role.GROUP_ADMINISTRATOR) -> Visitor:
    login, user_id = make_user(
        db, world, role, world.headquarters_id if role is Role.GROUP_ADMINISTRATOR else world.property_id
    )
    visitor = Visitor(app.test_client(), login, user_id)
    assert visitor.post("/sign-in", {"login": login, "password": PASSWORD}, token_from="/sign-in").status_code == 302
    # The first request with a new session is a stranger's: only its end tells whose it is.
    assert visitor.get("/search").status_code == 200
    return visitor


def ask_until_refused(ask: Callable[[], TestResponse], most: int = 30) -> tuple[int, TestResponse]:
    """How many requests went through before one was refused, and the refusal."""
    for count in range(most):
        answer = ask()
        if answer.status_code == 429:
            return count, answer
    raise AssertionError(f"{most} requests and no refusal")


def is_refusal(answer: TestResponse) -> bool:
    """A page or a body with a name, and the seconds to wait."""
    return answer.status_code == 429 and 0 < int(answer.headers["Retry-After"]) <= 86_401


def test_a_person_is_stopped_and_told_when_to_come_back(limited: MakeApp, db: Database, world: World) -> None:
    app = limited(LIMIT_USER="5/day")
    one, other = signed_in(app, db, world), signed_in(app, db, world)
    went, refused = ask_until_refused(lambda: one.get("/search"))
    assert went == 5
    assert is_refusal(refused)
    page = refused.get_data(as_text=True)
    assert "请求太频繁" in page
    assert refused.headers["Retry-After"] in page
    assert refused.headers["Content-Security-Policy"]
    assert other.get("/search").status_code == 200


def test_a_second_browser_is_the_same_person(limited: MakeApp, db: Database, world: World) -> None:
    app = limited(LIMIT_USER="5/day")
    one = signed_in(app, db, world)
    ask_until_refused(lambda: one.get("/search"))
    again = Visitor(app.test_client(), one.login)
    again.post("/sign-in", {"login": one.login, "password": PASSWORD}, token_from="/sign-in")
    again.get("/search")
    assert again.get("/search").status_code == 429


def test_the_flood_of_a_group_is_its_own(
    limited: MakeApp, db: Database, world: World, make_world: Callable[..., World]
) -> None:
    app = limited(LIMIT_TENANT="8/day")
    loud = [signed_in(app, db, world) for _each in range(2)]
    quiet = signed_in(app, db, make_world(spaces=1))
    ask_until_refused(lambda: loud[0].get("/search"))
    assert loud[1].get("/search").status_code == 429
    assert quiet.get("/search").status_code == 200


def token(db: Database, world: World) -> str:
    with unit_of_work(world.tenant_id, db=db) as session:
        return issue_token(
            session, node_id=world.property_id, name="抄表系统", permissions=[Permission.READING_IMPORT_LOAD],
            expires_at=wall_now() + timedelta(days=1), by=SEEDER,
        )  # fmt: skip


def send(client: FlaskClient, raw: str, **options: object) -> TestResponse:
    headers = {"Authorization": f"Bearer {raw}", "Idempotency-Key": "k"}
    return client.post("/api/v1/readings", json={"readings": []}, headers=headers, **options)


def test_a_token_is_stopped_in_json(limited: MakeApp, db: Database, world: World) -> None:
    app = limited(LIMIT_TOKEN="4/day", LIMIT_TENANT=MANY)
    client, raw, other = app.test_client(), token(db, world), token(db, world)
    went, refused = ask_until_refused(lambda: send(client, raw))
    assert went == 5
    assert is_refusal(refused)
    assert refused.get_json()["error"]["code"] == TooManyRequests.code
    assert send(client, other).status_code == 422


def test_made_up_tokens_count_against_the_address_they_come_from(limited: MakeApp, db: Database, world: World) -> None:
    app = limited(LIMIT_ADDRESS="5/day")
    client, good = app.test_client(), token(db, world)
    assert send(client, good).status_code == 422
    numbers = iter(range(100))
    went, _refused = ask_until_refused(lambda: send(client, f"th_{next(numbers):043d}"))
    assert went == 4
    assert send(client, good).status_code == 422
    assert send(client, "th_x", environ_base={"REMOTE_ADDR": "203.0.113.9"}).status_code == 401


@pytest.mark.parametrize("path", ["/sign-in", "/password"])
def test_signing_in_is_tighter_and_by_address(limited: MakeApp, path: str) -> None:
    app = limited(LIMIT_SIGN_IN="3/day", LIMIT_ADDRESS=MANY)
    client = app.test_client()
    went, refused = ask_until_refused(lambda: client.post(path, data={}))
    assert went == 3
    assert is_refusal(refused)
    assert client.get("/sign-in").status_code == 200
    assert client.post(path, data={}, environ_base={"REMOTE_ADDR": "203.0.113.9"}).status_code != 429


FORWARDED = (
    "1.2.3.{n}", "{n}.2.3.4, 9.9.9.9", "unknown-{n}", "2001:db8::{n}", "127.0.0.{n}", "{n}.{n}.{n}.{n}:80", "evil\t{n}",
)  # fmt: skip


@pytest.mark.parametrize("forwarded", FORWARDED)
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "X-Client-IP"])
def test_no_header_chooses_the_key(limited: MakeApp, forwarded: str, header: str) -> None:
    client, numbers = limited(LIMIT_ADDRESS="3/day").test_client(), iter(range(1, 100))
    went, _refused = ask_until_refused(
        lambda: client.get("/sign-in", headers={header: forwarded.format(n=next(numbers))})
    )
    assert went == 3


def test_behind_proxies_only_what_they_added_counts(limited: MakeApp) -> None:
    client = limited(LIMIT_ADDRESS="3/day", TRUSTED_PROXIES="1").test_client()
    numbers = iter(range(1, 100))

    def ask(last: str) -> TestResponse:
        return client.get("/sign-in", headers={"X-Forwarded-For": f"10.0.0.{next(numbers)}, {last}"})

    assert ask_until_refused(lambda: ask("203.0.113.9"))[0] == 3
    assert ask("203.0.113.10").status_code == 200


def test_of_ipv6_a_customer_is_a_network(limited: MakeApp) -> None:
    client, numbers = limited(LIMIT_ADDRESS="3/day").test_client(), iter(range(1, 100))
    went, _refused = ask_until_refused(
        lambda: client.get("/sign-in", environ_base={"REMOTE_ADDR": f"2001:db8:0:7::{next(numbers):x}"})
    )
    assert went == 3
    assert client.get("/sign-in", environ_base={"REMOTE_ADDR": "2001:db8:0:8::1"}).status_code == 200


def test_health_and_static_files_are_not_counted(limited: MakeApp) -> None:
    client = limited(LIMIT_ADDRESS="1/day").test_client()
    for path in ("/healthz", "/static/app.css", "/healthz", "/static/app.css"):
        with client.get(path) as answer:
            assert answer.status_code == 200


def test_without_redis_each_process_counts_for_itself(make_app: MakeApp) -> None:
    client = make_app(REDIS_URL="redis://127.0.0.1:1/0", LIMIT_ADDRESS="3/day").test_client()
    went, refused = ask_until_refused(lambda: client.get("/sign-in"))
    assert went == 3
    assert is_refusal(refused)


def test_two_installations_on_one_redis_count_apart(limited: MakeApp) -> None:
    assert os.environ["REDIS_URL"]
    first, second = (limited(LIMIT_ADDRESS="2/day").test_client() for _each in range(2))
    ask_until_refused(lambda: first.get("/sign-in"))
    assert second.get("/sign-in").status_code == 200


def test_two_processes_of_one_installation_count_together(make_app: MakeApp) -> None:
    wishes = {"SECRET_KEY": unique("limits-") + "0" * 32, "LIMIT_ADDRESS": "2/day"}
    first, second = (make_app(**wishes).test_client() for _each in range(2))
    ask_until_refused(lambda: first.get("/sign-in"))
    assert second.get("/sign-in").status_code == 429


def test_what_is_tighter_is_named_as_the_rules_expect(app: Flask) -> None:
    names = {rule.endpoint for rule in app.url_map.iter_rules()}
    assert names >= UNCOUNTED

    def marked(words: tuple[str, ...]) -> set[str]:
        return {name for name in names if any(word in name for word in words)}

    assert marked(SIGN_IN) >= {"console.sign_in", "console.step_up", "console.password_asked"} & names
    assert marked(EXPORT) >= {"console.audit_export", "console.customer_export"}


@pytest.mark.parametrize(
    ("setting", "ask"),
    [
        ("LIMIT_UNMASK", lambda visitor: visitor.post(f"{NOBODY}/phone", {"reason": "核对"}, token_from="/search")),
        ("LIMIT_UNMASK", lambda visitor: visitor.post(f"{NOBODY}/documents/id_number", {}, token_from="/search")),
        ("LIMIT_EXPORT", lambda visitor: visitor.post(f"{NOBODY}/export", {}, token_from="/search")),
        ("LIMIT_EXPORT", lambda visitor: visitor.get("/energy?format=csv")),
    ],
)
def test_numbers_made_readable_and_files_taken_away_are_counted_apart(
    limited: MakeApp, db: Database, world: World, setting: str, ask: Callable[[Visitor], TestResponse]
) -> None:
    visitor = signed_in(limited(**{setting: "2/day"}), db, world, Role.PROPERTY_MANAGER)
    ask_until_refused(lambda: ask(visitor))
    assert visitor.get("/search").status_code == 200


def test_the_oldest_secrets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.limits.KNOWN_MAX", 2)
    known = Known()
    for number in range(3):
        known.note(bytes([number]), Whose(number, f"user:{number}"))
    assert [known.find(bytes([n])) is not None for n in range(3)] == [False, True, True]
    assert known.find(None) is None
