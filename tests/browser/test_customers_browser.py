"""A full number on the screen: it comes for a reason, goes by itself, and nothing scrolls sideways on a phone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.tenants.parties import register_party
from app.web.console import customers
from tests.browser.conftest import Screen
from tests.factories.world import World

Look = Callable[..., Screen]


@pytest.mark.parametrize("width", [1440, 390])
def test_a_full_number_comes_for_a_reason_and_goes_by_itself(
    look: Look, world: World, db: Database, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(customers, "SHOWN_S", 2)
    with unit_of_work(world.tenant_id, db=db) as session:
        party = register_party(session, property_id=world.property_id, name="欧阳雪琴", phone="13866667777")
        address = f"/customers/{party.public_id}"
    screen = look(world, Role.GROUP_ADMINISTRATOR, width=width)
    page = screen.open(address)
    number = page.locator("#number-phone")
    expect(number).to_contain_text("138****7777")
    number.locator("summary").click()
    number.locator("input[name=reason]").fill("上门核对")
    number.locator("button").click()
    expect(page.locator("#number-phone")).to_contain_text("13866667777")
    expect(page.locator("#number-phone")).to_contain_text("138****7777")
    expect(page.locator("body")).not_to_contain_text("13866667777")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
