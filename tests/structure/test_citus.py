"""The schema and the statements stay distributable by tenant: what a cluster refuses is found on a laptop."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pglast
import pytest

from app.kernel.guard import SHARED_TABLES
from app.models import Base
from app.tenants.citus import citus_sql

STATEMENT = re.compile(r"^\s*(WITH|SELECT|INSERT|UPDATE|DELETE|COPY|TRUNCATE)\b", re.IGNORECASE)
LOCKS = re.compile(r"\bFOR\s+(NO\s+KEY\s+)?(UPDATE|SHARE|KEY\s+SHARE)\b", re.IGNORECASE)
SIMPLE_CASE = re.compile(r"\bCASE\s+(?!WHEN\b)", re.IGNORECASE)
REFUSED_OUTRIGHT = re.compile(r"^\s*(COPY|TRUNCATE)\s", re.IGNORECASE)
#: Locks a whole tenant by its own key, on a reference table.
TENANT_ITSELF = "FROM tenants WHERE id ="


def calls() -> list[tuple[str, ...]]:
    """(function, argument, …) of every statement of the script, as PostgreSQL's own parser reads it."""
    read = []
    for statement in pglast.parse_sql(citus_sql(Base.metadata)):
        call = statement.stmt.targetList[0].val
        words = [arg.arg.val.sval if hasattr(arg, "arg") else arg.val.sval for arg in call.args]
        read.append((call.funcname[0].sval, *words))
    return read


def test_the_script_names_every_table_once() -> None:
    assert sorted(call[1] for call in calls()) == sorted(Base.metadata.tables)


def test_tables_without_tenant_are_everywhere_and_all_others_lie_with_their_tenant() -> None:
    for function, table, *rest in calls():
        if table in SHARED_TABLES:
            assert (function, rest) == ("create_reference_table", [])
        else:
            assert (function, rest[0]) == ("create_distributed_table", "tenant_id")


def test_one_table_founds_the_group_and_the_others_join_it() -> None:
    distributed = [call for call in calls() if call[0] == "create_distributed_table"]
    assert distributed[0][3] == "none"
    assert {call[3] for call in distributed[1:]} == {distributed[0][1]}


def test_a_table_is_distributed_after_those_its_keys_point_to() -> None:
    order = [call[1] for call in calls()]
    for table in Base.metadata.tables.values():
        for key in table.foreign_key_constraints:
            assert order.index(key.referred_table.name) <= order.index(table.name)


def product_sql() -> Iterator[tuple[str, str]]:
    """Every string constant of the product that is a statement."""
    for path in sorted(Path("app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
                yield f"{path}:{node.lineno}", node.value


def refused(sql: str) -> str | None:
    """What a cluster would not do with this statement; None when it would do it."""
    if REFUSED_OUTRIGHT.search(sql):
        return "row-level security refuses it to the runtime role"
    if LOCKS.search(sql) and "tenant_id =" not in sql and TENANT_ITSELF not in sql:
        return "locks rows without a tenant equality"
    if SIMPLE_CASE.search(sql):
        return "compares by simple CASE; write CASE WHEN"
    return None


def test_no_statement_of_the_product_is_one_a_cluster_refuses() -> None:
    statements = list(product_sql())
    assert len(statements) > 5
    assert [(where, refused(sql)) for where, sql in statements if refused(sql)] == []


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT id FROM outbox_deliveries FOR UPDATE SKIP LOCKED", "locks rows"),
        ("SELECT id FROM outbox_deliveries WHERE tenant_id = :t FOR UPDATE SKIP LOCKED", None),
        ("SELECT 1 FROM tenants WHERE id = :t FOR UPDATE", None),
        ("COPY readings FROM STDIN", "refuses it"),
        ("UPDATE meters SET online = CASE id WHEN 1 THEN true END", "simple CASE"),
        ("UPDATE meters SET online = CASE WHEN id = 1 THEN true END", None),
    ],
)
def test_the_check_itself_bites(sql: str, why: str | None) -> None:
    assert (refused(sql) is None) if why is None else (why in (refused(sql) or ""))
