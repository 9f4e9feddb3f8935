"""Raw SQL as the runtime role, on every table there is: nobody sees, writes, moves or guesses another tenant's rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from app.kernel.db import Database
from app.models import Base
from tests.factories.every_table import fill, tenant_tables
from tests.factories.world import make_tenant

TABLES = [table.name for table in tenant_tables()]
CHANGEABLE = [t.name for t in tenant_tables() if "UPDATE" in t.info.get("grants", "SELECT, INSERT, UPDATE, DELETE")]
APPEND_ONLY = [table.name for table in tenant_tables() if table.info.get("grants") == "SELECT, INSERT"]


@dataclass(frozen=True)
class Pair:
    """Two tenants with one row (or two) in every table."""

    mine: int
    theirs: int


@pytest.fixture(scope="module")
def pair(db: Database, owner_url: str) -> Pair:
    """Both tenants, filled once: the tests only try to break in."""
    both = Pair(make_tenant(db, name="CANARY_T1"), make_tenant(db, name="CANARY_T2"))
    engine = create_engine(make_url(owner_url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    for tenant_id in (both.mine, both.theirs):
        with engine.begin() as owner:
            fill(owner, tenant_id=tenant_id, tables=tenant_tables())
    return both


@pytest.fixture
def runtime(database_urls: tuple[str, str]) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A bare connection as the runtime role; what it does is rolled back."""
    with psycopg.connect(database_urls[0]) as connection:
        yield connection
        connection.rollback()


def stand_as(connection: psycopg.Connection[Any], tenant: int | str | None) -> None:
    """Begin a transaction as a tenant; None leaves the setting as a fresh connection has it."""
    connection.rollback()
    if tenant is not None:
        connection.execute(sql.SQL("SET LOCAL app.tenant_id TO {}").format(sql.Literal(str(tenant))))


def tenants_seen(connection: psycopg.Connection[Any], table: str) -> set[int]:
    rows = connection.execute(sql.SQL("SELECT DISTINCT tenant_id FROM {}").format(sql.Identifier(table)))
    return {row[0] for row in rows}


def change(connection: psycopg.Connection[Any], statement: str, table: str, tenant: int) -> int | str:
    """Rows touched, or the name of the refusal."""
    with connection.transaction(force_rollback=True):
        try:
            query = sql.SQL(statement).format(table=sql.Identifier(table), tenant=sql.Literal(tenant))
            return connection.execute(query).rowcount
        except psycopg.Error as refused:
            return type(refused).__name__


@pytest.mark.parametrize("table", TABLES)
def test_a_tenant_sees_its_own_rows_and_nobody_without_one_sees_any(
    pair: Pair, runtime: psycopg.Connection[Any], table: str
) -> None:
    stand_as(runtime, None)
    assert tenants_seen(runtime, table) == set()
    for tenant in (pair.mine, pair.theirs):
        stand_as(runtime, tenant)
        assert tenants_seen(runtime, table) == {tenant}
    stand_as(runtime, "")
    assert tenants_seen(runtime, table) == set()
    stand_as(runtime, 2**31 - 1)
    assert tenants_seen(runtime, table) == set()
    stand_as(runtime, "x")
    with pytest.raises(errors.InvalidTextRepresentation):
        tenants_seen(runtime, table)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("standing", ["mine", "unset", "empty"])
def test_nobody_changes_another_tenants_rows(
    pair: Pair, runtime: psycopg.Connection[Any], table: str, standing: str
) -> None:
    stand_as(runtime, {"mine": pair.mine, "unset": None, "empty": ""}[standing])
    harmless = {0, "InsufficientPrivilege"}
    assert (
        change(runtime, "UPDATE {table} SET tenant_id = tenant_id WHERE tenant_id = {tenant}", table, pair.theirs)
        in harmless
    )
    assert change(runtime, "DELETE FROM {table} WHERE tenant_id = {tenant}", table, pair.theirs) in harmless
    assert change(runtime, "TRUNCATE {table}", table, pair.theirs) == "InsufficientPrivilege"


