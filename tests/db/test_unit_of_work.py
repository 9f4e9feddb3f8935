"""The only way to a session: one tenant, said by literal at the begin, named in every query, forgotten at the end."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete, event, func, select, text, update
from sqlalchemy.exc import StatementError

from app.kernel.db import Database, TenantUnset
from app.kernel.unit_of_work import unit_of_work
from app.models import Base
from app.tenants.models import Node, Space
from tests.factories.every_table import tenant_tables
from tests.factories.world import World, make_tenant

MAPPED = sorted(
    (m.class_ for m in Base.registry.mappers if m.local_table in tenant_tables()), key=lambda model: model.__tablename__
)


@pytest.fixture(scope="module")
def tenant_id(db: Database) -> int:
    """A tenant without a single row: what is asked matters, not what is found."""
    return make_tenant(db)


@pytest.fixture
def sent(db: Database) -> Iterator[list[str]]:
    """Every statement the engine sends."""
    statements: list[str] = []

    def note(*facts: Any) -> None:
        statements.append(facts[2])

    event.listen(db.engine, "before_cursor_execute", note)
    yield statements
    event.remove(db.engine, "before_cursor_execute", note)


def test_every_mapped_table_is_tried() -> None:
    assert {model.__tablename__ for model in MAPPED} == {table.name for table in tenant_tables()}


@pytest.mark.parametrize("model", MAPPED, ids=lambda model: model.__tablename__)
def test_a_query_names_its_tenant_by_itself(tenant_id: int, db: Database, sent: list[str], model: Any) -> None:
    """Row-level security is the belt; the predicate is what makes the index."""
    key = next(iter(model.__mapper__.primary_key))
    with unit_of_work(tenant_id, db=db) as session:
        session.execute(select(model).limit(1))
        session.execute(select(func.count()).select_from(model))
        session.execute(select(Node.id).where(select(key).exists()))
    assert all("tenant_id = %(tenant_id_1)s" in statement for statement in sent)
    assert len(sent) == 3


def test_changes_name_their_tenant_too(tenant_id: int, db: Database, sent: list[str]) -> None:
    with unit_of_work(tenant_id, db=db) as session:
        session.execute(update(Space).where(Space.name == "nowhere").values(name="x"))
        session.execute(delete(Space).where(Space.name == "nowhere"))
    assert all("tenant_id = %(tenant_id_1)s" in statement for statement in sent)


def test_a_pooled_connection_forgets_the_tenant(world: World, db: Database) -> None:
    for _ in range(3):
        with unit_of_work(world.tenant_id, db=db) as session:
            assert set(session.scalars(select(Node.tenant_id))) == {world.tenant_id}
        with db.without_tenant() as connection:
            assert connection.execute(select(Node.id)).all() == []
            assert connection.scalar(text("SELECT current_setting('app.tenant_id', true)")) in (None, "")


def test_a_savepoint_that_is_rolled_back_keeps_the_tenant(world: World, db: Database) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        with session.begin_nested() as inner:
            inner.rollback()
        assert session.scalars(select(func.count()).select_from(Node)).one() > 0


def test_what_fails_is_rolled_back_whole(world: World, db: Database) -> None:
    class Stop(Exception):
        pass

    with pytest.raises(Stop), unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Node).values(name="half done"))
        raise Stop
    with unit_of_work(world.tenant_id, db=db) as session:
        assert "half done" not in set(session.scalars(select(Node.name)))


def test_a_row_without_a_tenant_cannot_even_be_said(db: Database) -> None:
    with pytest.raises(StatementError) as refused, db.session() as session:
        session.add(Node(kind="headquarters", name="x"))
        session.flush()
    assert isinstance(refused.value.orig, TenantUnset)


def test_threads_that_share_the_pool_never_see_each_other_s_tenant(
    make_world: Callable[..., World], db: Database
) -> None:
    seen: dict[int, set[int]] = {}

    def read_often(tenant_id: int) -> None:
        seen[tenant_id] = set()
        for _ in range(40):
            with unit_of_work(tenant_id, db=db) as session:
                seen[tenant_id] |= {row[0] for row in session.execute(text("SELECT tenant_id FROM spaces"))}

    threads = [threading.Thread(target=read_often, args=(make_world(spaces=1).tenant_id,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {tenant_id: {tenant_id} for tenant_id in seen}
    assert len(seen) == 6


@pytest.mark.parametrize(("pooler", "prepared"), [("", True), ("transaction", False)])
def test_behind_a_pooler_nothing_is_ever_prepared_and_the_tenant_never_is(
    world: World, database_urls: tuple[str, str], pooler: str, prepared: bool
) -> None:
    """Behind PgBouncer a prepared statement may run in another tenant's transaction."""
    own = Database(database_urls[0], pool_max=1, pooler=pooler)
    for _ in range(12):
        with unit_of_work(world.tenant_id, db=own) as session:
            session.scalars(select(Node.name)).all()
    with own.without_tenant() as connection:
        kept = list(connection.scalars(text("SELECT statement FROM pg_prepared_statements")))
    own.engine.dispose()
    assert bool(kept) is prepared
    assert not [statement for statement in kept if "SET" in statement.upper().split()[:1]]
