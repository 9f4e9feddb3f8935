"""The residents' page on a phone: nothing wider than the screen, letters large enough, nothing the policy refuses."""

import pytest
from playwright.sync_api import Browser

from app.kernel.db import Database
from tests.browser.conftest import _window
from tests.conftest import MovableClock
from tests.factories.history import pay, public_id
from tests.factories.residents import open_residents, resident_token
from tests.factories.supply import darken
from tests.factories.world import World

pytestmark = pytest.mark.browser
LETTERS_PX_MIN, BUTTON_PX_MIN = 17, 44


@pytest.mark.parametrize(("locale", "theme"), [("zh", "light"), ("en", "dark")])
def test_a_resident_looks_at_a_dark_home_on_a_phone(
    served: str, browser: Browser, db: Database, world: World, business_clock: MovableClock, locale: str, theme: str
) -> None:
    pay(db, world, fen=500)
    darken(world, business_clock)
    base, home = f"/r/{open_residents(db, world)}", public_id(db, world)
    screen = _window(browser, served, width=390, theme=theme, script=True)
    screen.context.add_cookies([{"name": "locale", "value": locale, "url": served}])
    for name, path in (("sign-in", "/sign-in"), ("home", ""), ("statement", f"/accounts/{home}/statement")):
        if name == "home":
            screen.context.add_cookies([{"name": "resident", "value": resident_token(db, world), "url": served}])
        page = screen.page
        page.goto(served + base + path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= LETTERS_PX_MIN
        heights = page.eval_on_selector_all(
            ".resident-main .btn", "found => found.map(b => b.getBoundingClientRect().height)"
        )
        assert all(height >= BUTTON_PX_MIN for height in heights), name
    screen.context.close()
    assert screen.complaints == []
