"""A cashier in a real browser tops up a home that is dark, and watches its light come back over the wire."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.demo.signins import CASHIER, password_of
from app.demo.story.scene import Scene
from app.demo.story.stage import Stage, open_stage
from app.demo.town import street_only
from tests.factories.street import story_folder

pytestmark = pytest.mark.browser

#: Width of the screen → the home that is paid for on it.
HOMES = {1440: "A-0104", 390: "A-0101"}
PAST_OVERDRAFT_FEN = -2_100


@pytest.fixture(scope="module")
def dark() -> Iterator[Stage]:
    """The street half an hour after its last warnings: both homes were cut off."""
    town = street_only(dict.fromkeys(HOMES.values(), PAST_OVERDRAFT_FEN), history_days=2)
    with story_folder() as folder, open_stage(folder, town, say=print) as stage:
        stage.advance(stage.now + timedelta(minutes=30))
        yield stage


@pytest.mark.parametrize("width", HOMES)
def test_a_cashier_sees_the_light_come_back(dark: Stage, browser: Browser, width: int) -> None:
    home = Scene(dark, HOMES[width])
    assert home.meter_view()["relay_open"]
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, locale="zh-CN")
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    _sign_in(page, dark)
    with head_end_stands_still(dark):
        _take(page, home, yuan="120")
        _watch_what_is_ahead(page)
    expect(page.locator("ol.live > li").nth(2)).not_to_have_class("is-ahead")
    assert home.meter_view()["relay_open"] is False
    assert home.stops()[-1].state == "lifted"
    assert complaints == []
    context.close()


def _sign_in(page: Page, stage: Stage) -> None:
    page.goto(f"{stage.url}/sign-in")
    page.fill("input[name=login]", CASHIER.login)
    page.fill("input[name=password]", password_of(stage.settings))
    page.press("input[name=password]", "Enter")
    expect(page.locator("#who")).to_be_focused()


def _take(page: Page, home: Scene, *, yuan: str) -> None:
    page.keyboard.type(home.place.space)
    expect(page.locator("#counter-answers a.answer")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#amount")).to_be_focused()
    page.keyboard.type(yuan)
    page.keyboard.press("F10")
    expect(page.locator(".receipt-sum")).to_contain_text(f"¥{yuan}.00")


@contextmanager
def head_end_stands_still(stage: Stage) -> Iterator[None]:
    """Nothing goes over the wire meanwhile, so that a slow browser sees what is ahead as well as a quick one."""
    (head_end,) = head_ends_below(stage.settings.var_dir)
    os.kill(head_end, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(head_end, signal.SIGCONT)


def head_ends_below(var_dir: str) -> list[int]:
    """Process ids of the head-ends that keep their files in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words, env = ((process / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
            if words[-2:] == [b"headend", b""] and f"VAR_DIR={var_dir}".encode() in env:
                found.append(int(process.name))
    return found


def _watch_what_is_ahead(page: Page) -> None:
    """已收款 → 正在送电 → 已恢复: the last comes by itself, without a reload."""
    steps = page.locator("ol.live > li")
    expect(steps).to_have_count(3)
    expect(steps.nth(0)).to_contain_text("已收款")
    expect(steps.nth(1)).to_contain_text("正在送电")
    expect(steps.nth(2)).to_contain_text("已恢复")
    expect(steps.nth(2)).to_have_class("is-ahead")
