"""One PostgreSQL and one Redis for the whole run, a migrated template, a clone of it for each worker.

Tests do not clean up after each other: each makes tenants of its own, and row-level security keeps them apart just as
it does in production. When a test ends, the invariants of the ledger must hold for every tenant it made.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from app import models as _every_table  # noqa: F401 - the mapper needs every table before the first query
from app.billing.ledger.invariants import violations
from app.jobs import table as events
from app.kernel import clock
from app.kernel.db import Database, open_database
from app.kernel.partitions import ensure_partitions
from app.kernel.unit_of_work import unit_of_work
from app.launcher.databases import create_database, drop_database, with_database
from app.launcher.stack import Stack, ensure_stack
from tests.factories.world import World, build_world

TEMPLATE = "tallyhouse_template"
PARTITIONS = (date(2026, 1, 1), date(2027, 3, 1))

_FEW = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
# The short tier tries the same examples in every run, so that it fails for what was changed; the long one looks for more.
settings.register_profile("short", max_examples=25, derandomize=True, **_FEW)
settings.register_profile("long", max_examples=500, **_FEW)
settings.load_profile("long" if os.environ.get("TALLYHOUSE_TIER_LONG") else "short")

_stack: Stack | None = None
_locks: list[TextIO] = []


def _own_folder() -> Path:
    """The first folder no other run holds: two runs at once never share a server."""
    for number in range(1, 100):
        folder = Path("var") / f"test-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / "run.lock").open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            continue
        _locks.append(handle)
        return folder
    raise RuntimeError("a hundred test runs at once: end some of them")


def pytest_configure(config: pytest.Config) -> None:
    """The controller brings the stack up and migrates the template; workers inherit its environment."""
    os.environ.setdefault("SECRET_KEY", "tests-only-" + "0" * 32)
    os.environ.setdefault("KEY_ENCRYPTION_KEY", "00" * 32)
    os.environ.setdefault("AUDIT_KEY", "a0" * 32)
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    global _stack
    _stack = ensure_stack(_own_folder())
    os.environ.update(_stack.env())
    if _stack.superuser_url:
        os.environ["DATABASE_SUPERUSER_URL"] = _stack.superuser_url
    _migrate_template(os.environ["DATABASE_OWNER_URL"], os.environ["DATABASE_URL"])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what the controller started."""
    if _stack is not None:
        _stack.stop()
    while _locks:
        _locks.pop().close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long ones to `make test-long`."""
    if os.environ.get("TALLYHOUSE_TIER_LONG"):
        return
    kept = [item for item in items if "long" not in item.keywords]
    config.hook.pytest_deselected(items=[item for item in items if "long" in item.keywords])
    items[:] = kept


def _migrate_template(owner_url: str, runtime_url: str) -> None:
    drop_database(owner_url, TEMPLATE)
    template = create_database(owner_url, TEMPLATE)
    env = os.environ | {"DATABASE_OWNER_URL": template, "DATABASE_URL": with_database(runtime_url, TEMPLATE)}
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], check=True, env=env, capture_output=True)
    engine = create_engine(make_url(template).set(drivername="postgresql+psycopg"))
    with engine.begin() as owner:
        ensure_partitions(owner, first=PARTITIONS[0], last=PARTITIONS[1])
    engine.dispose()


@pytest.fixture(scope="session")
def database_urls() -> Iterator[tuple[str, str]]:
    """(runtime URL, owner URL) of this worker's own database, cloned from the migrated template."""
    owner_url, runtime_url = os.environ["DATABASE_OWNER_URL"], os.environ["DATABASE_URL"]
    name = f"tallyhouse_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    own = create_database(owner_url, name, template=TEMPLATE)
    yield with_database(runtime_url, name), own
    drop_database(owner_url, name)


@pytest.fixture(scope="session")
def owner_url(database_urls: tuple[str, str]) -> str:
    """The owner of this worker's database: only for looking at the catalogue and for seeding faults."""
    return database_urls[1]


@pytest.fixture(scope="session")
def db(database_urls: tuple[str, str]) -> Iterator[Database]:
    """The process's database, as the runtime role."""
    database = open_database(database_urls[0], pool_max=20)
    events.install()
    os.environ["TALLYHOUSE_TEST_DATABASE_URL"] = database_urls[0]
    yield database
    database.engine.dispose()


@pytest.fixture(autouse=True)
def _the_products_table_of_events() -> Iterator[None]:
    """Whatever table a test has put in its place, the next one finds the product's: also a fixture of a whole module."""
    yield
    events.install()


@pytest.fixture
def make_world(db: Database) -> Iterator[Callable[..., World]]:
    """Build tenants with a property, spaces, meters, accounts; the invariants must hold for each at the end."""
    made: list[World] = []
    events.install()  # whatever table a fixture before this one has put in its place

    def build(**wishes: object) -> World:
        made.append(build_world(db, **wishes))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for world in made:
        with unit_of_work(world.tenant_id, db=db) as session:
            assert violations(session) == []


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A demo tenant with one property, four residential spaces with meters and wallets, one of each thing."""
    return make_world()


class MovableClock:
    """The business clock of a test."""

    def __init__(self, path: Path) -> None:
        clock.use_clock_file(str(path))
        self.path = path

    def set(self, at: datetime, *, rate: int = 0) -> datetime:
        """Stand at an instant; paused unless a rate is given."""
        return clock.move_clock(to=at, rate=rate)

    def now(self) -> datetime:
        """Where it stands."""
        return clock.business_now()


@pytest.fixture
def business_clock(tmp_path: Path) -> Iterator[MovableClock]:
    """The business clock, paused at 2026-07-15 10:00 in Shanghai."""
    movable = MovableClock(tmp_path / "clock.json")
    movable.set(datetime(2026, 7, 15, 2, 0, tzinfo=UTC))
    yield movable
    clock.use_clock_file(None)
