"""Every revision is walked up and down with data in it, and what stands at the end is what the models say."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from app.launcher.databases import create_database, drop_database, with_database
from tests.factories.every_table import fill, tenant_tables

CONFIG = Config(str(Path("alembic.ini").resolve()))
REVISIONS = [script.revision for script in reversed(list(ScriptDirectory.from_config(CONFIG).walk_revisions()))]
Run = Callable[[Callable[[Connection], object]], object]

SCHEMA = """
    SELECT c.relname, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity, c.relacl::text,
           (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' '
                   || coalesce(pg_get_expr(d.adbin, d.adrelid), ''), ', ' ORDER BY a.attnum)
              FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
           (SELECT string_agg(pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname)
              FROM pg_constraint k WHERE k.conrelid = c.oid),
           (SELECT string_agg(pg_get_indexdef(i.indexrelid), ', ' ORDER BY i.indexrelid::regclass::text)
              FROM pg_index i WHERE i.indrelid = c.oid),
           (SELECT string_agg(pg_get_expr(p.polqual, c.oid), ', ') FROM pg_policy p WHERE p.polrelid = c.oid)
      FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') ORDER BY c.relname
"""


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """An empty database of its own, and a way to do something in it as the owner."""
    owner_url, runtime_url = os.environ["DATABASE_OWNER_URL"], os.environ["DATABASE_URL"]
    name = f"tallyhouse_walk_{os.getpid()}"
    own = create_database(owner_url, name)
    monkeypatch.setenv("DATABASE_OWNER_URL", own)
    monkeypatch.setenv("DATABASE_URL", with_database(runtime_url, name))
    engine = create_engine(make_url(own).set(drivername="postgresql+psycopg"), poolclass=NullPool)

    def run(deed: Callable[[Connection], object]) -> object:
        with engine.begin() as connection:
            return deed(connection)

    yield run
    drop_database(owner_url, name)


def schema(run: Run) -> object:
    """Everything the catalogue says about the tables."""
    return run(lambda owner: [tuple(row) for row in owner.execute(text(SCHEMA))])


def tables_there(owner: Connection) -> set[str]:
    rows = owner.scalars(text("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"))
    return set(rows)


def put_data(owner: Connection) -> None:
    """A tenant with one row in every table there is so far; partitioned ones get a catch-all partition first."""
    there = tables_there(owner)
    for table in ("readings", "usage_spans"):
        if table in there:
            owner.execute(text(f"CREATE TABLE IF NOT EXISTS {table}_p209901 PARTITION OF {table} DEFAULT"))
    owner.execute(
        text("INSERT INTO tenants (id, name, data_key, created_at) VALUES (1, 'x', '', now()) ON CONFLICT DO NOTHING")
    )
    fill(owner, tenant_id=1, tables=[table for table in tenant_tables() if table.name in there])


def count_rows(owner: Connection) -> dict[str, int]:
    owner.execute(text("SET LOCAL app.tenant_id TO '1'"))
    names = sorted(tables_there(owner) - {"alembic_version"} - {"pg_class"})
    ours = [name for name in names if not name.startswith(("pg_", "sql_"))]
    return {name: owner.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in ours}


def test_every_revision_goes_up_and_down_with_data_in_it(scratch: Run) -> None:
    for revision in REVISIONS:
        before = scratch(count_rows)
        command.upgrade(CONFIG, revision)
        up = schema(scratch)
        command.downgrade(CONFIG, "-1")
        assert scratch(count_rows) == before
        command.upgrade(CONFIG, revision)
        assert schema(scratch) == up
        scratch(put_data)
    counts = scratch(count_rows)
    assert isinstance(counts, dict)
    assert min(count for table, count in counts.items() if table != "directory") > 0
    for _ in REVISIONS:
        command.downgrade(CONFIG, "-1")
    assert scratch(count_rows) == {}


def test_up_again_after_all_the_way_down_is_the_same_schema(scratch: Run) -> None:
    command.upgrade(CONFIG, "head")
    first = schema(scratch)
    command.downgrade(CONFIG, "base")
    command.upgrade(CONFIG, "head")
    assert schema(scratch) == first


def test_the_models_and_the_migrations_say_the_same(scratch: Run) -> None:
    command.upgrade(CONFIG, "head")
    command.check(CONFIG)


def test_one_revision_follows_the_other() -> None:
    assert len(ScriptDirectory.from_config(CONFIG).get_heads()) == 1
    assert [script.name for script in sorted(Path("migrations/versions").glob("*.py"))] == sorted(
        Path(ScriptDirectory.from_config(CONFIG).get_revision(revision).path).name for revision in REVISIONS
    )


@pytest.mark.parametrize("path", sorted(Path("migrations/versions").glob("*.py")), ids=lambda path: path.stem[14:])
def test_a_revision_waits_for_no_lock_and_protects_what_it_makes(path: Path) -> None:
    source = path.read_text()
    made, bound = source.count("op.create_table("), source.count("    protect(") + source.count("    share(")
    assert made == bound
    assert source.count("SET LOCAL lock_timeout") == 2
