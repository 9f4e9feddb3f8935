"""Hot accounts keep no running balance; their postings are folded into one row per account and day."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel.db import current_tenant_id

_FOLD = text(
    """
    WITH legs AS (
        SELECT p.debit_account_id AS account_id, e.booked_on, p.amount_fen AS debit_fen, 0::bigint AS credit_fen
          FROM ledger_postings p JOIN ledger_entries e ON e.tenant_id = p.tenant_id AND e.id = p.entry_id
         WHERE p.tenant_id = :tenant AND p.debit_version IS NULL
        UNION ALL
        SELECT p.credit_account_id, e.booked_on, 0, p.amount_fen
          FROM ledger_postings p JOIN ledger_entries e ON e.tenant_id = p.tenant_id AND e.id = p.entry_id
         WHERE p.tenant_id = :tenant AND p.credit_version IS NULL
    )
    INSERT INTO ledger_day_folds (tenant_id, account_id, booked_on, debit_fen, credit_fen)
    SELECT :tenant, account_id, booked_on, sum(debit_fen), sum(credit_fen) FROM legs
     WHERE booked_on >= :since GROUP BY account_id, booked_on
    ON CONFLICT (tenant_id, account_id, booked_on)
    DO UPDATE SET debit_fen = excluded.debit_fen, credit_fen = excluded.credit_fen
    """
)


def fold_days(session: Session, *, since: object) -> None:
    """Recompute the folds of every day from `since` (a civil date) on; days of closed months do not change any more."""
    session.execute(_FOLD, {"tenant": current_tenant_id(), "since": since})
