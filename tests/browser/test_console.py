"""What only a browser can tell: keys, live parts, pictures, narrow screens, and whether everybody can read it."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.kernel.db import Database
from app.permissions.policy import Role
from tests.browser.conftest import Screen
from tests.conftest import MovableClock
from tests.factories.history import bring_online, pay, public_id, read_hourly, stop_in_force
from tests.factories.world import World

Look = Callable[..., Screen]
AXE = Path(__file__).resolve().parents[2] / "node_modules/axe-core/axe.min.js"
pytestmark = pytest.mark.browser

PAGES = (
    "/", "/rooms", "/accounts", "/payments", "/deliveries", "/meters", "/readings/import", "/entries", "/energy",
    "/plans", "/onboarding", "/people", "/people/new", "/roles", "/roles/new?from=cashier", "/permissions", "/security-policy",
)  # fmt: skip


@pytest.fixture
def street(world: World, db: Database, business_clock: MovableClock) -> World:
    """A world with money, readings and a paid stop."""
    bring_online(db, world)
    for index in range(3):
        pay(db, world, index, fen=20_000)
    read_hourly(db, world, since=business_clock.now() - timedelta(hours=60), hours=58)
    stop_in_force(db, world, 3, paid=True)
    return world


def test_a_cashier_needs_no_mouse_from_search_to_the_next_customer(look: Look, street: World) -> None:
    page = look(street, Role.CASHIER).page
    expect(page.locator("#who")).to_be_focused()
    page.keyboard.type("A-010")
    expect(page.locator("#counter-answers a.answer")).to_have_count(4)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#amount")).to_be_focused()
    expect(page.locator("h1")).to_contain_text("A-0102")
    page.keyboard.type("88.5")
    page.keyboard.press("F8")
    expect(page.locator("input[value=bank]")).to_be_checked()
    page.keyboard.press("F10")
    expect(page.locator(".receipt-sum")).to_contain_text("¥88.50")
    expect(page.locator(".receipt")).to_contain_text("银行转账")
    expect(page.get_by_role("button", name=re.compile("打印收据"))).to_be_focused()
    page.keyboard.press("F2")
    expect(page.locator("#who")).to_be_focused()


def test_without_script_money_is_taken_all_the_same(look: Look, street: World, db: Database) -> None:
    page = look(street, Role.CASHIER, script=False).page
    page.goto(page.url.rsplit("/", 1)[0] + f"/counter/{public_id(db, street)}")
    page.fill("#amount", "60")
    page.click("button[type=submit]:has-text('确认收款')")
    expect(page.locator(".receipt-sum")).to_contain_text("¥60.00")


def test_the_wall_follows_without_a_reload_and_keeps_the_open_panel(look: Look, street: World, db: Database) -> None:
    screen = look(street)
    page = screen.open("/rooms")
    page.evaluate("window.sameDocument = true")
    tile = page.locator(f"#tile-{street.space_ids[0]}")
    tile.click()
    expect(page.locator("#panel")).to_contain_text("户号")
    before = tile.bounding_box()
    pay(db, street, 0, fen=123_456)
    expect(tile).to_contain_text("¥1,4")
    assert tile.bounding_box() == before
    assert page.evaluate("window.sameDocument") is True
    expect(page.locator("#panel")).to_contain_text("户号")
    page.click("#panel [data-close]")
    expect(page.locator("#panel")).to_contain_text("点一个房间")


def test_the_receipt_shows_the_way_back_to_light_by_itself(look: Look, street: World, db: Database) -> None:
    stop_in_force(db, street, 0)
    screen = look(street, Role.CASHIER)
    page = screen.open(f"/receipts/{pay(db, street, 0, fen=50_000)}")
    expect(page.locator(".live")).to_contain_text("正在送电")
    page.click("[data-print] , button:has-text('PDF')")
    expect(page.locator("#flash")).to_contain_text("PDF 正在生成")


@pytest.mark.parametrize("address", ["/", "/energy", "account"])
def test_charts_are_painted_and_stand_beside_their_table(look: Look, street: World, db: Database, address: str) -> None:
    screen = look(street)
    page = screen.open(f"/accounts/{public_id(db, street)}" if address == "account" else address)
    expect(page.locator(".chart canvas").first).to_be_visible()
    page.wait_for_function(f"({INK})() > 500")
    page.locator("summary", has_text="查看数据表").first.click()
    expect(page.locator(".chart-box table").first).to_be_visible()


#: How many pixels of the first chart are painted.
INK = """() => {
  const canvas = document.querySelector(".chart canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let painted = 0;
  for (let i = 3; i < data.length; i += 4) if (data[i] > 0) painted += 1;
  return painted;
}"""


def test_ctrl_k_finds_a_room_from_anywhere(look: Look, street: World) -> None:
    page = look(street).open("/plans")
    page.keyboard.press("Control+k")
    page.keyboard.type("A-0102")
    expect(page.locator("#answers a.answer")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("A-0102")


def test_the_property_switcher_opens_and_chooses(look: Look, street: World) -> None:
    page = look(street).open("/accounts")
    page.click(".topbar .dropdown-toggle")
    page.click("#properties a:has-text('和风苑')")
    expect(page.locator(".topbar .dropdown-toggle")).to_contain_text("和风苑")


def test_a_phone_opens_the_navigation_and_nothing_runs_off_the_side(look: Look, street: World, db: Database) -> None:
    cashier, counter = look(street, Role.CASHIER, width=390), ("/counter", f"/counter/{public_id(db, street)}")
    screen = look(street, width=390)
    for opened, addresses in ((cashier, counter), (screen, (*PAGES, f"/accounts/{public_id(db, street)}"))):
        for address in addresses:
            page = opened.open(address)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, address
    page.click("[data-rail]")
    expect(page.locator("#rail a[href='/rooms']")).to_be_visible()
    page.click("#rail a[href='/rooms']")
    expect(page.locator("h1")).to_contain_text("房态图")


def test_axe_finds_nothing_serious_by_day(look: Look, street: World, db: Database) -> None:
    receipt = f"/receipts/{pay(db, street, 1)}"
    screen = look(street)
    assert findings(screen, *PAGES, f"/accounts/{public_id(db, street, 3)}") == []
    assert findings(look(street, Role.CASHIER), "/counter", f"/counter/{public_id(db, street)}", receipt) == []


def test_axe_finds_nothing_serious_by_night(look: Look, street: World, db: Database) -> None:
    screen = look(street, theme="dark")
    assert findings(screen, "/", "/rooms", f"/accounts/{public_id(db, street, 3)}") == []
    assert findings(look(street, Role.CASHIER, theme="dark"), "/counter") == []


def findings(screen: Screen, *addresses: str) -> list[tuple[Any, ...]]:
    """What is serious on these pages, each with its address."""
    return [(address, *found) for address in addresses for found in serious(screen.open(address))]


def serious(page: Page) -> list[tuple[Any, ...]]:
    """Serious and critical findings of axe: (rule, first element, how many)."""
    page.evaluate(AXE.read_text())
    report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (v["id"], v["nodes"][0]["html"][:160], len(v["nodes"]), v["nodes"][0].get("failureSummary", "")[:200])
        for v in report["violations"]
        if v["impact"] in ("serious", "critical")
    ]
