"""From registers to usage: what is billed does not depend on the order in which readings came."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select, update

from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.ingest import NewReading, take_readings
from app.meters.intervals import Recomputed, mark_dirty, recompute
from app.meters.models import DirtyRange, Meter, Mount, ReadingCase, UsageSpan
from app.meters.mounting import LastReadingImpossible, mount, unmount
from tests.conftest import MovableClock
from tests.factories.world import BEGAN_AT, World

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 7, 15, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
Row = tuple[int, datetime, int]


@pytest.fixture(autouse=True)
def _paused(business_clock: MovableClock) -> None:
    """Every test here stands still at the clock's first instant."""


def take(db: Database, world: World, *rows: Row) -> None:
    """Take (which meter, instant, Wh) rows in one batch."""
    with unit_of_work(world.tenant_id, db=db) as session:
        new = [NewReading(world.meter_ids[which], at, wh) for which, at, wh in rows]
        take_readings(session, rows=new, source="api")


def run(db: Database, world: World, cuts: Sequence[datetime] = (), limit: int = 2_000) -> Recomputed:
    """One run over the property; every account has the same price cuts."""

    def cuts_for(accounts: Sequence[int]) -> Mapping[int, Sequence[datetime]]:
        return dict.fromkeys(accounts, cuts)

    with unit_of_work(world.tenant_id, db=db) as session:
        return recompute(session, property_id=world.property_id, zone=ZONE, cuts_for=cuts_for, limit=limit)


def spans(db: Database, world: World, which: int = 0) -> list[UsageSpan]:
    """The spans of every mount of a meter, in order."""
    with unit_of_work(world.tenant_id, db=db) as session:
        mounts = select(Mount.id).where(Mount.meter_id == world.meter_ids[which])
        asked = select(UsageSpan).where(UsageSpan.mount_id.in_(mounts)).order_by(UsageSpan.from_at)
        return list(session.scalars(asked))


def used(db: Database, world: World, which: int = 0) -> int:
    """Everything a meter's mounts used, in Wh."""
    return sum(span.usage_wh for span in spans(db, world, which))


def test_usage_counts_from_the_first_reading_of_the_mount(db: Database, world: World) -> None:
    take(db, world, (0, BEGAN_AT + HOUR, 100_300), (0, BEGAN_AT + 2 * HOUR, 100_800))
    assert run(db, world).days == {world.supply_account_ids[0]: {date(2026, 7, 1)}}
    assert [(s.usage_wh, s.quality, s.supply_account_id) for s in spans(db, world)] == [
        (300, "actual", world.supply_account_ids[0]),
        (500, "actual", world.supply_account_ids[0]),
    ]


def test_usage_is_cut_at_midnight_of_the_property_and_at_a_new_price(db: Database, world: World) -> None:
    midnight = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)
    cut = midnight + HOUR
    take(db, world, (0, midnight - HOUR, 100_000), (0, midnight + 3 * HOUR, 104_000))
    run(db, world, cuts=[cut])
    last = [(s.day, s.to_at, s.usage_wh) for s in spans(db, world)][-3:]
    assert last == [
        (date(2026, 7, 1), midnight, 1_000),
        (date(2026, 7, 2), cut, 1_000),
        (date(2026, 7, 2), midnight + 3 * HOUR, 2_000),
    ]


