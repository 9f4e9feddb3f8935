"""Engine, sessions and the tenant binding.

Every transaction starts with a literal `SET LOCAL app.tenant_id TO '<int>'`: a literal because `set_config()` does not
reach the workers of a distributed database and a prepared SET breaks behind a pooler; LOCAL because a pooled connection
must never carry a tenant to the next request. Every ORM query also gets the tenant predicate, because row-level
security is the belt and an index condition is the speed.
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, ClassVar

import psycopg
from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Engine,
    Identity,
    Integer,
    MetaData,
    Text,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    mapped_column,
    sessionmaker,
    with_loader_criteria,
)

from app.kernel.clock import wall_us
from app.kernel.guard import refuse_unsafe_runtime

NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(constraint_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}

_tenant: ContextVar[int | None] = ContextVar("tenant_id", default=None)


class TenantMixed(RuntimeError):
    """A unit of work for one tenant was opened inside another tenant's."""


class TenantUnset(RuntimeError):
    """A row of a tenant was about to be written outside any unit of work."""


class Base(DeclarativeBase):
    """Declarative base: deterministic constraint names, so that migrations and errors can name them."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger,
        datetime: DateTime(timezone=True),
        str: Text,
    }


def current_tenant_id() -> int:
    """The tenant of the open unit of work. Raises TenantUnset outside one."""
    tenant_id = _tenant.get()
    if tenant_id is None:
        raise TenantUnset
    return tenant_id


class TenantScoped:
    """A table of a tenant: `tenant_id` first in the primary key, row-level security forced by the migrations."""

    tenant_id: Mapped[int] = mapped_column(Integer, primary_key=True, default=current_tenant_id, sort_order=-20)


class TenantRow(TenantScoped):
    """A tenant's table whose rows carry an internal bigint id."""

    # Said aloud, because in a composite key SQLAlchemy would not count on it and insert row by row.
    id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=False), primary_key=True, autoincrement=True, sort_order=-19
    )


@contextmanager
def acting_for(tenant_id: int) -> Iterator[None]:
    """Bind the context to one tenant. Raises TenantMixed inside another tenant's binding."""
    if _tenant.get() not in (None, tenant_id):
        raise TenantMixed(f"{_tenant.get()} is open, {tenant_id} was asked for")
    token = _tenant.set(int(tenant_id))
    try:
        yield
    finally:
        _tenant.reset(token)


def bind_transaction(connection: Connection) -> None:
    """Tell the open transaction its tenant, if there is one: the literal `SET LOCAL` that the policies read."""
    tenant_id = _tenant.get()
    if tenant_id is not None:
        connection.connection.cursor().execute(f"SET LOCAL app.tenant_id TO '{int(tenant_id)}'", prepare=False)  # type: ignore[call-arg]


def _add_tenant_predicate(state: ORMExecuteState) -> None:
    tenant_id = _tenant.get()
    if tenant_id is None or not (state.is_select or state.is_update or state.is_delete) or state.is_column_load:
        return
    state.statement = state.statement.options(
        with_loader_criteria(TenantScoped, lambda cls: cls.tenant_id == tenant_id, include_aliases=True)
    )


class Database:
    """An engine and its sessions. One per process; forks dispose of it first (gunicorn and RQ do through `reset`)."""

    def __init__(self, url: str, *, pool_max: int = 10, pooler: str = "") -> None:
        options: dict[str, Any] = {"prepare_threshold": None} if pooler else {}
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        self.engine: Engine = create_engine(
            parsed,
            pool_size=pool_max,
            max_overflow=0,
            pool_pre_ping=False,
            # Parameters hold personal data: an error in the log names the statement, never its values.
            hide_parameters=True,
            connect_args=options,
            pool_use_lifo=True,
        )
        event.listen(self.engine, "begin", bind_transaction)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        event.listen(self._sessions, "do_orm_execute", _add_tenant_predicate)

    def session(self) -> Session:
        """A new session, not yet in a transaction. Product code goes through `unit_of_work` instead."""
        return self._sessions()

    @contextmanager
    def without_tenant(self) -> Iterator[Connection]:
        """A transaction that sees only the two tables without tenant policy: `tenants` and `directory`."""
        if _tenant.get() is not None:
            raise TenantMixed("a unit of work is open")
        with self.engine.begin() as connection:
            yield connection


def run_sql(session: Session, sql: str, facts: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement word for word in the session's transaction, for the paths where each microsecond counts.

    No compiler, no type coercion, no autoflush, no tenant predicate: the statement names its tenant itself. Parameters
    are psycopg's `%(name)s`; the rows come back as plain tuples. Raises psycopg's own errors.
    """
    connection: psycopg.Connection = session.connection().connection.driver_connection  # type: ignore[assignment]
    cursor = connection.execute(sql, facts)
    return cursor.fetchall() if cursor.description else []


_database: Database | None = None


def open_database(url: str, *, pool_max: int = 10, pooler: str = "") -> Database:
    """Make the process's database. Called once by each shell at start-up.

    Raises RuntimeUnsafe for a role that row-level security does not bind.
    """
    global _database
    opened = Database(url, pool_max=pool_max, pooler=pooler)
    refuse_unsafe_runtime(opened.engine)
    _database = opened
    return opened


def database() -> Database:
    """The process's database. Raises TenantUnset's sibling RuntimeError before `open_database`."""
    if _database is None:
        raise RuntimeError("open_database() was not called")
    return _database


def uuid7() -> uuid.UUID:
    """A time-ordered public id (RFC 9562, version 7): 48 bits of wall milliseconds, 74 random bits."""
    from_random = int.from_bytes(os.urandom(10), "big")
    value = (
        ((wall_us() // 1000) << 80)
        | (0x7 << 76)
        | ((from_random >> 62 & 0xFFF) << 64)
        | (0x2 << 62)
        | (from_random & (2**62 - 1))
    )
    return uuid.UUID(int=value)
