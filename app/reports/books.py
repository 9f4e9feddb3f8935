"""The ledger as the finance officer reads it: entries with both sides, each opening to its document."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry, its postings (at most POSTINGS_MAX) and the block that sealed it."""

    entry: Row[Any]
    postings: Sequence[Row[Any]]


POSTINGS_MAX = 200


def entries(
    session: Session,
    *,
    tenant_id: int,
    property_ids: list[int],
    kind: str | None = None,
    day: date | None = None,
    before: int | None = None,
    most: int = 50,
) -> Sequence[Row[Any]]:
    """Entries of the books in scope, newest first from `before`, of one kind or day or all."""
    given = {
        "tenant": tenant_id, "properties": property_ids, "kind": kind, "day": day,
        "before": before or 2**62, "most": most,
    }  # fmt: skip
    return session.execute(_ENTRIES, given).all()


def entry(session: Session, *, tenant_id: int, property_ids: list[int], public_id: str) -> EntryView | None:
    """One entry with both sides of every posting; None when not there or not in scope."""
    given = {"tenant": tenant_id, "properties": property_ids, "entry": public_id}
    head = session.execute(_ENTRY, given).one_or_none()
    if head is None:
        return None
    lines = session.execute(_POSTINGS, {"tenant": tenant_id, "entry": head.id, "most": POSTINGS_MAX}).all()
    return EntryView(head, lines)


_ENTRIES = text("""
    SELECT e.id, e.public_id::text AS public_id, e.booked_on, e.event_at, e.kind, e.actor, e.document, e.reverses_id,
           n.name AS property, le.name AS entity, u.name AS person, x.amount_fen, x.lines
    FROM ledger_books bk
    JOIN ledger_entries e ON e.tenant_id = bk.tenant_id AND e.book_id = bk.id
    JOIN nodes n ON n.tenant_id = bk.tenant_id AND n.id = bk.property_id
    JOIN legal_entities le ON le.tenant_id = bk.tenant_id AND le.id = bk.legal_entity_id
    LEFT JOIN users u ON u.tenant_id = e.tenant_id AND e.actor = 'user:' || u.id
    CROSS JOIN LATERAL (SELECT sum(amount_fen)::bigint AS amount_fen, count(*) AS lines FROM ledger_postings p
         WHERE p.tenant_id = :tenant AND p.entry_id = e.id) x
    WHERE bk.tenant_id = :tenant AND bk.property_id = ANY(:properties) AND e.id < :before
      AND (CAST(:kind AS text) IS NULL OR e.kind = :kind) AND (CAST(:day AS date) IS NULL OR e.booked_on = :day)
    ORDER BY e.id DESC LIMIT :most
""")

_ENTRY = text("""
    SELECT e.id, e.public_id::text AS public_id, e.booked_on, e.event_at, e.kind, e.actor, e.document, e.reverses_id,
           e.idempotency_key, encode(e.row_hash, 'hex') AS row_hash, n.name AS property, le.name AS entity,
           u.name AS person, sr.block_no, sb.sealed_at, back.public_id::text AS reversed_by
    FROM ledger_entries e
    JOIN ledger_books bk ON bk.tenant_id = e.tenant_id AND bk.id = e.book_id
    JOIN nodes n ON n.tenant_id = bk.tenant_id AND n.id = bk.property_id
    JOIN legal_entities le ON le.tenant_id = bk.tenant_id AND le.id = bk.legal_entity_id
    LEFT JOIN users u ON u.tenant_id = e.tenant_id AND e.actor = 'user:' || u.id
    LEFT JOIN sealed_records sr ON sr.tenant_id = e.tenant_id AND sr.chain = 'ledger' AND sr.record_id = e.id
    LEFT JOIN seal_blocks sb ON sb.tenant_id = sr.tenant_id AND sb.chain = sr.chain AND sb.block_no = sr.block_no
    LEFT JOIN ledger_entries back ON back.tenant_id = e.tenant_id AND back.reverses_id = e.id
    WHERE e.tenant_id = :tenant AND bk.property_id = ANY(:properties) AND e.public_id = CAST(:entry AS uuid)
""")

_POSTINGS = text("""
    SELECT p.line_no, p.amount_fen, p.memo, d.code AS debit_code, c.code AS credit_code,
           ds.number AS debit_account, ds.public_id::text AS debit_public_id, cs.number AS credit_account,
           cs.public_id::text AS credit_public_id
    FROM ledger_postings p
    JOIN ledger_accounts d ON d.tenant_id = p.tenant_id AND d.id = p.debit_account_id
    JOIN ledger_accounts c ON c.tenant_id = p.tenant_id AND c.id = p.credit_account_id
    LEFT JOIN supply_accounts ds ON ds.tenant_id = d.tenant_id AND ds.id = d.supply_account_id
    LEFT JOIN supply_accounts cs ON cs.tenant_id = c.tenant_id AND cs.id = c.supply_account_id
    WHERE p.tenant_id = :tenant AND p.entry_id = :entry ORDER BY p.line_no LIMIT :most
""")
