"""Pages made for a phone: refunds and their papers, many rooms at once, light for a night, the call list."""

from collections.abc import Callable, Iterator

import pytest

from app.kernel.db import Database
from app.permissions.policy import Role
from tests.browser.conftest import Screen
from tests.conftest import MovableClock
from tests.factories.history import pay, public_id
from tests.factories.supply import darken
from tests.factories.world import World

Look = Callable[..., Screen]
pytestmark = pytest.mark.browser


@pytest.fixture
def town(world: World, business_clock: MovableClock, db: Database) -> World:
    """A dark room, and money in another."""
    darken(world, business_clock)
    pay(db, world, 1, fen=20_000)
    return world


def pages(screen: Screen, world: World, db: Database) -> Iterator[tuple[str, str]]:
    """(name, address) of each page; a refund is given on the way."""
    dark, rich = public_id(db, world), public_id(db, world, 1)
    yield from (("emergency", "/emergency?q=A-01"), ("emergency-room", f"/emergency/{dark}"), ("mass", "/rooms/mass"))
    yield from (("collection", "/collection"), ("collection-account", f"/collection/{dark}"))
    yield from ((kind, f"/accounts/{rich}/{kind}") for kind in ("refund", "waiver", "adjustment"))
    page = screen.open(f"/accounts/{rich}/refund")
    page.fill("#amount", "12.50")
    page.fill("#f-reason", "退租结清")
    page.once("dialog", lambda sure: sure.accept())
    page.click("button[data-sure]")
    page.wait_for_url("**/given/**")
    yield "paper", page.url.removeprefix(screen.url)
    yield "account", f"/accounts/{rich}"


@pytest.mark.parametrize("locale", ["zh", "en"])
@pytest.mark.parametrize("width", [1440, 390])
def test_no_page_is_wider_than_its_screen(look: Look, town: World, db: Database, width: int, locale: str) -> None:
    screen = look(town, Role.PROPERTY_MANAGER, width=width, theme="dark" if locale == "en" else "light")
    screen.context.add_cookies([{"name": "locale", "value": locale, "url": screen.url}])
    for name, address in pages(screen, town, db):
        page = screen.open(address)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
