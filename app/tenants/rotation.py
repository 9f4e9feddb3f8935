"""A tenant's data key is changed while everybody works.

    begin_rotation     a new version; from its commit on every new ciphertext is under it
    rotate_fields      column after column, in the order of the ids, batches of rows written anew
    (settled)          a last look when nobody can still be writing under the version before

Older versions stay: whoever reads meanwhile, restores a backup or opens an uploaded file reads on. A batch locks rows of
one table in the order of their ids and nothing else, so it can wait for a deed and never hold one up in a circle; who
only reads waits for nobody. What was done is seen on the rows themselves: after a kill it goes on where it was.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.crypto import FORMAT, VERSION_BYTES, CipherBroken, DataKey
from app.kernel.db import Database, current_tenant_id
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.tenants import audit
from app.tenants.keys import data_key, forget_keys, key_store, place, wrapped_keys
from app.tenants.models import Tenant, TenantKey
from app.tenants.sealed_columns import SEALED_COLUMNS, SealedColumn

log = logging.getLogger(__name__)
BATCH = 500
#: No transaction lives longer (`jobs.handlers` ends its own after four minutes): then nobody writes under an older key.
SETTLED = timedelta(minutes=5)


class RotationUnderWay(AppError):
    """The tenant's key is being changed already."""

    code, status = "rotation_under_way", 409
    message_zh = "该集团的数据密钥正在更换（第 {version} 版），请等待完成后再更换。"
    message_en = "The group's data key is being changed already (version {version}). Let that end first."


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of one batch: the last id looked at (None: the column is done), fields written, fields broken."""

    last_id: int | None
    written: int
    broken: int


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a run did. `finished`: every field is under the newest version and stays so."""

    version: int
    written: int
    broken: int
    finished: bool


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How many fields of a column are under a version."""

    column: SealedColumn
    version: int
    fields: int


def begin_rotation(session: Session, *, by: Actor, blinds: bool = False, reason: str | None = None) -> int:
    """Give the tenant a new data key and return its version; with `blinds` the digests are made anew under it as well.

    Raises RotationUnderWay, KeyStoreAway.
    """
    session.execute(select(Tenant.id).where(Tenant.id == current_tenant_id()).with_for_update())
    newest = _newest(session)
    if newest is not None and newest.rotated_at is None:
        raise RotationUnderWay(version=newest.version)
    version = 2 if newest is None else newest.version + 1
    wrapped = key_store().new_data_key(current_tenant_id(), version)
    session.add(TenantKey(version=version, wrapped=wrapped, blinds=blinds, created_at=wall_now()))
    session.flush()  # allow: flush - the key must be there before anything is read anew
    forget_keys(session)
    _note(session, "platform:key:rotate", by, version, reason=reason, facts={"blinds": blinds})
    return version


def continue_rotation(
    tenant_id: int,
    *,
    by: Actor,
    db: Database | None = None,
    until: datetime | None = None,
    settled: timedelta = SETTLED,
) -> Rotated | None:
    """Write anew what is under an older version, batch after batch, until done or an instant (wall) has come.

    None when no key is being changed. Raises KeyStoreAway; what was done stays done.
    """
    with unit_of_work(tenant_id, db=db) as session:
        key = _newest(session)
        if key is None or key.rotated_at is not None:
            return None
        version, old_enough = key.version, wall_now() >= key.created_at + settled
    written = broken = 0
    for batch in _batches(tenant_id, db):
        written, broken = written + batch.written, broken + batch.broken
        if until is not None and wall_now() >= until:
            return Rotated(version, written, broken, finished=False)
    finished = old_enough and not broken
    if finished:
        with unit_of_work(tenant_id, db=db) as session:
            _finish(session, version, by)
    return Rotated(version, written, broken, finished)


def rotate_batch(session: Session, *, column: SealedColumn, after: int, limit: int = BATCH) -> Batch:
    """Write one batch of a column's fields anew under the newest version, in the order of their ids.

    Raises KeyStoreAway. A field that does not open is left as it is and counted.
    """
    key = data_key(session)
    facts = {"tenant": current_tenant_id(), "after": after, "head": _head(key.version), "most": limit}
    rows = session.execute(text(_OLD.format(table=column.table, column=column.column)), facts).all()
    anew = [fresh for row in rows if (fresh := _fresh(key, column, *row)) is not None]
    if anew:
        session.execute(text(_update_of(column)), anew)
    last_id = rows[-1][0] if len(rows) == limit else None
    return Batch(last_id, len(anew), len(rows) - len(anew))


def key_uses(session: Session) -> list[KeyUse]:
    """Fields of the tenant by column and version of the key, for `keys status`."""
    uses = []
    for column in SEALED_COLUMNS:
        sql = text(_USES.format(table=column.table, column=column.column))
        for head, fields in session.execute(sql, {"tenant": current_tenant_id()}):
            version = int.from_bytes(head[1:], "big") if bytes(head[:1]) == FORMAT else 1
            uses.append(KeyUse(column, version, fields))
    return uses


def rewrap_keys(session: Session, *, by: Actor) -> int:
    """Wrap the tenant's data keys under today's key-encryption key; returns how many were under another one.

    Raises KeyStoreAway, CipherBroken.
    """
    store, tenant_id = key_store(), current_tenant_id()
    tenant = session.scalars(select(Tenant).where(Tenant.id == tenant_id).with_for_update()).one()
    old = [key for key in wrapped_keys(session) if not store.is_current(key.wrapped)]
    for key in old:
        wrapped = store.rewrap(key.wrapped, tenant_id, key.version)
        assert store.data_key(wrapped, tenant_id, key.version) == store.data_key(key.wrapped, tenant_id, key.version)
        if key.version == 1:
            tenant.data_key = wrapped
        else:
            session.get_one(TenantKey, (tenant_id, key.version)).wrapped = wrapped
    if old:
        session.flush()  # allow: flush - the keys are read anew in this transaction
        forget_keys(session)
        facts = {"keys": len(old), "wrapped_by": store.key_id}
        _note(session, "platform:key:rewrap", by, max(key.version for key in old), facts=facts)
    return len(old)


def _batches(tenant_id: int, db: Database | None) -> Iterator[Batch]:
    for column in SEALED_COLUMNS:
        after: int | None = 0
        while after is not None:
            with unit_of_work(tenant_id, db=db) as session:
                batch = rotate_batch(session, column=column, after=after)
            after = batch.last_id
            yield batch


def _fresh(key: DataKey, column: SealedColumn, id_: int, public_id: object, blob: bytes) -> dict[str, Any] | None:
    """What a row becomes; None when its field does not open."""
    where = place(table=column.table, column=column.said, row=public_id)
    try:
        value = key.decrypt(bytes(blob), where)
    except CipherBroken:
        log.error("%s.%s of row %s does not open: left under its older key", column.table, column.column, id_)
        return None
    digests = {digest.column: key.blind(digest.kind, digest.part(value)) for digest in column.digests}
    return {"tenant": current_tenant_id(), "id": id_, "fresh": key.encrypt(value, where), **digests}


def _update_of(column: SealedColumn) -> str:
    sets = [f"{column.column} = :fresh", *(f"{digest.column} = :{digest.column}" for digest in column.digests)]
    return f"UPDATE {column.table} SET {', '.join(sets)} WHERE tenant_id = :tenant AND id = :id"


def _head(version: int) -> bytes:
    return FORMAT + version.to_bytes(VERSION_BYTES, "big")


def _newest(session: Session) -> TenantKey | None:
    return session.scalar(select(TenantKey).order_by(TenantKey.version.desc()).limit(1))


def _finish(session: Session, version: int, by: Actor) -> None:
    key = session.get_one(TenantKey, (current_tenant_id(), version), with_for_update=True)
    if key.rotated_at is None:
        key.rotated_at = wall_now()
        _note(session, "platform:key:rotated", by, version)


def _note(session: Session, deed: str, by: Actor, version: int, **more: Any) -> None:
    audit.record(session, deed=deed, subject=f"tenant_keys:{version}", actor=by, **more)


#: Names of tables and columns come from the registry above and nowhere else.
_OLD = """
    SELECT id, public_id, {column} FROM {table}
     WHERE tenant_id = :tenant AND id > :after AND {column} IS NOT NULL AND substring({column} FOR 3) <> :head
     ORDER BY id LIMIT :most FOR NO KEY UPDATE
"""
_USES = """
    SELECT substring({column} FOR 3) AS head, count(*) FROM (
        SELECT CASE WHEN substring({column} FOR 1) = '\\x01'::bytea THEN '\\x01'::bytea ELSE {column} END AS {column}
          FROM {table} WHERE tenant_id = :tenant AND {column} IS NOT NULL) AS fields
     GROUP BY 1 ORDER BY 1
"""
