"""Frames fit for a screen or a log: password bytes read `**`.

14 write            DI0..3  PA **  **  **  C0..3 …       a write to the password table hides its data as well
18 change password  DI0..3  PA **  **  **  PA ** ** **
19 1A 1B 1C         PA **  **  **  C0..3 …
"""

from collections.abc import Iterable

from app.meters.drivers.base import FrameError
from app.meters.drivers.dlt645.frame import HEAD_BYTES, TAIL_BYTES, decode
from app.meters.drivers.dlt645.messages import FROM_METER, WRITE, di_of

_PASSWORD_AT: dict[int, tuple[int, ...]] = {
    0x14: (5, 6, 7),
    0x18: (5, 6, 7, 9, 10, 11),
    0x19: (1, 2, 3),
    0x1A: (1, 2, 3),
    0x1B: (1, 2, 3),
    0x1C: (1, 2, 3),
}
_PASSWORD_TABLE = 0x04000C


def mask(raw: bytes) -> str:
    """Upper-case hex with password bytes as `**`. What is no frame is hidden after its tenth byte."""
    pairs = [f"{byte:02X}" for byte in raw]
    try:
        frame = decode(raw)
    except FrameError:
        return _hide(pairs, range(HEAD_BYTES, len(pairs)))
    start = len(raw) - TAIL_BYTES - len(frame.data)
    hidden = _hidden(frame.control, frame.data)
    # The checksum is a sum over the password too: shown, it would give one byte of it away.
    checksum = [len(raw) - TAIL_BYTES] if hidden else []
    return _hide(pairs, [*(start + at for at in hidden), *checksum])


def _hidden(control: int, data: bytes) -> list[int]:
    if control & FROM_METER or control not in _PASSWORD_AT:
        return []
    hidden = [at for at in _PASSWORD_AT[control] if at < len(data)]
    if control == WRITE and len(data) >= 4 and di_of(data) >> 8 == _PASSWORD_TABLE:
        hidden += range(12, len(data))
    return hidden


def _hide(pairs: list[str], hidden: Iterable[int]) -> str:
    at = set(hidden)
    return "".join("**" if i in at else pair for i, pair in enumerate(pairs))
