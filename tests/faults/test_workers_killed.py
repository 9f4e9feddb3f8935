"""Q01, Q04, Q08, Q09: workers, relays and Redis may be killed at any moment; every event has exactly one effect."""

import signal

import pytest
import redis

from app.jobs import table
from app.jobs.transport import Transport
from app.kernel import outbox
from tests.factories.notes import install, own_redis_url, say, states, written
from tests.faults.nursery import Nursery, within

pytestmark = pytest.mark.faults

PATIENCE_S = 180


@pytest.fixture
def queue(db, monkeypatch):
    """The test's own Redis database, empty, hinted by what this process tells."""
    install(monkeypatch)
    url = own_redis_url()
    transport = Transport(url)
    transport.redis.flushdb()
    outbox.send_hints_to(transport.hint)
    yield url
    outbox.send_hints_to(None)
    table.install()
    for client in (transport.redis, transport._hasty):
        client.close()


@pytest.fixture
def nursery(queue):
    with Nursery(queue) as own:
        yield own


def tell_all(world, count, *, since=0, keys=8, pause_ms=0):
    """So many events more, round robin over order keys; returns the numbers of all keys in their order."""
    for no in range(since, since + count):
        say(world.tenant_id, [no], order_key=f"meter:{no % keys}", pause_ms=pause_ms)
    return {f"meter:{key}": list(range(key, since + count, keys)) for key in range(keys)}


def check_exact(world, lanes):
    """Each event once, and each key in its order."""
    found = written(world.tenant_id)
    assert sorted(found) == sorted(no for numbers in lanes.values() for no in numbers)
    for numbers in lanes.values():
        own = set(numbers)
        assert [no for no in found if no in own] == numbers


def all_done(world, count):
    found = states(world.tenant_id)
    return len(found) == count and {state for state, _ in found.values()} == {"done"}


def wait_until_done(world, count, seconds, meanwhile=lambda: None):
    with within(seconds) as time_is_left:
        while not all_done(world, count):
            meanwhile()
            assert time_is_left(), states(world.tenant_id)


def test_two_relays_and_three_workers_do_everything_once(world, nursery):
    """Q08."""
    lanes = tell_all(world, 300)
    for _ in range(2):
        nursery.start("relay", world.tenant_id)
    for _ in range(3):
        nursery.start("worker")
    wait_until_done(world, 300, PATIENCE_S)
    check_exact(world, lanes)


class Axe:
    """Kills the oldest worker every few looks and puts a new one in its place."""

    def __init__(self, nursery, *, every, how=signal.SIGKILL, also=lambda: None):
        self.nursery, self.every, self.how, self.also = nursery, every, how, also
        self.workers = [nursery.start("worker"), nursery.start("worker")]
        self.looks = self.kills = 0

    def __call__(self):
        self.looks += 1
        if self.looks % self.every == 0:
            self.nursery.kill(self.workers.pop(0), self.how)
            self.workers.append(self.nursery.start("worker"))
            self.also()
            self.kills += 1


def chop(world, nursery, *, count, kills, every=8, pause_ms=15, **wishes):
    """Tell so many events, and as many again until so many workers fell among them; each has one effect."""
    lanes, told = tell_all(world, count, pause_ms=pause_ms), count
    nursery.start("relay", world.tenant_id)
    axe = Axe(nursery, every=every, **wishes)
    wait_until_done(world, told, PATIENCE_S, meanwhile=axe)
    while axe.kills < kills:
        lanes, told = tell_all(world, count, since=told, pause_ms=pause_ms), told + count
        wait_until_done(world, told, PATIENCE_S, meanwhile=axe)
    check_exact(world, lanes)


def test_workers_killed_in_mid_batch_lose_nothing_and_repeat_nothing(world, nursery):
    """Q01, sampled."""
    chop(world, nursery, count=120, kills=3)


@pytest.mark.long
def test_workers_killed_all_the_time_lose_nothing(world, nursery):
    """Q01: 400 events under continuous kills."""
    chop(world, nursery, count=400, kills=20)


def test_a_redis_that_forgets_everything_again_and_again_loses_nothing(world, queue, nursery):
    """Q01 with Q04: hints, jobs and flags vanish while workers are killed."""
    with redis.Redis.from_url(queue) as client:
        chop(world, nursery, count=60, kills=2, also=client.flushdb)


def test_a_rolling_restart_loses_no_job(world, nursery):
    """Q09: a polite end finishes the job under way."""
    chop(world, nursery, count=60, kills=2, how=signal.SIGTERM)


def test_a_relay_killed_loses_no_event(world, nursery):
    nursery.start("worker")
    first = nursery.start("relay", world.tenant_id)
    lanes = tell_all(world, 20)
    nursery.kill(first)
    lanes |= {"late": [100, 101]}
    say(world.tenant_id, [100, 101], order_key="late")
    nursery.start("relay", world.tenant_id)
    wait_until_done(world, 22, PATIENCE_S)
    check_exact(world, lanes)