def test_a_second_run_over_nothing_new_touches_nothing(db: Database, world: World) -> None:
    take(db, world, (0, BEGAN_AT + HOUR, 100_300))
    run(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        mark_dirty(session, supply_account_ids=world.supply_account_ids, from_at=BEGAN_AT)
    again = run(db, world)
    assert (again.meters, again.days) == (4, {})
    assert [span.revision for span in spans(db, world)] == [1]


def test_a_late_reading_moves_usage_and_keeps_the_sum(db: Database, world: World) -> None:
    take(db, world, (0, BEGAN_AT + HOUR, 100_300), (0, BEGAN_AT + 3 * HOUR, 100_900))
    run(db, world)
    take(db, world, (0, BEGAN_AT + 2 * HOUR, 100_350))
    run(db, world)
    assert [(s.usage_wh, s.revision) for s in spans(db, world)] == [(300, 1), (50, 2), (550, 1)]


def test_a_price_that_reaches_back_cuts_what_was_whole(db: Database, world: World) -> None:
    take(db, world, (0, BEGAN_AT + 2 * HOUR, 100_300))
    run(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        mark_dirty(session, supply_account_ids=world.supply_account_ids[:1], from_at=BEGAN_AT + HOUR)
    changed = run(db, world, cuts=[BEGAN_AT + HOUR])
    assert changed.days == {world.supply_account_ids[0]: {date(2026, 7, 1)}}
    assert [span.usage_wh for span in spans(db, world)] == [150, 150]


def test_a_run_takes_no_more_than_its_limit_and_says_that_there_is_more(db: Database, world: World) -> None:
    take(db, world, *[(which, BEGAN_AT + HOUR, 100_100) for which in range(4)])
    assert [run(db, world, limit=3).more, run(db, world, limit=3).more] == [True, False]
    assert [used(db, world, which) for which in range(4)] == [100] * 4


def test_a_mark_raised_during_a_run_is_not_cleared_by_it(db: Database, world: World) -> None:
    take(db, world, (0, BEGAN_AT + HOUR, 100_300))
    with unit_of_work(world.tenant_id, db=db) as session:

        def raised(accounts: Sequence[int]) -> Mapping[int, Sequence[datetime]]:
            session.execute(update(DirtyRange).values(version=DirtyRange.version + 1))
            return {}

        recompute(session, property_id=world.property_id, zone=ZONE, cuts_for=raised)
        assert session.scalar(select(func.count()).select_from(DirtyRange)) == 1


def test_a_spike_that_came_first_is_found_out_when_its_neighbours_come(db: Database, world: World) -> None:
    noon = BEGAN_AT + 12 * HOUR
    take(db, world, (0, noon + HOUR, 150_000))
    take(db, world, (0, noon + 2 * HOUR, 101_000))
    take(db, world, (0, noon, 100_900))
    run(db, world)
    assert used(db, world) == 1_000
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = session.scalars(select(Meter).where(Meter.id == world.meter_ids[0])).one()
        cases = session.scalars(select(ReadingCase).order_by(ReadingCase.register_wh)).all()
    assert (meter.reading_at, meter.register_wh) == (noon + 2 * HOUR, 101_000)
    assert [(c.register_wh, c.flag, c.settled_at is None) for c in cases] == [
        (100_900, "impossible_jump", False),
        (101_000, "negative", False),
        (150_000, "impossible_jump", True),
    ]


def test_a_replaced_meter_bills_its_last_and_the_new_ones_first_reading(db: Database, world: World) -> None:
    change_at = NOW - 2 * HOUR
    take(db, world, (0, change_at - HOUR, 101_000))
    with unit_of_work(world.tenant_id, db=db) as session:
        old, new = (session.get_one(Meter, (world.tenant_id, id_)) for id_ in world.meter_ids[:2])
        unmount(session, meter=new, ended_at=BEGAN_AT + HOUR, register_wh_last=100_000)
        unmount(session, meter=old, ended_at=change_at, register_wh_last=101_200)
        mount(
            session,
            meter=new,
            began_at=change_at,
            register_wh_first=7_000,
            supply_account_id=world.supply_account_ids[0],
            ratio=20,
        )
    take(db, world, (1, NOW, 7_100))
    run(db, world)
    assert used(db, world, 0) == 1_200
    assert [(s.usage_wh, s.from_at) for s in spans(db, world, 1)] == [(0, BEGAN_AT), (2_000, change_at)]


def test_a_ratio_change_is_a_new_mount_at_the_same_register(db: Database, world: World) -> None:
    change_at = BEGAN_AT + 2 * HOUR
    take(db, world, (0, BEGAN_AT + HOUR, 100_100))
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = session.get_one(Meter, (world.tenant_id, world.meter_ids[0]))
        unmount(session, meter=meter, ended_at=change_at, register_wh_last=100_200)
        mount(session, meter=meter, began_at=change_at, register_wh_first=100_200, ratio=10)
    take(db, world, (0, change_at + HOUR, 100_300))
    run(db, world)
    assert [span.usage_wh for span in spans(db, world)] == [100, 100, 1_000]


def test_a_last_reading_below_the_readings_before_it_is_refused(db: Database, world: World) -> None:
    take(db, world, (0, BEGAN_AT + HOUR, 100_100))
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = session.get_one(Meter, (world.tenant_id, world.meter_ids[0]))
        with pytest.raises(LastReadingImpossible):
            unmount(session, meter=meter, ended_at=BEGAN_AT + 2 * HOUR, register_wh_last=100_050)


def history(seed: int) -> list[Row]:
    """Three days of four meters at odd instants, with a turn-over of nothing and two spikes, in order."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for which in range(4):
        wh, at = 100_000, BEGAN_AT
        while at < BEGAN_AT + timedelta(days=3):
            at += timedelta(minutes=chance.choice((15, 15, 15, 60, 600)))
            wh += chance.randrange(0, 400)
            rows.append((which, at, wh))
    for spike in chance.sample(range(len(rows) // 2, len(rows) - 5), 2):
        which, at, wh = rows[spike]
        rows[spike] = (which, at, wh + 500_000_000)
    return rows


def digest(db: Database, world: World) -> str:
    """A hash over everything derived, with mounts and accounts by their place in the world."""
    mounts = {id_: n for n, id_ in enumerate(world.mount_ids)}
    with unit_of_work(world.tenant_id, db=db) as session:
        found = session.scalars(select(UsageSpan).order_by(UsageSpan.mount_id, UsageSpan.from_at)).all()
        last = session.scalars(select(Meter).order_by(Meter.id)).all()
    lines = [(mounts[s.mount_id], s.from_at, s.to_at, s.day, s.usage_wh, s.quality) for s in found]
    lasts = [(meter.reading_at, meter.register_wh) for meter in last]
    return hashlib.sha256(repr((lines, lasts)).encode()).hexdigest()


@pytest.mark.parametrize("seed", range(6))
def test_shuffled_tripled_and_a_week_late_equals_in_order(db: Database, make_world, seed: int) -> None:
    rows = history(seed)
    orderly, messy = make_world(), make_world()
    for start in range(0, len(rows), 50):
        take(db, orderly, *rows[start : start + 50])
        run(db, orderly)
    chance = random.Random(seed + 100)
    tripled = rows * 3
    chance.shuffle(tripled)
    while tripled:
        size = chance.choice((1, 7, 60, 200))
        batch, tripled = tripled[:size], tripled[size:]
        take(db, messy, *batch)
        if chance.random() < 0.5:
            run(db, messy)
    run(db, messy)
    assert digest(db, messy) == digest(db, orderly)
