"""Signing in as a person does it: an app's code, a passkey of the browser's own authenticator, and the question asked again."""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import update
from werkzeug.serving import make_server

from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import SecurityPolicy, UserSession
from app.permissions.policy import Role
from tests.factories.authenticator import code, stand_mid_step
from tests.factories.world import World
from tests.web.conftest import PASSWORD, make_user

pytestmark = pytest.mark.browser


@dataclass
class Desk:
    """A browser window before anybody signed in, and what the page complained about."""

    url: str
    context: BrowserContext
    page: Page
    complaints: list[str]

    def type_password(self, login: str) -> None:
        """Name and password, Enter."""
        self.page.goto(f"{self.url}/sign-in")
        self.page.fill("#f-login", login)
        self.page.fill("#f-password", PASSWORD)
        self.page.press("#f-password", "Enter")

    def leave(self) -> None:
        """Sign out by the menu."""
        self.page.get_by_role("button", name="我的账号").click()
        self.page.get_by_role("button", name="退出", exact=True).click()
        self.page.wait_for_url("**/sign-in")


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of thirty seconds ends within a test."""
    stand_mid_step(monkeypatch)


@pytest.fixture
def desk(make_app: Callable[..., Flask], browser: Browser) -> Iterator[Desk]:
    """A window on a server whose own address is a name, as passkeys want it."""
    app = make_app()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    url = f"http://localhost:{server.server_port}"
    app.config["SETTINGS"] = replace(app.config["SETTINGS"], public_url=url)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="zh-CN")
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda broken: complaints.append(str(broken)))
    page.on("dialog", lambda dialog: dialog.accept())
    yield Desk(url, context, page, complaints)
    context.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert [line for line in complaints if "401" not in line and "403" not in line] == []


@pytest.fixture
def manager(db: Database, world: World) -> str:
    """The sign-in name of a property manager."""
    return make_user(db, world, Role.PROPERTY_MANAGER, world.property_id)[0]


def key_on(page: Page) -> str:
    """The app's key as the page shows it in letters."""
    page.get_by_text("不能扫码？手工输入密钥").click()
    return page.locator("details .hex").inner_text().replace(" ", "")


def plug_in_key(desk: Desk, *, verifies: bool = True) -> None:
    """An authenticator of the browser's own, with a person behind it."""
    devtools = desk.context.new_cdp_session(desk.page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": verifies, "automaticPresenceSimulation": True,
    }  # fmt: skip
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_a_person_adds_an_app_leaves_and_signs_in_with_its_code(desk: Desk, manager: str) -> None:
    page = desk.page
    desk.type_password(manager)
    page.wait_for_selector(".rail")
    page.goto(f"{desk.url}/security")
    page.get_by_role("button", name="下一步").click()
    expect(page.locator("img.qr")).to_be_visible()
    secret = key_on(page)
    page.fill("#f-code", code(secret, steps=-1))
    page.get_by_role("button", name="确认添加").click()
    expect(page.locator(".codes li")).to_have_count(10)
    recovery = page.locator(".codes li").first.inner_text()
    desk.leave()
    desk.type_password(manager)
    page.wait_for_url("**/sign-in/factor")
    page.fill("#f-answer", "12345")
    page.get_by_role("button", name="验证并登录").click()
    expect(page.get_by_role("alert")).to_contain_text("不正确")
    page.fill("#f-answer", code(secret))
    page.get_by_role("button", name="验证并登录").click()
    page.wait_for_selector(".rail")
    desk.leave()
    desk.type_password(manager)
    page.fill("#f-answer", recovery)
    page.get_by_role("button", name="验证并登录").click()
    page.wait_for_selector(".rail")


def test_a_person_who_must_have_a_factor_chooses_a_passkey_and_signs_in_with_nothing_else(
    desk: Desk, db: Database, world: World, manager: str
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.add(
            SecurityPolicy(
                second_factor_required=True, session_hours_max=12, session_idle_min=120, approval_hours_max=72,
                audit_keep_days=180,
            )
        )  # fmt: skip
    page = desk.page
    plug_in_key(desk)
    desk.type_password(manager)
    page.wait_for_url("**/sign-in/enrol")
    page.get_by_role("button", name=re.compile("改用通行密钥")).click()
    expect(page.locator(".codes li")).to_have_count(10)
    page.get_by_role("link", name="已保存，继续").click()
    page.wait_for_selector(".rail")
    desk.leave()
    page.get_by_role("button", name="用通行密钥登录").click()
    page.wait_for_selector(".rail")
    desk.leave()
    desk.type_password(manager)
    page.wait_for_url("**/sign-in/factor")
    page.get_by_role("button", name="使用通行密钥").click()
    page.wait_for_selector(".rail")


def test_a_passkey_is_added_on_ones_own_page_and_asked_for_before_it_is_removed(
    desk: Desk, db: Database, world: World, manager: str
) -> None:
    page = desk.page
    plug_in_key(desk)
    desk.type_password(manager)
    page.wait_for_selector(".rail")
    page.goto(f"{desk.url}/security")
    page.get_by_text("添加通行密钥").first.click()
    page.get_by_role("button", name="添加通行密钥").click()
    expect(page.locator(".codes li")).to_have_count(10)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(UserSession).values(factor_at=wall_now() - timedelta(minutes=6)))
    page.goto(f"{desk.url}/security")
    page.get_by_text("改名或移除").click()
    page.get_by_role("button", name="移除").click()
    expect(page.locator("h1")).to_have_text("再次验证")
    page.get_by_role("button", name="使用通行密钥").click()
    page.get_by_role("button", name="继续提交").click()
    expect(page.get_by_text("还没有二次验证")).to_be_visible()


def test_an_authenticator_that_refuses_leaves_the_page_as_it_was(desk: Desk, manager: str) -> None:
    page = desk.page
    plug_in_key(desk)
    page.goto(f"{desk.url}/sign-in")
    page.get_by_role("button", name="用通行密钥登录").click()
    expect(page.locator("[data-passkey-state]")).to_contain_text("没有完成")
    desk.type_password(manager)
    page.wait_for_selector(".rail")
