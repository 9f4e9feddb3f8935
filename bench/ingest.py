"""Readings per second: over HTTP from batches of 1,000 JSON rows to committed rows, and typed as the head-end has them.

Method. 20,000 meters of one property, priced never; a batch is what concentrators send once an hour: 250 meters × 4
quarters of an hour, new for the database, every one judged against the meter's last reading. HTTP: gunicorn with WORKERS
processes serves the product's own application on loopback, CLIENTS clients post batches back to back, each with its key;
the clock stops when the last answer is there, so everything is committed. Typed: `take_readings` in LANES processes, one
connection each, rows ready in memory. Floor: bare COPY on one connection into a table of the same shape, indexes, checks
and partitions (row-level security refuses COPY into the table itself), batches of 1,000 rows, one transaction each.
Typed, HTTP and floor are each run twice, in turn; the best of each counts. Repeat: make bench-ingest
"""

import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psycopg
from sqlalchemy import select, text

from app.jobs import table
from app.kernel.actor import Actor
from app.kernel.clock import business_now, wall_now
from app.kernel.db import Database, open_database
from app.kernel.unit_of_work import unit_of_work
from app.meters.ingest import NewReading, take_readings
from app.meters.models import Meter
from app.permissions.policy import Permission
from app.permissions.tokens import issue_token
from bench.stage import at_least, fresh_database, rounded, said
from tests.factories.world import World, build_world

METERS, BATCH_METERS, QUARTERS = 20_000, 250, 4
WORKERS, CLIENTS, LANES = 3, 4, 3
ROUNDS = 2
QUARTER = timedelta(minutes=15)
HOURS = count(1)

_CLONES = (
    """INSERT INTO meters (tenant_id, public_id, property_id, model_id, gateway_id, number, address)
       SELECT tenant_id, gen_random_uuid(), property_id, model_id, gateway_id, lpad(n::text, 12, '0'), lpad(n::text, 12, '0')
         FROM meters, generate_series(2, :size) AS n WHERE tenant_id = :t AND id = :meter""",
    """INSERT INTO mounts (tenant_id, property_id, meter_id, supply_account_id, began_at, register_wh_first)
       SELECT m.tenant_id, m.property_id, m.id, :account, :began, 100000 FROM meters m
        WHERE m.tenant_id = :t AND m.id <> :meter""",
)

Slice = Sequence[tuple[int, str]]


def build(db: Database) -> tuple[World, list[tuple[int, str]]]:
    """A property with METERS meters; returns (meter id, number) of each."""
    world = build_world(db, spaces=1)
    given = {
        "t": world.tenant_id, "size": METERS, "meter": world.meter_ids[0], "account": world.supply_account_ids[0],
        "began": business_now() - timedelta(days=30),
    }  # fmt: skip
    with unit_of_work(world.tenant_id, db=db) as session:
        for statement in _CLONES:
            session.execute(text(statement), given)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("ANALYZE meters, mounts, meter_models")
    with unit_of_work(world.tenant_id, db=db) as session:
        asked = select(Meter.id, Meter.number).order_by(Meter.id)
        return world, [(id_, number) for id_, number in session.execute(asked)]


def slices(meters: Slice) -> list[Slice]:
    """The meters of each batch."""
    return [meters[first : first + BATCH_METERS] for first in range(0, len(meters), BATCH_METERS)]


def readings_of(meters: Slice, hour: int) -> list[tuple[int, str, datetime, int]]:
    """(meter id, number, instant, Wh): four quarters of an hour of each meter."""
    start = business_now().replace(minute=0, second=0, microsecond=0) - timedelta(days=20) + timedelta(hours=hour)
    return [
        (id_, number, start + QUARTER * quarter, 100_000 + hour * 1_000 + quarter * 250)
        for id_, number in meters
        for quarter in range(QUARTERS)
    ]


def over_http(world: World, token: str, parts: Sequence[Slice], port: int, hour: int) -> float:
    """Post every batch from CLIENTS clients; returns readings per second."""
    bodies = []
    for part in parts:
        rows = [
            {"meter": number, "read_at": at.isoformat(), "register_wh": wh}
            for _, number, at, wh in readings_of(part, hour)
        ]
        bodies.append(json.dumps({"readings": rows}).encode())
    lanes = [bodies[lane::CLIENTS] for lane in range(CLIENTS)]
    wrong: list[object] = []

    def send(lane: int) -> None:
        line = http.client.HTTPConnection("127.0.0.1", port)
        for number, body in enumerate(lanes[lane]):
            headers = {
                "Authorization": f"Bearer {token}", "Content-Type": "application/json",
                "Idempotency-Key": f"{hour}-{lane}-{number}",
            }  # fmt: skip
            line.request("POST", "/api/v1/readings", body, headers)
            answer = line.getresponse()
            said_back = json.loads(answer.read())
            if answer.status != 200 or set(said_back["counts"]) != {"stored"}:
                wrong.append(said_back)

    took_s = together([threading.Thread(target=send, args=(lane,)) for lane in range(CLIENTS)])
    assert not wrong, wrong[0]
    return METERS * QUARTERS / took_s


def together(workers: Sequence[threading.Thread | multiprocessing.Process]) -> float:
    """Start all, wait for all; returns seconds."""
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began


