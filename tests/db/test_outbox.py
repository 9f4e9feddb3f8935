"""The outbox: written with its cause, handled once, in order per key, whoever fails beside it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from app.jobs import handlers, table
from app.jobs.handlers import drain
from app.kernel import outbox
from app.kernel.clock import wall_now
from app.kernel.outbox import ATTEMPTS_MAX, OutboxDelivery, OutboxEvent
from app.kernel.unit_of_work import unit_of_work
from tests.factories.notes import CONSUMER, KIND, install, make_due, say, states, write_down, written


@pytest.fixture(autouse=True)
def notebook(make_world, monkeypatch):
    """The test's own consumer beside the product's."""
    install(monkeypatch)
    yield
    table.install()


def count(world, thing):
    with unit_of_work(world.tenant_id) as session:
        return session.scalars(select(func.count()).select_from(thing)).one()


def test_an_event_is_committed_with_its_cause_or_not_at_all(world):
    hints = []
    outbox.send_hints_to(hints.append)
    try:
        with pytest.raises(ZeroDivisionError), unit_of_work(world.tenant_id) as session:
            outbox.tell(session, kind=KIND, payload={"no": 1})
            raise ZeroDivisionError
        assert (count(world, OutboxEvent), count(world, OutboxDelivery), hints) == (0, 0, [])
        say(world.tenant_id, [1, 2])
        assert (count(world, OutboxEvent), count(world, OutboxDelivery)) == (2, 2)
        assert hints == [{(world.tenant_id, CONSUMER)}]
    finally:
        outbox.send_hints_to(None)


def test_an_event_nobody_put_in_the_table_is_refused(world):
    with pytest.raises(KeyError), unit_of_work(world.tenant_id) as session:
        outbox.tell(session, kind="tests.unheard_of", payload={})


def test_every_consumer_of_an_event_has_a_delivery_of_its_own(world):
    with unit_of_work(world.tenant_id) as session:
        outbox.tell(session, kind="payments.succeeded", payload={"payment_id": 0})
        consumers = session.scalars(select(OutboxDelivery.consumer).order_by(OutboxDelivery.consumer)).all()
    assert tuple(consumers) == tuple(sorted(table.EVENTS["payments.succeeded"]))


def test_one_event_is_never_two_deliveries_of_one_consumer(world):
    say(world.tenant_id, [1])
    again = "INSERT INTO outbox_deliveries (tenant_id, event_id, consumer, not_before) SELECT tenant_id, event_id," \
            " consumer, not_before FROM outbox_deliveries"  # fmt: skip
    with pytest.raises(Exception, match="uq_outbox_deliveries_once"), unit_of_work(world.tenant_id) as session:
        session.execute(text(again))


def test_deliveries_are_handled_once_in_the_order_they_were_told(world):
    say(world.tenant_id, range(450))
    assert drain(world.tenant_id, CONSUMER) == 450
    assert written(world.tenant_id) == list(range(450))
    assert drain(world.tenant_id, CONSUMER) == 0


def test_a_poisoned_delivery_dies_alone(world):
    """Q05: its neighbours are done at once; after five tries it is a dead letter with its reason."""
    say(world.tenant_id, [1, 2])
    say(world.tenant_id, [3], poison=True)
    say(world.tenant_id, [4, 5])
    for attempt in range(1, ATTEMPTS_MAX + 1):
        drain(world.tenant_id, CONSUMER)
        assert written(world.tenant_id) == [1, 2, 4, 5]
        assert states(world.tenant_id)[3] == ("dead" if attempt == ATTEMPTS_MAX else "waiting", attempt)
        make_due(world.tenant_id)
    assert drain(world.tenant_id, CONSUMER) == 0
    with unit_of_work(world.tenant_id) as session:
        dead = session.scalars(select(OutboxDelivery).where(OutboxDelivery.state == "dead")).one()
    assert dead.last_error == "Poison(3)"


def test_each_failure_waits_longer_than_the_one_before(world, monkeypatch):
    failed_at = wall_now()
    monkeypatch.setattr(handlers, "wall_now", lambda: failed_at)
    say(world.tenant_id, [1], poison=True)
    waits = []
    for _ in range(3):
        drain(world.tenant_id, CONSUMER)
        with unit_of_work(world.tenant_id) as session:
            waits.append(session.scalars(select(OutboxDelivery.not_before)).one() - failed_at)
        make_due(world.tenant_id)
    assert waits == [timedelta(seconds=seconds) for seconds in (2, 4, 8)]


def test_what_follows_a_failure_with_the_same_key_waits_for_it_and_others_do_not(world):
    """Q11."""
    say(world.tenant_id, [1], order_key="meter:1", poison=True)
    say(world.tenant_id, [2], order_key="meter:2")
    say(world.tenant_id, [3], order_key="meter:1")
    drain(world.tenant_id, CONSUMER)
    assert written(world.tenant_id) == [2]
    for _ in range(ATTEMPTS_MAX):
        make_due(world.tenant_id)
        drain(world.tenant_id, CONSUMER)
    assert states(world.tenant_id)[1][0] == "dead"
    assert written(world.tenant_id) == [2, 3]


def test_a_failure_that_heals_is_handled_before_what_followed_it(world, monkeypatch):
    ill = {2}

    def sometimes(session, deliveries):
        if ill & {d.payload["no"] for d in deliveries}:
            raise ConnectionError("away")
        write_down(session, deliveries)

    monkeypatch.setitem(handlers.HANDLERS, CONSUMER, sometimes)
    say(world.tenant_id, [1, 2, 3], order_key="meter:1")
    drain(world.tenant_id, CONSUMER)
    assert written(world.tenant_id) == [1]
    ill.clear()
    make_due(world.tenant_id)
    drain(world.tenant_id, CONSUMER)
    assert written(world.tenant_id) == [1, 2, 3]


def test_two_drains_at_once_never_overtake_each_other(world, monkeypatch):
    monkeypatch.setattr(handlers, "BATCH", 3)
    say(world.tenant_id, range(60), order_key="meter:1", pause_ms=1)
    barrier = threading.Barrier(4)

    def work(_):
        barrier.wait()
        return drain(world.tenant_id, CONSUMER)

    with ThreadPoolExecutor(4) as pool:
        handled = list(pool.map(work, range(4)))
    assert sum(handled) == 60
    assert written(world.tenant_id) == list(range(60))


def test_events_told_while_a_drain_works_are_not_forgotten(world, monkeypatch):
    """The drain looks again until nothing is due."""

    def and_tell_on(session, deliveries):
        write_down(session, deliveries)
        for delivery in deliveries:
            if delivery.payload["no"] < 5:
                outbox.tell(session, kind=KIND, payload={"no": delivery.payload["no"] + 1})

    monkeypatch.setitem(handlers.HANDLERS, CONSUMER, and_tell_on)
    say(world.tenant_id, [1])
    assert drain(world.tenant_id, CONSUMER) == 5
    assert written(world.tenant_id) == [1, 2, 3, 4, 5]


def test_a_reply_lost_after_the_commit_revives_nothing(world, monkeypatch):
    """The delivery is done though its worker believes that it failed."""
    say(world.tenant_id, [1])
    with unit_of_work(world.tenant_id) as session:
        delivery = outbox.take(session, consumer=CONSUMER, limit=1)[0]
        write_down(session, [delivery])
        outbox.finish(session, ids=[delivery.id])
    handlers._put_back(world.tenant_id, delivery, OperationalError("COMMIT", {}, Exception("connection lost")))
    assert states(world.tenant_id)[1] == ("done", 0)
    drain(world.tenant_id, CONSUMER)
    assert written(world.tenant_id) == [1]


def test_a_database_that_goes_away_is_nobodys_failure(world, monkeypatch):
    """Nothing was taken, so nothing is counted: least of all on what was handled before."""
    say(world.tenant_id, [1, 2], order_key="meter:1")

    def fail_batches(session, deliveries):
        if len(deliveries) > 1:
            raise ValueError
        write_down(session, deliveries)

    monkeypatch.setitem(handlers.HANDLERS, CONSUMER, fail_batches)
    lanes, hold = [], outbox.hold_lane

    def lose_the_third(session, *, consumer):
        lanes.append(consumer)
        if len(lanes) == 3:
            raise OperationalError("SELECT", {}, Exception("server closed the connection"))
        hold(session, consumer=consumer)

    monkeypatch.setattr(outbox, "hold_lane", lose_the_third)
    with pytest.raises(OperationalError):
        drain(world.tenant_id, CONSUMER)
    assert states(world.tenant_id) == {1: ("done", 0), 2: ("waiting", 0)}
    drain(world.tenant_id, CONSUMER)
    assert written(world.tenant_id) == [1, 2]


def test_work_without_end_is_broken_off_and_counted(world, monkeypatch):
    """Q05: an endless delivery does not keep its neighbours waiting for ever."""
    monkeypatch.setattr(handlers, "BATCH_S_MAX", 1)
    monkeypatch.setattr(handlers, "ONE_S_MAX", 3)  # time enough for the neighbour, however busy the machine
    say(world.tenant_id, [1], pause_ms=600_000)
    say(world.tenant_id, [2])
    drain(world.tenant_id, CONSUMER)
    assert written(world.tenant_id) == [2]
    assert states(world.tenant_id)[1] == ("waiting", 1)


def age(world, *, of, days):
    with unit_of_work(world.tenant_id) as session:
        facts = {"at": wall_now() - timedelta(days=days), "no": of}
        session.execute(
            text(
                "UPDATE outbox_deliveries d SET done_at = :at FROM outbox_events e WHERE e.tenant_id = d.tenant_id"
                " AND e.id = d.event_id AND (e.payload ->> 'no')::int = :no AND d.done_at IS NOT NULL"
            ),
            facts,
        )


def test_pruning_takes_what_is_long_done_and_nothing_else(world, monkeypatch):
    monkeypatch.setattr(outbox, "PRUNE_MAX", 2)
    say(world.tenant_id, [1, 2, 3, 4, 5])
    drain(world.tenant_id, CONSUMER)
    say(world.tenant_id, [6], poison=True)
    drain(world.tenant_id, CONSUMER)
    say(world.tenant_id, [7])
    for no in (1, 2, 3, 4):
        age(world, of=no, days=8)
    assert handlers.run_scheduled("prune", world.tenant_id, "2026-07-15")
    assert states(world.tenant_id) == {5: ("done", 0), 6: ("waiting", 1), 7: ("waiting", 0)}
    assert count(world, OutboxEvent) == 3


def test_an_event_stays_while_one_of_its_consumers_still_waits(world):
    with unit_of_work(world.tenant_id) as session:
        outbox.tell(session, kind="meters.relay_changed", payload={"meter_id": 0})
        session.execute(
            text("UPDATE outbox_deliveries SET state = 'done', done_at = '2026-01-01Z' WHERE consumer = 'supply'")
        )
    with unit_of_work(world.tenant_id) as session:
        assert outbox.prune(session, done_before=wall_now()) == 1
    assert (count(world, OutboxEvent), count(world, OutboxDelivery)) == (1, 1)
