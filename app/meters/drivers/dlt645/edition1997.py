"""Frames of the 1997 edition: the same envelope, identifiers of two bytes, other control codes.

    01 read   DI0 DI1          81 reply DI0 DI1 data     A1 more follows     C1 refused
    02 read follow-up          82 / A2 / C2              04 write            84 / C4

The control code tells the editions apart, the address does not. We only describe such frames: none of our
meters is asked in this edition.
"""

from dataclasses import dataclass

from app.meters.drivers.base import FrameError
from app.meters.drivers.dlt645.fields import number_of
from app.meters.drivers.dlt645.frame import Frame
from app.meters.drivers.dlt645.messages import ERROR_BITS, MORE, REFUSED
from app.meters.drivers.dlt645.values import Value, scaled_text

_DEEDS = {0x01: "read", 0x02: "read next", 0x04: "write"}
_FUNCTION = 0x1F


@dataclass(frozen=True, slots=True)
class Item97:
    """One identifier of the 1997 edition: a number of `size` bytes with `places` decimals."""

    zh: str
    name: str
    size: int
    places: int
    unit: str


ITEMS: dict[int, Item97] = {
    0x9010: Item97("正向有功总电能", "forward_active_total", 4, 2, "kWh"),
    0x9020: Item97("反向有功总电能", "reverse_active_total", 4, 2, "kWh"),
    0xB611: Item97("A相电压", "voltage_a", 2, 0, "V"),
    0xB612: Item97("B相电压", "voltage_b", 2, 0, "V"),
    0xB613: Item97("C相电压", "voltage_c", 2, 0, "V"),
    0xB621: Item97("A相电流", "current_a", 2, 2, "A"),
    0xB622: Item97("B相电流", "current_b", 2, 2, "A"),
    0xB623: Item97("C相电流", "current_c", 2, 2, "A"),
    0xB630: Item97("瞬时有功功率", "active_power_total", 3, 4, "kW"),
}


def speaks(control: int) -> bool:
    """Whether a control code belongs to the 1997 edition."""
    return control & _FUNCTION in _DEEDS


def describe(frame: Frame) -> tuple[str, list[Value], str]:
    """Meaning, values and identifier (four hex digits, empty where there is none) of a 1997 frame."""
    deed = _DEEDS[frame.control & _FUNCTION]
    if frame.control & REFUSED:
        reasons = [name for bit, name in enumerate(ERROR_BITS) if frame.data[:1] and frame.data[0] >> bit & 1]
        return f"1997 edition, {deed} refused", [Value("error", reason) for reason in reasons], ""
    if len(frame.data) < 2:
        return f"1997 edition, {deed} without an identifier", [], ""
    di = int.from_bytes(frame.data[:2], "little")
    item = ITEMS.get(di)
    words = f"{item.zh} ({item.name.replace('_', ' ')})" if item else "identifier not in our table"
    kind = " reply" if frame.from_meter else ""
    values = _values(item, frame) if item and frame.from_meter and not frame.control & MORE else []
    shown = "".join(f" = {value.text} {value.unit}" for value in values)
    return f"1997 edition, {deed}{kind}: {words}{shown}", values, f"{di:04X}"


def _values(item: Item97, frame: Frame) -> list[Value]:
    raw = frame.data[2:]
    try:
        number = number_of(raw)
    except FrameError:
        return []
    if len(raw) != item.size:
        return []
    return [Value(item.name, scaled_text(number, item.places), item.unit, number)]
