"""A process refuses to start with a database role that row-level security does not bind, and says how to mend it."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from app.kernel.db import Database
from app.kernel.guard import RuntimeUnsafe, refuse_unsafe_runtime
from app.launcher.databases import with_database

#: Roles that are there on this server and must be refused: variable that names them → what is said.
MIGHTY = {
    "DATABASE_SUPERUSER_URL": "is a superuser",
    "DATABASE_BACKUP_URL": "bypasses row-level security",
    "DATABASE_OWNER_URL": "owns ",
}


def engine_of(url: str) -> Engine:
    """An engine that keeps no connection."""
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)


@pytest.fixture
def owner(owner_url: str) -> Iterator[psycopg.Connection]:
    """The owner, each statement at once."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        yield connection


def test_the_runtime_role_as_it_should_be_may_start(db: Database) -> None:
    assert refuse_unsafe_runtime(db.engine) is None


@pytest.mark.parametrize("variable", [name for name in MIGHTY if os.environ.get(name)])
def test_a_mighty_role_may_not(database_urls: tuple[str, str], variable: str) -> None:
    url = with_database(os.environ[variable], make_url(database_urls[0]).database or "")
    with pytest.raises(RuntimeUnsafe, match=MIGHTY[variable]):
        refuse_unsafe_runtime(engine_of(url))


@pytest.mark.parametrize(
    ("breaks", "mends", "said"),
    [
        ("CREATE TABLE loose (tenant_id int)", "DROP TABLE loose", "loose is not under forced row-level security"),
        (
            "ALTER TABLE parties NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE parties FORCE ROW LEVEL SECURITY",
            "parties is not under forced",
        ),
        ("GRANT TRUNCATE ON parties TO {runtime}", "REVOKE TRUNCATE ON parties FROM {runtime}", "may TRUNCATE parties"),
    ],
)
def test_a_hole_in_the_schema_is_named_with_its_cure(
    db: Database, owner: psycopg.Connection, breaks: str, mends: str, said: str
) -> None:
    runtime = f'"{db.engine.url.username}"'
    owner.execute(breaks.replace("{runtime}", runtime))
    try:
        with pytest.raises(RuntimeUnsafe, match=said) as refused:
            refuse_unsafe_runtime(db.engine)
        assert "\n" not in str(refused.value)
    finally:
        owner.execute(mends.replace("{runtime}", runtime))
    refuse_unsafe_runtime(db.engine)


def test_a_command_as_the_owner_ends_with_one_line(owner_url: str) -> None:
    command = [sys.executable, "-c", "from app.cli import main; main()", "ledger", "verify"]
    done = subprocess.run(command, env=os.environ | {"DATABASE_URL": owner_url}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the role of DATABASE_URL owns ")
    assert done.stderr.count("\n") == 1
