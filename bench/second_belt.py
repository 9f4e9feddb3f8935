"""What a second belt would cost: a restrictive row-level policy on every table that carries a property (adr 0023).

Method. The group of `bench/pages.py`: one property of 500 let spaces and 299 more of 40 each. Five pieces of work – the room
wall, the list of accounts and a statement over WSGI, a batch of 1,000 readings, twenty top-ups – run under each kind of belt
in turn, ROUNDS times; the fastest round's median counts, so that a neighbour's load hits all alike. Belts: none, as today;
`each_row`, the list of properties read from the setting for every row; `once`, the same list read once per query. Each is
measured for headquarters (300 properties in the list) and for one property. Repeat: make bench-belt
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from flask.testing import FlaskClient
from sqlalchemy import Connection, Engine, create_engine, event, select, text
from sqlalchemy.engine import make_url

from app.billing.models import SupplyAccount
from app.billing.payments.counter import take_payment
from app.kernel import clock
from app.kernel.actor import Actor
from app.kernel.db import Base, Database, database
from app.kernel.unit_of_work import unit_of_work
from app.meters.ingest import NewReading, take_readings
from app.meters.models import Meter
from bench.pages import NOW, WALL_SPACES, analyse, grow, signed_in
from bench.stage import fresh_database, rounded, said
from tests.factories.history import bring_online, pay, public_id
from tests.factories.world import World, build_world

ROUNDS, TIMES, WARM = 4, 24, 4
SALES, READINGS = 20, 1_000
LIST = "nullif(current_setting('app.property_ids', true), '')::bigint[]"
BELTS = {
    "none": None,
    "each_row": f"property_id = ANY({LIST})",
    "once": f"property_id = ANY((SELECT {LIST})::bigint[])",
}
CASHIER = Actor.user(1, name="李雯")
_numbers = count(1)


def carriers() -> list[str]:
    """Tables with a property of their own that every row has."""
    return [t.name for t in Base.metadata.sorted_tables if "property_id" in t.c and not t.c.property_id.nullable]


@contextmanager
def worn(belt: str | None) -> Iterator[None]:
    """The policy on every table meanwhile."""
    owner = create_engine(make_url(os.environ["DATABASE_OWNER_URL"]).set(drivername="postgresql+psycopg"))
    try:
        with owner.begin() as connection:
            for table in carriers() if belt else ():
                connection.execute(text(f"CREATE POLICY place ON {table} AS RESTRICTIVE USING ({belt})"))
        yield
    finally:
        with owner.begin() as connection:
            for table in carriers():
                connection.execute(text(f"DROP POLICY IF EXISTS place ON {table}"))
        owner.dispose()


@contextmanager
def naming(engines: list[Engine], property_ids: list[int]) -> Iterator[None]:
    """Every transaction names its properties, as it names its tenant; also without a belt, so that only the policy differs."""
    said_ = "{" + ",".join(map(str, property_ids)) + "}"

    def name(connection: Connection) -> None:
        connection.connection.cursor().execute(f"SET LOCAL app.property_ids TO '{said_}'")

    for engine in engines:
        event.listen(engine, "begin", name)
    yield
    for engine in engines:
        event.remove(engine, "begin", name)


def median_ms(work: Callable[[], None], times: int) -> Decimal:
    """Median of so many runs, after a few that warm plans."""
    spent = []
    for number in range(WARM + times):
        began = time.perf_counter_ns()
        work()
        if number >= WARM:
            spent.append(time.perf_counter_ns() - began)
    return Decimal(sorted(spent)[times // 2]) / 10**6


def works(world: World, client: FlaskClient, addresses: dict[str, str]) -> dict[str, Callable[[], None]]:
    """What is measured, by name."""

    def page(address: str) -> Callable[[], None]:
        def ask() -> None:
            assert client.get(address).status_code == 200

        return ask

    return {name: page(address) for name, address in addresses.items()} | {
        "ingest_1000": lambda: ingest(world),
        "top_up_20": lambda: sell(world),
    }


def ingest(world: World) -> None:
    """Two readings each of five hundred meters, an hour on from the last."""
    at = NOW + timedelta(minutes=next(_numbers))
    meters = world.meter_ids[: READINGS // 2]
    rows = [
        NewReading(meter_id, at + timedelta(seconds=20 * half), 100_000 + next(_numbers))
        for half in (0, 1)
        for meter_id in meters
    ]
    with unit_of_work(world.tenant_id) as session:
        take_readings(session, rows=rows, source="headend", received_at=at)


def sell(world: World) -> None:
    """Twenty top-ups, each in its own transaction."""
    for index in range(SALES):
        with unit_of_work(world.tenant_id) as session:
            wanted = select(SupplyAccount).where(SupplyAccount.id == world.supply_account_ids[index])
            take_payment(
                session, supply_account=session.scalars(wanted).one(), amount_fen=100, channel="cash", till="T1",
                actor=CASHIER, idempotency_key=f"belt:{next(_numbers)}",
            )  # fmt: skip


def run(db: Database) -> None:
    """Build the group, measure under each belt, print the figures."""
    with TemporaryDirectory() as folder:
        clock.use_clock_file(str(Path(folder) / "clock.json"))
        os.environ["CLOCK_FILE"] = str(Path(folder) / "clock.json")
        clock.move_clock(to=NOW, rate=0)
        world = build_world(db, spaces=WALL_SPACES)
        grow(world)
        bring_online(db, world)
        for index in range(0, WALL_SPACES, 10):
            pay(db, world, index)
        analyse()
        client = signed_in(world, folder)
        with unit_of_work(world.tenant_id) as session:
            asked = text("SELECT id, public_id FROM nodes WHERE kind = 'property' ORDER BY id")
            nodes = {id_: str(public) for id_, public in session.execute(asked)}
        account = public_id(db, world)
        addresses = {
            "wall_500": f"/rooms?p={nodes[world.property_id]}",
            "accounts": "/accounts?p=all",
            "statement": f"/accounts/{account}/statement",
        }
        clock.move_clock(to=NOW + timedelta(days=1), rate=0)
        for whose, ids in (("all", list(nodes)), ("one", [world.property_id])):
            report(whose, compare(works(world, client, addresses), [db.engine, database().engine], ids))
        database().engine.dispose()


def compare(
    measured: dict[str, Callable[[], None]], engines: list[Engine], ids: list[int]
) -> dict[tuple[str, str], Decimal]:
    """(work, belt) → the best round's median."""
    best: dict[tuple[str, str], Decimal] = {}
    with naming(engines, ids):
        for _round in range(ROUNDS):
            for belt, policy in BELTS.items():
                with worn(policy):
                    for name, work in measured.items():
                        took = median_ms(work, TIMES if "_20" not in name else TIMES // 3)
                        best[name, belt] = min(took, best.get((name, belt), took))
    return best


def report(whose: str, best: dict[tuple[str, str], Decimal]) -> None:
    """Times, and what each belt adds."""
    for name in dict.fromkeys(work for work, _belt in best):
        bare = best[name, "none"]
        said(f"{name}_{whose}_none", rounded(bare), "ms")
        for belt in ("each_row", "once"):
            added = (best[name, belt] / bare - 1) * 100
            said(f"{name}_{whose}_{belt}", rounded(best[name, belt]), "ms")
            said(f"{name}_{whose}_{belt}_added", rounded(added, 1), "percent")


if __name__ == "__main__":
    os.environ.setdefault("KEY_ENCRYPTION_KEY", "00" * 32)
    os.environ.setdefault("AUDIT_KEY", "a0" * 32)
    assert Meter.__tablename__ in carriers()
    with fresh_database("tallyhouse_bench_belt") as opened:
        run(opened)