def typed(world: World, parts: Sequence[Slice], hour: int) -> float:
    """`take_readings` of typed rows in LANES processes; returns readings per second, setting up left out."""
    context = multiprocessing.get_context("spawn")
    ready, go = context.Barrier(LANES + 1), context.Barrier(LANES + 1)
    lanes = [
        context.Process(target=typed_lane, args=(world.tenant_id, parts[lane::LANES], hour, ready, go))
        for lane in range(LANES)
    ]
    for lane in lanes:
        lane.start()
    ready.wait()
    began = time.perf_counter()
    go.wait()
    for lane in lanes:
        lane.join()
    took_s = time.perf_counter() - began
    assert all(lane.exitcode == 0 for lane in lanes)
    return METERS * QUARTERS / took_s


def typed_lane(tenant_id: int, parts: Sequence[Slice], hour: int, ready: Barrier, go: Barrier) -> None:
    """One process with one connection."""
    open_database(os.environ["DATABASE_URL"], pool_max=1)
    table.install()
    batches = [[NewReading(id_, at, wh) for id_, _, at, wh in readings_of(part, hour)] for part in parts]
    with unit_of_work(tenant_id) as session:
        session.execute(text("SELECT 1"))
    ready.wait()
    go.wait()
    for rows in batches:
        with unit_of_work(tenant_id) as session:
            results = take_readings(session, rows=rows, source="headend")
        assert results[0].status == "stored"


def bare_copy(world: World, parts: Sequence[Slice], hour: int) -> float:
    """COPY of the same rows on one connection; returns rows per second."""
    now = wall_now()
    batches = [
        [(world.tenant_id, id_, "total", at, 0, world.property_id, wh, "ok", "headend", now) for id_, _, at, wh in rows]
        for rows in (readings_of(part, hour) for part in parts)
    ]
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
        began = time.perf_counter()
        for rows in batches:
            with owner.cursor().copy("COPY floor.readings FROM STDIN") as stream:
                for row in rows:
                    stream.write_row(row)
            owner.commit()
        return METERS * QUARTERS / (time.perf_counter() - began)


def make_floor() -> None:
    """A table of the same shape, with the same keys, checks and months, free of policies."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("CREATE SCHEMA floor")
        owner.execute("CREATE TABLE floor.readings (LIKE readings INCLUDING ALL) PARTITION BY RANGE (read_at)")
        months = owner.execute(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid"
            " WHERE i.inhparent = 'public.readings'::regclass AND c.relkind = 'r'"
        )
        for name, bounds in months.fetchall():
            owner.execute(f"CREATE TABLE floor.{name} PARTITION OF floor.readings {bounds}".encode())


def served(run: Callable[[int], None]) -> None:
    """Serve the product's application with gunicorn meanwhile; hands over the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as var:
        env = os.environ | {"SECRET_KEY": "bench" * 8, "VAR_DIR": var, "DATABASE_POOL_MAX": "2"}
        server = subprocess.Popen(
            [str(Path(sys.executable).with_name("gunicorn")), "--no-control-socket", "-k", "gthread",
             "-w", str(WORKERS), "--threads", "2", "-b", f"127.0.0.1:{port}", "--log-level", "warning", "wsgi:app"],
            env=env,
        )  # fmt: skip
        try:
            wait_for(port)
            run(port)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def wait_for(port: int) -> None:
    """Until somebody listens."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("the web server did not come up")


def main() -> None:
    """Run all three, twice, and print the figures."""
    os.environ.setdefault("KEY_ENCRYPTION_KEY", "00" * 32)
    os.environ.setdefault("AUDIT_KEY", "a0" * 32)
    with fresh_database("tallyhouse_bench_ingest") as db:
        world, meters = build(db)
        parts = slices(meters)
        make_floor()
        with unit_of_work(world.tenant_id, db=db) as session:
            token = issue_token(
                session, node_id=world.property_id, name="bench", permissions=[Permission.READING_IMPORT_LOAD],
                expires_at=datetime(2099, 1, 1, tzinfo=UTC), by=Actor.system("bench"),
            )  # fmt: skip
        best = {"copy": 0.0, "typed": 0.0, "http": 0.0}

        def rounds(port: int) -> None:
            over_http(world, token, parts[:CLIENTS], port, next(HOURS))
            for _ in range(ROUNDS):
                best["copy"] = max(best["copy"], bare_copy(world, parts, next(HOURS)))
                best["typed"] = max(best["typed"], typed(world, parts, next(HOURS)))
                best["http"] = max(best["http"], over_http(world, token, parts, port, next(HOURS)))

        served(rounds)
    said("ingest_bare_copy", rounded(best["copy"], 0), "rows/s")
    at_least("ingest_http", rounded(best["http"], 0), "readings/s", 15_000)
    at_least("ingest_http_ratio", rounded(best["http"] / best["copy"], 3), "of_copy", rounded(0.05, 2))
    said("ingest_typed", rounded(best["typed"], 0), "readings/s")
    at_least("ingest_typed_ratio", rounded(best["typed"] / best["copy"], 3), "of_copy", rounded(0.15, 2))


if __name__ == "__main__":
    main()
