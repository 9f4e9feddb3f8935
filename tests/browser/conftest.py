"""Debian's chromium against a real server of our own on a loopback port."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright
from werkzeug.serving import make_server

from app.kernel.db import Database
from app.permissions.policy import Role
from tests.factories.world import World
from tests.plugins.tiers import find_browser
from tests.web.conftest import PASSWORD, make_app, make_user

__all__ = ["make_app"]

#: How long a page may take to show what it is expected to: chromium is the first to wait where cores are few.
PATIENCE_MS = 60_000


@dataclass
class Screen:
    """One browser window on our server; `complaints` are console errors, page errors and policy violations."""

    url: str
    context: BrowserContext
    page: Page
    complaints: list[str]

    def open(self, address: str) -> Page:
        """Go to an address of the server and wait until the page's script ran."""
        self.page.goto(self.url + address)
        self.page.wait_for_selector("html[data-ready]")
        return self.page


# Module by module, not once for the worker: while the driver lives its event loop runs in this thread, and no other
# test of the worker could use asyncio.run.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """The driver."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One chromium."""
    found = playwright.chromium.launch(executable_path=find_browser())
    yield found
    found.close()


@pytest.fixture
def served(make_app: Callable[..., Flask]) -> Iterator[str]:
    """The address of a running server."""
    server = make_server("127.0.0.1", 0, make_app(), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def look(served: str, browser: Browser, db: Database) -> Iterator[Callable[..., Screen]]:
    """`look(world, Role.CASHIER, width=390)`: a window signed in with that role."""
    opened: list[Screen] = []

    def sign_in(
        world: World,
        role: Role = Role.GROUP_ADMINISTRATOR,
        *,
        width: int = 1440,
        theme: str = "light",
        script: bool = True,
    ) -> Screen:
        node = world.headquarters_id if role is Role.GROUP_ADMINISTRATOR else world.property_id
        login, _user_id = make_user(db, world, role, node)
        screen = _window(browser, served, width=width, theme=theme, script=script)
        opened.append(screen)
        screen.page.goto(served + "/sign-in")
        screen.page.fill("#f-login", login)
        screen.page.fill("#f-password", PASSWORD)
        screen.page.press("#f-password", "Enter")
        screen.page.wait_for_url(lambda address: "/sign-in" not in address)
        return screen

    yield sign_in
    for screen in opened:
        screen.context.close()
        assert screen.complaints == []


def _window(browser: Browser, url: str, *, width: int, theme: str, script: bool) -> Screen:
    narrow = width < 500
    context = browser.new_context(
        viewport={"width": width, "height": 844 if narrow else 900}, is_mobile=narrow, has_touch=narrow,
        java_script_enabled=script, locale="zh-CN",
    )  # fmt: skip
    context.add_cookies([{"name": "theme", "value": theme, "url": url}])
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda broken: complaints.append(str(broken)))
    return Screen(url, context, page, complaints)
