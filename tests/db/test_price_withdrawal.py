"""A price is taken back before it takes effect, never after, and leaves who did it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select

from app.billing.models import PricePlan
from app.billing.plans import PriceAlreadyInForce, load_timelines, publish_price, withdraw_price
from app.kernel.actor import Actor
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.tenants.models import AuditRecord

SOON = datetime(2026, 7, 16, 16, 0, tzinfo=UTC)
BY = Actor.user(3)


def publish(world, price="0.9", at=SOON):
    with unit_of_work(world.tenant_id) as session:
        plan = session.get_one(PricePlan, (world.tenant_id, world.plan_id))
        return publish_price(session, plan=plan, price=Decimal(price), effective_from=at, by=BY).id


def withdraw(world, version_id):
    with unit_of_work(world.tenant_id) as session:
        plan = session.get_one(PricePlan, (world.tenant_id, world.plan_id))
        withdraw_price(session, plan=plan, price_version_id=version_id, by=BY)


def prices(world):
    with unit_of_work(world.tenant_id) as session:
        timeline = load_timelines(session, supply_account_ids=world.supply_account_ids[:1])
        return [str(v.price.yuan) for v in timeline[world.supply_account_ids[0]].versions]


def test_a_withdrawn_price_never_counts_and_its_instant_is_free_again(world, business_clock):
    withdraw(world, publish(world, "9"))
    assert prices(world) == ["0.56"]
    withdraw(world, publish(world, "8"))
    publish(world, "0.6")
    assert prices(world) == ["0.56", "0.6"]


def test_withdrawing_twice_is_recorded_once(world, business_clock):
    version_id = publish(world)
    for _ in range(2):
        withdraw(world, version_id)
    with unit_of_work(world.tenant_id) as session:
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "plan:price:withdraw")).one()
    assert (told.actor, told.subject) == (str(BY), f"price_versions:{version_id}")
    assert told.facts["effective_from"] == SOON.isoformat()


@pytest.mark.parametrize("late", [timedelta(), timedelta(days=1)])
def test_a_price_in_force_is_not_withdrawn(world, business_clock, late):
    version_id = publish(world)
    business_clock.set(SOON + late)
    with pytest.raises(PriceAlreadyInForce):
        withdraw(world, version_id)
    assert prices(world) == ["0.56", "0.9"]


def test_a_price_of_another_plan_is_not_there(world, business_clock):
    with pytest.raises(NotFound):
        withdraw(world, publish(world) + 1_000)
