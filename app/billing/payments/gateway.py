"""What any channel hands over when money has arrived: the counter's till today, payment providers later.

    counter  ──┐
    (channel) ─┼─ MoneyIn ─→ service.record_payment ─→ entry, payment, receipt
    (channel) ─┘

A channel proves that money arrived and says how much; it never names prices, balances or what the money is for.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.kernel.money import format_yuan

#: ¥200,000: more than any wallet is topped up with in one piece; a larger figure is a slip of the finger.
AMOUNT_FEN_MAX = 20_000_000


class Channel(StrEnum):
    """Where money arrives."""

    CASH = "cash"
    BANK = "bank"
    POS = "pos"
    WECHAT = "wechat"
    ALIPAY = "alipay"
    STRIPE = "stripe"


class AmountOutOfRange(AppError):
    """Not between one fen and the largest single payment."""

    code, status = "payment_amount_out_of_range", 422
    message_zh = "收款金额须在 ¥0.01 至 {most} 之间。请核对后重新输入。"
    message_en = "A payment is between ¥0.01 and {most}. Check the amount."


@dataclass(frozen=True, slots=True)
class MoneyIn:
    """Money that has arrived. Raises AmountOutOfRange."""

    channel: Channel
    amount_fen: int
    received_at: datetime
    #: The cashier, or the channel's process; its name is printed on the receipt.
    actor: Actor

    def __post_init__(self) -> None:
        if type(self.amount_fen) is not int or not 0 < self.amount_fen <= AMOUNT_FEN_MAX:
            raise AmountOutOfRange(most=format_yuan(AMOUNT_FEN_MAX))


def ledger_code(channel: Channel) -> str:
    """The ledger account the channel's money is debited to: till and bank directly, clearing until it settles."""
    return channel.value if channel in (Channel.CASH, Channel.BANK) else f"clearing:{channel.value}"
