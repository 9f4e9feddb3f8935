"""Recording money that has arrived: entry, payment and receipt in one unit of work, once per key.

Payments do not know what they pay for: that a payment succeeded is told to the outbox, and who supplies power hears it.
What must not wait for that is done here and now: trips that were decided and not yet sent are cancelled.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import select
from sqlalchemy.orm import Session, make_transient_to_detached

from app.billing.alarms import settle_level
from app.billing.ledger import EntryDraft, Posting
from app.billing.ledger.series import next_number
from app.billing.ledger.service import post_entry
from app.billing.models import Payment, Receipt, SupplyAccount
from app.billing.payments.gateway import MoneyIn, ledger_code
from app.billing.payments.payee import Payee, read_aftermath, read_payee
from app.billing.payments.receipts import receipt_content, receipt_number
from app.kernel.clock import local_day
from app.kernel.db import run_sql, uuid7
from app.kernel.errors import AppError
from app.kernel.idempotency import KeyReused, fingerprint
from app.kernel.money import CNY
from app.kernel.outbox import tell
from app.meters.commands import revoke_permits
from app.tenants.audit import record


class SupplyAccountClosed(AppError):
    """A closed account takes no more money."""

    code, status = "supply_account_closed", 409
    message_zh = "户号 {number} 已销户，不能充值。请核对户号。"
    message_en = "Account {number} is closed and cannot be topped up. Check the number."


def record_payment(
    session: Session,
    *,
    account: SupplyAccount,
    money: MoneyIn,
    till: str,
    idempotency_key: str,
    appliances_off: bool = False,
) -> Receipt:
    """Put money into a supply account's wallet, once per key; the same request again gives the same receipt.

    `appliances_off`: the payer confirmed that cookers and heaters are off, so that a stopped supply may close unattended.
    Raises SupplyAccountClosed, KeyReused, and what `post_entry` raises.
    """
    mark = fingerprint(account=account.id, amount=money.amount_fen, channel=money.channel.value, till=till)
    if account.state == "closed":
        return _known_receipt(session, idempotency_key, mark, refusal=SupplyAccountClosed(number=account.number))
    payee = read_payee(session, supply_account_id=account.id, ledger_code=ledger_code(money.channel))
    draft = _draft(account, money, payee, idempotency_key)
    posted = post_entry(session, draft)
    if posted.replayed:
        return _known_receipt(session, idempotency_key, mark, refusal=KeyReused())
    facts = {"entry_id": posted.entry_id, "idempotency_key": idempotency_key, "fingerprint": mark}
    payment_id = _insert_payment(session, account, money, draft.booked_on, facts)
    _note(session, account, payment_id, money)
    left = read_aftermath(session, supply_account_id=account.id, wallet_id=payee.wallet_id, today=draft.booked_on)
    if left.threatened:
        revoke_permits(session, meter_ids=left.meter_ids, reason="credit")
    settle_level(session, left.standing)
    tell(
        session,
        kind="payments.succeeded",
        payload={"payment_id": payment_id, "supply_account_id": account.id, "appliances_off": appliances_off},
        order_key=f"supply_account:{account.id}",
    )
    content = receipt_content(payee, account=account, money=money, available_fen=left.available_fen)
    return _issue(session, account, payment_id, money, till, content)


def _draft(account: SupplyAccount, money: MoneyIn, payee: Payee, idempotency_key: str) -> EntryDraft:
    return EntryDraft(
        book_id=account.book_id,
        kind="top_up",
        booked_on=local_day(money.received_at, payee.time_zone),
        event_at=money.received_at,
        currency=CNY,
        postings=(Posting(debit=payee.debit_id, credit=payee.wallet_id, amount_fen=money.amount_fen),),
        idempotency_key=f"top_up:{idempotency_key}",
        actor=str(money.actor),
        document=f"top_up:{account.id}",
    )


_INSERT_PAYMENT = """
    INSERT INTO payments (tenant_id, public_id, property_id, supply_account_id, channel, amount_fen, received_on,
                          received_at, actor, entry_id, idempotency_key, fingerprint)
    VALUES (%(tenant)s, %(public_id)s, %(property)s, %(account)s, %(channel)s, %(amount)s, %(received_on)s,
            %(received_at)s, %(actor)s, %(entry_id)s, %(idempotency_key)s, %(fingerprint)s)
    RETURNING id
"""


def _insert_payment(
    session: Session, account: SupplyAccount, money: MoneyIn, received_on: date, facts: Mapping[str, Any]
) -> int:
    said = {
        "tenant": account.tenant_id,
        "public_id": uuid7(),
        "property": account.property_id,
        "account": account.id,
        "channel": money.channel.value,
        "amount": money.amount_fen,
        "received_on": received_on,
        "received_at": money.received_at,
        "actor": str(money.actor),
    }
    ((payment_id,),) = run_sql(session, _INSERT_PAYMENT, {**said, **facts})
    return int(payment_id)


def _note(session: Session, account: SupplyAccount, payment_id: int, money: MoneyIn) -> None:
    record(
        session,
        deed="money:topup:sell",
        subject=f"payments:{payment_id}",
        actor=money.actor,
        property_id=account.property_id,
        facts={"amount_fen": money.amount_fen, "channel": money.channel.value, "supply_account_id": account.id},
    )


RECEIPT_COLUMNS = (
    "tenant_id", "public_id", "property_id", "book_id", "till", "number", "payment_id", "issued_at", "prints", "content",
)  # fmt: skip
_INSERT_RECEIPT = (
    f"INSERT INTO receipts ({', '.join(RECEIPT_COLUMNS)})"
    f" VALUES ({', '.join(f'%({name})s' for name in RECEIPT_COLUMNS)}) RETURNING id"
)


def _issue(
    session: Session, account: SupplyAccount, payment_id: int, money: MoneyIn, till: str, content: dict[str, Any]
) -> Receipt:
    # The number last: its row stays locked until commit, and a whole till would wait behind slower work.
    number = next_number(session, book_id=account.book_id, till=till)
    receipt = Receipt(
        tenant_id=account.tenant_id,
        public_id=uuid7(),
        property_id=account.property_id,
        book_id=account.book_id,
        till=till,
        number=number,
        payment_id=payment_id,
        issued_at=money.received_at,
        prints=0,
        content=content | {"number": receipt_number(till, number)},
    )
    said = {name: getattr(receipt, name) for name in RECEIPT_COLUMNS}
    ((receipt.id,),) = run_sql(session, _INSERT_RECEIPT, said | {"content": Jsonb(receipt.content)})
    # The row is written and complete: the session may keep it as one it has loaded, without reading it back.
    make_transient_to_detached(receipt)
    session.add(receipt)
    return receipt


def _receipt_of(session: Session, idempotency_key: str, mark: bytes) -> Receipt | None:
    found = session.execute(
        select(Receipt, Payment.fingerprint)
        .join(Payment, (Payment.tenant_id == Receipt.tenant_id) & (Payment.id == Receipt.payment_id))
        .where(Payment.idempotency_key == idempotency_key)
    ).one_or_none()
    if found is None:
        return None
    if found.fingerprint != mark:
        raise KeyReused
    return found[0]


def _known_receipt(session: Session, idempotency_key: str, mark: bytes, *, refusal: AppError) -> Receipt:
    """The receipt this request got before; `refusal` when the key named something that no payment made."""
    found = _receipt_of(session, idempotency_key, mark)
    if found is None:
        raise refusal
    return found
