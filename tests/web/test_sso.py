"""Company sign-in against a real OpenID provider, a process of its own on loopback."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from flask import Flask
from sqlalchemy import select

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.outbound import Outbound
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factor_models import OidcIdentity, UserFactor
from app.permissions.models import User, UserSession
from app.permissions.oidc import Asked, Client, SsoFailed, ask, authorization_url, discover, vouched
from app.permissions.policy import Role
from app.permissions.service import disable_user
from app.permissions.sso import (
    ProviderIncomplete,
    SlugTaken,
    SlugUnreadable,
    SsoHeld,
    SsoNobody,
    SsoUnknown,
    add_provider,
    bind_identity,
    disable_provider,
    find_provider,
    list_providers,
)
from tests.factories.street import empty_database
from tests.factories.world import World, build_world
from tests.web.conftest import PASSWORD, Visitor, make_user

ROOT = Path(__file__).resolve().parents[2]
SECRET = "only-for-tests-and-long-enough"
BACK = "http://localhost/sign-in/sso/hefeng/back"
BY = Actor.system("tests")
DOOR = Outbound(loopback=True)
NODE = shutil.which("node") or str(ROOT / "var/node/bin/node")


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The issuer of a running provider."""
    assert Path(NODE).exists(), "Node.js is missing. Cure: make setup"
    assert (ROOT / "node_modules/oidc-provider").exists(), "the OpenID provider is missing. Cure: make setup"
    # It resolves its packages from the folder it lies in upwards, which is the project's.
    words = [NODE, str(ROOT / "tests/factories/oidc_provider.mjs"), BACK]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        port = next(found[1] for line in lines if (found := re.match(r"port (\d+)", line)))
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def at_the_provider(address: str, who: str) -> str:
    """Sign in and consent at the provider like a person would; returns the address it sends the browser back to."""
    with httpx.Client() as browser:
        answer = browser.get(address)
        for _ in range(12):
            if answer.is_redirect:
                address = urljoin(str(answer.url), answer.headers["location"])
                if address.startswith(BACK):
                    return address
                answer = browser.get(address)
                continue
            form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)
            assert form, answer.text
            assert prompt, answer.text
            said = {"prompt": prompt[1]} | ({"login": who, "password": "x"} if prompt[1] == "login" else {})
            answer = browser.post(urljoin(str(answer.url), unescape(form[1])), data=said)
    raise AssertionError("the provider sends nobody back")


@dataclass
class Group:
    """A group of a demo that is alone, with the provider registered."""

    db: Database
    world: World
    app: Flask
    login: str
    user_id: int

    def visitor(self) -> Visitor:
        """Somebody who is not signed in."""
        return Visitor(self.app.test_client(), self.login, self.user_id)

    def signed_in(self) -> Visitor:
        """The group's administrator, by password."""
        visitor = self.visitor()
        answer = visitor.post("/sign-in", {"login": self.login, "password": PASSWORD}, token_from="/sign-in")
        assert answer.status_code == 302
        return visitor


@pytest.fixture
def group(issuer: str, tmp_path: Path, make_app: Callable[..., Flask], db: Database) -> Iterator[Group]:
    """Demo groups must be alone for calls to loopback, so this one has a database of its own."""
    with empty_database(tmp_path) as (own, settings):
        world = build_world(own, spaces=1)
        app = make_app(DATABASE_URL=settings.database_url, WEBHOOKS_TO_LOOPBACK="1", PUBLIC_URL="http://localhost")
        login, user_id = make_user(own, world, Role.GROUP_ADMINISTRATOR, world.headquarters_id)
        with unit_of_work(world.tenant_id, db=own) as session:
            register(session, issuer)
        yield Group(own, world, app, login, user_id)


def register(session: object, issuer: str, slug: str = "hefeng", door: Outbound = DOOR) -> None:
    """Add the provider."""
    add_provider(
        session,
        slug=slug,
        name="集团账号",
        issuer=issuer,
        client_id="tallyhouse",
        client_secret=SECRET,
        door=door,
        by=BY,
    )  # type: ignore[arg-type]


def go(visitor: Visitor, who: str, query: str = "") -> str:
    """From our page to the provider and back; returns the path and query of the answer."""
    answer = visitor.get(f"/sign-in/sso/hefeng{query}")
    assert answer.status_code == 302, answer.get_data(as_text=True)
    parts = urlsplit(at_the_provider(answer.location, who))
    return f"{parts.path}?{parts.query}"


def link(visitor: Visitor) -> str:
    """The query of the link on one's own page that begins a binding."""
    found = re.search(r'href="/sign-in/sso/hefeng(\?bind=[^"]+)"', visitor.text("/security/sso"))
    assert found
    return found[1]


