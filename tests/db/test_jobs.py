"""From a committed event to a queued job, over a real Redis that may forget everything; and what the clock starts."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from sqlalchemy import select, text

from app.billing.models import AccountDay
from app.jobs import handlers, schedule, table
from app.jobs.handlers import run_scheduled
from app.jobs.relay import Relay
from app.jobs.schedule import DEEDS
from app.jobs.timebox import TookTooLong, at_most
from app.jobs.transport import HINTS, Transport
from app.kernel import outbox
from app.kernel.errors import NotFound
from app.kernel.schedule import ScheduleRun
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import DirtyRange
from tests.factories.notes import CONSUMER, QUEUE, install, own_redis_url, say, written
from tests.factories.usage import read, use
from tests.factories.world import BEGAN_AT


@pytest.fixture
def transport(db, monkeypatch):
    """The test's own Redis database, empty, with the product's transport on it."""
    install(monkeypatch)
    way = Transport(own_redis_url())
    way.redis.flushdb()
    handlers.attach(way)
    outbox.send_hints_to(way.hint)
    yield way
    outbox.send_hints_to(None)
    handlers.attach(None)
    table.install()
    way.redis.flushdb()
    for client in (way.redis, way._hasty):
        client.close()


class OneTenant(Relay):
    """A relay that looks after one tenant, whoever else is in the test's database."""

    def __init__(self, db, transport, tenant_id):
        super().__init__(db, transport, tick_s=0.05)
        self.tenant_id = tenant_id

    def _tenants(self):
        return [self.tenant_id]


@pytest.fixture
def relay(db, transport, world):
    return OneTenant(db, transport, world.tenant_id)


def queued(transport, name=QUEUE):
    return [(job.func_name.rpartition(".")[2], *job.args) for job in transport.queues[name].jobs]


def deeds_queued(transport, *names):
    """Scheduled deeds that wait, job by job: (kind, period) of each."""
    names = names or sorted(set(table.QUEUES.values()))
    jobs = [job for name in names for job in queued(transport, name)]
    return [[tuple(deed) for deed in deeds] for function, _, deeds in jobs if function == "run_due"]


def kinds(jobs):
    return sorted(kind for deeds in jobs for kind, _ in deeds)


def work(transport, name=QUEUE):
    """A worker that ends when its queue is empty, and leaves the test's own way of being stopped as it was."""
    ways = {which: signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGINT)}
    worker = SimpleWorker([transport.queues[name]], connection=transport.redis, serializer=JSONSerializer)
    worker.log.disabled = True
    try:
        worker.work(burst=True)
    finally:
        for which, way in ways.items():
            signal.signal(which, way)


def test_a_commit_wakes_the_relay_and_the_relay_a_worker(world, transport, relay):
    say(world.tenant_id, [1, 2, 3])
    relay._pass_on(transport.next_hints(1))
    assert queued(transport) == [("drain", world.tenant_id, CONSUMER)]
    work(transport)
    assert written(world.tenant_id) == [1, 2, 3]


def test_a_hundred_hints_make_one_job_and_a_repeated_job_does_no_harm(world, transport, relay):
    for no in range(100):
        say(world.tenant_id, [no])
    while hints := transport.next_hints(0.05):
        relay._pass_on(hints)
    assert len(queued(transport)) == 1
    transport.queues[QUEUE].enqueue_call("app.jobs.handlers.drain", args=(world.tenant_id, CONSUMER))
    work(transport)
    assert written(world.tenant_id) == list(range(100))


def test_an_event_told_after_the_drain_began_gets_a_job_of_its_own(world, transport):
    transport.enqueue_drain((world.tenant_id, CONSUMER))
    transport.enqueue_drain((world.tenant_id, CONSUMER))
    assert len(queued(transport)) == 1
    transport.started((world.tenant_id, CONSUMER))
    transport.enqueue_drain((world.tenant_id, CONSUMER))
    assert len(queued(transport)) == 2


def test_a_flushed_redis_loses_no_work(world, transport, relay):
    """Q04: hints, jobs and flags are gone; the sweep finds every delivery."""
    say(world.tenant_id, [1, 2])
    relay._pass_on(transport.next_hints(1))
    transport.redis.flushdb()
    assert queued(transport) == []
    relay.sweep([world.tenant_id])
    assert ("drain", world.tenant_id, CONSUMER) in queued(transport)
    work(transport)
    assert written(world.tenant_id) == [1, 2]


