"""What a payment must know of the supply account it is for: two round trips, one before the entry and one after it.

What is read before never changes the decision what to post; what is read after it stands under the wallet's lock.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy.orm import Session

from app.billing.alarms import Standing, alarm_policy, judge_standing
from app.billing.arrears import FORECAST_DAYS
from app.kernel.db import current_tenant_id, run_sql
from app.kernel.errors import NotFound
from app.kernel.money import floor_fen


@dataclass(frozen=True, slots=True)
class Payee:
    """Where the money goes and what the receipt says of it."""

    wallet_id: int
    debit_id: int
    time_zone: str
    property_name: str
    legal_entity: str
    tax_number: str
    building: str
    space: str
    party: str


@dataclass(frozen=True, slots=True)
class Aftermath:
    """How the wallet stands under its lock, and whether a stop of it was under way."""

    available_fen: int
    standing: Standing
    meter_ids: tuple[int, ...]
    #: A live permit or an unsent trip that this credit takes back.
    threatened: bool


_PAYEE = """
    SELECT w.id, d.id, r.time_zone, n.name, e.name, e.tax_number, b.name, s.name, p.name
      FROM supply_accounts a
      JOIN ledger_accounts w ON w.tenant_id = a.tenant_id AND w.supply_account_id = a.id AND w.code = 'wallet'
      JOIN ledger_accounts d ON d.tenant_id = a.tenant_id AND d.book_id = a.book_id AND d.code = %(code)s
                            AND d.supply_account_id IS NULL
      JOIN ledger_books k ON k.tenant_id = a.tenant_id AND k.id = a.book_id
      JOIN legal_entities e ON e.tenant_id = a.tenant_id AND e.id = k.legal_entity_id
      JOIN properties r ON r.tenant_id = a.tenant_id AND r.id = a.property_id
      JOIN nodes n ON n.tenant_id = a.tenant_id AND n.id = r.id
      JOIN spaces s ON s.tenant_id = a.tenant_id AND s.id = a.space_id
      JOIN buildings b ON b.tenant_id = a.tenant_id AND b.id = s.building_id
      JOIN parties p ON p.tenant_id = a.tenant_id AND p.id = a.party_id
     WHERE a.tenant_id = %(tenant)s AND a.id = %(account)s
"""
_AFTERMATH = """
    SELECT l.balance_fen, l.held_fen, l.accrued_microfen, a.overdraft_fen_max, a.alarm_1_fen, a.alarm_2_fen,
           a.alarm_level, a.episode,
           ARRAY(SELECT rated_microfen FROM account_days WHERE tenant_id = a.tenant_id AND supply_account_id = a.id
                    AND day >= %(first)s AND day < %(today)s ORDER BY day),
           m.meter_ids,
           EXISTS (SELECT 1 FROM permits WHERE tenant_id = a.tenant_id AND meter_id = ANY(m.meter_ids)
                      AND revoked_at IS NULL)
      FROM supply_accounts a
      JOIN ledger_balances l ON l.tenant_id = a.tenant_id AND l.account_id = %(wallet)s
     CROSS JOIN LATERAL (SELECT ARRAY(SELECT meter_id FROM mounts WHERE tenant_id = a.tenant_id
                            AND supply_account_id = a.id AND ended_at IS NULL ORDER BY meter_id) AS meter_ids) m
     WHERE a.tenant_id = %(tenant)s AND a.id = %(account)s
"""


def read_payee(session: Session, *, supply_account_id: int, ledger_code: str) -> Payee:
    """Wallet, the account the money is debited to, and the names a receipt prints. Raises NotFound."""
    facts = {"tenant": current_tenant_id(), "account": supply_account_id, "code": ledger_code}
    rows = run_sql(session, _PAYEE, facts)
    if not rows:
        raise NotFound(thing="wallet")
    return Payee(*rows[0])


def read_aftermath(session: Session, *, supply_account_id: int, wallet_id: int, today: date) -> Aftermath:
    """The wallet after the entry was posted, so under its lock, with the alarm level it has now."""
    facts = {
        "tenant": current_tenant_id(),
        "account": supply_account_id,
        "wallet": wallet_id,
        "today": today,
        "first": today - timedelta(days=FORECAST_DAYS),
    }
    (row,) = run_sql(session, _AFTERMATH, facts)
    balance, held, accrued, overdraft, alarm_1, alarm_2, level, episode, costs, meter_ids, threatened = row
    left_fen = balance - held - floor_fen(accrued)
    policy = alarm_policy(alarm_1, alarm_2)
    standing = judge_standing(supply_account_id, left_fen, costs, overdraft, policy, level, episode)
    return Aftermath(left_fen, standing, tuple(meter_ids), threatened)
