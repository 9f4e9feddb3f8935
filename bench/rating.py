"""Pricing and debiting supply accounts with one new reading each: 10,000, then 100,000; and the counter meanwhile.

Method. A property with N metered supply accounts that were priced once yesterday gets one new reading per meter; the
clock then runs over `price_dirty` from the first dirty meter to the last committed wallet, spans, rating, account-days,
accrual and alarm levels included, in batches of 2,000 per transaction. Taking the readings in is measured by
`make bench-ingest`. Then the day close posts yesterday. Meanwhile another process tops up random wallets of the same
property, one every 20 ms, each timed from opening its unit of work to its commit. Repeat: make bench-rating
"""

import multiprocessing
import os
import random
import resource
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import select, text

from app.billing.day_close import close_day
from app.billing.ledger.invariants import violations
from app.billing.models import SupplyAccount
from app.billing.payments.counter import take_payment
from app.billing.prepaid import BATCH_MAX, price_dirty
from app.jobs import table
from app.kernel import clock
from app.kernel.actor import Actor
from app.kernel.db import Database, open_database
from app.kernel.unit_of_work import unit_of_work
from app.meters.ingest import NewReading, take_readings
from bench.stage import at_most, fresh_database, rounded, said
from tests.factories.world import World, build_world

SMALL, LARGE = 10_000, 100_000
YESTERDAY = date(2026, 7, 14)
FIRST_AT = datetime(2026, 7, 14, 4, 0, tzinfo=UTC)
SECOND_AT = FIRST_AT + timedelta(hours=1)
NOW = datetime(2026, 7, 15, 2, 0, tzinfo=UTC)

#: Copies of the world's one account, each with its meter, mount, wallet and plan.
_CLONES = (
    """INSERT INTO supply_accounts (tenant_id, public_id, property_id, book_id, number, party_id, space_id, usage_class,
              opened_on) SELECT tenant_id, gen_random_uuid(), property_id, book_id, 'N' || n, party_id, space_id,
              usage_class, opened_on FROM supply_accounts, generate_series(2, :size) AS n
              WHERE tenant_id = :t AND id = :account""",
    """INSERT INTO ledger_accounts (tenant_id, book_id, code, side, supply_account_id, keeps_balance)
       SELECT s.tenant_id, s.book_id, 'wallet', 'credit', s.id, true FROM supply_accounts s
        WHERE s.tenant_id = :t AND s.id <> :account""",
    """INSERT INTO ledger_balances (tenant_id, account_id) SELECT a.tenant_id, a.id FROM ledger_accounts a
        WHERE a.tenant_id = :t AND a.code = 'wallet' AND a.supply_account_id <> :account""",
    """INSERT INTO plan_assignments (tenant_id, supply_account_id, plan_id, effective_from)
       SELECT tenant_id, id, :plan, :began FROM supply_accounts WHERE tenant_id = :t AND id <> :account""",
    """INSERT INTO meters (tenant_id, public_id, property_id, model_id, gateway_id, number, address)
       SELECT tenant_id, gen_random_uuid(), property_id, :model, :gateway, id::text, id::text FROM supply_accounts
        WHERE tenant_id = :t AND id <> :account""",
    """INSERT INTO mounts (tenant_id, property_id, meter_id, supply_account_id, began_at, register_wh_first)
       SELECT m.tenant_id, m.property_id, m.id, m.number::bigint, :began, 100000 FROM meters m
        WHERE m.tenant_id = :t AND m.id <> :meter""",
)


def build(db: Database, size: int) -> World:
    """A property with so many supply accounts, priced once."""
    world = build_world(db, spaces=1)
    given = {
        "t": world.tenant_id, "account": world.supply_account_ids[0], "size": size, "plan": world.plan_id,
        "model": world.model_id, "gateway": world.gateway_id, "meter": world.meter_ids[0],
        "began": FIRST_AT - timedelta(hours=4),
    }  # fmt: skip
    with unit_of_work(world.tenant_id, db=db) as session:
        for statement in _CLONES:
            session.execute(text(statement), given)
    feed(world, FIRST_AT, 101_000)
    price(world)
    return world


