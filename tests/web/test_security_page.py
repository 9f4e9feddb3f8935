"""One's own security: factors, codes, sessions and the password, and the question asked again before what weighs."""

import io
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask, g, request
from sqlalchemy import select, update

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factors import list_factors
from app.permissions.models import SecurityPolicy, User, UserSession
from app.permissions.pins import PinNotEnough
from app.permissions.policy import Permission, Role
from app.permissions.service import disable_user, grant_role, set_password
from app.tenants import audit
from app.tenants.models import AuditRecord
from app.web.guards import factor_facts, requires
from tests.factories.authenticator import code, stand_mid_step
from tests.factories.world import World
from tests.web.conftest import PASSWORD, Visitor, make_user

SEEDER = Actor.system("tests")
Visit = Callable[..., Visitor]


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of thirty seconds ends within a test."""
    stand_mid_step(monkeypatch)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An application with two deeds of weight."""
    made = make_app()
    done: list[dict[str, str]] = []
    made.config["DONE"] = done

    @requires(Permission.PROPERTY_WALL_READ, fresh_factor=True)
    def weighty_page() -> str:
        return "weighty"

    @requires(Permission.PROPERTY_WALL_READ, fresh_factor=True)
    def weighty() -> str:
        done.append(dict(request.form) | factor_facts())
        audit.record(g.session, deed="test:deed:do", subject="tests:1", actor=SEEDER, facts=factor_facts())
        return "done"

    made.add_url_rule("/weighty", "weighty_page", weighty_page)
    made.add_url_rule("/weighty", "weighty", weighty, methods=["POST"])
    return made


def add_app(visitor: Visitor) -> tuple[str, list[str]]:
    """(secret, recovery codes) of an app added on the page, its first code a step old."""
    assert visitor.post("/security/totp", {"name": "手机"}, token_from="/security").location == "/security/totp"
    shown = re.search(r'<div class="hex mt-2">([A-Z2-7 ]+)</div>', visitor.text("/security/totp"))
    assert shown
    secret = shown[1].replace(" ", "")
    page = visitor.post("/security/totp/confirm", {"code": code(secret, steps=-1)}, token_from="/security/totp")
    return secret, re.findall(r"<li>([a-z0-9]{4}(?:-[a-z0-9]{4}){3})</li>", page.get_data(as_text=True))


def forget_factor(db: Database, world: World, visitor: Visitor) -> None:
    """Let six minutes pass since a factor was shown."""
    with unit_of_work(world.tenant_id, db=db) as session:
        past = wall_now() - timedelta(minutes=6)
        session.execute(update(UserSession).where(UserSession.user_id == visitor.user_id).values(factor_at=past))


