"""A row of a place in every table: what the story of a world leaves empty is filled from the tables' own definitions."""

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, create_engine, insert, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from app.billing.models import Payment
from app.kernel.clock import wall_now
from app.kernel.unit_of_work import unit_of_work
from app.models import Base
from app.notify.webhook_rules import KINDS
from app.tenants.keys import data_key, place
from tests.factories import every_table
from tests.factories.world import World

#: What a table's own rules cannot tell: a request that a page can show, by somebody who was there.
SAID: dict[str, Callable[[World], dict[str, Any]]] = {
    "approvals": lambda world: {
        "deed": "reversal", "state": "waiting", "subject": "payments:1", "amount": 60_000, "content_hash": b"x" * 32,
        "content": {"payment_id": _payment_of(world), "concerned": []}, "requested_at": wall_now(),
        "expires_at": wall_now() + timedelta(days=1),
    },
    "money_given": lambda _world: {
        "code": "cash", "content": {"available_before_fen": 200, "available_after_fen": 100},
    },
    "webhook_endpoints": lambda world: _endpoint(world),
    "own_roles": lambda _world: {"based_on": "cashier", "permissions": ["account:supply:read"]},
}  # fmt: skip
#: Tables whose rows mean something to the whole tenant the moment they are there, and would change every answer.
LEFT_EMPTY = {"stop_freezes", "security_policies", "tenant_keys", "deed_limits", "resident_pages"}

SHORTEST = 20
#: Written and read by the product itself: another word there is another meaning, or is looked up by its digest.
CODES = frozenset(
    {"actor", "actuator", "based_on", "basis", "chain", "channel", "code", "consumer", "control", "currency", "deed"}
    | {"dialect", "direction", "flag", "frame", "idempotency_key", "key_id", "kind", "lease_holder", "locale", "login"}
    | {"message_key", "mode", "opened_by", "order_key", "outcome", "password_hash", "period", "pin_hash", "purpose"}
    | {"quality", "register", "result", "role", "side", "source", "state", "subject", "time_zone", "usage_class"}
    | {"utility", "verdict"}
)
#: Texts that are unique somewhere.
NAMED = {"code", "idempotency_key", "number", "subject"}
TRIES = 4


def plant(owner_url: str, worlds: list[World]) -> None:
    """Write what is missing, as the owner under forced row-level security."""
    engine = create_engine(make_url(owner_url).set(drivername="postgresql+psycopg"))
    for world in worlds:
        with engine.begin() as owner:
            owner.execute(text(f"SET LOCAL app.tenant_id TO '{int(world.tenant_id)}'"))
            for table in every_table.tenant_tables():
                if table.name not in LEFT_EMPTY and not _is_there(owner, table, world):
                    _plant_one(owner, table, world)
    engine.dispose()


def placed(table: Table, property_id: int) -> ColumnElement[bool] | None:
    """The condition of a row of a property, by its own column or by what it points to; None where there is none."""
    for name in ("property_id", "node_id"):
        if name in table.c:
            return table.c[name] == property_id
    if table.name in ("nodes", "properties"):
        return table.c.id == property_id
    if table.name == "users":
        grants = Base.metadata.tables["grants"]
        return table.c.id.in_(select(grants.c.user_id).where(grants.c.node_id == property_id))
    return _placed_by_key(table, property_id)


def _placed_by_key(table: Table, property_id: int) -> ColumnElement[bool] | None:
    for constraint in sorted(table.foreign_key_constraints, key=lambda key: str(key.name)):
        parent = constraint.referred_table
        if parent is table or len(constraint.elements) != 2 or "id" not in parent.c:
            continue
        above = placed(parent, property_id)
        if above is not None:
            return constraint.columns.values()[1].in_(select(parent.c.id).where(above))
    return None


def _is_there(owner: Connection, table: Table, world: World) -> bool:
    query, at = select(table.c.tenant_id).limit(1), placed(table, world.property_id)
    return owner.scalar(query if at is None else query.where(at)) is not None


def _plant_one(owner: Connection, table: Table, world: World) -> None:
    """Insert one row; where a key may point to something once only, to the next one that is there."""
    for skip in range(TRIES):
        try:
            with owner.begin_nested():
                owner.execute(insert(table).values(_row(owner, table, world, skip)))
            return
        except IntegrityError:
            if skip == TRIES - 1:
                raise


def _row(owner: Connection, table: Table, world: World, skip: int) -> dict[str, Any]:
    row = every_table.row_of(table) | _pointed(owner, table, world, skip) | {"tenant_id": world.tenant_id}
    row |= {name: world.property_id for name in ("property_id", "node_id") if name in table.c}
    said = SAID.get(table.name, lambda _w: {})(world)
    row |= {name: id_ for name, id_ in _known(world).items() if name in row}
    own = ({column.name for column in typed(table)} | NAMED) - said.keys()
    for column in table.c:
        if column.name in own and isinstance(row.get(column.name), str):
            row[column.name] = f"x{world.property_id}"
        if column.name.endswith("digest") and column.name in row:
            row[column.name] = b"x%d" % world.property_id
    return row | said


def _payment_of(world: World) -> int:
    with unit_of_work(world.tenant_id) as session:
        mine = Payment.property_id == world.property_id
        return session.scalars(select(Payment.id).where(mine).order_by(Payment.id).limit(1)).one()


def _endpoint(world: World) -> dict[str, Any]:
    """A receiver whose secret can be opened."""
    public_id = uuid.uuid4()
    with unit_of_work(world.tenant_id) as session:
        where = place(table="webhook_endpoints", column="secret_cipher", row=public_id)
        return {
            "public_id": public_id,
            "kinds": list(KINDS),
            "secret_cipher": data_key(session).encrypt("whsec_x", where),
        }


def _known(world: World) -> dict[str, int]:
    """What a column of this name points to in this world, said by no foreign key where tables are partitioned."""
    return {
        "meter_id": world.meter_ids[1],
        "supply_account_id": world.supply_account_ids[1],
        "party_id": world.party_ids[1],
        "space_id": world.space_ids[1],
        "plan_id": world.plan_id,
        "gateway_id": world.gateway_id,
    }


def _pointed(owner: Connection, table: Table, world: World, skip: int) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for constraint in table.foreign_key_constraints:
        if constraint.referred_table is table or any(column.nullable for column in constraint.columns):
            continue
        targets = [element.column for element in constraint.elements]
        query, at = select(*targets).order_by(*targets), placed(constraint.referred_table, world.property_id)
        rows = owner.execute(query if at is None else query.where(at)).all()
        keys |= dict(zip(constraint.column_keys, rows[min(skip, len(rows) - 1)], strict=True))
    return keys


def typed(table: Table) -> list[Column[object]]:
    """Text that a person could have typed."""
    bound = {column.name for constraint in table.foreign_key_constraints for column in constraint.columns}
    bound |= {c.name for c in table.columns for check in table.constraints if _is_bound(check, c.name)}
    return [c for c in table.columns if _is_text(c) and c.name not in bound | CODES and not c.primary_key]


def _is_text(column: Column[object]) -> bool:
    if isinstance(column.type, JSONB) or column.type.python_type is not str:
        return False
    length = getattr(column.type, "length", None)
    return length is None or length >= SHORTEST


def _is_bound(check: object, name: str) -> bool:
    return re.search(rf"\b{name}\b", str(getattr(check, "sqltext", ""))) is not None
