"""Papers of refunds, waivers and adjustments as pages show them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN


def given_paper(session: Session, *, tenant_id: int, property_ids: list[int], public_id: str) -> Row[Any] | None:
    """One paper with its account and what undid it; None when not there or not in scope."""
    given = {"tenant": tenant_id, "properties": property_ids, "paper": public_id}
    return session.execute(_PAPER, given).one_or_none()


def papers_of(session: Session, *, tenant_id: int, account_id: int, most: int = 10) -> Sequence[Row[Any]]:
    """The last papers of an account, newest first."""
    return session.execute(_PAPERS, {"tenant": tenant_id, "account": account_id, "most": most}).all()


def account_facts(session: Session, *, tenant_id: int, account_id: int) -> Row[Any] | None:
    """Room, number and what is available of an account named by a request."""
    return session.execute(_ACCOUNT, {"tenant": tenant_id, "account": account_id}).one_or_none()


_PAPER = text("""
    SELECT m.id, m.public_id::text AS public_id, m.property_id, m.kind, m.amount_fen, m.code, m.reason, m.number,
           m.given_at, m.given_on, m.actor, m.prints, m.content, m.approval_id,
           sa.public_id::text AS account_public_id, s.name AS space, b.name AS building,
           e.public_id::text AS entry_public_id, rev.public_id::text AS undone_by
    FROM money_given m
    JOIN supply_accounts sa ON sa.tenant_id = m.tenant_id AND sa.id = m.supply_account_id
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    JOIN ledger_entries e ON e.tenant_id = m.tenant_id AND e.id = m.entry_id
    LEFT JOIN ledger_entries rev ON rev.tenant_id = m.tenant_id AND rev.reverses_id = m.entry_id
    WHERE m.tenant_id = :tenant AND m.property_id = ANY(:properties) AND m.public_id = CAST(:paper AS uuid)
""")

_PAPERS = text("""
    SELECT m.public_id::text AS public_id, m.kind, m.amount_fen, m.number, m.given_at, m.reason, u.name AS person,
           rev.id IS NOT NULL AS undone
    FROM money_given m
    LEFT JOIN users u ON u.tenant_id = m.tenant_id AND m.actor = 'user:' || u.id
    LEFT JOIN ledger_entries rev ON rev.tenant_id = m.tenant_id AND rev.reverses_id = m.entry_id
    WHERE m.tenant_id = :tenant AND m.supply_account_id = :account ORDER BY m.id DESC LIMIT :most
""")

_ACCOUNT = text(f"""
    SELECT sa.number, s.name AS space, b.name AS building, {AVAILABLE_FEN} AS available_fen
    FROM supply_accounts sa
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    JOIN ledger_accounts la ON la.tenant_id = sa.tenant_id AND la.supply_account_id = sa.id AND la.code = 'wallet'
    JOIN ledger_balances bal ON bal.tenant_id = la.tenant_id AND bal.account_id = la.id
    WHERE sa.tenant_id = :tenant AND sa.id = :account
""")