def feed(world: World, at: datetime, register_wh: int) -> None:
    """One reading for every meter."""
    with unit_of_work(world.tenant_id) as session:
        meters = session.scalars(text("SELECT id FROM meters WHERE tenant_id = :t ORDER BY id"), {"t": world.tenant_id})
        ids = list(meters)
    for first in range(0, len(ids), BATCH_MAX):
        rows = [NewReading(meter_id=id_, read_at=at, register_wh=register_wh) for id_ in ids[first : first + BATCH_MAX]]
        with unit_of_work(world.tenant_id) as session:
            take_readings(session, rows=rows, source="headend", received_at=at)


def price(world: World) -> tuple[int, float]:
    """Price until nothing is dirty; returns how many accounts and in how many seconds."""
    began, done, more = time.perf_counter(), 0, True
    while more:
        with unit_of_work(world.tenant_id) as session:
            batch = price_dirty(session, property_id=world.property_id)
        done, more = done + batch.accounts, batch.more
    return done, time.perf_counter() - began


def close(world: World) -> tuple[int, float]:
    """Close yesterday; returns how many accounts and in how many seconds."""
    began, done, finished = time.perf_counter(), 0, False
    while not finished:
        with unit_of_work(world.tenant_id) as session:
            batch = close_day(session, property_id=world.property_id, day=YESTERDAY)
        done, finished = done + batch.accounts, batch.finished
    return done, time.perf_counter() - began


def cashier(
    url: str, clock_file: str, world: World, stop: Event, answers: "multiprocessing.Queue[list[float]]"
) -> None:
    """Top up random wallets until told to stop; answers with the milliseconds each took."""
    clock.use_clock_file(clock_file)
    open_database(url, pool_max=1)
    table.install()
    with unit_of_work(world.tenant_id) as session:
        ids = session.scalars(select(SupplyAccount.id)).all()
    chance, took = random.Random(7), []
    while not stop.is_set():
        began = time.perf_counter()
        with unit_of_work(world.tenant_id) as session:
            account = session.get_one(SupplyAccount, (world.tenant_id, chance.choice(ids)))
            take_payment(
                session, supply_account=account, amount_fen=5_000, channel="cash", till="T1", actor=Actor.user(1),
                idempotency_key=str(uuid.uuid4()),
            )  # fmt: skip
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(0.02)
    answers.put(took)


@contextmanager
def counter_open(world: World, clock_file: str, name: str) -> Iterator[None]:
    """Sell meanwhile, and print the 95th percentile of what a top-up took."""
    context = multiprocessing.get_context("spawn")
    stop, answers = context.Event(), context.Queue()
    process = context.Process(target=cashier, args=(os.environ["DATABASE_URL"], clock_file, world, stop, answers))
    process.start()
    time.sleep(1.5)
    yield
    stop.set()
    took = sorted(answers.get(timeout=30))
    process.join()
    at_most(f"top_up_during_{name}_p95", rounded(took[len(took) * 95 // 100], 1), "ms", 200)
    said(f"top_ups_during_{name}", len(took), "top-ups")


def peak_mb() -> int:
    """The most memory this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measure and print."""
    with fresh_database("tallyhouse_bench_rating") as db, TemporaryDirectory() as folder:
        clock_file = str(Path(folder) / "clock.json")
        clock.use_clock_file(clock_file)
        clock.move_clock(to=NOW, rate=0)
        small = build(db, SMALL)
        feed(small, SECOND_AT, 101_100)
        done, seconds = price(small)
        assert done == SMALL, done
        at_most("price_10000_accounts", rounded(seconds), "s", 3)
        per_account, peak = seconds / SMALL, peak_mb()
        large = build(db, LARGE)
        feed(large, SECOND_AT, 101_100)
        done, seconds = price(large)
        assert done == LARGE, done
        said("price_100000_accounts", rounded(seconds), "s")
        at_most("price_100000_to_10000_per_account", rounded(seconds / LARGE / per_account), "times", rounded(1.3, 1))
        at_most("peak_memory_growth", peak_mb() - peak, "MB", 60)
        feed(large, SECOND_AT + timedelta(hours=1), 101_200)
        with counter_open(large, clock_file, "pricing"):
            price(large)
        with counter_open(large, clock_file, "day_close"):
            done, seconds = close(large)
        said("close_day_of_100000", rounded(seconds), "s")
        with unit_of_work(small.tenant_id) as session:
            assert violations(session) == []


if __name__ == "__main__":
    main()
