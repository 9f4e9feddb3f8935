"""Price plans: forms of price, versions with the instant from which they hold, and the timeline they make.

A price is a Decimal of yuan per kWh (or m³) with at most five decimals, so that times whole watt-hours (or
litres) it is a whole number of microfen: 1 yuan/kWh is 100,000 microfen/Wh.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Self, TypeAlias

from app.kernel.errors import AppError

DECIMALS_MAX = 5
MICROFEN_PER_WH_AT_ONE_YUAN = 100_000
#: Nothing a meter measures costs as much: a larger figure is fen typed as yuan.
YUAN_MAX = 1_000
#: A new price further from the old one than this share of it is likelier a slip than a decision.
CHANGE_LARGE = Decimal("0.5")


def change_share(old: Decimal | None, new: Decimal) -> Decimal | None:
    """How far the new price lies from the old one, as a share of the old one; None where there is none to compare."""
    return (new - old) / old if old else None


def is_large_change(old: Decimal | None, new: Decimal) -> bool:
    """Whether a person should look twice before publishing."""
    share = change_share(old, new)
    return share is not None and abs(share) > CHANGE_LARGE


class PriceUnreadable(AppError):
    """Not a number of yuan per unit, or beyond what anything costs."""

    code, status = "price_unreadable", 422
    message_zh = "单价“{text}”无效。请输入 0 以上、1000 以下的数字（元/千瓦时或元/立方米）。"
    message_en = "“{text}” is not a price. Enter yuan per kWh or m³, below 1000."


class PriceNegative(AppError):
    """A price below zero."""

    code, status = "price_negative", 422
    message_zh = "单价不能为负数。需要优惠时请使用减免。"
    message_en = "A price cannot be negative. To give something up, use a waiver."


class PriceTooFine(AppError):
    """More than five decimals: usage × price would no longer be a whole number of microfen."""

    code, status = "price_too_fine", 422
    message_zh = "单价最多五位小数，请修改“{text}”。"
    message_en = "A price has at most five decimals. Please change “{text}”."


class PlanEmpty(AppError):
    """A plan without a single version prices nothing."""

    code, status = "plan_empty", 422
    message_zh = "该电价方案还没有价格。请先发布一个价格版本。"
    message_en = "This plan has no price yet. Publish a version first."


class PlanVersionsClash(AppError):
    """Two versions would begin to hold at the same instant."""

    code, status = "plan_versions_clash", 409
    message_zh = "已有一个价格版本在 {at} 生效。请换一个生效时间。"
    message_en = "Another version already takes effect at {at}. Choose another time."


class PlanNotYetEffective(AppError):
    """The plan holds only from a later instant."""

    code, status = "plan_not_yet_effective", 409
    message_zh = "电价方案从 {since} 起生效，此前的用量没有价格。请补发更早生效的版本。"
    message_en = "The plan holds from {since}; earlier usage has no price. Publish an earlier version."


@dataclass(frozen=True, slots=True)
class FlatPrice:
    """One price for every unit. Raises PriceUnreadable, PriceNegative, PriceTooFine."""

    #: Yuan per kWh or m³.
    yuan: Decimal
    #: The same as whole microfen per Wh or litre.
    microfen: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "microfen", _microfen(self.yuan))
        object.__setattr__(self, "yuan", _plain(self.yuan))


#: Every form a price may take; `rating` has one case for each.
PriceForm: TypeAlias = FlatPrice


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """A price that holds from an instant on, until the next version does."""

    id: int
    effective_from: datetime
    price: PriceForm


@dataclass(frozen=True, slots=True)
class PlanTimeline:
    """The versions of one plan in order of time. Build one with `PlanTimeline.of`."""

    versions: tuple[PlanVersion, ...]

    @classmethod
    def of(cls, versions: Iterable[PlanVersion]) -> Self:
        """A timeline from versions in any order. Raises PlanEmpty, PlanVersionsClash."""
        ordered = tuple(sorted(versions, key=_effective_from))
        if not ordered:
            raise PlanEmpty()
        for earlier, later in pairwise(ordered):
            if earlier.effective_from == later.effective_from:
                raise PlanVersionsClash(at=later.effective_from.isoformat())
        return cls(ordered)

    def at(self, instant: datetime) -> PlanVersion:
        """The version that holds at an instant: from its own first moment. Raises PlanNotYetEffective."""
        index = bisect_right(self.versions, instant, key=_effective_from)
        if index == 0:
            raise PlanNotYetEffective(since=self.versions[0].effective_from.isoformat())
        return self.versions[index - 1]

    def cuts(self, from_at: datetime, to_at: datetime) -> list[datetime]:
        """The instants strictly between the two at which the price changes."""
        first = bisect_right(self.versions, from_at, key=_effective_from)
        return [v.effective_from for v in self.versions[first:] if v.effective_from < to_at]

    def only_over(self, from_at: datetime, to_at: datetime) -> PlanVersion | None:
        """The version that holds over the whole span, or None if the price changes within. As `at` raises."""
        last = self.versions[-1]
        if last.effective_from <= from_at:
            return last
        version = self.at(from_at)
        return None if self.cuts(from_at, to_at) else version


def flat(version_id: int, effective_from: datetime, yuan: str | Decimal) -> PlanVersion:
    """A version with one price for every unit. Raises PriceUnreadable, PriceNegative, PriceTooFine."""
    return PlanVersion(version_id, effective_from, FlatPrice(parse_price(yuan)))


def parse_price(text: str | Decimal) -> Decimal:
    """A price as typed. Raises PriceUnreadable, PriceNegative, PriceTooFine."""
    try:
        price = Decimal(text.strip() if isinstance(text, str) else text)
    except InvalidOperation:
        raise PriceUnreadable(text=str(text)) from None
    _microfen(price)
    return _plain(price)


def _effective_from(version: PlanVersion) -> datetime:
    return version.effective_from


def _microfen(yuan: Decimal) -> int:
    """Whole microfen per Wh of a price; refuses what would not be whole."""
    if not isinstance(yuan, Decimal):
        raise TypeError(f"a price is a Decimal, not {type(yuan).__name__}")
    if not yuan.is_finite() or abs(yuan) >= YUAN_MAX:
        raise PriceUnreadable(text=str(yuan))
    if yuan < 0:
        raise PriceNegative()
    exponent = yuan.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMALS_MAX:
        raise PriceTooFine(text=str(yuan))
    return int(yuan * MICROFEN_PER_WH_AT_ONE_YUAN)


def _plain(yuan: Decimal) -> Decimal:
    """The same price without trailing zeros or exponent, as a person would write it."""
    price = yuan.normalize()
    return price.quantize(Decimal(1)) if price == price.to_integral_value() else price
