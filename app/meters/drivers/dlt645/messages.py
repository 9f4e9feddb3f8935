"""Typed questions and answers of DL/T 645-2007, on top of the envelope.

    11 read            DI0..DI3                                             91 | B1 more follows | D1 refused
    12 read follow-up  DI0..DI3, sequence                                   92 | B2             | D2
    13 read address    nothing, sent to AA x 6                              93 + address
    14 write           DI0..DI3, PA P0 P1 P2, C0..C3, data                  94                  | D4
    1C relay           PA P0 P1 P2, C0..C3, N1, 00, ss mm hh DD MM YY       9C                  | DC
    08 broadcast time  ss mm hh DD MM YY                                    nobody answers

N1 of the relay: 1A trip, 1B permit close, 1C close, 2A alarm, 2B alarm off, 3A guarantee, 3B guarantee off.
PA is the level of the password, P0..P2 the password low byte first. The time is when the command turns void;
all zeros mean never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.meters.drivers.base import BadData, BadPassword, FollowUpGap, RelayAction
from app.meters.drivers.dlt645.fields import date_bytes, datetime_of
from app.meters.drivers.dlt645.frame import BROADCAST, WILDCARD, Frame
from app.meters.drivers.dlt645.values import identifier_digits

READ, READ_NEXT, READ_ADDRESS, WRITE, RELAY, SET_TIME = 0x11, 0x12, 0x13, 0x14, 0x1C, 0x08
FROM_METER, REFUSED, MORE, FUNCTION = 0x80, 0x40, 0x20, 0x1F
FEE_CONTROL = 0x03
TIME_ORDER = "smhDMY"
NO_EXPIRY = bytes(6)

ACTION_BYTES: dict[RelayAction, int] = {
    RelayAction.TRIP: 0x1A,
    RelayAction.PERMIT_CLOSE: 0x1B,
    RelayAction.CLOSE: 0x1C,
    RelayAction.ALARM: 0x2A,
    RelayAction.ALARM_OFF: 0x2B,
    RelayAction.GUARANTEE: 0x3A,
    RelayAction.GUARANTEE_OFF: 0x3B,
}
ACTIONS = {byte: action for action, byte in ACTION_BYTES.items()}

DEEDS: dict[int, str] = {
    0x03: "fee_control",
    0x08: "set_time",
    0x11: "read",
    0x12: "read_next",
    0x13: "read_address",
    0x14: "write",
    0x15: "write_address",
    0x16: "freeze",
    0x17: "change_baud",
    0x18: "change_password",
    0x19: "clear_demand",
    0x1A: "clear_meter",
    0x1B: "clear_events",
    0x1C: "relay",
}

#: Bits of the error byte, from b0.
ERROR_BITS = (
    "other",
    "no_such_data",
    "wrong_password",
    "baud_fixed",
    "too_many_year_zones",
    "too_many_day_slots",
    "too_many_rates",
    "reserved",
)

#: Bits of the error word of fee control (C3), from b0.
FEE_ERROR_BITS = (
    "other",
    "repeated_recharge",
    "esam_verification_failed",
    "identity_authentication_failed",
    "customer_number_mismatch",
    "recharge_count_wrong",
    "over_hoarding_limit",
    "address_error",
    "suspended",
)


@dataclass(frozen=True, slots=True)
class ReadReply:
    """One part of an answer to a read; `sequence` is 0 for the first part."""

    address: str
    di: int
    data: bytes
    more: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class RelayRequest:
    """A relay command as a meter receives it. `valid_until` is None where the frame says never."""

    address: str
    action: RelayAction
    password: str
    operator: str
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """A write as a meter receives it."""

    address: str
    di: int
    password: str
    operator: str
    data: bytes


def di_bytes(di: int) -> bytes:
    """Four bytes, low first."""
    return di.to_bytes(4, "little")


def di_of(data: bytes) -> int:
    """The identifier in front of the data. Raises BadData when there are fewer than four bytes."""
    if len(data) < 4:
        raise BadData()
    return int.from_bytes(data[:4], "little")


def _eight_digits(text: str) -> bytes:
    if len(text) != 8 or not (text.isascii() and text.isalnum()):
        raise BadPassword()
    try:
        return bytes.fromhex(text)
    except ValueError as not_hex:
        raise BadPassword() from not_hex


def credentials(password: str, operator: str) -> bytes:
    """PA P0 P1 P2 C0..C3 out of two texts of 8 digits; a password begins with its level.

    Raises BadPassword.
    """
    level_and_code = _eight_digits(password)
    return level_and_code[:1] + level_and_code[:0:-1] + _eight_digits(operator)[::-1]


def _credentials_of(raw: bytes) -> tuple[str, str]:
    if len(raw) != 8:
        raise BadData()
    return (raw[:1] + raw[3:0:-1]).hex().upper(), raw[:3:-1].hex().upper()


def read(address: str, di: int) -> Frame:
    """Ask for what is behind an identifier."""
    return Frame(address, READ, di_bytes(di))


def read_next(address: str, di: int, sequence: int) -> Frame:
    """Ask for part `sequence`, from 1, of an answer that said more follows."""
    return Frame(address, READ_NEXT, di_bytes(di) + bytes((sequence,)))


def read_address() -> Frame:
    """Ask the only meter on a line for its address."""
    return Frame(WILDCARD, READ_ADDRESS, b"")


def write(address: str, di: int, data: bytes, *, password: str, operator: str) -> Frame:
    """Write what is behind an identifier. Raises BadPassword."""
    return Frame(address, WRITE, di_bytes(di) + credentials(password, operator) + data)


def relay(address: str, action: RelayAction, *, password: str, operator: str, valid_until: datetime | None) -> Frame:
    """Ask the relay to move; void after `valid_until` on the meter's clock. Raises BadPassword."""
    void_after = date_bytes(TIME_ORDER, valid_until) if valid_until else NO_EXPIRY
    return Frame(address, RELAY, credentials(password, operator) + bytes((ACTION_BYTES[action], 0)) + void_after)


