"""Numbers and dates inside the data of a DL/T 645 frame: BCD digits, low byte first.

    12 34 56 78 on the wire reads 78563412; with two places that is 785634.12

Dates are described by the order of their bytes on the wire: `s` second, `m` minute, `h` hour, `w` weekday,
`D` day, `M` month, `Y` year of the century.
"""

from datetime import datetime

from app.meters.drivers.base import BadData

CENTURY = 2000


def digits_of(raw: bytes) -> str:
    """The digits of low-first BCD, as a person would write them. Raises BadData for a nibble above 9."""
    text = raw[::-1].hex()
    if not text.isdigit():
        raise BadData()
    return text


def number_of(raw: bytes) -> int:
    """The integer in low-first BCD. Raises BadData."""
    return int(digits_of(raw) or "0")


def bcd(number: int, size: int) -> bytes:
    """`size` bytes of low-first BCD. Raises BadData when the number is negative or has too many digits."""
    text = f"{number:0{size * 2}d}"
    if number < 0 or len(text) != size * 2:
        raise BadData()
    return bytes.fromhex(text)[::-1]


def signed_number_of(raw: bytes) -> int:
    """Low-first BCD whose highest bit is a minus sign. Raises BadData."""
    magnitude = number_of(raw[:-1] + bytes((raw[-1] & 0x7F,)))
    return -magnitude if raw[-1] & 0x80 else magnitude


def date_parts(order: str, raw: bytes) -> dict[str, str]:
    """Two digits for each letter of `order`. Raises BadData when sizes differ or digits are none."""
    if len(order) != len(raw):
        raise BadData()
    return {letter: digits_of(raw[i : i + 1]) for i, letter in enumerate(order)}


def date_text(order: str, raw: bytes) -> str:
    """A date as the frame has it, impossible or not; `none` where every byte is zero. Raises BadData."""
    parts = date_parts(order, raw)
    if not any(raw):
        return "none"
    day = "-".join(parts[letter] for letter in "YMD" if letter in parts)
    time = ":".join(parts[letter] for letter in "hms" if letter in parts)
    return f"{'20' if day else ''}{day} {time}".strip()


def datetime_of(order: str, raw: bytes) -> datetime:
    """The meter's own clock, naive. Raises BadData for a date that does not exist."""
    parts = {letter: int(text) for letter, text in date_parts(order, raw).items()}
    try:
        return datetime(CENTURY + parts["Y"], parts["M"], parts["D"], parts["h"], parts["m"], parts.get("s", 0))
    except ValueError as impossible:
        raise BadData() from impossible


def date_bytes(order: str, at: datetime) -> bytes:
    """The bytes of a date in wire order. The century is dropped: meters know only two digits of it."""
    numbers = {
        "s": at.second,
        "m": at.minute,
        "h": at.hour,
        "w": at.isoweekday() % 7,  # Sunday is 0 on these meters
        "D": at.day,
        "M": at.month,
        "Y": at.year % 100,
    }
    return b"".join(bcd(numbers[letter], 1) for letter in order)
