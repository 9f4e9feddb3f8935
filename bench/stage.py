"""The stage of every benchmark: a fresh, migrated database in the brought-up stack, and the one way to print a figure."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from app.jobs import table
from app.kernel.db import Database, open_database
from app.kernel.partitions import ensure_partitions
from app.launcher.databases import create_database, drop_database, with_database


def figure(name: str, value: Decimal | int, unit: str, limit: str, *, ok: bool) -> None:
    """Print one measured figure: name, value, unit, its limit (`>=15000`, `<=3`), and whether it is kept."""
    print(f"figure {name} {value} {unit} limit {limit} {'ok' if ok else 'short'}", flush=True)


def at_least(name: str, value: Decimal | int, unit: str, limit: Decimal | int) -> None:
    """A figure that should not be below its limit."""
    figure(name, value, unit, f">={limit}", ok=value >= limit)


def at_most(name: str, value: Decimal | int, unit: str, limit: Decimal | int) -> None:
    """A figure that should not be above its limit."""
    figure(name, value, unit, f"<={limit}", ok=value <= limit)


def said(name: str, value: Decimal | int, unit: str) -> None:
    """A figure without a limit, told beside the others."""
    figure(name, value, unit, "none", ok=True)


def rounded(value: float | Decimal, places: int = 2) -> Decimal:
    """A measured value for printing."""
    return round(Decimal(value), places)


@contextmanager
def fresh_database(name: str, *, first: date = date(2026, 1, 1), last: date = date(2027, 12, 1)) -> Iterator[Database]:
    """A migrated, empty database of this name, opened as the runtime role; dropped at the end.

    DATABASE_URL and DATABASE_OWNER_URL point to it meanwhile, so that child processes use it too.
    """
    owner_url, runtime_url = os.environ["DATABASE_OWNER_URL"], os.environ["DATABASE_URL"]
    drop_database(owner_url, name)
    own = create_database(owner_url, name)
    os.environ |= {"DATABASE_OWNER_URL": own, "DATABASE_URL": with_database(runtime_url, name)}
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], check=True, capture_output=True)
    engine = create_engine(make_url(own).set(drivername="postgresql+psycopg"))
    with engine.begin() as owner:
        ensure_partitions(owner, first=first, last=last)
    engine.dispose()
    table.install()
    database = open_database(os.environ["DATABASE_URL"], pool_max=8)
    try:
        yield database
    finally:
        database.engine.dispose()
        os.environ |= {"DATABASE_OWNER_URL": owner_url, "DATABASE_URL": runtime_url}
        drop_database(owner_url, name)
