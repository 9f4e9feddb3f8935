"""Withdrawing a published price on the plan's page."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from app.permissions.policy import Role
from tests.conftest import MovableClock
from tests.factories.world import World
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]


def published(visitor: Visitor) -> tuple[str, str]:
    """The plan's address and that of the button which takes its coming price back."""
    found = re.search("/plans/[0-9a-f-]{36}", visitor.text("/plans"))
    assert found
    form = {"price": "0.6083", "effective_from": "2026-08-01T00:00", "deed": "publish"}
    assert visitor.post(f"{found[0]}/versions", form, token_from=found[0]).status_code == 303
    button = re.search(r'action="(/plans/[^"]+/withdraw)"', visitor.text(found[0]))
    assert button
    return found[0], button[1]


def test_a_coming_price_is_withdrawn_after_a_question(visit: Visit, world: World) -> None:
    visitor = visit(world)
    plan, button = published(visitor)
    assert "撤回自 2026-08-01 00:00 起的 0.6083 元/kWh？" in visitor.text(plan)
    assert visitor.post(button, token_from=plan).status_code == 303
    page = visitor.text(plan)
    assert "已撤回：该价格不会生效" in page
    assert button not in page
    assert "0.6083" not in visitor.text("/plans")


def test_a_price_in_force_stays(visit: Visit, world: World, business_clock: MovableClock) -> None:
    visitor = visit(world)
    plan, button = published(visitor)
    business_clock.set(datetime(2026, 8, 1, tzinfo=UTC))
    assert button not in visitor.text(plan)
    assert visitor.post(button, token_from=plan).status_code == 303
    assert "该价格已经生效，不能撤回" in visitor.text(plan)
    assert "0.6083" in visitor.text("/plans")


def test_a_cashier_withdraws_nothing(visit: Visit, world: World) -> None:
    _plan, button = published(visit(world))
    assert visit(world, Role.CASHIER).post(button).status_code in {403, 404}
