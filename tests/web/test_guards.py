"""Nobody gets in who should not, nothing is done that was not asked for, and every answer carries its headers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask, request
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import User, UserSession
from app.permissions.policy import Permission, Role
from app.tenants.models import Node
from app.web.console.sign_in import LANDINGS
from app.web.guards import public
from tests.factories.history import public_id
from tests.factories.world import World, add_property, unique
from tests.web.conftest import PASSWORD, Visitor, make_user

Visit = Callable[..., Visitor]

HEADERS = (
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Referrer-Policy",
    "Permissions-Policy",
)


def test_every_route_names_a_permission_or_says_public(app: Flask) -> None:
    silent = [
        endpoint
        for endpoint, view in app.view_functions.items()
        if endpoint != "static"
        and not hasattr(view, "permission")
        and endpoint.split(".")[0] not in app.config["OWN_GUARDS"]
    ]
    assert silent == []


def test_what_is_public_is_a_short_list(app: Flask) -> None:
    public = {e for e, view in app.view_functions.items() if getattr(view, "permission", "") is None}
    assert public == {
        "console.sign_in_page", "console.sign_in", "console.sign_out", "console.preferences", "console.home",
        "console.factor_page", "console.factor", "console.enrol_page", "console.enrol", "console.passkey_options",
        "console.passkey_alone", "console.password_ask_page", "console.password_ask", "console.password_link_page",
        "console.password_link", "console.sso_page", "console.sso_begin", "console.sso_back", "console.switch_page",
        "console.switch_leave", "console.switch", "sms.take_report", "console.health", "api.take", "api.openapi",
        "resident.home", "resident.sign_in_page", "resident.sign_in_ask", "resident.sign_in_code_page",
        "resident.sign_in_code",
    }  # fmt: skip


def test_a_view_without_a_permission_is_refused_for_everybody(app: Flask) -> None:
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    answer = app.test_client().get("/forgotten")
    assert answer.status_code == 403
    assert b"secret" not in answer.data


def test_strangers_are_sent_to_the_sign_in_and_brought_back(app: Flask) -> None:
    answer = app.test_client().get("/rooms?state=zero")
    assert answer.status_code == 302
    assert answer.location == "/sign-in?next=/rooms?state%3Dzero"


@pytest.mark.parametrize(
    ("wanted", "landed"),
    [
        ("/rooms", "/rooms"),
        ("//evil.example/x", "/home"),
        ("https://evil.example", "/home"),
        ("/\\evil.example", "/home"),
        ("", "/home"),
    ],
)
def test_sign_in_brings_nobody_to_another_site(
    app: Flask, db: Database, world: World, wanted: str, landed: str
) -> None:
    login, _id = make_user(db, world, Role.GROUP_ADMINISTRATOR, world.headquarters_id)
    visitor = Visitor(app.test_client())
    answer = visitor.post(f"/sign-in?next={wanted}", {"login": login, "password": PASSWORD}, token_from="/sign-in")
    assert answer.location == landed


def test_a_wrong_password_and_an_unknown_name_answer_alike(app: Flask, db: Database, world: World) -> None:
    login, _id = make_user(db, world, Role.CASHIER, world.property_id)
    visitor = Visitor(app.test_client())
    wrong = visitor.post("/sign-in", {"login": login, "password": "wrong"}, token_from="/sign-in")
    unknown = visitor.post("/sign-in", {"login": unique("nobody"), "password": "wrong"}, token_from="/sign-in")
    assert wrong.status_code == unknown.status_code == 401
    assert "登录名或密码不正确" in wrong.get_data(as_text=True)
    assert "登录名或密码不正确" in unknown.get_data(as_text=True)


def test_somebody_else_signs_in_at_the_same_browser(
    visit: Visit, app: Flask, make_world: Callable[..., World], db: Database
) -> None:
    first, second = make_world(), make_world()
    visitor = visit(first)
    wrong = visitor.post("/sign-in", {"login": unique("nobody"), "password": "wrong"}, token_from="/rooms")
    assert wrong.status_code == 401
    login, _id = make_user(db, second, Role.CASHIER, second.property_id)
    answer = visitor.post("/sign-in", {"login": login, "password": PASSWORD}, token_from="/sign-in")
    assert answer.status_code == 302
    assert visitor.get("/home").location == "/counter"


def test_after_many_failures_the_name_waits(app: Flask, db: Database, world: World) -> None:
    login, _id = make_user(db, world, Role.CASHIER, world.property_id)
    visitor = Visitor(app.test_client())
    said = [
        visitor.post("/sign-in", {"login": login, "password": "wrong"}, token_from="/sign-in").status_code
        for _try in range(8)
    ]
    assert said[0] == 401
    assert said[-1] == 429


@pytest.mark.parametrize("address", ["/sign-in", "/", "/nowhere", "/static/app.css", "/webhooks/sms"])
def test_every_answer_carries_the_security_headers(app: Flask, address: str) -> None:
    answer = app.test_client().get(address)
    answer.close()
    assert [name for name in HEADERS if name not in answer.headers] == []
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_pages_hold_no_inline_handlers_and_no_inline_styles(visit: Visit, world: World) -> None:
    page = visit(world).text("/rooms")
    assert " onclick=" not in page
    assert " style=" not in page
    assert "<style" not in page


def test_cookies_are_bound_to_the_host_behind_tls(make_app: Callable[..., Flask]) -> None:
    answer = make_app(TLS="1").test_client().get("/sign-in", base_url="https://127.0.0.1")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-tallyhouse=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_cookies_work_without_tls_on_a_loopback(app: Flask) -> None:
    cookie = app.test_client().get("/sign-in").headers["Set-Cookie"]
    assert cookie.startswith("tallyhouse=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize(
    ("proxies", "said", "believed"),
    [
        ("0", "203.0.113.7", "127.0.0.1"),
        ("1", "203.0.113.7", "203.0.113.7"),
        ("1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("2", "198.51.100.1, 203.0.113.7", "198.51.100.1"),
        ("2", "203.0.113.7", "127.0.0.1"),
    ],
)
def test_only_the_proxies_in_front_say_where_somebody_is(
    make_app: Callable[..., Flask], proxies: str, said: str, believed: str
) -> None:
    app = make_app(TRUSTED_PROXIES=proxies)
    app.add_url_rule("/where", "where", public(lambda: str(request.remote_addr)))
    headers = {"X-Forwarded-For": said, "X-Forwarded-Host": "evil.example"}
    assert app.test_client().get("/where", headers=headers).get_data(as_text=True) == believed


def test_an_unknown_host_is_refused(app: Flask) -> None:
    assert app.test_client().get("/sign-in", base_url="http://evil.example").status_code == 400


def test_a_trusted_host_is_answered(make_app: Callable[..., Flask]) -> None:
    app = make_app(TRUSTED_HOSTS="tally.example, 127.0.0.1")
    assert app.test_client().get("/sign-in", base_url="http://tally.example").status_code == 200


def test_a_post_without_its_token_does_nothing(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world, Role.CASHIER)
    answer = visitor.client.post(
        f"/counter/{public_id(db, world)}", data={"amount": "50", "channel": "cash", "key": "k"}
    )
    assert answer.status_code == 403
    assert "这张表单已失效" in answer.get_data(as_text=True)
    assert "¥0.00" in visitor.text(f"/counter/{public_id(db, world)}")


def test_a_body_beyond_the_limit_is_refused(visit: Visit, world: World) -> None:
    visitor = visit(world)
    answer = visitor.post("/onboarding", {"file": "x" * (9 * 1024 * 1024)})
    assert answer.status_code == 413


def test_signing_out_ends_the_session_on_the_server(visit: Visit, world: World, app: Flask) -> None:
    visitor = visit(world)
    stolen = visitor.client.get_cookie("tallyhouse")
    assert stolen is not None
    visitor.post("/sign-out")
    thief = app.test_client()
    thief.set_cookie("tallyhouse", stolen.value)
    assert thief.get("/").status_code == 302


@pytest.mark.parametrize(
    "change",
    [
        {"revoked_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"expires_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"seen_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"session_version": 99},
    ],
)
def test_a_dead_session_is_a_stranger(visit: Visit, world: World, db: Database, change: dict[str, object]) -> None:
    visitor = visit(world)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(UserSession).where(UserSession.user_id == visitor.user_id).values(**change))
    assert visitor.get("/").status_code == 302


def test_a_disabled_person_is_out_at_once(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(
            update(User).where(User.id == visitor.user_id).values(disabled_at=datetime(2026, 7, 1, tzinfo=UTC))
        )
    assert visitor.get("/").status_code == 302


def test_using_a_session_keeps_it_alive(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    with unit_of_work(world.tenant_id, db=db) as session:
        mine = session.get_one(UserSession, _key(session, visitor))
        earlier = mine.seen_at - timedelta(minutes=30)
        mine.seen_at = earlier
    visitor.text("/rooms")
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.get_one(UserSession, _key(session, visitor)).seen_at > earlier


def _key(session: Session, visitor: Visitor) -> tuple[int, bytes]:
    row = session.execute(
        select(UserSession.tenant_id, UserSession.digest).where(UserSession.user_id == visitor.user_id)
    ).one()
    return row.tenant_id, row.digest


@pytest.mark.parametrize(
    "address", ["/", "/meters", "/entries", "/plans", "/readings/import", "/onboarding", "/energy"]
)
def test_a_cashier_is_told_which_permission_is_missing(visit: Visit, world: World, address: str) -> None:
    answer = visit(world, Role.CASHIER).get(address)
    assert answer.status_code == 403
    assert ":" in answer.get_data(as_text=True)


def test_a_cashier_sees_only_links_that_answer(visit: Visit, world: World) -> None:
    visitor = visit(world, Role.CASHIER)
    page = visitor.text("/counter")
    links = re.findall(r'class="rail-link" href="([^"]+)"', page)
    assert len(links) >= 4
    assert {visitor.get(link).status_code for link in links} == {200}


def test_everybody_lands_on_a_page_of_their_role(visit: Visit, world: World) -> None:
    landed = {role: visit(world, role).get("/home").location for role in Role}
    assert landed[Role.CASHIER] == "/counter"
    assert landed[Role.GROUP_ADMINISTRATOR] == "/"
    assert {permission for permission, _endpoint in LANDINGS} >= {Permission.MONEY_TOPUP_SELL}


def test_another_property_and_another_group_answer_like_nothing_there(
    visit: Visit, make_world: Callable[..., World], db: Database
) -> None:
    mine, theirs = make_world(), make_world()
    with unit_of_work(mine.tenant_id, db=db) as session:
        elsewhere = add_property(session, mine, name="翠湖天地")
    nowhere = "00000000-0000-7000-8000-000000000000"
    targets = (public_id(db, mine), public_id(db, theirs), nowhere)
    for role, pages in FOREIGN_PAGES.items():
        visitor = visit(mine, role, at=elsewhere)
        bodies = set()
        for address in (page.format(target) for target in targets for page in pages):
            answer = visitor.get(address)
            assert answer.status_code == 404, address
            bodies.add(_without_reference(answer.get_data(as_text=True)))
        assert len(bodies) == 1


FOREIGN_PAGES = {
    Role.PROPERTY_MANAGER: (
        "/accounts/{}", "/accounts/{}/statement", "/entries/{}", "/meters/{}", "/gateways/{}", "/plans/{}", "/receipts/{}",
        "/rooms/{}/panel",
    ),
    Role.CASHIER: ("/counter/{}", "/accounts/{}", "/receipts/{}", "/rooms/{}/panel"),
}  # fmt: skip


def _without_reference(page: str) -> str:
    page = re.sub(r'<span class="hex">\w+</span>', "", page)
    page = re.sub(r'value="[^"]*"|nonce="[^"]*"|hx-headers=\'[^\']*\'', "", page)
    return page


def test_a_property_outside_the_scope_cannot_be_named_in_the_address(
    visit: Visit, make_world: Callable[..., World], db: Database
) -> None:
    world = make_world()
    with unit_of_work(world.tenant_id, db=db) as session:
        elsewhere = add_property(session, world, name="翠湖天地")
        mine = session.scalars(select(Node.public_id).where(Node.id == world.property_id)).one()
        other = session.scalars(select(Node.public_id).where(Node.id == elsewhere)).one()
    visitor = visit(world, Role.CASHIER)
    assert visitor.get(f"/rooms?p={mine}").status_code == 200
    assert visitor.get(f"/rooms?p={other}").status_code == 404


def test_language_and_light_are_remembered(app: Flask) -> None:
    visitor = Visitor(app.test_client())
    visitor.post("/preferences", {"locale": "en", "back": "/sign-in"}, token_from="/sign-in")
    visitor.post("/preferences", {"theme": "dark", "back": "https://evil.example"}, token_from="/sign-in")
    page = visitor.text("/sign-in")
    assert "Sign in" in page
    assert 'data-bs-theme="dark"' in page


def test_a_failure_inside_shows_a_reference_and_no_innards(app: Flask, visit: Visit, world: World) -> None:
    def broken() -> str:
        raise RuntimeError("the innards")

    broken.permission = Permission.PROPERTY_WALL_READ  # type: ignore[attr-defined]
    app.add_url_rule("/broken", "broken", broken)
    answer = visit(world).get("/broken")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 500
    assert "参考号" in page
    assert "innards" not in page


def test_a_part_of_a_page_gets_its_error_as_a_part(visit: Visit, world: World) -> None:
    nowhere = "00000000-0000-7000-8000-000000000000"
    answer = visit(world).get(f"/rooms/{nowhere}/panel", headers={"HX-Request": "true"})
    assert answer.status_code == 404
    assert answer.headers["HX-Retarget"] == "#flash"
    assert "<html" not in answer.get_data(as_text=True)
