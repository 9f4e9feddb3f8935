"""Top-ups per second at the counter: 4 processes × 2 connections, every one durable.

Method. The product's `take_payment`, with the account already open on the cashier's screen, runs for SECONDS on 8
connections, each cashier at a till of its own, over 2,000 wallets. The floor is bare psycopg writing the same rows in
the same shape: per top-up one transaction with the tenant set, the period row shared, and one statement for each row
that the product writes (entry, posting, balance, payment, receipt, series, audit record, event, its deliveries). Both
run in turn, twice, in the same database; the best of each counts. Repeat: make bench-ledger
"""

import multiprocessing
import os
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from itertools import count

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import func, select

from app.billing.ledger.invariants import violations
from app.billing.ledger.models import Entry
from app.billing.models import SupplyAccount
from app.billing.payments.counter import take_payment
from app.jobs import table
from app.kernel.actor import Actor
from app.kernel.clock import business_now, wall_now
from app.kernel.db import open_database, uuid7
from app.kernel.unit_of_work import unit_of_work
from bench.stage import at_least, fresh_database, rounded, said
from tests.factories.world import World, build_world

PROCESSES, CONNECTIONS, SECONDS, WALLETS = 4, 2, 6, 2_000

Deed = Callable[[int, str], None]


def product_deed(world: World) -> Deed:
    """One top-up as the counter does it."""
    open_database(os.environ["DATABASE_URL"], pool_max=CONNECTIONS)
    table.install()
    actor = Actor.user(1, name="柜台", address="127.0.0.1")
    with unit_of_work(world.tenant_id) as session:
        accounts = list(session.scalars(select(SupplyAccount).order_by(SupplyAccount.id)))

    def deed(number: int, till: str) -> None:
        with unit_of_work(world.tenant_id) as session:
            account = accounts[number % len(accounts)]
            facts = {"amount_fen": 5_000, "channel": "cash", "till": till, "actor": actor}
            take_payment(session, supply_account=account, idempotency_key=str(uuid.uuid4()), **facts)  # type: ignore[arg-type]

    return deed


def bare_deed(world: World) -> Deed:
    """The same rows by bare psycopg, one statement each."""
    local = threading.local()

    def deed(number: int, till: str) -> None:
        if not hasattr(local, "connection"):
            local.connection = psycopg.connect(os.environ["DATABASE_URL"])
        with local.connection.transaction():
            write_rows(local.connection.cursor(), world, number, f"B{till}")

    return deed


def write_rows(cursor: psycopg.Cursor, world: World, number: int, till: str) -> None:
    """Every row that a top-up leaves behind."""
    t, book, wallet = world.tenant_id, world.book_id, world.wallet_ids[number % WALLETS]
    account, now, key = world.supply_account_ids[number % WALLETS], wall_now(), str(uuid.uuid4())
    run, digest = cursor.execute, os.urandom(32)
    run(f"SET LOCAL app.tenant_id TO '{t}'", prepare=False)
    run(
        "SELECT state FROM ledger_periods WHERE tenant_id=%s AND book_id=%s AND month=%s FOR SHARE",
        (t, book, BARE_MONTH),
    )
    run("INSERT INTO ledger_entries (tenant_id, public_id, book_id, booked_on, month, event_at, kind, actor, document,"
        " idempotency_key, fingerprint, row_hash) VALUES (%s,%s,%s,%s,%s,%s,'top_up','user:1',%s,%s,%s,%s) RETURNING id",
        (t, uuid7(), book, BARE_MONTH, BARE_MONTH, now, f"top_up:{account}", key, digest, digest))  # fmt: skip
    entry = cursor.fetchone()[0]  # type: ignore[index]
    run("UPDATE ledger_balances SET balance_fen = balance_fen + 5000, version = version + 1"
        " WHERE tenant_id=%s AND account_id=%s RETURNING balance_fen, version", (t, wallet))  # fmt: skip
    balance, version = cursor.fetchone()  # type: ignore[misc]
    run("INSERT INTO ledger_postings (tenant_id, entry_id, line_no, book_id, debit_account_id, credit_account_id,"
        " amount_fen, credit_version, credit_balance_fen) VALUES (%s,%s,1,%s,%s,%s,5000,%s,%s)",
        (t, entry, book, BARE_CASH, wallet, version, balance))  # fmt: skip
    run("INSERT INTO payments (tenant_id, public_id, property_id, supply_account_id, channel, amount_fen, received_on,"
        " received_at, actor, entry_id, idempotency_key, fingerprint)"
        " VALUES (%s,%s,%s,%s,'cash',5000,%s,%s,'user:1',%s,%s,%s) RETURNING id",
        (t, uuid7(), world.property_id, account, BARE_MONTH, now, entry, key, digest))  # fmt: skip
    payment = cursor.fetchone()[0]  # type: ignore[index]
    run("INSERT INTO outbox_events (tenant_id, kind, payload, created_at) VALUES (%s,'payments.succeeded',%s,%s) RETURNING id",
        (t, Jsonb({"payment_id": payment}), now))  # fmt: skip
    event = cursor.fetchone()[0]  # type: ignore[index]
    for consumer in table.EVENTS["payments.succeeded"]:
        run("INSERT INTO outbox_deliveries (tenant_id, event_id, consumer, order_key, not_before) VALUES (%s,%s,%s,%s,%s)",
            (t, event, consumer, f"supply_account:{account}", now))  # fmt: skip
    run("INSERT INTO number_series (tenant_id, book_id, till, last_no) VALUES (%s,%s,%s,1)"
        " ON CONFLICT (tenant_id, book_id, till) DO UPDATE SET last_no = number_series.last_no + 1 RETURNING last_no",
        (t, book, till))  # fmt: skip
    no = cursor.fetchone()[0]  # type: ignore[index]
    run("INSERT INTO receipts (tenant_id, public_id, property_id, book_id, till, number, payment_id, issued_at, content)"
        " VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s)",
        (t, uuid7(), world.property_id, book, till, no, payment, now, Jsonb({"amount_fen": 5_000, "till": till})))  # fmt: skip
    run("INSERT INTO audit_records (tenant_id, at, wall_at, actor, deed, subject, property_id, facts, row_hash,"
        " key_id) VALUES (%s,%s,%s,'user:1','money:topup:sell',%s,%s,%s,%s,'00000000')",
        (t, now, now, f"receipts:{no}", world.property_id, Jsonb({"amount_fen": 5_000}), digest))  # fmt: skip


