"""What a resident may see: accounts of the spaces that are theirs, and of each only what lies in their own time there."""

import uuid
from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN
from app.reports.room_states import STATE, SUPPLY


def resident_accounts(
    session: Session, *, tenant_id: int, property_id: int, space_ids: Collection[int]
) -> Sequence[Row[Any]]:
    """Accounts that are not closed, by building and room: what is left, the relay, the meter, the open stop."""
    given = {"tenant": tenant_id, "property": property_id, "spaces": list(space_ids)}
    return session.execute(_ACCOUNTS, given).all()


def resident_payments(
    session: Session, *, tenant_id: int, account_id: int, since: date, most: int = 30
) -> Sequence[Row[Any]]:
    """Money paid in from a day on, newest first, each with its receipt."""
    given = {"tenant": tenant_id, "accounts": [account_id], "since": since, "receipt": None, "most": most}
    return session.execute(_PAYMENTS, given).all()


def resident_receipt(
    session: Session, *, tenant_id: int, account_ids: Collection[int], public_id: uuid.UUID
) -> Row[Any] | None:
    """One receipt of these accounts; None for any other."""
    given = {
        "tenant": tenant_id,
        "accounts": list(account_ids),
        "since": date.min,
        "receipt": str(public_id),
        "most": 1,
    }
    return session.execute(_PAYMENTS, given).first()


def resident_notices(
    session: Session, *, tenant_id: int, account_id: int, party_ids: Collection[int], since: date, most: int = 20
) -> Sequence[Row[Any]]:
    """Messages about an account that were sent to these parties, newest first."""
    given = {
        "tenant": tenant_id, "subject": f"supply_account:{account_id}", "parties": list(party_ids), "since": since,
        "most": most,
    }  # fmt: skip
    return session.execute(_NOTICES, given).all()


_ACCOUNTS = text(f"""
    SELECT sa.id, sa.public_id, sa.number, sa.utility, sa.state AS account_state, sa.space_id, sa.alarm_level,
           sa.overdraft_fen_max, sa.restore_fen_min, s.name AS space, b.name AS building, {STATE} AS state,
           {AVAILABLE_FEN} AS available_fen, la.id AS wallet_id, m.id AS meter_id, m.number AS meter_number, m.relay_state,
           m.relay_read_at, m.register_wh, m.reading_at, m.online AND gw.online IS NOT FALSE AS online,
           mo.guaranteed_supply, st.state AS stop_state, st.basis, st.ordered_at, st.in_force_at, st.paid_at
    FROM supply_accounts sa
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    {SUPPLY}
    WHERE sa.tenant_id = :tenant AND sa.property_id = :property AND sa.space_id = ANY(:spaces) AND sa.state <> 'closed'
    ORDER BY b.name, s.name, sa.number, st.id DESC
""")

_PAYMENTS = text("""
    SELECT y.supply_account_id, y.amount_fen, y.channel, y.received_at, y.received_on, r.public_id, r.till, r.number,
           r.content, EXISTS (SELECT 1 FROM ledger_entries v WHERE v.tenant_id = y.tenant_id
                               AND v.reverses_id = y.entry_id) AS reversed
    FROM payments y
    JOIN receipts r ON r.tenant_id = y.tenant_id AND r.payment_id = y.id
    WHERE y.tenant_id = :tenant AND y.supply_account_id = ANY(:accounts) AND y.received_on >= :since
      AND (CAST(:receipt AS uuid) IS NULL OR r.public_id = CAST(:receipt AS uuid))
    ORDER BY y.id DESC LIMIT :most
""")

_NOTICES = text("""
    SELECT kind, state, params, queued_at, sent_at, delivered_at FROM notices
    WHERE tenant_id = :tenant AND subject = :subject AND party_id = ANY(:parties) AND queued_at >= :since
      AND state IN ('sent', 'delivered', 'failed', 'undeliverable')
    ORDER BY id DESC LIMIT :most
""")
