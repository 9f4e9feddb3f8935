"""D02: asked at any hour of a year, a supply stops only in the window of its class, never on a holiday or its eve."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import chinese_calendar
import pytest
from sqlalchemy import select, update

from app.billing.cutoff import order_stop
from app.billing.models import Stop
from app.billing.stop_policy import Basis
from app.kernel.actor import Actor
from app.kernel.unit_of_work import unit_of_work

SHANGHAI = ZoneInfo("Asia/Shanghai")
HOURS = {"residential": (8 * 60, 18 * 60), "commercial": (8 * 60 + 30, 20 * 60), "dormitory": (7 * 60, 21 * 60 + 30)}
SPRING = chinese_calendar.Holiday.spring_festival.value


def ask_through_the_year(world, clock, times: int) -> list[datetime]:
    """Ask for a stop at so many random minutes of 2026, undoing each; returns when one was ordered."""
    chance = random.Random(2026)
    for minute in sorted(chance.sample(range(365 * 24 * 60), times)):
        clock.set(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute))
        with unit_of_work(world.tenant_id) as session:
            order_stop(
                session,
                supply_account_id=world.supply_account_ids[0],
                basis=Basis.MANUAL,
                actor=Actor.user(3),
                reason="检修",
            )
            session.execute(update(Stop).values(state="cancelled"))
    with unit_of_work(world.tenant_id) as session:
        return [at.astimezone(SHANGHAI) for at in session.scalars(select(Stop.ordered_at).order_by(Stop.ordered_at))]


def check(usage_class: str, ordered: list[datetime]) -> None:
    opens, closes = HOURS[usage_class]
    for at in ordered:
        assert opens <= at.hour * 60 + at.minute < closes, at
        is_holiday, name = chinese_calendar.get_holiday_detail(at.date())
        eve_is, eve_name = chinese_calendar.get_holiday_detail(
            min(at.date() + timedelta(days=1), at.date().replace(month=12, day=31))
        )
        if usage_class == "residential":
            assert not (is_holiday and name), at
            assert not (eve_is and eve_name), at
        elif usage_class == "commercial":
            assert not (is_holiday and name == SPRING), at


@pytest.mark.parametrize("usage_class", HOURS)
def test_stops_of_a_year_keep_to_their_hours(make_world, business_clock, usage_class):
    ordered = ask_through_the_year(make_world(usage_class=usage_class, spaces=1), business_clock, 60)
    assert 5 < len(ordered) < 60
    check(usage_class, ordered)


@pytest.mark.long
@pytest.mark.parametrize("usage_class", HOURS)
def test_stops_of_a_year_keep_to_their_hours_asked_often(make_world, business_clock, usage_class):
    ordered = ask_through_the_year(make_world(usage_class=usage_class, spaces=1), business_clock, 2_000)
    assert len(ordered) > 300
    check(usage_class, ordered)
