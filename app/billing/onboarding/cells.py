"""From a cell as the spreadsheet keeps it to a value we can trust, or to a named reason. Pure."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from app.billing.onboarding.columns import Column, Holds
from app.kernel.errors import AppError
from app.kernel.money import parse_yuan
from app.kernel.quantity import parse_ratio, parse_register
from app.tenants.phones import normalise_id_number, normalise_phone

_LEVEL = re.compile(r"(?:(?P<up>\d{1,3})|(?:B|-|负|地下)(?P<down>\d{1,2}))(?:F|层|楼)?", re.IGNORECASE)
_DECIMAL = re.compile(r"(\d{1,7})(?:\.(\d{1,2}))?")
_DATE = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?")
_ADDRESS = re.compile(r"\d{1,12}")
_GATEWAY = re.compile(r"[0-9A-Za-z-]{1,32}")
_DIGITS_KEPT = 15
CM2_PER_M2 = 10_000
ADDRESS_DIGITS = 12


class Raw(StrEnum):
    """What the spreadsheet says a cell is."""

    EMPTY = "empty"
    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    FORMULA = "formula"
    ERROR = "error"
    ODD = "odd"


@dataclass(frozen=True, slots=True)
class RawCell:
    """A cell: its kind, and its content as text (a number in plain digits, a date as 2026-01-31)."""

    raw: Raw
    text: str = ""


Read = TypeVar("Read")
EMPTY = RawCell(Raw.EMPTY)
Value = str | int | date | None


class CellBad(Exception):
    """This cell cannot be taken; `code` names the reason."""

    def __init__(self, code: str, **details: object) -> None:
        super().__init__(code)
        self.code, self.details = code, details


def read_cell(column: Column, cell: RawCell) -> Value:
    """The value of a cell for its column; None for an empty one that may be empty. Raises CellBad."""
    _refuse_kind(column, cell)
    text = cell.text.strip()
    if not text:
        if column.required:
            raise CellBad("missing")
        return None
    # Controls and lone surrogates come in as _x0000_ escapes; no database keeps them.
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise CellBad("odd_characters")
    if column.holds is Holds.CHOICE:
        return _choice(column, text)
    if len(text) > column.length_max:
        raise CellBad("too_long", length_max=column.length_max)
    return _READ[column.holds](text)


def _refuse_kind(column: Column, cell: RawCell) -> None:
    if cell.raw is Raw.FORMULA:
        raise CellBad("formula")
    if cell.raw in (Raw.ERROR, Raw.ODD):
        raise CellBad("cell_error")
    if cell.raw is Raw.DATE and column.holds is not Holds.DATE:
        raise CellBad("date_in_text")
    whole = cell.text.lstrip("-").partition(".")[0]
    if cell.raw is Raw.NUMBER and len(whole) > _DIGITS_KEPT:
        raise CellBad("number_cut")


def _choice(column: Column, text: str) -> str:
    if text in column.choices:
        return column.choices[text]
    if text.lower() in column.choices.values():
        return text.lower()
    raise CellBad("choice_unknown", choices="、".join(column.choices))


def _half_width(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _level(text: str) -> int:
    match = _LEVEL.fullmatch(_half_width(text))
    if match is None or not text.isprintable():
        raise CellBad("level_wrong")
    level = int(match["up"]) if match["up"] else -int(match["down"])
    if level == 0:
        raise CellBad("level_wrong")
    return level


def _area(text: str) -> int:
    plain = _half_width(text).replace(",", "")
    match = _DECIMAL.fullmatch(plain) if plain.isascii() else None
    area_cm2 = int(match[1]) * CM2_PER_M2 + int((match[2] or "").ljust(2, "0")) * 100 if match else 0
    if area_cm2 <= 0:
        raise CellBad("area_wrong")
    return area_cm2


def _money(text: str) -> int:
    plain = _half_width(text).strip()
    sign = -1 if plain.startswith("-") else 1
    return sign * _or_bad("amount_wrong", parse_yuan, plain.removeprefix("-"))


def _register(text: str) -> int:
    return _or_bad("register_wrong", parse_register, text)


def _ratio(text: str) -> int:
    ratio = _or_bad("ratio_wrong", parse_ratio, text)
    if ratio.numerator % ratio.denominator or ratio.numerator > 1_000_000:
        raise CellBad("ratio_wrong")
    return ratio.numerator // ratio.denominator


def _date(text: str) -> date:
    plain = _half_width(text)
    match = _DATE.fullmatch(plain)
    if match is None or not 1990 <= int(match[1]) <= 2100:
        raise CellBad("date_wrong")
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError as broken:
        raise CellBad("date_wrong") from broken


def _phone(text: str) -> str:
    return _or_bad("phone_wrong", normalise_phone, text)


def _id_number(text: str) -> str:
    return _or_bad("id_number_wrong", normalise_id_number, text)


def _address(text: str) -> str:
    plain = _half_width(text)
    if not plain.isascii() or not _ADDRESS.fullmatch(plain):
        raise CellBad("address_wrong")
    return plain.zfill(ADDRESS_DIGITS)


def _gateway(text: str) -> str:
    plain = _half_width(text)
    if not _GATEWAY.fullmatch(plain):
        raise CellBad("gateway_wrong")
    return plain


def _or_bad(code: str, read: Callable[[str], Read], text: str) -> Read:
    try:
        return read(text)
    except AppError as refused:
        raise CellBad(code) from refused


_READ: MappingProxyType[Holds, Callable[[str], Value]] = MappingProxyType(
    {
        Holds.TEXT: str,
        Holds.LEVEL: _level,
        Holds.AREA: _area,
        Holds.MONEY: _money,
        Holds.REGISTER: _register,
        Holds.RATIO: _ratio,
        Holds.DATE: _date,
        Holds.PHONE: _phone,
        Holds.ID_NUMBER: _id_number,
        Holds.ADDRESS: _address,
        Holds.GATEWAY: _gateway,
    }
)