def bound(group: Group) -> int:
    """How many identities are bound."""
    with unit_of_work(group.world.tenant_id, db=group.db) as session:
        return len(session.scalars(select(OidcIdentity)).all())


def test_an_account_is_bound_once_and_opened_by_the_provider_from_then_on(group: Group) -> None:
    own = group.signed_in()
    assert own.get(go(own, "chen", link(own))).location == "/security/sso"
    assert "已绑定" in own.text("/security/sso")
    visitor = group.visitor()
    answer = visitor.get(go(visitor, "chen", "?next=/people"))
    assert (answer.status_code, answer.location) == (302, "/people")
    assert visitor.get("/people").status_code == 200
    with unit_of_work(group.world.tenant_id, db=group.db) as session:
        opened = session.scalars(select(UserSession.opened_by).where(UserSession.user_id == group.user_id)).all()
    assert sorted(opened) == ["password", "sso"]


def test_a_binding_begins_on_ones_own_page_and_ends_in_the_same_session(group: Group) -> None:
    own, other = group.signed_in(), group.signed_in()
    assert group.visitor().get(f"/sign-in/sso/hefeng{link(own)}").location == "/sign-in"
    for strange in ("?bind=1", "?bind=x.y.z", link(own)):  # another page of the same person, another session
        assert other.get(f"/sign-in/sso/hefeng{strange}").status_code == 401
    back = go(own, "chen", link(own))
    own.post("/sign-out", token_from="/security")
    own.post("/sign-in", {"login": group.login, "password": PASSWORD}, token_from="/sign-in")
    own.get(back)
    assert bound(group) == 0


@pytest.mark.parametrize(
    ("facts", "status"), [({"opened_by": "pin"}, 403), ({"view": True}, 403), ({"old": True}, 303)]
)
def test_who_shows_less_than_a_fresh_factor_binds_nothing(group: Group, facts: dict[str, object], status: int) -> None:
    own = group.signed_in()
    query = link(own)
    _, other_id = make_user(group.db, group.world, Role.CASHIER, group.world.property_id)
    with unit_of_work(group.world.tenant_id, db=group.db) as session:
        mine = session.scalars(select(UserSession).where(UserSession.user_id == group.user_id)).one()
        mine.opened_by = str(facts.get("opened_by", "password"))
        mine.view_as_user_id = other_id if "view" in facts else None
        mine.factor_at = wall_now() - timedelta(minutes=6)
        session.add(
            UserFactor(
                user_id=group.user_id, kind="totp", name="手机", secret_cipher=b"x", created_at=wall_now(),
                confirmed_at=wall_now(),
            )
        )  # fmt: skip
    answer = own.get(f"/sign-in/sso/hefeng{query}")
    assert (answer.status_code, bound(group)) == (status, 0)
    assert status != 303 or answer.location == "/step-up?next=/security/sso"


def test_whom_nobody_bound_is_not_let_in(group: Group) -> None:
    visitor = group.visitor()
    assert visitor.get(go(visitor, "stranger")).location == "/sign-in"
    assert "还没有与这里的账号绑定" in visitor.text("/sign-in")
    assert visitor.get("/people").status_code == 302


def test_an_answer_counts_once_and_only_in_the_browser_that_asked(group: Group) -> None:
    own = group.signed_in()
    own.get(go(own, "chen", link(own)))
    visitor, thief = group.visitor(), group.visitor()
    back = go(visitor, "chen")
    assert thief.get(back).location == "/sign-in"
    assert visitor.get(back).status_code == 302
    assert visitor.get("/people").status_code == 200
    again = group.visitor()
    go(again, "chen")
    assert again.get(back).location == "/sign-in"
    assert again.get("/people").status_code == 302


def test_who_is_disabled_here_is_not_let_in_by_a_provider_that_does_not_know(group: Group) -> None:
    own = group.signed_in()
    own.get(go(own, "chen", link(own)))
    with unit_of_work(group.world.tenant_id, db=group.db) as session:
        make_other_administrator(group)
        user = session.scalars(select(User).where(User.id == group.user_id)).one()
        disable_user(session, user=user, by=BY)
    visitor = group.visitor()
    assert visitor.get(go(visitor, "chen")).location == "/sign-in"
    assert visitor.get("/people").status_code == 302


def make_other_administrator(group: Group) -> None:
    """So that the first may be disabled."""
    make_user(group.db, group.world, Role.GROUP_ADMINISTRATOR, group.world.headquarters_id)


