"""Signing in in two steps, seen from outside: cookies, redirects, what is refused, what is never shown."""

import json
import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factor_models import SignInStep
from app.permissions.factors import begin_totp, confirm_totp, secret_of
from app.permissions.models import SecurityPolicy, User
from app.permissions.password_links import make_link
from app.permissions.policy import Role
from app.tenants.models import AuditRecord
from app.web.agents import agent_words
from tests.factories.authenticator import SoftKey, code, stand_mid_step
from tests.factories.world import World, unique
from tests.web.conftest import PASSWORD, Visitor, make_user

SEEDER = Actor.system("tests")
SITE = "https://tally.example"
#: Addresses that lead elsewhere, or try to.
STRANGE = (
    "//evil.example", "///evil.example", "////evil.example", "http://evil.example", "https://evil.example",
    "HTTPS://evil.example", "ftp://evil.example", "//evil.example/%2f..", "/\\evil.example", "\\/evil.example",
    "\\\\evil.example", "/\\/evil.example", "https:evil.example", "https:/evil.example", "http:///evil.example",
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x",
    "file:///etc/passwd", "about:blank", "blob:x", "mailto:a@evil.example", "evil.example", "www.evil.example",
    "@evil.example", "?next=//evil.example", "#//evil.example", ".//evil.example", "..//evil.example", "./evil",
    "https://127.0.0.1@evil.example", "http://127.0.0.1:80@evil.example", "https://tally.example.evil.example",
    "//tally.example@evil.example", "https://evil.example?tally.example", "//evil\u3002example", "\uff0f\uff0fevil.example",
    "\u2215\u2215evil.example", "\u2044evil.example", "//\u0435vil.example", "https://ev\u0131l.example", " //evil.example",
    " https://evil.example", "//[::1]", "//[::ffff:7f00:1]", "http://[::1]:80", "//2130706433", "//0x7f.1",
    "//evil.example:80", "//user:pass@evil.example", "//%65vil.example", "%2f%2fevil.example", "%5c%5cevil.example",
    "/%5cevil.example\\", "//evil.example#/rooms", "//evil.example?/rooms", "//evil%00.example", "x:y", "://evil.example",
    ":evil", ";//evil.example", "/\t/evil.example", "/\n/evil.example", "\t//evil.example", "/\r\n/evil.example",
)  # fmt: skip


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of thirty seconds ends within a test."""
    stand_mid_step(monkeypatch)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An installation with a name of its own."""
    return make_app(PUBLIC_URL=SITE)