def test_a_redis_that_is_away_stops_no_payment(world, transport, caplog):
    lost = Transport("redis://127.0.0.1:1/0")
    outbox.send_hints_to(lost.hint)
    say(world.tenant_id, [1])
    assert "the sweep will find it" in caplog.text
    with pytest.raises(redis.RedisError):
        lost.next_hints(0.05)
    assert handlers.drain(world.tenant_id, CONSUMER) == 1
    for client in (lost.redis, lost._hasty):
        client.close()


@pytest.mark.parametrize("junk", ["", "7", "x:pricing", "7:unheard_of", "7:pricing:more", b"\xff\xfe:\xff"])
def test_hints_nobody_of_ours_wrote_are_passed_over(transport, junk):
    transport.redis.lpush(HINTS, "7:pricing", junk)
    assert transport.next_hints(1) == {(7, "pricing")}


def test_jobs_carry_json_and_the_transport_knows_when_it_is_idle(world, transport):
    assert transport.idle()
    transport.enqueue_drain((world.tenant_id, CONSUMER))
    assert not transport.idle()
    job = transport.queues[QUEUE].jobs[0]
    assert transport.redis.hget(job.key, "data") is not None
    assert job.serializer.__name__ == "JSONSerializer"
    work(transport)
    assert transport.idle()


def test_readings_whose_event_is_a_dead_letter_are_priced_all_the_same(world, transport, relay, business_clock):
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 103_000, BEGAN_AT + timedelta(hours=6))
        session.execute(text("UPDATE outbox_deliveries SET state = 'dead'"))
    relay.sweep([world.tenant_id])
    assert ("drain", world.tenant_id, "pricing") in queued(transport)
    work(transport)
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(AccountDay.rated_microfen)).one() == 3_000 * 56_000
        assert session.scalars(select(DirtyRange)).all() == []


@pytest.fixture
def one_clock(monkeypatch, business_clock):
    """What follows the computer's clock follows the test's."""
    monkeypatch.setattr(schedule, "wall_now", business_clock.now)


def test_every_deed_is_started_once_per_period(world, transport, relay, business_clock, one_clock):
    relay.start_due([world.tenant_id])
    relay.start_due([world.tenant_id])
    assert kinds(deeds_queued(transport)) == sorted(deed.kind for deed in DEEDS)
    before, after = business_clock.now(), business_clock.now() + timedelta(minutes=1)
    business_clock.set(after)
    relay.start_due([world.tenant_id])
    due_anew = [deed.kind for deed in DEEDS if deed.by_wall or deed.period_at(before) != deed.period_at(after)]
    assert {"expire_commands", "judge_stops", "expire_holds"} <= set(due_anew)
    assert kinds(deeds_queued(transport)) == sorted([deed.kind for deed in DEEDS] + due_anew)


def test_the_deeds_of_a_tenant_and_a_queue_are_one_job(make_world, transport, relay, one_clock):
    tenants = [make_world().tenant_id, make_world().tenant_id]
    relay.start_due(tenants)
    for name in set(table.QUEUES.values()):
        jobs = queued(transport, name)
        assert [tenant_id for _, tenant_id, _ in jobs] == tenants
        assert kinds(deeds_queued(transport, name)) == sorted(2 * [d.kind for d in DEEDS if d.queue == name])


def test_a_deed_that_fails_stops_none_of_the_others(world, monkeypatch, business_clock):
    def fail(_):
        raise NotFound(thing="property")

    deeds = [("expire_holds", "2026-07-15T10:00"), ("close_days", "2026-07-15T10"), ("open_periods", "2026-07-15")]
    with monkeypatch.context() as broken:
        broken.setitem(handlers.SCHEDULED, "expire_holds", fail)
        broken.setitem(handlers.IN_BATCHES, "close_days", fail)
        with pytest.raises(ExceptionGroup) as failed:
            handlers.run_due(world.tenant_id, deeds)
    assert [type(failure) for failure in failed.value.exceptions] == [NotFound, NotFound]
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(ScheduleRun.kind)).all() == ["open_periods"]
    assert handlers.run_due(world.tenant_id, deeds) == 2
    assert handlers.run_due(world.tenant_id, deeds) == 0


def test_a_deed_that_takes_too_long_leaves_the_others_their_turn(world, monkeypatch, business_clock):
    monkeypatch.setattr(handlers, "RUN_SECONDS_MAX", 1)
    monkeypatch.setitem(handlers.SCHEDULED, "expire_holds", lambda _: threading.Event().wait(30))
    with pytest.raises(ExceptionGroup) as failed:
        handlers.run_due(world.tenant_id, [("expire_holds", "2026-07-15T10:00"), ("open_periods", "2026-07-15")])
    assert [type(failure) for failure in failed.value.exceptions] == [TookTooLong]
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(ScheduleRun.kind)).all() == ["open_periods"]


