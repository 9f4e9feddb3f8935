"""Tokens and webhooks on the large screen and on the phone: issue, see once, revoke; register, test, look at the log."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update

from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.notify.webhook_models import WebhookDelivery, WebhookEndpoint
from tests.browser.conftest import Screen
from tests.factories.world import World

Look = Callable[..., Screen]
pytestmark = pytest.mark.browser


def fits(page: Page, width: int) -> bool:
    """Nothing sticks out to the right."""
    return bool(page.evaluate("document.documentElement.scrollWidth") <= width)


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_a_token_is_issued_shown_once_and_revoked(look: Look, world: World, width: int, theme: str) -> None:
    screen = look(world, width=width, theme=theme)
    page = screen.open("/tokens")
    page.on("dialog", lambda dialog: dialog.accept())
    page.fill("#f-name", "抄表系统")
    page.get_by_label(re.compile("导入|抄表")).first.check()
    page.fill("#f-addresses", "203.0.113.0/24\n2001:db8::/32")
    page.get_by_role("button", name="签发").click()
    expect(page.locator("#token-raw")).to_have_text(re.compile(r"^th_[\w-]{43}$"))
    assert fits(page, width)
    page = screen.open("/tokens")
    expect(page.locator("#token-raw")).to_have_count(0)
    assert fits(page, width)
    page.get_by_role("button", name="撤销").click()
    expect(page.locator("#flash")).to_contain_text("已撤销")


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (390, "light")])
def test_an_endpoint_is_registered_tested_and_looked_at(
    look: Look, world: World, db: Database, width: int, theme: str
) -> None:
    screen = look(world, width=width, theme=theme)
    page = screen.open("/webhooks")
    page.on("dialog", lambda dialog: dialog.accept())
    page.fill("#f-name", "财务系统")
    page.fill("#f-url", "https://hooks.example.com/tallyhouse/incoming/with/a/rather/long/path?and=query")
    page.get_by_role("button", name="登记").click()
    expect(page.locator("#secret-raw")).to_have_text(re.compile(r"^whsec_[\w+/=]+$"))
    assert fits(page, width)
    page.get_by_role("button", name="发送测试").click()
    expect(page.locator("#log")).to_contain_text("测试消息")
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(
            update(WebhookDelivery).values(
                state="dead", attempts=8, last_status=500, last_took_ms=231, last_error="http_500", ended_at=wall_now()
            )
        )
        session.execute(update(WebhookEndpoint).values(disabled_at=wall_now(), disabled_why="dead"))
    # The log looks again by itself while an attempt is about to be made.
    expect(page.locator("#log")).to_contain_text("HTTP 500")
    page = screen.open("/webhooks")
    expect(page.locator(".notice-bad")).to_contain_text("已自动停用")
    assert fits(page, width)
    page.get_by_role("link", name="财务系统").click()
    page.get_by_text("内容", exact=True).click()
    expect(page.locator("#log pre")).to_contain_text("webhook.ping")
    assert fits(page, width)
    page.get_by_role("button", name="启用").click()
    expect(page.locator("#flash")).to_contain_text("已启用")