def require(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.add(
            SecurityPolicy(
                second_factor_required=True, session_hours_max=12, session_idle_min=120, approval_hours_max=72,
                audit_keep_days=180,
            )
        )  # fmt: skip


def give_app(db: Database, world: World, login: str) -> tuple[str, list[str]]:
    with unit_of_work(world.tenant_id, db=db) as session:
        user = session.scalars(select(User).where(User.login == login)).one()
        secret = secret_of(session, begin_totp(session, user=user, name="手机"))
        return secret, confirm_totp(session, user=user, code=code(secret, steps=-1), by=SEEDER)


def type_password(visitor: Visitor, login: str, going: str = "", *, token_from: str = "/sign-in") -> TestResponse:
    where = f"/sign-in?next={going}" if going else "/sign-in"
    return visitor.post(where, {"login": login, "password": PASSWORD}, token_from=token_from)


@pytest.fixture
def manager(db: Database, world: World) -> str:
    """The sign-in name of a property manager."""
    return make_user(db, world, Role.PROPERTY_MANAGER, world.property_id)[0]


def test_a_code_follows_the_password_and_leads_where_one_wanted_to_go(
    app: Flask, db: Database, world: World, manager: str
) -> None:
    secret, _codes = give_app(db, world, manager)
    visitor = Visitor(app.test_client())
    answer = type_password(visitor, manager, "/rooms")
    assert answer.location == "/sign-in/factor"
    cookie = next(line for line in answer.headers.getlist("Set-Cookie") if line.startswith("step="))
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=300"} <= {part.strip() for part in cookie.split(";")}
    assert visitor.get("/rooms").status_code == 302, "half signed in is not signed in"
    wrong = visitor.post("/sign-in/factor", {"answer": "abc"}, token_from="/sign-in/factor")
    assert wrong.status_code == 401
    right = visitor.post("/sign-in/factor", {"answer": code(secret)}, token_from="/sign-in/factor")
    assert right.location == "/rooms"
    assert visitor.client.get_cookie("step") is None
    assert visitor.get("/rooms").status_code == 200


def test_a_recovery_code_does_too_and_the_token_is_another_each_time(
    app: Flask, db: Database, world: World, manager: str
) -> None:
    _secret, codes = give_app(db, world, manager)
    tokens = []
    visitor = Visitor(app.test_client())
    for number, page in enumerate(("/sign-in", "/rooms")):
        type_password(visitor, manager, token_from=page)
        visitor.post("/sign-in/factor", {"answer": codes[number]}, token_from="/sign-in/factor")
        kept = visitor.client.get_cookie("tallyhouse")
        assert kept is not None
        tokens.append(kept.value)
    assert tokens[0] != tokens[1]
    stale = app.test_client()
    stale.set_cookie("tallyhouse", tokens[0])
    assert stale.get("/rooms").status_code == 302, "signing in anew ended the earlier session of this browser"


def test_who_must_have_a_factor_sees_a_picture_a_key_and_ten_codes_once(
    app: Flask, db: Database, world: World, manager: str
) -> None:
    require(db, world)
    visitor = Visitor(app.test_client())
    assert type_password(visitor, manager, "/rooms").location == "/sign-in/enrol"
    page = visitor.text("/sign-in/enrol")
    assert 'src="data:image/svg+xml' in page
    shown = re.search(r'<div class="hex mt-2">([A-Z2-7 ]+)</div>', page)
    assert shown
    secret = shown[1].replace(" ", "")
    answer = visitor.post("/sign-in/enrol", {"answer": code(secret)}, token_from="/sign-in/enrol")
    codes = re.findall(r"<li>([a-z0-9]{4}(?:-[a-z0-9]{4}){3})</li>", answer.get_data(as_text=True))
    assert len(codes) == 10
    assert 'href="/rooms"' in answer.get_data(as_text=True)
    assert visitor.get("/rooms").status_code == 200
    assert visitor.get("/sign-in/enrol").status_code == 303, "nothing is shown twice"


def test_a_group_that_comes_to_ask_for_factors_ends_sessions_without_one(
    app: Flask, db: Database, world: World, manager: str
) -> None:
    visitor = Visitor(app.test_client())
    type_password(visitor, manager)
    assert visitor.get("/rooms").status_code == 200
    require(db, world)
    assert visitor.get("/rooms").status_code == 302
    assert type_password(visitor, manager).location == "/sign-in/enrol"


@pytest.mark.parametrize("limit", [{"session_hours_max": 1}, {"session_idle_min": 5}])
def test_a_stricter_policy_holds_with_the_next_request(
    app: Flask, db: Database, world: World, manager: str, limit: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor(app.test_client())
    type_password(visitor, manager)
    given = {"session_hours_max": 12, "session_idle_min": 120} | limit
    from_now = wall_now().timestamp() + 3_700
    monkeypatch.setattr("app.kernel.clock.wall_us", lambda: int(from_now * 1_000_000))
    with unit_of_work(world.tenant_id, db=db) as session:
        session.add(SecurityPolicy(second_factor_required=False, approval_hours_max=72, audit_keep_days=180, **given))
    assert visitor.get("/rooms").status_code == 302


@pytest.mark.parametrize("page", ["/sign-in/factor", "/sign-in/enrol"])
@pytest.mark.parametrize("token", [None, "", "x", "a" * 3000, "%00", "é", "../../etc", "{}"])
def test_who_has_begun_nothing_is_sent_to_the_beginning(app: Flask, page: str, token: str | None) -> None:
    visitor = Visitor(app.test_client())
    if token is not None:
        visitor.client.set_cookie("step", token)
    assert visitor.get(page).location == "/sign-in"
    answer = visitor.post(page, {"answer": "123456"}, token_from="/sign-in")
    assert (answer.status_code, answer.location) == (303, "/sign-in")


GARBLED = (
    "", "{", "{}", "[]", "null", '{"rawId":1}', '{"rawId":"AA","id":"AA"}', '{"rawId":null,"response":[]}', "é" * 300,
    '{"response":{"userHandle":"AAAAAQ"}}', '{"response":{"userHandle":"' + "A" * 27 + '"},"rawId":"AAAA","id":"AAAA"}',
    '{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"AA","signature":"AA"}}',
    "{" * 2000, "9" * 20_000, "NaN", '{"response":{"userHandle":"' + "_" * 4000 + '"}}',
)  # fmt: skip


@pytest.mark.parametrize("said", GARBLED)
def test_garbled_answers_of_authenticators_are_refused_without_innards(
    app: Flask, db: Database, world: World, manager: str, said: str
) -> None:
    give_app(db, world, manager)
    visitor = Visitor(app.test_client())
    visitor.client.post("/sign-in/passkey/options", headers={"X-CSRFToken": token_of(visitor)})
    alone = visitor.post("/sign-in/passkey", {"answer": said}, token_from="/sign-in")
    type_password(visitor, manager)
    second = visitor.post("/sign-in/factor", {"answer": said}, token_from="/sign-in/factor")
    assert (alone.status_code, second.status_code) == (303, 401)
    assert "Traceback" not in second.get_data(as_text=True)


def token_of(visitor: Visitor, page: str = "/sign-in") -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', visitor.text(page))
    assert found
    return found[1]


def options_from(visitor: Visitor, address: str, page: str) -> dict[str, object]:
    answer = visitor.client.post(address, headers={"X-CSRFToken": token_of(visitor, page)})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return json.loads(answer.get_data())


def test_a_passkey_is_added_and_then_signs_in_alone_once(app: Flask, db: Database, world: World, manager: str) -> None:
    visitor, key = Visitor(app.test_client()), SoftKey()
    type_password(visitor, manager)
    options = options_from(visitor, "/security/passkeys/options", "/security")
    answer = visitor.post("/security/passkeys", {"answer": key.create(options), "name": "钥匙"}, token_from="/security")
    assert "恢复码只显示这一次" in answer.get_data(as_text=True)
    other = Visitor(app.test_client())
    asked = options_from(other, "/sign-in/passkey/options", "/sign-in")
    assert asked["rpId"] == "tally.example"
    said = key.get(asked)
    assert other.post("/sign-in/passkey?next=/rooms", {"answer": said}, token_from="/sign-in").location == "/rooms"
    replayed = other.post("/sign-in/passkey", {"answer": said}, token_from="/security")
    assert replayed.location == "/sign-in"


def test_the_host_of_a_request_decides_nothing_about_passkeys(make_app: Callable[..., Flask]) -> None:
    app = make_app(PUBLIC_URL=SITE, TRUSTED_HOSTS="other.example")
    client = app.test_client()
    page = client.get("/sign-in", base_url="http://other.example").get_data(as_text=True)
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found
    answer = client.post(
        "/sign-in/passkey/options", base_url="http://other.example",
        headers={"X-CSRFToken": found[1], "X-Forwarded-Host": "evil.example"},
    )  # fmt: skip
    assert json.loads(answer.get_data())["rpId"] == "tally.example"


@pytest.mark.parametrize("site", ["http://127.0.0.1:8080", "http://tally.example", "https://10.0.0.7"])
def test_without_a_name_of_its_own_an_installation_offers_no_passkeys(
    make_app: Callable[..., Flask], site: str
) -> None:
    visitor = Visitor(make_app(PUBLIC_URL=site).test_client())
    assert "data-passkey" not in visitor.text("/sign-in")
    answer = visitor.client.post("/sign-in/passkey/options", headers={"X-CSRFToken": token_of(visitor)})
    assert answer.status_code == 404


def test_on_this_machine_a_passkey_is_offered_to_who_came_by_name_and_not_by_number(app: Flask) -> None:
    visitor = Visitor(app.test_client())
    assert "data-passkey" in visitor.text("/sign-in")
    page = visitor.get("/sign-in", headers={"Host": "127.0.0.1:8080"})
    assert page.status_code == 200
    assert "data-passkey" not in page.get_data(as_text=True)


# --- addresses that lead elsewhere ---


def test_sixty_addresses_lead_nowhere_else(app: Flask, db: Database, world: World, manager: str) -> None:
    assert len(set(STRANGE)) >= 60
    secret, codes = give_app(db, world, manager)
    assert secret
    for number, address in enumerate(STRANGE):
        client = app.test_client()
        answer = client.get("/sign-in", query_string={"next": address})
        for found in re.findall(r'action="([^"]+)"', answer.get_data(as_text=True)):
            assert "evil" not in found, address
        visitor = Visitor(client)
        if number < len(codes):
            posted = client.post(
                "/sign-in", query_string={"next": address},
                data={"csrf_token": token_of(visitor), "login": manager, "password": PASSWORD},
            )  # fmt: skip
            assert posted.location == "/sign-in/factor"
            done = visitor.post("/sign-in/factor", {"answer": codes[number]}, token_from="/sign-in/factor")
            assert done.location == "/home", address


def test_no_form_brings_anybody_elsewhere(app: Flask, db: Database, world: World, manager: str) -> None:
    secret, codes = give_app(db, world, manager)
    assert secret
    visitor = Visitor(app.test_client())
    type_password(visitor, manager)
    visitor.post("/sign-in/factor", {"answer": codes[0]}, token_from="/sign-in/factor")
    for address in STRANGE:
        back = visitor.post("/preferences", {"theme": "dark", "back": address}, token_from="/search")
        assert back.location == "/home", address
        page = visitor.get("/step-up", query_string={"next": address}).get_data(as_text=True)
        assert 'name="next" value=""' in page, address
        wrong = visitor.get("/nowhere", query_string={"next": address})
        assert wrong.status_code == 404


# --- passwords by link ---


def bare(answer: TestResponse) -> str:
    """A page without what differs each time."""
    return re.sub(r'value="[^"]*"|nonce="[^"]*"|hx-headers=\'[^\']*\'', "", answer.get_data(as_text=True))


def make_token(db: Database, world: World, login: str) -> str:
    with unit_of_work(world.tenant_id, db=db) as session:
        user = session.scalars(select(User).where(User.login == login)).one()
        return make_link(session, user=user, by=SEEDER)


def test_asking_for_a_link_says_the_same_whoever_asks(app: Flask, manager: str) -> None:
    said = []
    for login in (manager, unique("nobody"), manager, "", "x" * 500, "' OR 1=1 --"):
        visitor = Visitor(app.test_client())
        answer = visitor.post("/password", {"login": login}, token_from="/password")
        said.append(
            (
                answer.status_code,
                bare(answer),
            )
        )
    assert len(set(said)) == 1


def test_a_link_is_looked_at_often_and_used_once(app: Flask, db: Database, world: World, manager: str) -> None:
    token = make_token(db, world, manager)
    inside, visitor = Visitor(app.test_client()), Visitor(app.test_client())
    type_password(inside, manager)
    address = f"/password/{token}"
    assert visitor.get(address).status_code == visitor.get(address).status_code == 200
    for data, status in (
        ({"password": "short", "again": "short"}, 422), ({"password": "1qaz2wsx3edc", "again": "1qaz2wsx3edc"}, 422),
        ({"password": "seven lamps on it", "again": "seven lamps on that"}, 422), ({}, 422),
    ):  # fmt: skip
        assert visitor.post(address, data, token_from=address).status_code == status
    new = {"password": "seven lamps on the bridge", "again": "seven lamps on the bridge"}
    assert visitor.post(address, new, token_from=address).location == "/sign-in"
    assert visitor.get(address).status_code == 410
    assert visitor.post(address, new, token_from="/sign-in").status_code == 410
    assert inside.get("/rooms").status_code == 302
    assert type_password(visitor, manager).status_code == 401


HOSTS = ("evil.example", "127.0.0.1.evil.example", "evil.example:80", "127.0.0.1@evil.example", "[::ffff:1]",
         "localhost.evil.example", "127.0.0.1\\evil", "evil.example#127.0.0.1", "evil.example?127.0.0.1", "0",
         "2130706433", "127.1")  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_a_strange_host_gets_no_page_and_makes_no_link(app: Flask, host: str) -> None:
    for address in ("/sign-in", "/password", "/password/x", "/sign-in/factor"):
        assert app.test_client().get(address, headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded", "X-Forwarded-Server", "X-HTTP-Host-Override",
               "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Original-URL", "X-Rewrite-URL"],
)  # fmt: skip
def test_headers_of_proxies_that_are_not_there_change_nothing(app: Flask, header: str) -> None:
    plain, said = app.test_client(), app.test_client()
    pages = [
        re.sub(
            r'value="[^"]*"|nonce="[^"]*"|hx-headers=\'[^\']*\'',
            "",
            client.get("/password", headers=headers).get_data(as_text=True),
        )
        for client, headers in ((plain, {}), (said, {header: "evil.example"}))
    ]
    assert pages[0] == pages[1]


# --- what the log says ---


def test_the_log_tells_of_refusals_with_reason_and_address_and_without_what_was_typed(
    app: Flask, db: Database, world: World, manager: str
) -> None:
    visitor = Visitor(app.test_client())
    typed = "my secret horse 42"
    for _turn in range(4):
        visitor.post("/sign-in", {"login": manager, "password": typed}, token_from="/sign-in")
    with unit_of_work(world.tenant_id, db=db) as session:
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "user:session:refuse")).all()
        kept = " ".join(str(vars(record)) for record in told)
    assert [record.facts["reason"] for record in told] == ["password"] * 3 + ["delayed"]
    assert {record.address for record in told} == {"127.0.0.1"}
    assert typed not in kept
    assert manager not in kept