@pytest.mark.parametrize("table", TABLES)
def test_nobody_writes_a_row_for_another_tenant(pair: Pair, runtime: psycopg.Connection[Any], table: str) -> None:
    stand_as(runtime, pair.theirs)
    with runtime.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(table))).fetchone()
    assert row is not None
    for tenant in (pair.mine, None, ""):
        stand_as(runtime, tenant)
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            runtime.execute(*_insert(table, row))


@pytest.mark.parametrize("table", CHANGEABLE)
def test_nobody_gives_a_row_away(pair: Pair, runtime: psycopg.Connection[Any], table: str) -> None:
    stand_as(runtime, pair.mine)
    assert change(runtime, "UPDATE {table} SET tenant_id = {tenant}", table, pair.theirs) == "InsufficientPrivilege"


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize(
    "statement", ["UPDATE {table} SET tenant_id = tenant_id", "DELETE FROM {table}", "TRUNCATE {table}"]
)
def test_what_is_written_once_is_refused_any_change(
    pair: Pair, runtime: psycopg.Connection[Any], table: str, statement: str
) -> None:
    stand_as(runtime, pair.mine)
    assert change(runtime, statement, table, pair.mine) == "InsufficientPrivilege"


def test_partitions_are_no_side_door(pair: Pair, runtime: psycopg.Connection[Any]) -> None:
    names = [row[0] for row in runtime.execute("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")]
    assert len(names) > 20
    for name in names:
        stand_as(runtime, pair.mine)
        with pytest.raises(errors.InsufficientPrivilege):
            tenants_seen(runtime, name)


def test_even_the_owner_touches_no_row_without_a_tenant(pair: Pair, owner_url: str) -> None:
    with psycopg.connect(owner_url) as owner:
        for table in TABLES:
            touched = owner.execute(sql.SQL("UPDATE {} SET tenant_id = tenant_id").format(sql.Identifier(table)))
            assert touched.rowcount == 0, table
        owner.rollback()


def test_a_foreign_parent_answers_like_one_that_is_not_there(pair: Pair, runtime: psycopg.Connection[Any]) -> None:
    """A foreign key without the tenant would be an oracle: accepted means somebody has it."""
    stand_as(runtime, pair.theirs)
    there = runtime.execute("SELECT id FROM nodes").fetchone()
    said = []
    for parent_id in (there[0] if there else 0, 999_999_999):
        stand_as(runtime, pair.mine)
        with pytest.raises(errors.ForeignKeyViolation) as refused:
            runtime.execute(
                "INSERT INTO nodes (tenant_id, public_id, kind, name, parent_id)"
                " VALUES (%s, gen_random_uuid(), 'region', 'x', %s)",
                (pair.mine, parent_id),
            )
        said.append(str(refused.value).replace(str(parent_id), "N"))
    assert said[0] == said[1]


def test_a_number_another_tenant_uses_is_free(pair: Pair, runtime: psycopg.Connection[Any]) -> None:
    """A unique key without the tenant would be an oracle too."""
    stand_as(runtime, pair.theirs)
    runtime.execute("UPDATE meters SET number = 'CANARY-0001'")
    runtime.commit()
    stand_as(runtime, pair.mine)
    assert runtime.execute("UPDATE meters SET number = 'CANARY-0001'").rowcount == 1


def test_deleting_a_parent_leaves_every_foreign_row_alone(pair: Pair, runtime: psycopg.Connection[Any]) -> None:
    stand_as(runtime, pair.theirs)
    before = {table: _count(runtime, table) for table in TABLES}
    stand_as(runtime, pair.mine)
    for table in reversed(CHANGEABLE):
        change(runtime, "DELETE FROM {table}", table, pair.mine)
    stand_as(runtime, pair.theirs)
    assert {table: _count(runtime, table) for table in TABLES} == before


def _count(connection: psycopg.Connection[Any], table: str) -> int:
    found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    return found[0] if found else 0


def _insert(table: str, row: dict[str, Any]) -> tuple[sql.Composed, list[Any]]:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join([sql.Placeholder()] * len(row)),
    )
    types = Base.metadata.tables[table].c
    return statement, [Jsonb(v) if str(types[k].type) == "JSONB" else v for k, v in row.items()]
