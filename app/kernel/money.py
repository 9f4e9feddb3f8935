"""Money as whole numbers of the smallest coin, and the few named places where it is rounded.

Amounts are integers (fen); rated amounts are integers of a millionth of a fen (microfen), which every price
of at most five decimals times whole watt-hours is exactly. Nothing here, or anywhere near money, is a float.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from app.kernel.errors import AppError

CNY = "CNY"
FEN_PER_YUAN = 100
MICROFEN_PER_FEN = 1_000_000
#: One hundred million yuan: beyond this a typed amount is a slip of the finger, not a top-up.
INPUT_FEN_MAX = 10_000_000_000

#: Power of ten of the highest digit that a sum in yuan may have.
_ADJUSTED_MAX = 18

_SHAPE = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d*)?")


class CurrencyMismatch(AppError):
    """Two sums of different currencies met in one calculation."""

    code, status = "currency_mismatch", 422
    message_zh = "币种不同（{left} 与 {right}），不能直接相加减或比较。请先按同一币种核对。"
    message_en = "The currencies differ ({left} and {right}). Bring both to one currency first."


class AmountMissing(AppError):
    """The amount field was left empty."""

    code, status = "amount_missing", 422
    message_zh = "请输入金额，例如 50 或 50.00。"
    message_en = "Enter an amount, for example 50 or 50.00."


class AmountUnreadable(AppError):
    """The text is not a number of yuan."""

    code, status = "amount_unreadable", 422
    message_zh = "看不懂金额“{text}”。请只输入数字，例如 50 或 1,284.50。"
    message_en = "“{text}” is not an amount. Use digits only, for example 50 or 1,284.50."


class AmountNegative(AppError):
    """An amount below zero was typed where only a sum to pay makes sense."""

    code, status = "amount_negative", 422
    message_zh = "金额不能为负数。需要退款或冲正时，请使用相应功能。"
    message_en = "The amount cannot be negative. To give money back, use refund or reversal."


class AmountTooFine(AppError):
    """More than two decimals: there is no coin below one fen."""

    code, status = "amount_too_fine", 422
    message_zh = "金额最多两位小数（精确到分）。请修改“{text}”。"
    message_en = "An amount has at most two decimals (one fen). Please change “{text}”."


class AmountTooLarge(AppError):
    """Beyond one hundred million yuan."""

    code, status = "amount_too_large", 422
    message_zh = "金额超过一亿元，请核对是否多输了数字。"
    message_en = "The amount is above one hundred million yuan. Check for an extra digit."


@dataclass(frozen=True, slots=True)
class Money:
    """So many `minor` (smallest coins) of `currency` (ISO 4217). Raises CurrencyMismatch when mixed."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise TypeError(f"money is a whole number of coins, not {type(self.minor).__name__}")

    def _same(self, other: "Money") -> int:
        if self.currency != other.currency:
            raise CurrencyMismatch(left=self.currency, right=other.currency)
        return other.minor

    def __add__(self, other: "Money") -> Self:
        return type(self)(self.minor + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> Self:
        return type(self)(self.minor - self._same(other), self.currency)

    def __neg__(self) -> Self:
        return type(self)(-self.minor, self.currency)

    def __mul__(self, times: int) -> Self:
        return type(self)(self.minor * times, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: "Money") -> bool:
        return self.minor <= self._same(other)

    def __gt__(self, other: "Money") -> bool:
        return self.minor > self._same(other)

    def __ge__(self, other: "Money") -> bool:
        return self.minor >= self._same(other)


def fen(minor: int) -> Money:
    """A sum of so many fen."""
    return Money(minor, CNY)


def yuan(amount: Decimal | str | int) -> Money:
    """A sum of yuan, two decimals at most. TypeError for a float.

    Raises, in this order: AmountUnreadable, AmountTooLarge, AmountTooFine.
    """
    if isinstance(amount, float):
        raise TypeError("yuan takes Decimal, str or int: a float has already lost the fen")
    if isinstance(amount, str) and not _SHAPE.fullmatch(amount):
        raise AmountUnreadable(text=amount)
    exact = Decimal(amount.replace(",", "") if isinstance(amount, str) else amount)
    if not exact.is_finite():
        raise AmountUnreadable(text=str(amount))
    # Written out, 1E+999999999 would fill the memory before anybody could call it too large.
    if exact and exact.adjusted() > _ADJUSTED_MAX:
        raise AmountTooLarge()
    sign, digits, exponent = exact.as_tuple()
    coins = _coins(digits, int(exponent) + 2, text=str(amount))
    return fen(-coins if sign else coins)


def _coins(digits: tuple[int, ...], places: int, *, text: str) -> int:
    """Digits × 10^places as an exact integer, whatever precision the Decimal context happens to have."""
    written = "".join(map(str, digits))
    plain = written.rstrip("0")
    places += len(written) - len(plain)
    if not plain:
        return 0
    if places < 0:
        raise AmountTooFine(text=text)
    return int(plain) * int(10**places)


def share(total: int, weights: Sequence[int]) -> list[int]:
    """Share a whole number by weight, largest remainder first, ties to the earlier: parts sum to the total.

    Raises ValueError when a weight is negative or all are zero: then there is nobody to share with.
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError("weights must be zero or more, and at least one above zero")
    if total < 0:
        return [-part for part in share(-total, weights)]
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


def split(total: Money, weights: Sequence[int]) -> list[Money]:
    """Share a sum by weight. The parts always add up to the whole."""
    return [Money(part, total.currency) for part in share(total.minor, weights)]


def parse_yuan(text: str) -> int:
    """Fen from what a person typed: "50", "¥1,284.50", full-width digits, a trailing 元.

    Raises, in this order: AmountMissing, AmountUnreadable, AmountNegative, AmountTooFine, AmountTooLarge.
    """
    plain = unicodedata.normalize("NFKC", text).strip().removesuffix("元").strip()
    plain = re.sub(r"^([+-]?)\s*¥\s*", r"\1", plain)
    if not plain:
        raise AmountMissing()
    # isascii: the digits of other scripts survive NFKC, and \d would let them through.
    if not plain.isascii() or not _SHAPE.fullmatch(plain):
        raise AmountUnreadable(text=text.strip())
    if plain.startswith("-"):
        raise AmountNegative()
    amount_fen = yuan(plain).minor
    if amount_fen > INPUT_FEN_MAX:
        raise AmountTooLarge()
    return amount_fen


def format_yuan(amount_fen: int) -> str:
    """Yuan for a person: "¥1,284,306.50", "-¥3.20". Two decimals, thousands parted, the sign first."""
    whole, coins = divmod(abs(amount_fen), FEN_PER_YUAN)
    return f"{'-' if amount_fen < 0 else ''}¥{whole:,}.{coins:02d}"


def floor_fen(microfen: int) -> int:
    """Whole fen in a rated amount, rounded towards minus infinity."""
    return microfen // MICROFEN_PER_FEN


def settle(carry_microfen: int, delta_microfen: int) -> tuple[int, int]:
    """Whole fen to post now and the rest to carry, 0 ≤ carry < 10⁶: where rated money is rounded, once.

    Works alike for corrections (a negative delta), so that after any number of days the posted fen and the
    carry together are the rated amount to the last microfen.
    """
    return divmod(carry_microfen + delta_microfen, MICROFEN_PER_FEN)
