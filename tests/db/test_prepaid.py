"""The pricing run on a real database: from registers to what is left in the wallet."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import delete, select

from app.billing.models import AccountDay, PlanAssignment, PricePlan, SupplyAccount, ZeroCrossings
from app.billing.plans import assign_plan, create_plan, publish_price
from app.billing.wallets import find_wallet
from app.jobs.handlers import drain
from app.kernel.actor import Actor
from app.kernel.outbox import OutboxEvent
from app.kernel.unit_of_work import unit_of_work
from tests.factories.usage import price_all, read, use
from tests.factories.world import BEGAN_AT

MORNING = datetime(2026, 7, 1, 1, 0, tzinfo=UTC)


def days_of(session, account_id):
    return session.scalars(
        select(AccountDay).where(AccountDay.supply_account_id == account_id).order_by(AccountDay.day)
    ).all()


def test_usage_is_priced_to_the_microfen_and_shown_with_its_working(world, business_clock):
    business_clock.set(MORNING)
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 101_234, MORNING)
        priced = price_all(session, world.property_id)
        day = days_of(session, world.supply_account_ids[0])[0]
        wallet = find_wallet(session, supply_account_id=world.supply_account_ids[0])
    assert (priced.accounts, priced.unpriced) == (1, 0)
    assert (day.day, day.usage_wh, day.rated_microfen) == (date(2026, 7, 1), 1_234, 1_234 * 56_000)
    assert day.lines == [
        {
            "price_version_id": world.price_version_id,
            "label": "单一价",
            "price": "0.56",
            "usage_wh": 1_234,
            "amount_microfen": 1_234 * 56_000,
            "from": "2026-07-01T00:00:00+00:00",
            "to": "2026-07-01T01:00:00+00:00",
        }
    ]
    assert wallet.kept.accrued_microfen == 69_104_000
    assert wallet.available_fen == -69


def test_pricing_again_without_news_changes_nothing(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [5])
        before = find_wallet(session, supply_account_id=world.supply_account_ids[0]).kept
    with unit_of_work(world.tenant_id) as session:
        assert price_all(session, world.property_id).accounts == 0
        assert find_wallet(session, supply_account_id=world.supply_account_ids[0]).kept == before


def test_a_late_reading_moves_money_between_days_and_loses_none(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 124_000, BEGAN_AT + timedelta(hours=48))
        price_all(session, world.property_id)
        spread = [day.usage_wh for day in days_of(session, world.supply_account_ids[0])]
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 101_000, BEGAN_AT + timedelta(hours=16))
        price_all(session, world.property_id)
        exact = [day.usage_wh for day in days_of(session, world.supply_account_ids[0])]
        wallet = find_wallet(session, supply_account_id=world.supply_account_ids[0])
    assert sum(spread) == sum(exact) == 24_000
    assert exact[0] == 1_000
    assert wallet.kept.accrued_microfen == 24_000 * 56_000


def test_a_price_change_at_noon_splits_the_day_into_two_lines(world, business_clock):
    noon = datetime(2026, 7, 16, 4, 0, tzinfo=UTC)
    with unit_of_work(world.tenant_id) as session:
        plan = create_plan(session, property_id=world.property_id, name="两段")
        publish_price(session, plan=plan, price=Decimal("0.5"), effective_from=BEGAN_AT, by=Actor.user(1))
        publish_price(session, plan=plan, price=Decimal("0.9"), effective_from=noon, by=Actor.user(1))
        assign_plan(
            session,
            supply_account_ids=world.supply_account_ids[:1],
            plan=plan,
            effective_from=BEGAN_AT + timedelta(hours=1),
        )
    business_clock.set(noon + timedelta(hours=6))
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 110_000, noon - timedelta(hours=1))
        read(session, world, 112_000, noon + timedelta(hours=1))
        price_all(session, world.property_id)
        lines = days_of(session, world.supply_account_ids[0])[-1].lines
    assert [line["price"] for line in lines] == ["0.5", "0.9"]
    assert lines[1]["usage_wh"] == 1_000
    assert lines[1]["amount_microfen"] == 1_000 * 90_000


def test_usage_without_a_price_waits_and_is_priced_when_the_price_comes(world, business_clock):
    account_id = world.supply_account_ids[0]
    with unit_of_work(world.tenant_id) as session:
        session.execute(delete(PlanAssignment).where(PlanAssignment.supply_account_id == account_id))
        read(session, world, 101_000, MORNING)
        assert price_all(session, world.property_id).unpriced == 1
        assert days_of(session, account_id) == []
    with unit_of_work(world.tenant_id) as session:
        plan = session.get_one(PricePlan, (world.tenant_id, world.plan_id))
        assign_plan(session, supply_account_ids=[account_id], plan=plan, effective_from=BEGAN_AT)
    drain(world.tenant_id, "pricing")
    with unit_of_work(world.tenant_id) as session:
        assert [day.rated_microfen for day in days_of(session, account_id)] == [56_000_000]


def test_only_the_crossing_is_told_and_counted_once(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 100_100, MORNING)
        assert price_all(session, world.property_id).crossings == 1
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 100_200, MORNING + timedelta(hours=1))
        assert price_all(session, world.property_id).crossings == 0
        told = session.scalars(select(OutboxEvent).where(OutboxEvent.kind == "supply.level_changed")).all()
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        counted = session.scalars(select(ZeroCrossings.crossings)).all()
    assert [event.payload for event in told] == [{"supply_account_id": world.supply_account_ids[0]}]
    assert (account.alarm_level, account.episode, counted) == (3, 1, [1])