def test_a_deed_that_went_unclaimed_goes_alone(world, transport, relay, business_clock):
    """What ended its worker must not take the others of its job along a second time."""
    relay.start_due([world.tenant_id])
    transport.redis.flushdb()
    assert run_scheduled("expire_holds", world.tenant_id, named("expire_holds", business_clock.now()))
    relay.sweep([world.tenant_id])
    business_clock.set(business_clock.now() + timedelta(minutes=1))
    relay.start_due([world.tenant_id])
    money = [[kind for kind, _ in deeds] for deeds in deeds_queued(transport, "money")]
    assert sorted(money) == [["close_days"], ["expire_holds"], ["open_periods"]]


def named(kind, now):
    return next(deed for deed in DEEDS if deed.kind == kind).period_at(now)


def test_a_moved_clock_wakes_the_relay(transport):
    transport.wake()
    assert transport.next_hints(30) == set()
    assert transport.idle()


def test_a_job_on_its_way_to_a_worker_is_not_idle(world, transport):
    transport.enqueue_drain((world.tenant_id, CONSUMER))
    queue = transport.queues[QUEUE]
    transport.redis.lmove(queue.key, queue.intermediate_queue_key)
    assert not transport.idle()


def test_every_deed_of_the_table_runs_and_is_claimed(world, transport, relay, business_clock):
    relay.start_due([world.tenant_id])
    for name in sorted(set(table.QUEUES.values())):
        work(transport, name)
    with unit_of_work(world.tenant_id) as session:
        runs = session.scalars(select(ScheduleRun)).all()
    assert {run.kind for run in runs} == {deed.kind for deed in DEEDS}
    assert {run.claimed_at for run in runs} == {business_clock.now()}


def test_a_deed_whose_job_was_lost_is_started_again(world, transport, relay, business_clock):
    relay.start_due([world.tenant_id])
    transport.redis.flushdb()
    relay.start_due([world.tenant_id])
    assert queued(transport, "money") == []
    relay.sweep([world.tenant_id])
    relay.start_due([world.tenant_id])
    assert kinds(deeds_queued(transport)) == sorted(deed.kind for deed in DEEDS)
    for name in sorted(set(table.QUEUES.values())):
        work(transport, name)
    relay.sweep([world.tenant_id])
    transport.redis.flushdb()
    relay.start_due([world.tenant_id])
    assert queued(transport, "money") == []


def run_twice_at_once(kind, world, period):
    barrier = threading.Barrier(2)

    def run(_):
        barrier.wait()
        return run_scheduled(kind, world.tenant_id, period)

    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(run, range(2)))


@pytest.mark.parametrize("kind", ["expire_holds", "seal", "close_days"])
def test_two_workers_on_one_period_run_it_once(world, business_clock, kind):
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [3, 4])
    assert run_twice_at_once(kind, world, "2026-07-15") == [False, True]
    assert run_scheduled(kind, world.tenant_id, "2026-07-15") is False
    assert run_scheduled(kind, world.tenant_id, "2026-07-16") is True


@pytest.mark.parametrize(("kind", "table_name"), [("expire_holds", "SCHEDULED"), ("close_days", "IN_BATCHES")])
def test_a_deed_that_failed_can_be_run_again(world, monkeypatch, kind, table_name):
    def fail(_):
        raise NotFound(thing="property")

    with monkeypatch.context() as broken:
        broken.setitem(getattr(handlers, table_name), kind, fail)
        with pytest.raises(NotFound):
            run_scheduled(kind, world.tenant_id, "2026-07-15")
    assert run_scheduled(kind, world.tenant_id, "2026-07-15") is True


def test_claims_of_periods_long_past_are_forgotten(world, business_clock):
    run_scheduled("expire_holds", world.tenant_id, "old")
    business_clock.set(datetime(2026, 7, 25, tzinfo=UTC))
    run_scheduled("expire_holds", world.tenant_id, "new")
    run_scheduled("prune", world.tenant_id, "2026-07-25")
    with unit_of_work(world.tenant_id) as session:
        kept = session.scalars(select(ScheduleRun.period).where(ScheduleRun.kind == "expire_holds")).all()
    assert kept == ["new"]


def test_a_deed_of_one_tenant_is_not_another_tenants(make_world, business_clock):
    one, other = make_world(), make_world()
    assert run_scheduled("seal", one.tenant_id, "2026-07-15T10:00") is True
    assert run_scheduled("seal", other.tenant_id, "2026-07-15T10:00") is True


def test_only_what_takes_too_long_is_broken_off():
    with pytest.raises(TookTooLong), at_most(1):
        threading.Event().wait(30)
    with at_most(30), at_most(20):
        pass
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: at_most(1).__enter__()).result() is None
