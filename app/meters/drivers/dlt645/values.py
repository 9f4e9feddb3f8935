"""Reads the bytes behind an identifier into values a person can read and a program can count with."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from app.meters.drivers.base import BadData
from app.meters.drivers.dlt645.fields import date_text, digits_of, number_of, signed_number_of
from app.meters.drivers.dlt645.registers import OPEN_ENDED, Field, Form, Item, item_of
from app.meters.drivers.dlt645.status import decode_status_3, flags_of

ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Value:
    """One decoded value. `number` is the integer in the field's smallest step, None where it is no number."""

    name: str
    text: str
    unit: str = ""
    number: int | None = None


def values_of(di: int, raw: bytes) -> list[Value]:
    """Values behind an identifier, none for an identifier we do not know.

    Raises BadData when the bytes do not fit what the identifier promises.
    """
    item = item_of(di)
    if item is None:
        return []
    return [value for field, part in _parts(item, raw, di in OPEN_ENDED) for value in _read(field, part)]


def _parts(item: Item, raw: bytes, open_ended: bool) -> Iterator[tuple[Field, bytes]]:
    at = 0
    for field in item.fields:
        if item.block and at == len(raw):
            break
        if at + field.size > len(raw):
            raise BadData()
        yield field, raw[at : at + field.size]
        at += field.size
    if at != len(raw) and not open_ended:
        raise BadData()


def _read(field: Field, raw: bytes) -> list[Value]:
    if raw == b"\xff" * field.size and field.form is not Form.STATUS:
        return [Value(field.name, ABSENT, field.unit)]
    match field.form:
        case Form.NUMBER | Form.SIGNED | Form.MASKED:
            number = _number(field.form, raw)
            return [Value(field.name, scaled_text(number, field.places), field.unit, number)]
        case Form.DATE:
            return [Value(field.name, date_text(field.order, raw))]
        case Form.DIGITS:
            return [Value(field.name, raw[::-1].hex().upper())]
        case Form.STATUS:
            return _status_values(field.word, raw)


def _number(form: Form, raw: bytes) -> int:
    if form is Form.NUMBER:
        return number_of(raw)
    number = signed_number_of(raw)
    return abs(number) if form is Form.MASKED else number


def scaled_text(number: int, places: int) -> str:
    """An integer number of 10^-places written with its decimal point: 26, 2 reads 0.26."""
    if not places:
        return str(number)
    whole, rest = divmod(abs(number), 10**places)
    return f"{'-' if number < 0 else ''}{whole}.{rest:0{places}d}"


def _status_values(word: int, raw: bytes) -> list[Value]:
    if word != 3:
        return [Value(f"status_word_{word}", ",".join(flags_of(word, raw)) or "none")]
    states = asdict(decode_status_3(raw))
    relay = {name: "open" if states.pop(name) else "closed" for name in ("relay_open", "relay_commanded_open")}
    named = {"relay": relay["relay_open"], "relay_command": relay["relay_commanded_open"]} | states
    return [Value(name, _yes_no(state)) for name, state in named.items()]


def _yes_no(state: object) -> str:
    return {True: "yes", False: "no"}[state] if isinstance(state, bool) else str(state)


def identifier_digits(raw: bytes) -> str:
    """Digits of an address carried in data. Raises BadData."""
    if len(raw) != 6:
        raise BadData()
    return digits_of(raw)
