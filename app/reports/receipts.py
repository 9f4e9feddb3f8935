"""Receipts as rows for the page and the paper, payments of a day, and how far a payment's light has come."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN


def receipt(session: Session, *, tenant_id: int, property_ids: list[int], public_id: str) -> Row[Any] | None:
    """One receipt with payment, account and entity; None when not there or not in scope."""
    given = {"tenant": tenant_id, "properties": property_ids, "receipt": public_id}
    return session.execute(_RECEIPT, given).one_or_none()


def payments_of(
    session: Session, *, tenant_id: int, property_ids: list[int], day: date, most: int = 100
) -> Sequence[Row[Any]]:
    """Sales and reversals of a civil day, newest first; `fen` of all rows that are not `reversed` is what the tills took.

    The ledger's days (`booked_on`) decide: a sale reversed on its own day is one row, `reversed`, and counts nothing. One
    reversed on another day stays as it was on its day; the reversal's day has a row of its own, `reverses`, with a minus.
    """
    given = {"tenant": tenant_id, "properties": property_ids, "day": day, "most": most}
    return session.execute(_PAYMENTS, given).all()


def progress_of(session: Session, *, tenant_id: int, account_id: int, payment_id: int) -> Row[Any] | None:
    """The stop that a payment lifts and its closing command; None when the supply was never off."""
    given = {"tenant": tenant_id, "account": account_id, "payment": payment_id}
    return session.execute(_PROGRESS, given).first()


_RECEIPT = text("""
    SELECT r.id, r.public_id::text AS public_id, r.till, r.number, r.issued_at, r.prints, r.content, r.property_id,
           y.id AS payment_id, y.channel, y.amount_fen, y.received_at, y.actor, sa.id AS account_id,
           sa.public_id::text AS account_public_id, sa.number AS account_number, s.name AS space, b.name AS building,
           n.name AS property, p.name AS party, p.kind AS party_kind, le.name AS entity, le.tax_number, u.name AS cashier,
           y.received_on, rev.public_id::text AS reversed_by
    FROM receipts r
    JOIN payments y ON y.tenant_id = r.tenant_id AND y.id = r.payment_id
    JOIN supply_accounts sa ON sa.tenant_id = y.tenant_id AND sa.id = y.supply_account_id
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    JOIN nodes n ON n.tenant_id = r.tenant_id AND n.id = r.property_id
    JOIN parties p ON p.tenant_id = sa.tenant_id AND p.id = sa.party_id
    JOIN ledger_books bk ON bk.tenant_id = r.tenant_id AND bk.id = r.book_id
    JOIN legal_entities le ON le.tenant_id = bk.tenant_id AND le.id = bk.legal_entity_id
    LEFT JOIN users u ON u.tenant_id = y.tenant_id AND y.actor = 'user:' || u.id
    LEFT JOIN ledger_entries rev ON rev.tenant_id = y.tenant_id AND rev.reverses_id = y.entry_id
    WHERE r.tenant_id = :tenant AND r.property_id = ANY(:properties) AND r.public_id = CAST(:receipt AS uuid)
""")

_PAYMENTS = text("""
    WITH moved AS (
        SELECT y.id, y.amount_fen AS fen, y.received_at AS at, y.actor, false AS reverses,
               coalesce(rev.booked_on = y.received_on, false) AS reversed
        FROM payments y
        LEFT JOIN ledger_entries rev ON rev.tenant_id = y.tenant_id AND rev.reverses_id = y.entry_id
        WHERE y.tenant_id = :tenant AND y.property_id = ANY(:properties) AND y.received_on = :day
        UNION ALL
        SELECT y.id, -y.amount_fen, rev.event_at, rev.actor, true, false
        FROM ledger_entries rev
        JOIN payments y ON y.tenant_id = rev.tenant_id AND y.entry_id = rev.reverses_id
        WHERE rev.tenant_id = :tenant AND rev.reverses_id IS NOT NULL AND rev.booked_on = :day
          AND y.property_id = ANY(:properties) AND y.received_on <> rev.booked_on
    )
    SELECT d.id, d.fen, y.channel, d.at, d.actor, d.reverses, d.reversed, r.public_id::text AS receipt_public_id,
           r.till, r.number, sa.public_id::text AS account_public_id, s.name AS space, u.name AS cashier
    FROM moved d
    JOIN payments y ON y.tenant_id = :tenant AND y.id = d.id
    JOIN supply_accounts sa ON sa.tenant_id = y.tenant_id AND sa.id = y.supply_account_id
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    LEFT JOIN receipts r ON r.tenant_id = y.tenant_id AND r.payment_id = y.id
    LEFT JOIN users u ON u.tenant_id = y.tenant_id AND d.actor = 'user:' || u.id
    ORDER BY d.at DESC, d.id DESC LIMIT :most
""")

_PROGRESS = text(f"""
    SELECT st.state, st.basis, st.paid_at, st.lifted_at,
           (SELECT t.reason FROM commands t WHERE t.tenant_id = st.tenant_id AND t.id = st.trip_command_id) AS stop_reason,
           {AVAILABLE_FEN} < sa.restore_fen_min AS is_short,
           c.kind, c.state AS command_state, c.queued_at, c.sent_at, c.acknowledged_at,
           c.confirmed_at, c.failure, m.online, mo.button_reachable, mo.actuator
    FROM payments y
    JOIN stops st ON st.tenant_id = y.tenant_id AND st.supply_account_id = y.supply_account_id
         AND st.ordered_at <= y.received_at AND (st.lifted_at IS NULL OR st.lifted_at >= y.received_at)
         AND st.state IN ('in_force', 'restoring', 'lifted', 'ordered')
    JOIN supply_accounts sa ON sa.tenant_id = st.tenant_id AND sa.id = st.supply_account_id
    LEFT JOIN ledger_accounts la ON la.tenant_id = sa.tenant_id AND la.supply_account_id = sa.id AND la.code = 'wallet'
    LEFT JOIN ledger_balances bal ON bal.tenant_id = la.tenant_id AND bal.account_id = la.id
    LEFT JOIN commands c ON c.tenant_id = st.tenant_id AND c.id = st.close_command_id
    LEFT JOIN meters m ON m.tenant_id = st.tenant_id AND m.id = st.meter_id
    LEFT JOIN mounts mo ON mo.tenant_id = m.tenant_id AND mo.meter_id = m.id AND mo.ended_at IS NULL
    WHERE y.tenant_id = :tenant AND y.id = :payment AND st.supply_account_id = :account
    ORDER BY st.id DESC LIMIT 1
""")
