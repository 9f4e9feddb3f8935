"""The driver of DL/T 645-2007: our questions into frames, its frames into our answers."""

from collections.abc import Callable
from datetime import datetime
from textwrap import wrap
from typing import Any

from app.meters.drivers.base import (
    Acknowledged,
    AddressRead,
    BadData,
    ClockRead,
    FrameError,
    MoreFollows,
    OtherReply,
    Readable,
    Refused,
    RegistersRead,
    RelayAction,
    RelayRead,
    RemainingRead,
    Reply,
)
from app.meters.drivers.dlt645 import messages
from app.meters.drivers.dlt645.describe import describe
from app.meters.drivers.dlt645.fields import datetime_of
from app.meters.drivers.dlt645.frame import Frame, FrameSplitter, decode, encode
from app.meters.drivers.dlt645.masking import mask
from app.meters.drivers.dlt645.messages import FUNCTION, READ, READ_ADDRESS, READ_NEXT, REFUSED
from app.meters.drivers.dlt645.status import decode_status_3
from app.meters.drivers.dlt645.values import values_of

IDENTIFIERS: dict[Readable, int] = {
    Readable.TOTAL: 0x00010000,
    Readable.SHARP: 0x00010100,
    Readable.PEAK: 0x00010200,
    Readable.FLAT: 0x00010300,
    Readable.VALLEY: 0x00010400,
    Readable.BANDS: 0x0001FF00,
    Readable.REMAINING: 0x00900200,
    Readable.CLOCK: 0x0400010C,
    Readable.RELAY: 0x04000503,
}
_OVERDRAFT = 0x00900201
_READABLES = {di: what for what, di in IDENTIFIERS.items()}
_BLOCK = (Readable.TOTAL, Readable.SHARP, Readable.PEAK, Readable.FLAT, Readable.VALLEY)
WH_PER_STEP = 10  # registers step by 0.01 kWh


class Dlt645:
    """See `base.Driver`. Holds no state: one instance serves every meter."""

    dialect = "dlt645-2007"

    def build_read(self, address: str, what: Readable) -> bytes:
        """Ask a meter for one thing. Raises BadAddress."""
        return encode(messages.read(address, IDENTIFIERS[what]))

    def build_read_next(self, address: str, what: Readable, sequence: int) -> bytes:
        """Ask for part `sequence`, from 1, of a long answer. Raises BadAddress."""
        return encode(messages.read_next(address, IDENTIFIERS[what], sequence))

    def build_relay(
        self, address: str, action: RelayAction, *, password: str, operator: str, valid_until: datetime | None
    ) -> bytes:
        """Move the relay; void after `valid_until` on the meter's clock. Raises BadAddress, BadPassword."""
        return encode(messages.relay(address, action, password=password, operator=operator, valid_until=valid_until))

    def build_set_time(self, address: str | None, clock: datetime) -> bytes:
        """Set one clock, or every clock on the line when `address` is None. Raises BadAddress."""
        return encode(messages.set_time(address, clock))

    def build_read_address(self) -> bytes:
        """Ask the only meter on a line for its address."""
        return encode(messages.read_address())

    def parse(self, *frames: bytes) -> Reply:
        """What the parts of one answer say, in order. Raises FrameError by name."""
        parts = [decode(raw) for raw in frames]
        first = parts[0]
        if not first.from_meter:
            return OtherReply(first.address, first.control, first.data)
        if first.control & REFUSED:
            return Refused(first.address, _deed(first), messages.reasons_of(first))
        if first.control & FUNCTION in (READ, READ_NEXT):
            return _read_answer(parts)
        if first.control & FUNCTION == READ_ADDRESS:
            return AddressRead(messages.address_reply_of(first))
        if first.control & FUNCTION in messages.DEEDS and not first.data:
            return Acknowledged(first.address, _deed(first))
        return OtherReply(first.address, first.control, first.data)

    def answers(self, request: bytes, reply: bytes) -> bool:
        """Same meter and function, for a read the same identifier and part. Broken frames answer nothing."""
        try:
            asked, given = decode(request), decode(reply)
        except FrameError:
            return False
        if not given.from_meter or given.control & FUNCTION != asked.control & FUNCTION:
            return False
        return _same_meter(asked, given) and _same_thing(asked, given)

    def address_of(self, frame: bytes) -> str:
        """The meter a frame speaks to or comes from. Raises FrameError."""
        return decode(frame).address

    def mask(self, frame: bytes) -> str:
        """Hex of a frame with password bytes as `**`. Never raises."""
        return mask(frame)

    def splitter(self) -> FrameSplitter:
        """A fresh stream splitter for one connection."""
        return FrameSplitter()

    def describe(self, raw: bytes) -> dict[str, Any]:
        """What a frame says, for people. Raises FrameError."""
        return describe(raw)


