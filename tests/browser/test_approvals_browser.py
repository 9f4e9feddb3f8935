"""A manager asks at the large screen, and an administrator agrees on the phone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from app.kernel.db import Database
from app.permissions.policy import Role
from tests.browser.conftest import Screen
from tests.conftest import MovableClock
from tests.factories.people import person
from tests.factories.world import World
from tests.web.test_approvals import sell

Look = Callable[..., Screen]
pytestmark = pytest.mark.browser


def test_what_a_manager_asks_for_is_agreed_to_on_the_phone(
    look: Look, world: World, db: Database, business_clock: MovableClock
) -> None:
    receipt = sell(db, world, 60_000, seller=person(db, world, Role.CASHIER))
    desk = look(world, Role.PROPERTY_MANAGER)
    phone = look(world, width=390, theme="dark")
    page = desk.open(receipt)
    page.on("dialog", lambda dialog: dialog.accept())
    page.fill("#f-reason", "收错户号")
    page.get_by_role("button", name="冲正").click()
    expect(page.locator("#flash")).to_contain_text("还没有执行")
    address = page.url.removeprefix(desk.url)
    inbox = phone.open("/approvals")
    expect(inbox.locator(".work-row")).to_have_count(1)
    for each in ("/approvals", address, "/limits", "/limits/reversal/property_manager"):
        screen = phone.open(each)
        assert screen.evaluate("document.documentElement.scrollWidth") <= 390, each
    agree = phone.open(address).get_by_role("button", name="同意并执行")
    assert (agree.bounding_box() or {"height": 0})["height"] >= 40
    agree.click()
    expect(phone.page.locator("#flash")).to_contain_text("已按所示内容执行")
    expect(desk.open(receipt).locator("#main")).to_contain_text("收据作废")
