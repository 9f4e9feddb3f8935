"""How PostgreSQL is kept from reading a whole property for every batch, whatever its statistics say of it."""

from sqlalchemy import text

from app.billing.runs import lock_run
from app.kernel.unit_of_work import unit_of_work
from app.meters import interval_rows
from app.meters.columns import packed
from tests.factories.world import BEGAN_AT


def plan_mode(session):
    return session.scalar(text("SHOW plan_cache_mode"))


def marks(session, world):
    rows = interval_rows.lock_dirty(session, property_id=world.property_id, meter_ids=None, limit=100)
    return {meter_id: mark.version for meter_id, mark in rows.items()}


def test_a_run_is_planned_for_tenants_in_general_and_only_until_its_unit_of_work_ends(world):
    with unit_of_work(world.tenant_id) as session:
        lock_run(session, property_id=world.property_id, kind="pricing")
        assert plan_mode(session) == "force_generic_plan"
    with unit_of_work(world.tenant_id) as session:
        assert plan_mode(session) == "auto"


def test_clearing_marks_hashes_the_batch_once_and_never_joins(world):
    given = {"t": world.tenant_id, "property": world.property_id, "lowest": 1, "highest": 9}
    with unit_of_work(world.tenant_id) as session:
        explained = session.execute(
            text(f"EXPLAIN {interval_rows._CLEAR.text}"), packed({**given, "meters": [1, 9], "versions": [1, 1]})
        )
        plan = "\n".join(explained.scalars())
    assert "hashed SubPlan" in plan
    assert "Join" not in plan
    assert "Nested Loop" not in plan


def test_only_the_marks_that_were_worked_off_are_cleared(make_world):
    world, (first, second, third, other) = (made := make_world(spaces=4)), made.meter_ids
    with unit_of_work(world.tenant_id) as session:
        interval_rows.mark_dirty_meters(session, meter_ids=world.meter_ids, from_at=BEGAN_AT)
        taken = interval_rows.lock_dirty(session, property_id=world.property_id, meter_ids=None, limit=100)
        del taken[second]
        taken[third] = interval_rows.DirtyMeter(BEGAN_AT, taken[third].version + 1)
        interval_rows.clear_dirty(session, world.property_id, taken)
        assert marks(session, world).keys() == {second, third}
        assert not {first, other} & marks(session, world).keys()
