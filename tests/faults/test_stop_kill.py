"""L04 for a stop: killed at any step there is a permit with its command, or neither; asked again, there is one of each."""

import pytest
from sqlalchemy import select

from app.billing.models import Stop
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_models import Command, Permit
from app.meters.models import Meter
from tests.faults.kill_at import STOPS_MAX, stop
from tests.faults.test_kill_at_every_step import count_steps, run, sampled

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("same_day")]


def check_one_stop_each(world, steps):
    first = world.supply_account_ids[0]
    assert set(run(world, "stop", first, steps).values()) == {"killed"}
    check_pairs(world)
    for step in steps:
        stop(world.tenant_id, first, step)
        stop(world.tenant_id, first, step)
    assert check_pairs(world) == sorted(world.meter_ids[step % STOPS_MAX] for step in steps)


def shared_out(steps):
    """Steps in groups that stop different accounts of one property."""
    groups = []
    for step in steps:
        free = [group for group in groups if all(step % STOPS_MAX != other % STOPS_MAX for other in group)]
        if free:
            free[0].append(step)
        else:
            groups.append([step])
    return groups


def steps_of_a_stop(make_world):
    world = make_world(spaces=STOPS_MAX)
    return count_steps(world, "stop", world.supply_account_ids[0])


def check_pairs(world):
    """Every permit has its one trip and its one stop; returns the meters that were tripped."""
    with unit_of_work(world.tenant_id) as session:
        commands = session.scalars(select(Command).order_by(Command.meter_id)).all()
        permits = session.scalars(select(Permit).order_by(Permit.meter_id)).all()
        stops = session.scalars(select(Stop).order_by(Stop.meter_id)).all()
        seqs = dict(session.execute(select(Meter.id, Meter.command_seq)).all())
    assert [c.permit_id for c in commands] == [p.id for p in permits]
    assert [s.trip_command_id for s in stops] == [c.id for c in commands]
    assert [(c.kind, c.state, c.seq) for c in commands] == [("trip", "queued", 1)] * len(commands)
    assert {meter: seq for meter, seq in seqs.items() if seq} == dict.fromkeys((c.meter_id for c in commands), 1)
    return [c.meter_id for c in commands]


def test_a_stop_killed_at_sampled_steps_is_ordered_once(make_world):
    for steps in shared_out(sampled(steps_of_a_stop(make_world))):
        check_one_stop_each(make_world(spaces=STOPS_MAX), steps)


@pytest.mark.long
def test_a_stop_killed_at_every_step_is_ordered_once(make_world):
    last = steps_of_a_stop(make_world)
    assert last > 20
    for steps in shared_out(range(1, last + 1)):
        check_one_stop_each(make_world(spaces=STOPS_MAX), steps)
