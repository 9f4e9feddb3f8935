"""One row in every table of a tenant, made from the tables' own definitions: so that no table is proved empty-handed.

A new table is filled by itself as long as its CHECKs can be met by the first value they list; what they cannot tell is
said in SAID below.
"""

import re
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Column, Connection, Table, insert, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.kernel.guard import SHARED_TABLES
from app.models import Base

AT = datetime(2026, 7, 15, 2, tzinfo=UTC)
LATER = datetime(2026, 7, 16, 2, tzinfo=UTC)

#: Values that a CHECK of more than one column asks for.
SAID: dict[str, dict[str, Any]] = {
    "api_tokens": {"expires_at": LATER},
    "usage_spans": {"to_at": LATER},
    "approvals": {"expires_at": LATER},
    "emergency_supplies": {"until_at": LATER},
    "security_policies": {"audit_keep_days": 180, "session_idle_min": 30},
    "tenant_keys": {"version": 2},
    "ledger_periods": {"month": date(2026, 7, 1)},
    "ledger_postings": {"credit_account_id": 0},
    "gateways": {"mode": "dial_in"},
    "meter_models": {"modulus_wh": 1_000_000_000},
    "nodes": {"kind": "headquarters"},
    "commands": {"kind": "close"},
}
_BY_TYPE: dict[type, Any] = {
    int: 1,
    str: "x",
    bytes: b"x",
    bool: False,
    datetime: AT,
    date: date(2026, 7, 15),
    Decimal: Decimal("0.56"),
}
_FIRST_LISTED = re.compile(r"^\(?(\w+) IN \('([^']*)'")


def tenant_tables() -> list[Table]:
    """Every table of a tenant, those its keys point to first."""
    return [table for table in Base.metadata.sorted_tables if table.name not in SHARED_TABLES]


def fill(owner: Connection, *, tenant_id: int, tables: list[Table]) -> None:
    """Write one row into each empty table of the tenant, as the owner under forced row-level security."""
    owner.execute(text(f"SET LOCAL app.tenant_id TO '{int(tenant_id)}'"))
    for table in tables:
        if owner.scalar(select(table.c.tenant_id).limit(1)) is None:
            _fill_one(owner, table, tenant_id)


def row_of(table: Table) -> dict[str, Any]:
    """Values that the table's types and CHECKs take, keys to other tables left out."""
    row = {c.name: _value(c) for c in table.columns if c.name in SAID.get(table.name, {}) or not _left_out(c)}
    return row | _listed(table) | SAID.get(table.name, {})


def _fill_one(owner: Connection, table: Table, tenant_id: int) -> None:
    row = row_of(table) | _pointed(owner, table) | {"tenant_id": tenant_id}
    if table.name == "ledger_postings":
        row["credit_account_id"] = _second_account(owner)
    owner.execute(insert(table).values(row))


def _left_out(column: Column[Any]) -> bool:
    return bool(column.nullable or column.identity or column.server_default)


def _value(column: Column[Any]) -> Any:
    if isinstance(column.type, JSONB):
        return {}
    if isinstance(column.type, ARRAY) or column.type.python_type is list:
        return []
    if column.type.python_type is uuid.UUID:
        return uuid.uuid4()
    return _BY_TYPE[column.type.python_type]


def _listed(table: Table) -> dict[str, Any]:
    """For each `column IN ('a', …)` the first value it lists."""
    listed = {}
    for constraint in table.constraints:
        match = _FIRST_LISTED.match(str(getattr(constraint, "sqltext", "")))
        if match and not _left_out(table.c[match[1]]):
            listed[match[1]] = match[2]
    return listed


def _pointed(owner: Connection, table: Table) -> dict[str, Any]:
    """The key of the one row that each foreign key can point to; optional ones stay null."""
    keys: dict[str, Any] = {}
    for constraint in table.foreign_key_constraints:
        if constraint.referred_table is table or any(column.nullable for column in constraint.columns):
            continue
        targets = [element.column for element in constraint.elements]
        found = owner.execute(select(*targets).order_by(*targets).limit(1)).one()
        keys |= dict(zip(constraint.column_keys, found, strict=True))
    return keys


def _second_account(owner: Connection) -> int:
    """A posting has two ends, so it takes a second ledger account of the same book."""
    accounts = Base.metadata.tables["ledger_accounts"]
    first = owner.execute(select(accounts).order_by(accounts.c.id).limit(1)).mappings().one()
    row = {name: value for name, value in first.items() if name != "id"} | {"code": "wallet-too"}
    return owner.execute(insert(accounts).values(row).returning(accounts.c.id)).scalar_one()
