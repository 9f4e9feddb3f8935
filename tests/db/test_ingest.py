"""Taking readings in: what each row is called, what is kept, what a person gets to see."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, select

from app.kernel.db import Database
from app.kernel.outbox import OutboxEvent
from app.kernel.unit_of_work import unit_of_work
from app.meters.ingest import NewReading, RowResult, take_readings
from app.meters.models import DirtyRange, Meter, Reading, ReadingCase
from tests.conftest import MovableClock
from tests.factories.world import World

NOW = datetime(2026, 7, 15, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _paused(business_clock: MovableClock) -> None:
    """Every test here stands still at the clock's first instant."""


def take(db: Database, world: World, *rows: tuple[int, datetime, int]) -> list[RowResult]:
    """Take (which meter, instant, Wh) rows in one batch."""
    with unit_of_work(world.tenant_id, db=db) as session:
        new = [NewReading(world.meter_ids[which], at, wh) for which, at, wh in rows]
        return take_readings(session, rows=new, source="api")


@pytest.mark.parametrize(
    ("row", "status", "flag"),
    [
        ((0, NOW, 120_500), "stored", "ok"),
        ((0, NOW - HOUR, 120_000), "duplicate", "duplicate"),
        ((0, NOW - HOUR, 120_010), "case", "conflict"),
        ((0, NOW - 3 * HOUR, 119_500), "stored", "out_of_order"),
        ((0, NOW - 3 * HOUR, 120_500), "case", "negative"),
        ((0, NOW, 119_000), "case", "negative"),
        ((0, NOW, 900_000), "case", "impossible_jump"),
        ((0, NOW + HOUR, 121_000), "case", "future"),
        ((0, NOW, 1_000_000_000), "case", "out_of_range"),
        ((0, datetime(1970, 1, 1, tzinfo=UTC), 120_000), "case", "stale_clock"),
        ((1, NOW, 100_000), "stored", "first"),
    ],
)
def test_every_row_is_called_by_its_name(
    db: Database, world: World, row: tuple[int, datetime, int], status: str, flag: str
) -> None:
    take(db, world, (0, NOW - 2 * HOUR, 119_800), (0, NOW - HOUR, 120_000))
    assert take(db, world, row) == [RowResult(status, flag)]


def test_a_silence_of_a_day_is_a_gap_and_is_kept(db: Database, world: World) -> None:
    take(db, world, (0, NOW - 24 * HOUR, 100_000))
    assert take(db, world, (0, NOW, 110_000)) == [RowResult("stored", "gap")]


def test_a_register_that_turns_over_is_no_fall(db: Database, make_world) -> None:
    world = make_world(register_wh_first=999_999_000)
    take(db, world, (0, NOW - HOUR, 999_999_500))
    assert take(db, world, (0, NOW, 600)) == [RowResult("stored", "rollover")]


def test_what_is_impossible_by_itself_only_reaches_a_person(db: Database, world: World) -> None:
    take(db, world, (0, NOW + HOUR, 121_000))
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalar(select(func.count()).select_from(Reading)) == 0
        case = session.scalars(select(ReadingCase)).one()
    assert (case.flag, case.register_wh, case.source, case.settled_at) == ("future", 121_000, "api", None)


def test_a_meter_that_contradicts_itself_at_every_poll_makes_one_case(db: Database, world: World) -> None:
    take(db, world, (0, NOW - 3 * HOUR, 120_000))
    take(db, world, (0, NOW - 2 * HOUR, 10), (0, NOW - HOUR, 20))
    take(db, world, (0, NOW, 30))
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalar(select(func.count()).select_from(ReadingCase)) == 1
        assert session.scalar(select(func.count()).select_from(Reading)) == 4
        meter = session.scalars(select(Meter).where(Meter.id == world.meter_ids[0])).one()
    assert meter.register_wh == 120_000


def test_a_batch_may_hold_the_same_row_twice_in_any_order(db: Database, world: World) -> None:
    rows = [(0, NOW, 120_100), (0, NOW - HOUR, 120_000), (0, NOW, 120_100)]
    assert [result.status for result in take(db, world, *rows)] == ["stored", "stored", "duplicate"]


def test_an_unknown_meter_is_refused_and_the_rest_is_taken(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        rows = [NewReading(10**9, NOW, 1), NewReading(world.meter_ids[0], NOW, 120_000)]
        results = take_readings(session, rows=rows, source="api")
    assert results == [RowResult("refused", "meter_unknown"), RowResult("stored", "first")]


def test_a_meter_of_another_tenant_is_unknown(db: Database, world: World, make_world) -> None:
    other = make_world()
    with unit_of_work(world.tenant_id, db=db) as session:
        results = take_readings(session, rows=[NewReading(other.meter_ids[0], NOW, 1)], source="api")
    assert results == [RowResult("refused", "meter_unknown")]


def test_pricing_is_told_once_per_batch_and_not_at_all_about_what_it_knows(db: Database, world: World) -> None:
    row = (0, NOW, 120_000)
    take(db, world, row, (1, NOW, 130_000))
    take(db, world, row)
    with unit_of_work(world.tenant_id, db=db) as session:
        events = session.scalars(select(OutboxEvent).where(OutboxEvent.kind == "readings.arrived")).all()
    assert [event.payload for event in events] == [{"property_id": world.property_id}]


def test_a_late_reading_marks_the_range_from_the_reading_before_it(db: Database, world: World) -> None:
    take(db, world, (0, NOW - 4 * HOUR, 120_000), (0, NOW, 121_000))
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(delete(DirtyRange))
    take(db, world, (0, NOW - HOUR, 120_500))
    with unit_of_work(world.tenant_id, db=db) as session:
        mark = session.scalars(select(DirtyRange)).one()
        meter = session.scalars(select(Meter).where(Meter.id == world.meter_ids[0])).one()
    assert mark.from_at == NOW - 4 * HOUR
    assert (meter.reading_at, meter.register_wh) == (NOW, 121_000)


def test_band_registers_are_judged_against_their_own_past(db: Database, world: World) -> None:
    meter_id = world.meter_ids[0]
    with unit_of_work(world.tenant_id, db=db) as session:
        rows = [NewReading(meter_id, NOW - HOUR, 500, "peak"), NewReading(meter_id, NOW - HOUR, 120_000)]
        take_readings(session, rows=rows, source="api")
        peaks = [NewReading(meter_id, NOW, 400, "peak"), NewReading(meter_id, NOW, 700, "valley")]
        results = take_readings(session, rows=peaks, source="api")
    assert [result.flag for result in results] == ["negative", "first"]