def test_two_people_cannot_hold_one_identity(group: Group) -> None:
    _, other_id = make_user(group.db, group.world, Role.CASHIER, group.world.property_id)
    with unit_of_work(group.world.tenant_id, db=group.db) as session:
        provider = list_providers(session)[0]
        people = {user.id: user for user in session.scalars(select(User))}
        bind_identity(session, provider_id=provider.id, subject="chen", user=people[group.user_id], by=BY)
        bind_identity(session, provider_id=provider.id, subject="chen", user=people[group.user_id], by=BY)
        for user_id, subject in ((other_id, "chen"), (group.user_id, "li")):
            with pytest.raises(SsoHeld):
                bind_identity(session, provider_id=provider.id, subject=subject, user=people[user_id], by=BY)


def test_the_administrator_connects_and_switches_off_a_provider(group: Group, issuer: str) -> None:
    own = group.signed_in()
    body = {"slug": "zongbu", "name": "总部账号", "issuer": issuer, "client_id": "tallyhouse", "client_secret": SECRET}
    assert own.post("/sso-providers", dict(body), token_from="/sso-providers").status_code == 303
    assert "总部账号" in own.text("/sso-providers")
    assert SECRET not in own.text("/sso-providers")
    for wrong, status in (
        ({"slug": "zongbu"}, 409), ({"slug": "Ä"}, 422), ({"slug": "a1b", "name": ""}, 422),
        ({"slug": "a1b", "issuer": "http://169.254.169.254"}, 422), ({"slug": "a1b", "issuer": issuer + "/x"}, 401),
    ):  # fmt: skip
        assert own.post("/sso-providers", {**body, **wrong}, token_from="/sso-providers").status_code == status, wrong
    address = re.search(r'action="(/sso-providers/[^"]+/disable)"', own.text("/sso-providers"))
    assert address
    assert own.post(address[1], token_from="/sso-providers").status_code == 303


def test_a_word_of_nobody_and_one_that_was_switched_off_answer_alike(group: Group) -> None:
    with unit_of_work(group.world.tenant_id, db=group.db) as session:
        disable_provider(session, public_id=list_providers(session)[0].public_id, by=BY)
    for slug in ("hefeng", "nobody"):
        with pytest.raises(SsoUnknown):
            find_provider(group.db, slug=slug, redirect_uri=BACK)
        visitor = group.visitor()
        assert visitor.get(f"/sign-in/sso/{slug}").location == "/sign-in"
        assert "没有名为" in visitor.text("/sign-in")


def test_refusals_of_a_registration(group: Group, issuer: str) -> None:
    with unit_of_work(group.world.tenant_id, db=group.db) as session:
        with pytest.raises(SlugTaken):
            register(session, issuer)
        with pytest.raises(SlugUnreadable):
            register(session, issuer, slug="a b")
        with pytest.raises(ProviderIncomplete):
            add_provider(
                session, slug="abc", name="x", issuer=issuer, client_id="", client_secret=SECRET, door=DOOR, by=BY
            )
        with pytest.raises(AppError):
            register(session, "http://127.0.0.1:1", slug="abc", door=Outbound())


@pytest.fixture
def client(issuer: str) -> Client:
    """Who we are to the provider."""
    return Client(issuer, "tallyhouse", SECRET, BACK)


def answered(client: Client, asked: Asked) -> dict[str, str]:
    """What the provider sends back for somebody."""
    back = at_the_provider(authorization_url(discover(DOOR, client.issuer), client, asked), "chen")
    return {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}


def test_an_answer_is_believed_only_whole(client: Client) -> None:
    metadata, asked = discover(DOOR, client.issuer), ask()
    said = answered(client, asked)
    changed: list[tuple[Client, Asked, dict[str, str]]] = [
        (client, replace(asked, state="other"), said),
        (client, asked, {**said, "iss": "https://elsewhere.example"}),
        (client, asked, {"state": said["state"], "error": "access_denied"}),
        (client, replace(asked, verifier="v" * 64), said),
    ]
    for as_client, as_asked, answer in changed:
        with pytest.raises(SsoFailed):
            vouched(DOOR, metadata, as_client, as_asked, answer)
    asked = ask()
    said = answered(client, asked)
    with pytest.raises(SsoFailed):
        vouched(DOOR, metadata, client, replace(asked, nonce="another"), said)
    asked = ask()
    assert vouched(DOOR, metadata, client, asked, answered(client, asked)).subject == "chen"


@pytest.mark.parametrize(
    "answer", ["", "code=x", "state=x", "code=x&state=y", "error=access_denied&state=%00", "iss=x"]
)
def test_an_answer_that_nobody_asked_for_opens_nothing(app: Flask, answer: str) -> None:
    visitor = Visitor(app.test_client())
    status = visitor.get(f"/sign-in/sso/hefeng/back?{answer}").status_code
    assert status in {302, 303, 422}
    assert "Traceback" not in visitor.text("/sign-in")


def test_nobody_is_a_refusal_with_a_way_out() -> None:
    assert "绑定" in SsoNobody().message("zh")
    assert json.dumps(SsoNobody().message("en")).count("bind") == 1