def test_strangers_in_the_same_office_do_not_keep_somebody_waiting_at_their_own_browser(
    app: Flask, db: Database, world: World, manager: str
) -> None:
    """One address for all: what is told apart is the browser, and the memory of one person is none of another's."""
    own, stranger = Visitor(app.test_client()), Visitor(app.test_client())
    type_password(own, manager)
    own.post("/sign-out")
    other, _id = make_user(db, world, Role.CASHIER, world.property_id)
    type_password(stranger, other)
    stranger.post("/sign-out")
    wrong = {"login": manager, "password": "wrong"}
    said = [stranger.post("/sign-in", wrong, token_from="/sign-in").status_code for _turn in range(6)]
    assert said == [401] * 3 + [429] * 3
    assert type_password(own, manager).status_code == 302
    own.post("/sign-out")
    said = [own.post("/sign-in", wrong, token_from="/sign-in").status_code for _turn in range(6)]
    assert said == [401] * 3 + [429] * 3, "their own browser may not guess without end either"


@pytest.mark.parametrize("value", ["", "x", "W10.x.y", "a" * 3000, "é", "%00", "{}"])
def test_a_garbled_memory_of_a_browser_is_none(app: Flask, manager: str, value: str) -> None:
    visitor = Visitor(app.test_client())
    visitor.client.set_cookie("known", value)
    assert type_password(visitor, manager).status_code == 302


def test_a_delay_says_when_to_come_back(app: Flask, manager: str) -> None:
    visitor = Visitor(app.test_client())
    answers = [
        visitor.post("/sign-in", {"login": manager, "password": "wrong"}, token_from="/sign-in") for _turn in range(4)
    ]
    assert answers[-1].status_code == 429
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60


def test_a_step_is_of_its_tenant_only(app: Flask, db: Database, make_world: Callable[..., World], manager: str) -> None:
    other = make_world()
    with unit_of_work(other.tenant_id, db=db) as session:
        assert session.execute(update(SignInStep).values(tries=0)).rowcount == 0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36", "Chrome · Windows"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0", "Edge · Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605 MicroMessenger/8.0", "WeChat · iPhone"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/17.5 Safari/605", "Safari · macOS"),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36", "Chrome · Android"),
        ("curl/8.5.0", "curl"), ("", ""), ("<script>alert(1)</script>", ""), ("\u0000\u0001", ""),
    ],
)  # fmt: skip
def test_a_browser_is_called_by_a_few_words(said: str, words: str) -> None:
    assert agent_words(said) == words