def require(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.add(
            SecurityPolicy(
                second_factor_required=True, session_hours_max=12, session_idle_min=120, approval_hours_max=72,
                audit_keep_days=180,
            )
        )  # fmt: skip


# --- once more ---


def test_a_page_of_weight_asks_for_the_factor_and_comes_back(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    secret, _codes = add_app(visitor)
    assert visitor.text("/weighty?a=1") == "weighty", "just shown"
    forget_factor(db, world, visitor)
    answer = visitor.get("/weighty?a=1")
    assert (answer.status_code, answer.location) == (303, "/step-up?next=/weighty?a%3D1")
    page = visitor.text(answer.location)
    assert 'value="/weighty?a=1"' in page
    wrong = visitor.post("/step-up", {"answer": "nope", "next": "/weighty?a=1"}, token_from="/search")
    assert wrong.status_code == 401
    right = visitor.post("/step-up", {"answer": code(secret), "next": "/weighty?a=1"}, token_from="/search")
    assert right.location == "/weighty?a=1"
    assert visitor.text("/weighty?a=1") == "weighty"


def test_what_was_typed_is_kept_over_the_question(visit: Visit, world: World, db: Database, app: Flask) -> None:
    visitor = visit(world)
    secret, _codes = add_app(visitor)
    forget_factor(db, world, visitor)
    typed = {"amount": "88.50", "why": '重复 "付款" <b>&'}
    asked = visitor.post("/weighty", typed)
    assert asked.status_code == 403
    assert app.config["DONE"] == []
    fields = fields_of(asked.get_data(as_text=True))
    page = visitor.post("/step-up", fields | {"answer": code(secret)})
    assert 'action="/weighty"' in page.get_data(as_text=True)
    assert visitor.post("/weighty", fields_of(page.get_data(as_text=True))).get_data(as_text=True) == "done"
    assert [{name: one[name] for name in (*typed, "factor")} for one in app.config["DONE"]] == [
        typed | {"factor": "fresh"}
    ]


def fields_of(page: str) -> dict[str, object]:
    """Hidden fields of the page's forms, the forgery token left out."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    plain = {"&#34;": '"', "&lt;": "<", "&gt;": ">", "&amp;": "&"}
    fields: dict[str, object] = {}
    for name, value in found:
        for said, meant in plain.items():
            value = value.replace(said, meant)
        if name not in ("csrf_token", "answer"):
            fields[name] = value
    return fields


def test_a_form_without_fields_is_sent_again_and_one_with_a_file_leads_back_to_its_page(
    visit: Visit, world: World, db: Database
) -> None:
    visitor = visit(world)
    secret, codes = add_app(visitor)
    forget_factor(db, world, visitor)
    asked = visitor.post("/weighty", {})
    page = visitor.post("/step-up", fields_of(asked.get_data(as_text=True)) | {"answer": code(secret)})
    assert 'action="/weighty"' in page.get_data(as_text=True)
    forget_factor(db, world, visitor)
    visitor.client.environ_base["HTTP_REFERER"] = "http://127.0.0.1/rooms?a=1"
    asked = visitor.post("/weighty", {"file": (io.BytesIO(b"x"), "x.xlsx")})
    fields = fields_of(asked.get_data(as_text=True))
    assert (fields["next"], fields["kept"], fields["sent"]) == ("/rooms", "", "1")
    assert visitor.post("/step-up", fields | {"answer": codes[0]}).location == "/rooms"
    assert "请再提交一次" in visitor.text("/security")


def test_a_strangers_form_is_not_kept(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    add_app(visitor)
    forget_factor(db, world, visitor)
    answer = visitor.client.post("/weighty", data={"amount": "1"})
    assert answer.status_code == 403
    assert "step-up" not in answer.get_data(as_text=True)


@pytest.mark.parametrize("kept", ["{", "[1]", "[[1]]", '{"a":1}', "null", "9" * 200, "[" * 3000])
def test_a_garbled_form_is_not_sent_again(visit: Visit, world: World, db: Database, kept: str) -> None:
    visitor = visit(world)
    secret, _codes = add_app(visitor)
    answer = visitor.post("/step-up", {"answer": code(secret), "next": "/rooms", "kept": kept})
    assert (answer.status_code, answer.location) == (303, "/rooms")


def test_a_part_of_a_page_sends_the_whole_page_to_the_question(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    add_app(visitor)
    forget_factor(db, world, visitor)
    headers = {"HX-Request": "true", "HX-Current-URL": "http://127.0.0.1/rooms?state=zero"}
    answer = visitor.get("/weighty", headers=headers)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/step-up?next=/rooms?state%3Dzero")


def test_where_no_factor_is_asked_the_log_says_that_none_was_shown(
    visit: Visit, world: World, db: Database, app: Flask
) -> None:
    visitor = visit(world)
    assert visitor.post("/weighty", {"amount": "1"}).get_data(as_text=True) == "done"
    assert app.config["DONE"][0]["factor"] == "none"
    with unit_of_work(world.tenant_id, db=db) as session:
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "user:factor:waive")).one()
    assert told.facts == {"factor": "none", "view": "weighty"}


def test_who_has_none_where_one_is_required_is_led_to_set_it_up(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world, Role.READ_ONLY)
    require(db, world)
    for answer in (visitor.get("/weighty"), visitor.post("/weighty", {})):
        assert (answer.status_code, answer.location) == (303, "/security")
    assert "这项操作需要二次验证" in visitor.text("/security")


def test_five_wrong_answers_and_the_question_rests(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    secret, _codes = add_app(visitor)
    said = [visitor.post("/step-up", {"answer": "nope"}).status_code for _turn in range(5)]
    assert said == [401] * 5
    assert visitor.post("/step-up", {"answer": code(secret)}).status_code == 429


# --- factors ---


def test_a_right_password_forgives_no_wrong_code(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    add_app(visitor)
    answers = []
    for _ in range(6):
        answers.append(visitor.post("/step-up", {"answer": "000000"}).status_code)
        change(visitor, PASSWORD, "short")  # right, and what follows is refused: nothing changes
    assert answers == [401] * 5 + [429]


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("/security/password", {"old": PASSWORD, "password": "correct-horse-7", "again": "correct-horse-7"}),
        ("/security/totp", {"name": "x"}),
        ("/security/totp/confirm", {"code": "123456"}),
        ("/security/passkeys", {"answer": "{}", "name": "x"}),
        ("/security/passkeys/options", {}),
        ("/security/recovery-codes", {}),
        ("/security/factors/00000000-0000-7000-8000-000000000000/remove", {}),
        ("/security/factors/00000000-0000-7000-8000-000000000000/rename", {"name": "x"}),
    ],
)
def test_six_digits_at_a_counter_change_nothing_that_guards_the_account(
    visit: Visit, world: World, db: Database, address: str, form: dict[str, object]
) -> None:
    visitor = visit(world, Role.CASHIER)
    with unit_of_work(world.tenant_id, db=db) as session:
        own = update(UserSession).where(UserSession.user_id == visitor.user_id)
        session.execute(own.values(opened_by="pin"))
    answer = visitor.post(address, form, token_from="/security")
    assert answer.status_code == 403
    assert PinNotEnough().message("zh") in answer.get_data(as_text=True)


def test_an_app_is_added_renamed_and_removed(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    _secret, codes = add_app(visitor)
    assert len(codes) == 10
    with unit_of_work(world.tenant_id, db=db) as session:
        factor = list_factors(session, user_id=visitor.user_id)[0].public_id
    where = f"/security/factors/{factor}"
    assert visitor.post(f"{where}/rename", {"name": ""}, token_from="/security").status_code == 422
    assert visitor.post(f"{where}/rename", {"name": "工作手机"}, token_from="/security").status_code == 303
    assert "工作手机" in visitor.text("/security")
    forget_factor(db, world, visitor)
    assert visitor.post(f"{where}/remove", token_from="/security").status_code == 403
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(UserSession).values(factor_at=wall_now()))
    assert visitor.post(f"{where}/remove", token_from="/security").status_code == 303
    assert visitor.post(f"{where}/remove", token_from="/security").status_code == 404
    assert visitor.post("/security/recovery-codes", token_from="/security").status_code == 404
    assert "还没有二次验证" in visitor.text("/security")


def test_the_last_factor_stays_where_one_is_required(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    add_app(visitor)
    require(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        factor = list_factors(session, user_id=visitor.user_id)[0].public_id
    answer = visitor.post(f"/security/factors/{factor}/remove", token_from="/security")
    assert answer.status_code == 409
    assert "最后一个" in answer.get_data(as_text=True)


def test_recovery_codes_are_made_anew(visit: Visit, world: World) -> None:
    visitor = visit(world)
    _secret, old = add_app(visitor)
    page = visitor.post("/security/recovery-codes", token_from="/security").get_data(as_text=True)
    new = re.findall(r"<li>([a-z0-9]{4}(?:-[a-z0-9]{4}){3})</li>", page)
    assert len(new) == 10
    assert not set(new) & set(old)


@pytest.mark.parametrize("typed", ["", "1", "abcdef", "١٢٣٤٥٦", "{}", "x" * 9000])
def test_a_first_code_that_is_none_is_refused(visit: Visit, world: World, typed: str) -> None:
    visitor = visit(world)
    visitor.post("/security/totp", {"name": "手机"}, token_from="/security")
    answer = visitor.post("/security/totp/confirm", {"code": typed}, token_from="/security/totp")
    assert answer.status_code in (401, 422)
    assert "Traceback" not in answer.get_data(as_text=True)
    assert "还没有二次验证" in visitor.text("/security")


def test_nobody_confirms_what_was_not_begun(visit: Visit, world: World) -> None:
    visitor = visit(world)
    assert visitor.get("/security/totp").location == "/security"
    assert visitor.post("/security/totp/confirm", {"code": "123456"}, token_from="/security").status_code == 303


def test_factors_and_sessions_of_others_are_not_there(visit: Visit, world: World, db: Database) -> None:
    mine, theirs = visit(world), visit(world)
    add_app(theirs)
    with unit_of_work(world.tenant_id, db=db) as session:
        factor = list_factors(session, user_id=theirs.user_id)[0].public_id
        open_ = session.scalars(select(UserSession.public_id).where(UserSession.user_id == theirs.user_id)).one()
    nowhere = "00000000-0000-7000-8000-000000000000"
    for address in (f"/security/factors/{factor}/remove", f"/security/factors/{factor}/rename",
                    f"/security/sessions/{open_}/end", f"/security/sessions/{nowhere}/end"):  # fmt: skip
        assert mine.post(address, {"name": "x"}, token_from="/security").status_code == 404
    assert theirs.get("/rooms").status_code == 200


# --- the password ---


def change(visitor: Visitor, old: str, new: str, again: str | None = None) -> int:
    data = {"old": old, "password": new, "again": new if again is None else again}
    return visitor.post("/security/password", data, token_from="/security").status_code


def test_a_new_password_needs_the_old_one_and_ends_the_other_sessions(visit: Visit, world: World, app: Flask) -> None:
    visitor = visit(world)
    other = Visitor(app.test_client())
    other.post("/sign-in", {"login": visitor.login, "password": PASSWORD}, token_from="/sign-in")
    new = "seven lamps on the bridge"
    assert change(visitor, "wrong", new) == 422
    assert change(visitor, PASSWORD, new, "another one") == 422
    assert change(visitor, PASSWORD, "short") == 422
    assert change(visitor, PASSWORD, "woaini1314520") == 422
    assert change(visitor, PASSWORD, f"{visitor.login}-2026") == 422
    assert other.get("/rooms").status_code == 200, "nothing happened so far"
    before = visitor.client.get_cookie("tallyhouse")
    assert change(visitor, PASSWORD, new) == 303
    after = visitor.client.get_cookie("tallyhouse")
    assert before is not None
    assert after is not None
    assert before.value != after.value
    assert other.get("/rooms").status_code == 302
    assert visitor.get("/rooms").status_code == 200
    thief = app.test_client()
    thief.set_cookie("tallyhouse", before.value)
    assert thief.get("/rooms").status_code == 302


# --- sessions ---


def test_ones_sessions_are_listed_this_one_marked_and_ended_one_by_one_or_all(
    visit: Visit, world: World, app: Flask, db: Database
) -> None:
    visitor = visit(world)
    others = [Visitor(app.test_client()) for _number in range(3)]
    agents = ("Mozilla/5.0 (iPhone) Version/17 Safari/605", "Mozilla/5.0 (Windows NT 10.0) Chrome/126", "curl/8")
    for other, agent in zip(others, agents, strict=True):
        other.client.environ_base["HTTP_USER_AGENT"] = agent
        other.post("/sign-in", {"login": visitor.login, "password": PASSWORD}, token_from="/sign-in")
    page = visitor.text("/security")
    assert page.count("本机") == 1
    assert all(words in page for words in ("Safari · iPhone", "Chrome · Windows", "curl"))
    with unit_of_work(world.tenant_id, db=db) as session:
        phone = session.scalars(select(UserSession.public_id).where(UserSession.agent == "Safari · iPhone")).one()
    visitor.post(f"/security/sessions/{phone}/end", token_from="/security")
    assert [other.get("/rooms").status_code for other in others] == [302, 200, 200]
    visitor.post("/security/sessions/end-others", token_from="/security")
    assert [other.get("/rooms").status_code for other in others] == [302, 302, 302]
    assert visitor.get("/rooms").status_code == 200


def test_refused_sign_ins_are_shown_to_their_person(visit: Visit, world: World, app: Flask) -> None:
    visitor = visit(world)
    Visitor(app.test_client()).post("/sign-in", {"login": visitor.login, "password": "wrong"}, token_from="/sign-in")
    page = visitor.text("/security")
    assert "密码错误" in page
    assert "成功" in page


def by_disabling(db: Database, world: World, user_id: int) -> None:
    make_user(db, world, Role.GROUP_ADMINISTRATOR, world.headquarters_id)
    with unit_of_work(world.tenant_id, db=db) as session:
        disable_user(session, user=session.get_one(User, (world.tenant_id, user_id)), by=SEEDER)


def by_password(db: Database, world: World, user_id: int) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        user = session.get_one(User, (world.tenant_id, user_id))
        set_password(session, user=user, password="seven lamps on the bridge", by=SEEDER)


def by_grant(db: Database, world: World, user_id: int) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        user = session.get_one(User, (world.tenant_id, user_id))
        grant_role(session, user=user, role=Role.READ_ONLY, node_id=world.property_id, by=SEEDER)


def by_policy(db: Database, world: World, user_id: int) -> None:
    require(db, world)


@pytest.mark.parametrize("end", [by_disabling, by_password, by_grant, by_policy])
def test_what_ends_a_session_ends_it_on_every_worker_with_the_next_request(
    visit: Visit, make_app: Callable[..., Flask], world: World, db: Database,
    end: Callable[[Database, World, int], None],
) -> None:  # fmt: skip
    visitor = visit(world)
    kept = visitor.client.get_cookie("tallyhouse")
    assert kept is not None
    second_worker = make_app().test_client()
    second_worker.set_cookie("tallyhouse", kept.value)
    assert (visitor.get("/rooms").status_code, second_worker.get("/rooms").status_code) == (200, 200)
    end(db, world, visitor.user_id)
    assert (second_worker.get("/rooms").status_code, visitor.get("/rooms").status_code) == (302, 302)


def test_signing_out_on_one_worker_ends_the_session_on_the_other(
    visit: Visit, make_app: Callable[..., Flask], world: World
) -> None:
    visitor = visit(world)
    kept = visitor.client.get_cookie("tallyhouse")
    assert kept is not None
    second_worker = make_app().test_client()
    second_worker.set_cookie("tallyhouse", kept.value)
    visitor.post("/sign-out")
    assert second_worker.get("/rooms").status_code == 302


@pytest.mark.parametrize("value", ["", "x", "a.b.c", "é", "eyJ9.x.y", ".eJw.aa", "{}", "%00", "0" * 3000])
def test_a_garbled_session_cookie_is_a_stranger(app: Flask, value: str) -> None:
    client = app.test_client()
    client.set_cookie("tallyhouse", value)
    answer = client.get("/rooms")
    assert answer.status_code == 302
    assert "Traceback" not in answer.get_data(as_text=True)