def set_time(address: str | None, clock: datetime) -> Frame:
    """Set the clock of one meter, or of all of them when `address` is None."""
    return Frame(address or BROADCAST, SET_TIME, date_bytes(TIME_ORDER, clock))


def relay_request_of(frame: Frame) -> RelayRequest:
    """A relay command, as a meter reads it. Raises BadData for another length, action or date."""
    if len(frame.data) != 16 or frame.data[8] not in ACTIONS:
        raise BadData()
    password, operator = _credentials_of(frame.data[:8])
    until = frame.data[10:]
    valid_until = None if until == NO_EXPIRY else datetime_of(TIME_ORDER, until)
    return RelayRequest(frame.address, ACTIONS[frame.data[8]], password, operator, valid_until)


def write_request_of(frame: Frame) -> WriteRequest:
    """A write, as a meter reads it. Raises BadData when it is shorter than its head."""
    password, operator = _credentials_of(frame.data[4:12])
    return WriteRequest(frame.address, di_of(frame.data), password, operator, frame.data[12:])


def read_reply_of(frame: Frame) -> ReadReply:
    """One part of an answer: the first carries no sequence, the next ones end with theirs. Raises BadData."""
    di, body = di_of(frame.data), frame.data[4:]
    more = bool(frame.control & MORE)
    if frame.control & FUNCTION == READ:
        return ReadReply(frame.address, di, body, more, 0)
    if not body:
        raise BadData()
    return ReadReply(frame.address, di, body[:-1], more, body[-1])


def join(parts: Sequence[ReadReply]) -> ReadReply:
    """One answer out of its parts, in order, of one meter and identifier. Raises FollowUpGap."""
    first = parts[0]
    for expected, part in enumerate(parts):
        if (part.address, part.di, part.sequence) != (first.address, first.di, expected):
            raise FollowUpGap()
    if not all(part.more for part in parts[:-1]):
        raise FollowUpGap()
    data = b"".join(part.data for part in parts)
    return ReadReply(first.address, first.di, data, parts[-1].more, parts[-1].sequence)


def address_reply_of(frame: Frame) -> str:
    """The address in an answer to `read_address`. Raises BadData."""
    return identifier_digits(frame.data)


def reasons_of(frame: Frame) -> tuple[str, ...]:
    """Named error bits of a refusal. Empty when the meter set none."""
    bits = int.from_bytes(frame.data[:2] if frame.control & FUNCTION == FEE_CONTROL else frame.data[:1], "little")
    names = FEE_ERROR_BITS if frame.control & FUNCTION == FEE_CONTROL else ERROR_BITS
    return tuple(name for bit, name in enumerate(names) if bits >> bit & 1)
