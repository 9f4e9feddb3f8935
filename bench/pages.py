"""Server time and queries of the large pages: room wall of 500 spaces, account page, group overview of 300 properties.

Method. A group with one property of 500 let spaces and 299 more of 40 each: 12,460 accounts with wallets, meters, 31
rated days and two payments. An operator of headquarters asks for each page 40 times over WSGI, sign-in, session,
permission, queries and rendering included, sockets left out, after five requests that warm caches; the median of the
time and the largest number of statements count, the 95th percentile is told beside them. Repeat: make bench-pages
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from flask.testing import FlaskClient
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url

from app import create_app
from app.kernel import clock
from app.kernel.actor import Actor
from app.kernel.db import Database, database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.permissions.service import create_user, grant_role
from app.settings import Settings
from bench.stage import at_most, fresh_database, rounded, said
from tests.factories.history import bring_online, pay, public_id
from tests.factories.world import World, build_world

WALL_SPACES, PROPERTIES, SPACES_EACH, DAYS = 500, 300, 40, 31
TIMES, WARM = 40, 5
NOW = datetime(2026, 7, 31, 2, 0, tzinfo=UTC)
LOGIN, PASSWORD = "bench-admin", "correct horse 7 staple"

#: Further properties with everything the pages look at, in the shape of the world's own.
GROWTH = (
    """INSERT INTO nodes (tenant_id, public_id, parent_id, kind, name)
       SELECT :t, gen_random_uuid(), :headquarters, 'property', '项目 ' || n FROM generate_series(2, :properties) n""",
    """INSERT INTO properties (tenant_id, id, legal_entity_id)
       SELECT tenant_id, id, :entity FROM nodes WHERE tenant_id = :t AND kind = 'property' AND id <> :first""",
    """INSERT INTO ledger_books (tenant_id, legal_entity_id, property_id)
       SELECT tenant_id, legal_entity_id, id FROM properties WHERE tenant_id = :t AND id <> :first""",
    """INSERT INTO buildings (tenant_id, property_id, name)
       SELECT tenant_id, id, 'A座' FROM properties WHERE tenant_id = :t AND id <> :first""",
    """INSERT INTO floors (tenant_id, property_id, building_id, level, name)
       SELECT tenant_id, property_id, id, 1, '1F' FROM buildings WHERE tenant_id = :t AND property_id <> :first""",
    """INSERT INTO spaces (tenant_id, public_id, property_id, building_id, floor_id, name, usage_class)
       SELECT tenant_id, gen_random_uuid(), property_id, building_id, id, 'A-' || n, 'residential'
         FROM floors, generate_series(1, :each) n WHERE tenant_id = :t AND property_id <> :first""",
    """INSERT INTO supply_accounts (tenant_id, public_id, property_id, book_id, number, party_id, space_id, usage_class,
              opened_on)
       SELECT s.tenant_id, gen_random_uuid(), s.property_id, b.id, 'N' || s.id, :party, s.id, 'residential', '2026-07-01'
         FROM spaces s JOIN ledger_books b ON b.tenant_id = s.tenant_id AND b.property_id = s.property_id
        WHERE s.tenant_id = :t AND s.property_id <> :first""",
    """INSERT INTO ledger_accounts (tenant_id, book_id, code, side, supply_account_id, keeps_balance)
       SELECT tenant_id, book_id, 'wallet', 'credit', id, true FROM supply_accounts
        WHERE tenant_id = :t AND property_id <> :first""",
    """INSERT INTO ledger_balances (tenant_id, account_id)
       SELECT a.tenant_id, a.id FROM ledger_accounts a
        WHERE a.tenant_id = :t AND a.code = 'wallet' AND a.book_id <> :book""",
    """INSERT INTO meters (tenant_id, public_id, property_id, model_id, gateway_id, number, address, online)
       SELECT tenant_id, gen_random_uuid(), property_id, :model, :gateway, 'N' || id, 'N' || id, true
         FROM supply_accounts WHERE tenant_id = :t AND property_id <> :first""",
    """INSERT INTO mounts (tenant_id, property_id, meter_id, supply_account_id, space_id, began_at, register_wh_first)
       SELECT s.tenant_id, s.property_id, m.id, s.id, s.space_id, '2026-07-01', 0 FROM supply_accounts s
         JOIN meters m ON m.tenant_id = s.tenant_id AND m.number = 'N' || s.id
        WHERE s.tenant_id = :t AND s.property_id <> :first""",
    """INSERT INTO account_days (tenant_id, supply_account_id, day, property_id, usage_wh, rated_microfen,
              posted_microfen, lines, rated_at)
       SELECT tenant_id, id, CAST('2026-07-01' AS date) + n, property_id, 4200, 235200000, 235200000, '[]', :now
         FROM supply_accounts, generate_series(0, :days - 1) n WHERE tenant_id = :t""",
)


def grow(world: World) -> None:
    """Three hundred properties out of one."""
    given = {
        "t": world.tenant_id, "headquarters": world.headquarters_id, "properties": PROPERTIES, "each": SPACES_EACH,
        "entity": world.legal_entity_id, "first": world.property_id, "party": world.party_ids[0], "book": world.book_id,
        "model": world.model_id, "gateway": world.gateway_id, "days": DAYS, "now": NOW,
    }  # fmt: skip
    with unit_of_work(world.tenant_id) as session:
        for statement in GROWTH:
            session.execute(text(statement), given)


def signed_in(world: World, folder: str) -> FlaskClient:
    """A client of headquarters."""
    by = Actor.system("bench")
    with unit_of_work(world.tenant_id) as session:
        user = create_user(session, login=LOGIN, name="陈静怡", password=PASSWORD, by=by)
        session.flush()
        grant_role(session, user=user, role=Role.GROUP_ADMINISTRATOR, node_id=world.headquarters_id, by=by)
    needed = {"SECRET_KEY": "bench" * 8, "AUDIT_KEY": "a0" * 32, "VAR_DIR": folder}
    needed["KEY_ENCRYPTION_KEY"] = os.environ["KEY_ENCRYPTION_KEY"]
    client = create_app(Settings.from_env(dict(os.environ) | needed)).test_client()
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/sign-in").get_data(as_text=True))
    assert token
    answer = client.post("/sign-in", data={"csrf_token": token[1], "login": LOGIN, "password": PASSWORD})
    assert answer.status_code == 302
    return client


def analyse() -> None:
    """What the autovacuum would have done a minute later."""
    owner = create_engine(make_url(os.environ["DATABASE_OWNER_URL"]).set(drivername="postgresql+psycopg"))
    with owner.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("ANALYZE"))
    owner.dispose()


@contextmanager
def counted() -> Iterator[list[str]]:
    """Statements sent meanwhile."""
    said_: list[str] = []

    def note(_c: object, _k: object, statement: str, *_rest: object) -> None:
        said_.append(statement)

    event.listen(database().engine, "before_cursor_execute", note)
    yield said_
    event.remove(database().engine, "before_cursor_execute", note)


def measure(client: FlaskClient, address: str) -> tuple[Decimal, Decimal, int]:
    """(median ms, 95th percentile ms, statements) of a page."""
    times, most = [], 0
    for number in range(WARM + TIMES):
        with counted() as statements:
            began = time.perf_counter_ns()
            answer = client.get(address)
            took = time.perf_counter_ns() - began
        assert answer.status_code == 200, f"{address}: {answer.status}"
        if number >= WARM:
            times.append(took)
            most = max(most, len(statements))
    times.sort()
    return rounded(Decimal(times[TIMES // 2]) / 10**6), rounded(Decimal(times[TIMES * 95 // 100]) / 10**6), most


def run(db: Database) -> None:
    """Build the group, ask for the pages, print the figures."""
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
            public = session.scalar(text("SELECT public_id FROM nodes WHERE id = :id"), {"id": world.property_id})
        pages = {
            "wall_500": (f"/rooms?p={public}", 100, 12),
            "wall_live_500": (f"/rooms/live?p={public}", 100, 12),
            "account": (f"/accounts/{public_id(db, world)}", 100, 24),
            "overview_300": ("/?p=all", 250, 16),
        }
        for name, (address, ms_max, statements_max) in pages.items():
            median, p95, statements = measure(client, address)
            at_most(f"{name}_median", median, "ms", ms_max)
            said(f"{name}_p95", p95, "ms")
            at_most(f"{name}_statements", statements, "statements", statements_max)
        database().engine.dispose()


if __name__ == "__main__":
    os.environ.setdefault("KEY_ENCRYPTION_KEY", "00" * 32)
    os.environ.setdefault("AUDIT_KEY", "a0" * 32)
    with fresh_database("tallyhouse_bench_pages") as opened:
        run(opened)
