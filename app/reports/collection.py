"""The call list and the collection rate: accounts that are low, at zero or in debt, and how a building pays."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN


@dataclass(frozen=True, slots=True)
class Reach:
    """What somebody sees of it: whole properties, and single buildings of others."""

    property_ids: list[int]
    building_ids: list[int]

    def given(self) -> dict[str, Any]:
        """As parameters of a query."""
        return {"properties": self.property_ids, "buildings": self.building_ids}


def call_list(session: Session, *, tenant_id: int, reach: Reach, today: date, most: int = 200) -> Sequence[Row[Any]]:
    """Accounts to call: in debt first, then the longest without a payment, then the lowest."""
    return session.execute(_LIST, {"tenant": tenant_id, "today": today, "most": most, **reach.given()}).all()


def called_account(session: Session, *, tenant_id: int, reach: Reach, today: date, public_id: str) -> Row[Any] | None:
    """One account within reach, low or not; None when it is not there or not yours."""
    given = {"tenant": tenant_id, "today": today, "account": public_id, **reach.given()}
    return session.execute(_ONE, given).one_or_none()


def calls_of(session: Session, *, tenant_id: int, account_id: int, most: int = 50) -> Sequence[Row[Any]]:
    """The calls to an account, newest first."""
    return session.execute(_CALLS, {"tenant": tenant_id, "account": account_id, "most": most}).all()


def building_rates(
    session: Session, *, tenant_id: int, reach: Reach, month: date, last_month: date
) -> Sequence[Row[Any]]:
    """Per building: accounts, how many owe nothing, what came in this month and last, and who looks after it."""
    given = {"tenant": tenant_id, "month": month, "last_month": last_month, **reach.given()}
    return session.execute(_RATES, given).all()


_REACH = "(s.property_id = ANY(:properties) OR s.building_id = ANY(:buildings))"
_ACCOUNTS = f"""
    SELECT sa.id, sa.public_id::text AS public_id, sa.number, sa.property_id, sa.opened_on, sa.alarm_1_fen,
           sa.alarm_level, s.name AS space, b.name AS building, n.name AS property, p.id AS party_id,
           p.public_id AS party_public_id, p.name AS party, p.kind AS party_kind, {AVAILABLE_FEN} AS available_fen,
           (SELECT max(y.received_on) FROM payments y WHERE y.tenant_id = sa.tenant_id
               AND y.supply_account_id = sa.id) AS paid_on,
           st.state AS stop_state, c.called_at, c.outcome, c.promised_on, c.person AS caller
    FROM supply_accounts sa
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    JOIN nodes n ON n.tenant_id = s.tenant_id AND n.id = s.property_id
    JOIN parties p ON p.tenant_id = sa.tenant_id AND p.id = sa.party_id
    JOIN ledger_accounts la ON la.tenant_id = sa.tenant_id AND la.supply_account_id = sa.id AND la.code = 'wallet'
    JOIN ledger_balances bal ON bal.tenant_id = la.tenant_id AND bal.account_id = la.id
    LEFT JOIN LATERAL (SELECT t.state FROM stops t WHERE t.tenant_id = sa.tenant_id AND t.supply_account_id = sa.id
        AND t.state IN ('ordered', 'in_force', 'restoring') LIMIT 1) st ON true
    LEFT JOIN LATERAL (SELECT k.called_at, k.outcome, k.promised_on, u.name AS person FROM collection_calls k
        LEFT JOIN users u ON u.tenant_id = k.tenant_id AND u.id = k.user_id
        WHERE k.tenant_id = sa.tenant_id AND k.supply_account_id = sa.id ORDER BY k.id DESC LIMIT 1) c ON true
    WHERE sa.tenant_id = :tenant AND {_REACH} AND sa.state <> 'closed'
"""

_LIST = text(f"""
    SELECT x.*, CAST(:today AS date) - coalesce(x.paid_on, x.opened_on) AS age_days FROM ({_ACCOUNTS}) x
    WHERE x.alarm_level > 0 OR x.available_fen <= x.alarm_1_fen
    ORDER BY x.available_fen < 0 DESC, age_days DESC, x.available_fen, x.id LIMIT :most
""")

_ONE = text(f"""
    SELECT x.*, CAST(:today AS date) - coalesce(x.paid_on, x.opened_on) AS age_days FROM ({_ACCOUNTS}
       AND sa.public_id = CAST(:account AS uuid)) x
""")

_CALLS = text("""
    SELECT k.called_at, k.outcome, k.promised_on, k.note, u.name AS person FROM collection_calls k
    LEFT JOIN users u ON u.tenant_id = k.tenant_id AND u.id = k.user_id
    WHERE k.tenant_id = :tenant AND k.supply_account_id = :account ORDER BY k.id DESC LIMIT :most
""")

# A payment that was reversed came in for nobody.
_RATES = text(f"""
    SELECT b.id, b.name AS building, b.property_id, n.name AS property, count(*) AS accounts,
           count(*) FILTER (WHERE {AVAILABLE_FEN} >= 0) AS clear,
           coalesce(sum(y.this_fen), 0)::bigint AS this_fen, coalesce(sum(y.last_fen), 0)::bigint AS last_fen,
           ARRAY(SELECT u.name || '|' || u.public_id FROM building_stewards g
                   JOIN users u ON u.tenant_id = g.tenant_id AND u.id = g.user_id
                  WHERE g.tenant_id = b.tenant_id AND g.building_id = b.id ORDER BY u.name, u.id) AS stewards
    FROM supply_accounts sa
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    JOIN nodes n ON n.tenant_id = b.tenant_id AND n.id = b.property_id
    JOIN ledger_accounts la ON la.tenant_id = sa.tenant_id AND la.supply_account_id = sa.id AND la.code = 'wallet'
    JOIN ledger_balances bal ON bal.tenant_id = la.tenant_id AND bal.account_id = la.id
    LEFT JOIN LATERAL (
        SELECT sum(y.amount_fen) FILTER (WHERE y.received_on >= :month) AS this_fen,
               sum(y.amount_fen) FILTER (WHERE y.received_on < :month) AS last_fen
        FROM payments y WHERE y.tenant_id = sa.tenant_id AND y.supply_account_id = sa.id AND y.received_on >= :last_month
          AND NOT EXISTS (SELECT 1 FROM ledger_entries r WHERE r.tenant_id = y.tenant_id AND r.reverses_id = y.entry_id)
        ) y ON true
    WHERE sa.tenant_id = :tenant AND {_REACH} AND sa.state <> 'closed'
    GROUP BY b.tenant_id, b.id, b.name, b.property_id, n.name ORDER BY n.name, b.name, b.id
""")
