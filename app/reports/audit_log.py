"""The audit log as an auditor reads it: newest first, by key, within the properties in scope."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

#: How many a file is written at a time.
PIECE = 1_000
#: How a deed ends.
RESULTS = ("done", "refused", "failed")
_ALWAYS = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for. `property_ids` None means everything, records of the whole group among it."""

    property_ids: tuple[int, ...] | None
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    deed: str | None = None
    subject: str | None = None
    result: str | None = None
    #: Part of the reason.
    words: str | None = None
    #: (at, id) of the last record shown; what follows is older.
    before: tuple[datetime, int] | None = None


#: Each condition by itself, so that the planner sees an equation and takes the index that begins with it.
_CONDITIONS = {
    "actor": "r.actor = :actor",
    "deed": "r.deed = :deed",
    "subject": "r.subject = :subject",
    "words": r"r.reason ILIKE :words ESCAPE '\'",
    "before": "(r.at, r.id) < (:before_at, :before_id)",
}
_COLUMNS = """r.tenant_id, r.id, r.at, r.wall_at, r.actor, r.address, r.deed, r.subject, r.property_id, r.reason, r.result,
              r.approval_id, r.before, r.after, r.facts"""


def records(session: Session, *, tenant_id: int, wanted: Wanted, most: int) -> Sequence[Row[Any]]:
    """Records, newest first, at most `most`."""
    query, given = statement(tenant_id=tenant_id, wanted=wanted, most=most)
    return session.execute(text(query), given).all()


def statement(*, tenant_id: int, wanted: Wanted, most: int) -> tuple[str, dict[str, Any]]:
    """The list's query and its parameters."""
    conditions = ["r.at >= :since", "r.at < :until"]
    conditions += [sql for name, sql in _CONDITIONS.items() if getattr(wanted, name)]
    if wanted.result in RESULTS:  # a literal, so that the planner knows that the index of refusals applies
        conditions.append(f"r.result = '{wanted.result}'")
    return _query(" AND ".join(conditions), wanted), _given(tenant_id, wanted, most)


def each_record(session: Session, *, tenant_id: int, wanted: Wanted, most: int) -> Iterator[Row[Any]]:
    """Records one after another, read in pieces, at most `most`."""
    while most > 0:
        rows = records(session, tenant_id=tenant_id, wanted=wanted, most=min(PIECE, most))
        yield from rows
        if len(rows) < min(PIECE, most):
            return
        most -= len(rows)
        wanted = replace(wanted, before=(rows[-1].at, rows[-1].id))


def record(session: Session, *, tenant_id: int, wanted: Wanted, id_: int) -> Row[Any] | None:
    """One record with its seal; None when it is not there or not in scope."""
    scope = "" if wanted.property_ids is None else "AND r.property_id = ANY(:properties)"
    given = {"tenant": tenant_id, "id": id_, "properties": list(wanted.property_ids or ())}
    return session.execute(text(_RECORD.format(scope=scope)), given).one_or_none()


def people(session: Session, *, tenant_id: int, words: str) -> Sequence[str]:
    """How records name the people with this sign-in name or name; at most a few."""
    return session.scalars(_PEOPLE, {"tenant": tenant_id, "login": words.lower(), "name": words}).all()


def _query(conditions: str, wanted: Wanted) -> str:
    # A record of each property in turn by its own index: one property of many need not read past the others' records.
    # Reasons and refusals are rare: their own index is read once, whatever the properties.
    rare = wanted.words or wanted.result == "refused"
    found = _OF_ALL if wanted.property_ids is None else _OF_FEW if rare else _OF_PROPERTIES
    return f"""
        WITH found AS ({found.format(columns=_COLUMNS, conditions=conditions)})
        SELECT f.*, u.name AS person, n.name AS property FROM found f
        LEFT JOIN users u ON u.tenant_id = f.tenant_id AND f.actor = 'user:' || u.id
        LEFT JOIN nodes n ON n.tenant_id = f.tenant_id AND n.id = f.property_id
        ORDER BY f.at DESC, f.id DESC
    """


_OF_ALL = """
    SELECT {columns} FROM audit_records r WHERE r.tenant_id = :tenant AND {conditions}
    ORDER BY r.at DESC, r.id DESC LIMIT :most
"""
_OF_PROPERTIES = """
    SELECT own.* FROM unnest(CAST(:properties AS bigint[])) AS p(id)
    CROSS JOIN LATERAL (
        SELECT {columns} FROM audit_records r WHERE r.tenant_id = :tenant AND r.property_id = p.id AND {conditions}
        ORDER BY r.at DESC, r.id DESC LIMIT :most
    ) own
    ORDER BY own.at DESC, own.id DESC LIMIT :most
"""
_OF_FEW = _OF_ALL.replace("AND {conditions}", "AND r.property_id = ANY(:properties) AND {conditions}")
_RECORD = """
    SELECT r.tenant_id, r.id, r.at, r.wall_at, r.actor, r.address, r.deed, r.subject, r.property_id, r.reason, r.result,
           r.approval_id, r.before, r.after, r.facts, encode(r.row_hash, 'hex') AS row_hash, r.key_id, u.name AS person,
           n.name AS property, sr.block_no, sb.sealed_at, a.public_id::text AS approval
    FROM audit_records r
    LEFT JOIN users u ON u.tenant_id = r.tenant_id AND r.actor = 'user:' || u.id
    LEFT JOIN nodes n ON n.tenant_id = r.tenant_id AND n.id = r.property_id
    LEFT JOIN sealed_records sr ON sr.tenant_id = r.tenant_id AND sr.chain = 'audit' AND sr.record_id = r.id
    LEFT JOIN seal_blocks sb ON sb.tenant_id = sr.tenant_id AND sb.chain = sr.chain AND sb.block_no = sr.block_no
    LEFT JOIN approvals a ON a.tenant_id = r.tenant_id AND a.id = r.approval_id
    WHERE r.tenant_id = :tenant AND r.id = :id {scope}
"""
_PEOPLE = text("""
    SELECT 'user:' || id FROM users WHERE tenant_id = :tenant AND (login = :login OR name = :name) ORDER BY id LIMIT 20
""")


def _given(tenant_id: int, wanted: Wanted, most: int) -> dict[str, Any]:
    escaped = (wanted.words or "").replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    before_at, before_id = wanted.before or (_ALWAYS[1], 0)
    return {
        "tenant": tenant_id,
        "properties": list(wanted.property_ids or ()),
        "since": wanted.since or _ALWAYS[0],
        "until": wanted.until or _ALWAYS[1],
        "actor": wanted.actor,
        "deed": wanted.deed,
        "subject": wanted.subject,
        "words": f"%{escaped}%",
        "before_at": before_at,
        "before_id": before_id,
        "most": most,
    }
