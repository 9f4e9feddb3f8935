"""Energy in whole watt-hours, volume in whole litres, and the ratio from a register to what was really used.

A kWh and a m³ are both a thousand of their small unit, so one set of functions reads and writes either.
"""

import re
import unicodedata
from dataclasses import dataclass

from app.kernel.errors import AppError

SMALL_PER_UNIT = 1_000
_DECIMALS = 3
#: Registers show at most ten digits; a longer text is a shifted column, not a register.
_DIGITS_MAX = 10
_REGISTER = re.compile(r"(\d+)(?:\.(\d*))?")
_RATIO = re.compile(r"(\d{1,9})(?:\s*[/:]\s*(\d{1,9}))?")


class RegisterUnreadable(AppError):
    """The text is not a register value: zero or more, plain digits, at most ten before the point."""

    code, status = "register_unreadable", 422
    message_zh = "看不懂示数“{text}”。请输入表上的数字，例如 1234.56。"
    message_en = "“{text}” is not a register value. Type the digits on the meter, for example 1234.56."


class RegisterTooFine(AppError):
    """More decimals than a watt-hour (or a litre) can hold."""

    code, status = "register_too_fine", 422
    message_zh = "示数“{text}”的小数超过三位。请按表上显示的位数输入。"
    message_en = "“{text}” has more than three decimals. Type it as the meter shows it."


class RatioUnreadable(AppError):
    """The text is neither a whole ratio nor a pair such as 150/5, or one of its sides is zero."""

    code, status = "ratio_unreadable", 422
    message_zh = "看不懂倍率“{text}”。请输入整数或变比，例如 30 或 150/5。"
    message_en = "“{text}” is not a ratio. Use a whole number or a pair, for example 30 or 150/5."


@dataclass(frozen=True, slots=True, order=True)
class Energy:
    """Energy in watt-hours."""

    wh: int

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(self.wh + other.wh)

    def __sub__(self, other: "Energy") -> "Energy":
        return Energy(self.wh - other.wh)

    def __str__(self) -> str:
        return f"{format_kwh(self.wh)} kWh"


@dataclass(frozen=True, slots=True, order=True)
class Volume:
    """Volume in litres."""

    litres: int

    def __add__(self, other: "Volume") -> "Volume":
        return Volume(self.litres + other.litres)

    def __sub__(self, other: "Volume") -> "Volume":
        return Volume(self.litres - other.litres)

    def __str__(self) -> str:
        return f"{format_m3(self.litres)} m³"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Multiplier from register to real energy, kept as the two whole numbers on the transformer's plate."""

    numerator: int
    denominator: int = 1

    def __post_init__(self) -> None:
        if self.numerator <= 0 or self.denominator <= 0:
            raise RatioUnreadable(text=f"{self.numerator}/{self.denominator}")

    def real(self, register_wh: int) -> int:
        """Real watt-hours of a register value, floored."""
        return register_wh * self.numerator // self.denominator

    def between(self, register_wh_last: int, register_wh_next: int) -> int:
        """Real usage between two values of one register.

        Each value is floored by itself, not the difference: over any chain of readings nothing is lost.
        """
        return self.real(register_wh_next) - self.real(register_wh_last)


ONE = Ratio(1)


def parse_register(text: str) -> int:
    """Watt-hours from "1234.56" kWh (or litres from m³). Raises RegisterUnreadable, then RegisterTooFine."""
    plain = unicodedata.normalize("NFKC", text).strip().replace(",", "")
    match = _REGISTER.fullmatch(plain) if plain.isascii() else None
    if match is None or len(match[1].lstrip("0")) > _DIGITS_MAX:
        raise RegisterUnreadable(text=text.strip())
    decimals = (match[2] or "").rstrip("0")
    if len(decimals) > _DECIMALS:
        raise RegisterTooFine(text=text.strip())
    return int(match[1]) * SMALL_PER_UNIT + int(decimals.ljust(_DECIMALS, "0"))


def parse_ratio(text: str) -> Ratio:
    """A ratio from "30" or "150/5". Raises RatioUnreadable."""
    plain = unicodedata.normalize("NFKC", text).strip()
    match = _RATIO.fullmatch(plain) if plain.isascii() else None
    if match is None:
        raise RatioUnreadable(text=text.strip())
    return Ratio(int(match[1]), int(match[2] or 1))


def format_kwh(wh: int) -> str:
    """kWh for a screen: "1,234.56", half a step away from zero, thousands parted."""
    return _two_decimals(wh)


def format_m3(litres: int) -> str:
    """m³ for a screen: "12.35", half a step away from zero, thousands parted."""
    return _two_decimals(litres)


def _two_decimals(small: int) -> str:
    hundredths = (abs(small) + 5) // 10
    sign = "-" if small < 0 and hundredths else ""
    return f"{sign}{hundredths // 100:,}.{hundredths % 100:02d}"