BARE_MONTH = date(2026, 1, 1)
BARE_CASH = 0


def cashiers(
    make: Callable[[World], Deed], world: World, lane: int, cash: int, out: "multiprocessing.Queue[list[int]]"
) -> None:
    """One process: CONNECTIONS threads selling until the time is up; sends the duration of each sale in µs."""
    global BARE_CASH
    BARE_CASH = cash
    deed, spans = make(world), []
    numbers = count(lane * 977)
    until = time.monotonic() + SECONDS

    def sell(till: str) -> None:
        try:
            while time.monotonic() < until:
                began = time.perf_counter_ns()
                deed(next(numbers), till)
                spans.append((time.perf_counter_ns() - began) // 1_000)
        except Exception:
            traceback.print_exc()

    threads = [threading.Thread(target=sell, args=(f"T{lane}{n}",)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.put(spans)


def run_lanes(make: Callable[[World], Deed], world: World, cash: int) -> list[int]:
    """All processes at once; returns every sale's duration in µs."""
    context = multiprocessing.get_context("fork")
    out: multiprocessing.Queue[list[int]] = context.Queue()
    lanes = [context.Process(target=cashiers, args=(make, world, n, cash, out)) for n in range(PROCESSES)]
    for lane in lanes:
        lane.start()
    spans = [us for _ in lanes for us in out.get(timeout=SECONDS + 30)]
    for lane in lanes:
        lane.join()
    return spans


def main() -> None:
    """Measure, compare, and check the invariants of what the product wrote."""
    with fresh_database("bench_ledger") as database:
        world = build_world(database, spaces=WALLETS)
        bare_world = build_world(database, spaces=WALLETS)
        cash = prepare_bare(bare_world)
        database.engine.dispose()
        runs = [(run_lanes(product_deed, world, cash), run_lanes(bare_deed, bare_world, cash)) for _ in range(2)]
        product, bare = (max((run[side] for run in runs), key=len) for side in (0, 1))
        p99 = sorted(product)[int(len(product) * 0.99)]
        said("topups_per_second", rounded(len(product) / SECONDS, 0), "1/s")
        said("topup_p99", rounded(Decimal(p99) / 1000, 1), "ms")
        said("bare_rows_per_second", rounded(len(bare) / SECONDS, 0), "topups/s")
        at_least("topup_ratio_to_bare", rounded(len(product) / len(bare)), "ratio", Decimal("0.4"))
        with unit_of_work(world.tenant_id) as session:
            broken = violations(session)
            entries = session.scalar(select(func.count()).select_from(Entry))
        print(f"invariants over {entries} entries: {broken or 'all hold'}; business day {business_now():%Y-%m-%d}")
        sys.exit(1 if broken else 0)


def prepare_bare(world: World) -> int:
    """The month's row and the cash account that the bare writer uses."""
    from_codes = "SELECT id FROM ledger_accounts WHERE tenant_id=%s AND book_id=%s AND code='cash'"
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(f"SET LOCAL app.tenant_id TO '{world.tenant_id}'")
        facts = (world.tenant_id, world.book_id, BARE_MONTH)
        connection.execute("INSERT INTO ledger_periods (tenant_id, book_id, month) VALUES (%s,%s,%s)", facts)
        found = connection.execute(from_codes, facts[:2]).fetchone()
    assert found is not None
    return int(found[0])


if __name__ == "__main__":
    main()
