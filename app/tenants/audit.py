"""The audit log: who did what, when, from where, with which facts. Rows are only ever added.

A record carries the keyed hash of its own canonical text: nobody who can only write to the database can make one. The
sealer chains committed records into blocks, so no request waits for another one's chain head.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import business_now, wall_now
from app.kernel.db import current_tenant_id, run_sql
from app.tenants.audit_keys import Use, audit_keys
from app.tenants.models import AuditRecord

_INSERT = """
    INSERT INTO audit_records (tenant_id, at, wall_at, actor, address, deed, subject, property_id, before, after, reason,
            approval_id, facts, result, row_hash, key_id)
    VALUES (%(tenant_id)s, %(at)s, %(wall_at)s, %(actor)s, %(address)s, %(deed)s, %(subject)s, %(property_id)s,
            %(before)s, %(after)s, %(reason)s, %(approval_id)s, %(facts)s, %(result)s, %(row_hash)s, %(key_id)s)
"""

#: As many characters of a reason as the log keeps; what asks for one may ask for less.
REASON_MAX = 200


def record(
    session: Session,
    *,
    deed: str,
    subject: str,
    actor: Actor,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str | None = None,
    approval_id: int | None = None,
    facts: Mapping[str, Any] | None = None,
    property_id: int | None = None,
    result: str = "done",
) -> None:
    """Write one record in the caller's transaction: the deed and its trace are committed together or not at
    all.

    `deed` is `<area>:<thing>:<deed>`, `subject` is `<table>:<id>`; `before` and `after` name the fields
    that changed; `facts` hold ids and figures. No personal data anywhere.
    """
    said = {
        "tenant_id": current_tenant_id(),
        "at": business_now(),
        "wall_at": wall_now(),
        "actor": str(actor),
        "address": actor.address,
        "deed": deed,
        "subject": subject,
        "property_id": property_id,
        "before": _plain(before),
        "after": _plain(after),
        "reason": reason and reason[:REASON_MAX],
        "approval_id": approval_id,
        "facts": _plain(facts or {}),
        "result": result,
    }
    documents = {name: None if said[name] is None else Jsonb(said[name]) for name in ("before", "after", "facts")}
    keys = audit_keys()
    signed = {"row_hash": keys.mac(Use.RECORD, _text(said)), "key_id": keys.current_id}
    run_sql(session, _INSERT, said | documents | signed)


def hash_of(entry: AuditRecord) -> bytes | None:
    """HMAC-SHA-256 over the record's canonical text, 32 bytes; the verifier computes it anew and compares.

    None when the record names a key that nobody knows.
    """
    said = {
        "tenant_id": entry.tenant_id,
        "at": entry.at,
        "wall_at": entry.wall_at,
        "actor": entry.actor,
        "address": entry.address,
        "deed": entry.deed,
        "subject": entry.subject,
        "property_id": entry.property_id,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
        "approval_id": entry.approval_id,
        "facts": entry.facts,
        "result": entry.result,
    }
    return audit_keys().mac_of(Use.RECORD, entry.key_id, _text(said))


def _text(said: Mapping[str, Any]) -> bytes:
    instants = {name: _instant(said[name]) for name in ("at", "wall_at")}
    return _canonical({**said, **instants}).encode()


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def _plain(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Facts as the database gives them back, so that the hash of what is read equals the hash of what was
    written.
    """
    return None if facts is None else json.loads(_canonical(dict(facts)))
