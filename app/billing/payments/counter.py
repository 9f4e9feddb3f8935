"""The counter: a cashier takes money for a wallet and hands out a receipt; a wrong sale is reversed the same day."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.alarms import raise_levels
from app.billing.ledger.balances import read_balance
from app.billing.ledger.service import Posted, reverse_entry
from app.billing.models import Payment, Receipt, SupplyAccount
from app.billing.payments.gateway import Channel, MoneyIn
from app.billing.payments.service import record_payment
from app.billing.wallets import find_wallet
from app.kernel.actor import Actor
from app.kernel.clock import business_now, local_day
from app.kernel.errors import AppError
from app.tenants.audit import record
from app.tenants.models import Property

#: What a cashier can take over the counter.
COUNTER_CHANNELS = frozenset({Channel.CASH, Channel.BANK, Channel.POS})


class NotACounterChannel(AppError):
    """Money of this channel is proved by its provider, never typed in by a person."""

    code, status = "not_a_counter_channel", 422
    message_zh = "该收款方式不能在柜台手工登记。请选择现金、银行转账或刷卡。"
    message_en = "This way of paying cannot be entered at the counter. Choose cash, bank transfer or card."


class TopUpNotToday(AppError):
    """A wrong sale is reversed on its own day; later it is a refund."""

    code, status = "top_up_not_today", 409
    message_zh = "只能冲正当日的充值。此笔请走退款流程。"
    message_en = "Only a top-up of today can be reversed. Use a refund for this one."


class OwnSaleReversed(AppError):
    """Who sells does not reverse."""

    code, status = "own_sale_reversed", 403
    message_zh = "不能冲正自己办理的充值。请由另一位有权限的操作员办理。"
    message_en = "Nobody reverses a sale of their own. Ask another operator who holds the permission."


def take_payment(
    session: Session,
    *,
    supply_account: SupplyAccount,
    amount_fen: int,
    channel: str,
    till: str,
    actor: Actor,
    idempotency_key: str,
    appliances_off: bool = False,
) -> Receipt:
    """Take money at the counter into a wallet, once per key; the same request again gives the same receipt.

    Raises NotACounterChannel, AmountOutOfRange, SupplyAccountClosed, KeyReused, PeriodClosed.
    """
    if channel not in COUNTER_CHANNELS:
        raise NotACounterChannel()
    return record_payment(
        session,
        account=supply_account,
        money=MoneyIn(Channel(channel), amount_fen, business_now(), actor),
        till=till,
        idempotency_key=idempotency_key,
        appliances_off=appliances_off,
    )


def reverse_top_up(
    session: Session,
    *,
    payment: Payment,
    reason: str,
    actor: Actor,
    idempotency_key: str,
    approval_id: int | None = None,
) -> Posted:
    """Reverse a wrong sale of today; its receipt keeps its number. Once per key. People come through `approved`.

    No floor guards it: money that never came in must leave the books even when it was used meanwhile.
    Raises OwnSaleReversed, TopUpNotToday, AlreadyReversed, PeriodClosed.
    """
    if payment.actor == str(actor):
        raise OwnSaleReversed()
    now = business_now()
    zone = session.scalars(select(Property.time_zone).where(Property.id == payment.property_id)).one()
    today = local_day(now, zone)
    if payment.received_on != today:
        raise TopUpNotToday()
    posted = reverse_entry(
        session,
        entry_id=payment.entry_id,
        idempotency_key=f"reverse_top_up:{idempotency_key}",
        booked_on=today,
        event_at=now,
        actor=str(actor),
        document=f"payment:{payment.id}",
    )
    if not posted.replayed:
        _after_reversal(session, payment, reason, actor, approval_id)
    return posted


def _after_reversal(session: Session, payment: Payment, reason: str, actor: Actor, approval_id: int | None) -> None:
    wallet = find_wallet(session, supply_account_id=payment.supply_account_id)
    left_fen = read_balance(session, wallet.account_id).available_fen
    raise_levels(session, property_id=payment.property_id, available_fen={payment.supply_account_id: left_fen})
    record(
        session,
        deed="money:topup:reverse",
        subject=f"payments:{payment.id}",
        actor=actor,
        property_id=payment.property_id,
        before={"available_fen": left_fen + payment.amount_fen},
        after={"available_fen": left_fen},
        reason=reason,
        approval_id=approval_id,
        facts={"amount_fen": payment.amount_fen},
    )
