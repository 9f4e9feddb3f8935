"""Price plans in the database: published forward only, assigned, read back as timelines."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.billing.models import PricePlan
from app.billing.plans import (
    PRICE_AHEAD_MAX,
    PlanNameTaken,
    PlanNameUnfit,
    PriceBackdated,
    PriceTimeTaken,
    PriceTooFarAhead,
    access_plan,
    assign_plan,
    create_plan,
    load_timelines,
    publish_price,
    timeline_of,
)
from app.billing.tariffs.plans import PriceTooFine, flat
from app.kernel.actor import Actor
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from tests.factories.world import BEGAN_AT

NOW = datetime(2026, 7, 15, 2, 0, tzinfo=UTC)


def day(n):
    return datetime(2026, 7, n, tzinfo=UTC)


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        # (plan, from day) → [(version, from day)]
        ([(1, 5)], [(11, 5), (12, 10)]),
        ([(1, 12)], [(12, 12)]),
        ([(1, 5), (2, 8)], [(11, 5), (21, 8)]),
        ([(2, 5), (1, 11)], [(21, 5), (12, 11)]),
        ([(1, 1)], [(11, 3), (12, 10)]),
        ([(3, 1)], None),
    ],
)
def test_assignments_and_versions_make_one_timeline(assignments, expected):
    versions = {1: [flat(11, day(3), "0.5"), flat(12, day(10), "0.6")], 2: [flat(21, day(2), "0.7")]}
    timeline = timeline_of([(plan, day(n)) for plan, n in assignments], versions)
    found = None if timeline is None else [(v.id, v.effective_from.day) for v in timeline.versions]
    assert found == expected


def test_accounts_with_the_same_plan_share_one_timeline(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        timelines = load_timelines(session, supply_account_ids=world.supply_account_ids)
    assert sorted(timelines) == sorted(world.supply_account_ids)
    assert len({id(timeline) for timeline in timelines.values()}) == 1


def test_a_name_is_taken_once_in_a_property(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        create_plan(session, property_id=world.property_id, name="商业")
        with pytest.raises(PlanNameTaken):
            create_plan(session, property_id=world.property_id, name="商业")


@pytest.mark.parametrize("name", ["", "  \t", "很" * 61])
def test_a_plan_has_a_name_of_sensible_length(world, business_clock, name):
    with unit_of_work(world.tenant_id) as session, pytest.raises(PlanNameUnfit):
        create_plan(session, property_id=world.property_id, name=name)


@pytest.mark.parametrize(
    ("price", "at", "refusal"),
    [
        ("0.600001", NOW + timedelta(days=1), PriceTooFine),
        ("0.6", NOW - timedelta(seconds=1), PriceBackdated),
        ("0.6", BEGAN_AT, PriceBackdated),
        ("0.6", NOW + timedelta(days=2), PriceTimeTaken),
        ("0.6", NOW + PRICE_AHEAD_MAX + timedelta(seconds=1), PriceTooFarAhead),
        ("0.6", datetime(9999, 12, 31, tzinfo=UTC), PriceTooFarAhead),
    ],
)
def test_a_published_price_is_never_replaced_nor_backdated(world, business_clock, price, at, refusal):
    with unit_of_work(world.tenant_id) as session:
        plan = session.get_one(PricePlan, (world.tenant_id, world.plan_id))
        soon = NOW + timedelta(days=2)
        publish_price(session, plan=plan, price=Decimal("0.58"), effective_from=soon, by=Actor.user(1))
        with pytest.raises(refusal):
            publish_price(session, plan=plan, price=Decimal(price), effective_from=at, by=Actor.user(1))


def test_assigning_twice_changes_nothing(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        plan = session.get_one(PricePlan, (world.tenant_id, world.plan_id))
        before = load_timelines(session, supply_account_ids=world.supply_account_ids)
        for _ in range(2):
            assign_plan(
                session, supply_account_ids=world.supply_account_ids, plan=plan, effective_from=NOW + timedelta(days=1)
            )
        after = load_timelines(session, supply_account_ids=world.supply_account_ids)
    assert [len(t.versions) for t in before.values()] == [1] * 4
    assert [len(t.versions) for t in after.values()] == [2] * 4


def test_a_plan_of_another_property_is_not_there(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        plan = session.get_one(PricePlan, (world.tenant_id, world.plan_id))
        assert access_plan(session, public_id=plan.public_id, allowed={world.property_id}).id == plan.id
        with pytest.raises(NotFound):
            access_plan(session, public_id=plan.public_id, allowed={world.property_id + 1})
