"""Everything held about one person, for that person (PIPL article 45): tables of plain values, ready for a file."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.models import Payment, Receipt
from app.billing.payments.receipts import receipt_number
from app.kernel.db import current_tenant_id
from app.notify.models import Notice
from app.reports.accounts import statement
from app.reports.customers import accounts_of, roles_of, unmaskings_of
from app.tenants.models import Party
from app.tenants.personal_data import Personal, number_of

LINES_AT_ONCE = 1000
UNMASKINGS_MAX = 100_000
Table = list[dict[str, object]]


def everything_about(session: Session, *, party: Party) -> dict[str, Table]:
    """Tables by name. Amounts in fen, instants in ISO 8601. Raises KeyStoreAway, CipherBroken."""
    accounts = accounts_of(session, tenant_id=current_tenant_id(), party_id=party.id)
    numbers = {row.id: row.number for row in accounts}
    return {
        "person": [_person(session, party)],
        "roles": [_role(row) for row in roles_of(session, party_id=party.id)],
        "accounts": [_account(row) for row in accounts],
        "statements": [line for row in accounts for line in _statement(session, row)],
        "payments": _payments(session, numbers),
        "notices": _notices(session, party),
        "unmaskings": [
            {"at": _plain(row.wall_at), "what": row.deed, "by": row.name or row.actor, "reason": row.reason}
            for row in unmaskings_of(session, party_id=party.id, most=UNMASKINGS_MAX)
        ],
    }


def _person(session: Session, party: Party) -> dict[str, object]:
    return {
        "name": party.name,
        "kind": party.kind,
        **{kind.value: number_of(session, party=party, kind=kind) for kind in Personal},
        "protected_until": _plain(party.protected_until),
    }


def _role(row: Any) -> dict[str, object]:
    role, began_on, ended_on, building, space = row
    return {"room": f"{building} {space}", "role": role, "from": _plain(began_on), "until": _plain(ended_on)}


def _account(row: Any) -> dict[str, object]:
    return {
        "number": row.number,
        "room": f"{row.building} {row.space}",
        "utility": row.utility,
        "state": row.state,
        "opened_on": _plain(row.opened_on),
        "available_fen": row.available_fen,
    }


def _statement(session: Session, account: Any) -> Iterator[dict[str, object]]:
    """Every line of a wallet, newest first."""
    before: int | None = None
    while account.wallet_id is not None:
        lines = statement(
            session, tenant_id=current_tenant_id(), wallet_id=account.wallet_id, before=before, most=LINES_AT_ONCE
        )
        for line in lines:
            yield {
                "account": account.number,
                "on": _plain(line.booked_on),
                "kind": line.kind,
                "amount_fen": line.delta_fen,
                "balance_fen": line.balance_fen,
                "memo": line.memo,
                "document": line.document,
            }
        if len(lines) < LINES_AT_ONCE:
            return
        before = lines[-1].version


def _payments(session: Session, numbers: dict[int, str]) -> Table:
    found = session.execute(
        select(
            Payment.supply_account_id,
            Payment.received_at,
            Payment.channel,
            Payment.amount_fen,
            Receipt.till,
            Receipt.number,
        )
        .outerjoin(Receipt, (Receipt.tenant_id == Payment.tenant_id) & (Receipt.payment_id == Payment.id))
        .where(Payment.supply_account_id.in_(numbers))
        .order_by(Payment.id)
    )
    return [
        {
            "account": numbers[account_id],
            "at": _plain(at),
            "channel": channel,
            "amount_fen": fen,
            "receipt": receipt_number(till, number) if till else None,
        }
        for account_id, at, channel, fen, till, number in found
    ]


def _notices(session: Session, party: Party) -> Table:
    found: Sequence[Notice] = session.scalars(
        select(Notice).where(Notice.party_id == party.id).order_by(Notice.id)
    ).all()
    return [
        {
            "kind": notice.kind,
            "channel": notice.channel,
            "state": notice.state,
            "queued_at": _plain(notice.queued_at),
            "sent_at": _plain(notice.sent_at),
            "delivered_at": _plain(notice.delivered_at),
            "figures": ", ".join(f"{name}: {value}" for name, value in sorted(notice.params.items())),
        }
        for notice in found
    ]


def _plain(value: date | datetime | None) -> str | None:
    return None if value is None else value.isoformat()