def _deed(frame: Frame) -> str:
    return messages.DEEDS.get(frame.control & FUNCTION, f"function_{frame.control & FUNCTION:02X}")


def _same_meter(asked: Frame, given: Frame) -> bool:
    """AA in a question stands for any pair of digits."""
    pairs = zip(wrap(asked.address, 2), wrap(given.address, 2), strict=True)
    return all(ask in ("AA", give) for ask, give in pairs)


def _same_thing(asked: Frame, given: Frame) -> bool:
    """A refusal carries no identifier, so there the function is all there is to compare."""
    function = asked.control & FUNCTION
    if given.control & REFUSED or function not in (READ, READ_NEXT):
        return True
    if function == READ_NEXT and given.data[-1:] != asked.data[-1:]:
        return False
    return given.data[:4] == asked.data[:4]


def _read_answer(parts: list[Frame]) -> Reply:
    answer = messages.join([messages.read_reply_of(part) for part in parts])
    if answer.more:
        return MoreFollows(answer.address, answer.sequence + 1)
    read = _READS.get(answer.di)
    if read is None:
        return OtherReply(answer.address, parts[0].control, messages.di_bytes(answer.di) + answer.data)
    return read(answer)


def _registers(answer: messages.ReadReply) -> RegistersRead:
    what = _READABLES[answer.di]
    names = _BLOCK if what is Readable.BANDS else (what,)
    numbers = _numbers(answer)
    return RegistersRead(
        answer.address, {name: number * WH_PER_STEP for name, number in zip(names, numbers, strict=False)}
    )


def _numbers(answer: messages.ReadReply) -> list[int]:
    """Every number in the answer. Raises BadData when one is absent: a hole must not read as zero."""
    numbers = [value.number for value in values_of(answer.di, answer.data)]
    known = [number for number in numbers if number is not None]
    if not known or len(known) != len(numbers):
        raise BadData()
    return known


def _remaining(answer: messages.ReadReply) -> RemainingRead:
    sign = -1 if answer.di == _OVERDRAFT else 1
    return RemainingRead(answer.address, sign * _numbers(answer)[0])


def _clock(answer: messages.ReadReply) -> ClockRead:
    return ClockRead(answer.address, datetime_of("smhwDMY", answer.data))


def _relay(answer: messages.ReadReply) -> RelayRead:
    status = decode_status_3(answer.data)
    return RelayRead(
        answer.address,
        relay_open=status.relay_open,
        relay_commanded_open=status.relay_commanded_open,
        guaranteed=status.guaranteed,
        pre_trip_alarm=status.pre_trip_alarm,
    )


_READS: dict[int, Callable[[messages.ReadReply], Reply]] = {
    IDENTIFIERS[what]: _registers for what in (*_BLOCK, Readable.BANDS)
} | {
    IDENTIFIERS[Readable.REMAINING]: _remaining,
    _OVERDRAFT: _remaining,
    IDENTIFIERS[Readable.CLOCK]: _clock,
    IDENTIFIERS[Readable.RELAY]: _relay,
}
