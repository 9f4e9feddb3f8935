"""What the console promises: only what the product will really do."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

from app.billing.models import PriceVersion, Stop, SupplyAccount
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.web.console.next_event import next_event
from tests.conftest import MovableClock
from tests.factories.history import bring_online, pay, public_id, read_hourly, stop_in_force
from tests.factories.world import World
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]

NOW = datetime(2026, 7, 15, 2, 0, tzinfo=UTC)
ACCOUNT = {
    "account_state": "open", "stop_state": None, "basis": None, "stop_reason": None, "paid_at": None,
    "guaranteed_supply": False, "protected_until": None, "available_fen": 50_000, "alarm_level": 0, "alarm_1_fen": 3_000,
    "restore_fen_min": 0, "overdraft_fen_max": 2_000, "agreement": "A1", "next_at": None, "reading_at": NOW,
}  # fmt: skip
BY_HAND = "人工停供（检修）。充值不会恢复供电，请联系项目经理。"


@pytest.mark.parametrize(
    ("facts", "hours", "tone", "said"),
    [
        ({"stop_state": "in_force", "basis": "manual", "stop_reason": "检修"}, 90, "bad", BY_HAND),
        ({"stop_state": "ordered", "basis": "manual", "stop_reason": "检修"}, 90, "bad", BY_HAND),
        ({"stop_state": "restoring", "basis": "manual", "paid_at": NOW}, 90, "warn", "工作人员已下令送电"),
        ({"stop_state": "restoring", "basis": "zero_stop", "paid_at": NOW, "available_fen": -1}, 0, "warn", "工作人员"),
        ({"stop_state": "restoring", "basis": "zero_stop", "paid_at": NOW}, 90, "warn", "已收款，正在送电"),
        ({"stop_state": "in_force", "basis": "zero_stop", "available_fen": -100}, 0, "bad", "再充值 ¥1.00"),
        ({"stop_state": "ordered", "basis": "zero_stop", "available_fen": -100}, 0, "bad", "现在充值会立即撤销"),
        ({"alarm_level": 1}, 60, "warn", "余额偏低：约 2026-07-17 22:00 用尽"),
        ({"alarm_level": 2}, None, "warn", "余额偏低，请尽快充值"),
        ({"available_fen": 0, "alarm_level": 3}, 0, "warn", "余额已用尽"),
        ({}, 240, "good", "一级预警约在 2026-07-22 10:00"),
        ({"available_fen": 6_000}, 480, "good", "一级预警约在 2026-07-25 10:00"),
        ({"reading_at": NOW - timedelta(hours=25)}, 240, "warn", "数据停在 2026-07-14 09:00，不作预测"),
        ({"reading_at": NOW - timedelta(hours=24)}, 240, "good", "按近 7 天用量"),
    ],
)
def test_the_sentence_follows_the_facts(facts: dict[str, Any], hours: int | None, tone: str, said: str) -> None:
    event = next_event(SimpleNamespace(**ACCOUNT | facts), hours, NOW)  # type: ignore[arg-type]
    assert event.tone == tone
    assert said in event.words


def test_money_for_a_stop_by_hand_promises_no_light(visit: Visit, world: World, db: Database) -> None:
    bring_online(db, world)
    stop_in_force(db, world, by_hand="检修")
    visitor = visit(world, Role.CASHIER)
    account = public_id(db, world)
    assert BY_HAND in visitor.text(f"/counter/{account}")
    receipt = visitor.text(f"/receipts/{pay(db, world)}")
    queue = visitor.text("/deliveries")
    page = visit(world).text(f"/accounts/{account}")
    for shown in (receipt, queue, page):
        assert BY_HAND in shown
    assert "正在送电" not in receipt
    assert "全部已送达" not in queue
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalars(select(Stop.state)).one() == "in_force"


def test_money_that_is_not_enough_promises_no_light(visit: Visit, world: World, db: Database) -> None:
    bring_online(db, world)
    stop_in_force(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(SupplyAccount).values(restore_fen_min=5_000))
    receipt = visit(world, Role.CASHIER).text(f"/receipts/{pay(db, world, fen=100)}")
    assert "余额还没有达到恢复供电的数额" in receipt
    assert "正在送电" not in receipt


def test_the_counter_shows_the_price_in_force_and_not_a_coming_one(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        old = session.scalars(select(PriceVersion)).one()
        session.add(
            PriceVersion(
                plan_id=old.plan_id, price=Decimal("9.87"), published_by="user:1", published_at=business_clock.now(),
                effective_from=business_clock.now() + timedelta(days=1),
            )
        )  # fmt: skip
    visitor = visit(world, Role.CASHIER)
    address = f"/counter/{public_id(db, world)}"
    assert "0.56 元/kWh" in visitor.text(address)
    business_clock.set(business_clock.now() + timedelta(days=2))
    assert "9.87 元/kWh" in visitor.text(address)


def test_readings_that_stay_away_foretell_nothing(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    pay(db, world, fen=50_000)
    read_hourly(db, world, since=business_clock.now() - timedelta(hours=150), hours=120)
    account = public_id(db, world)
    assert "不作预测" in visit(world).text(f"/accounts/{account}")
    assert "约可用" not in visit(world, Role.CASHIER).text(f"/counter/{account}")
