"""What every meter protocol has in common: questions, answers, refusals. No socket is opened here.

A driver turns a question into the bytes of a frame and the bytes of an answer into one of the replies below.
Energy is in integer watt-hours, money in integer fen, and every date is the meter's own clock: naive, local
to the meter. The caller converts.
"""

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from app.kernel.errors import AppError


class FrameError(AppError):
    """Base of everything that can be wrong with the bytes of a frame."""

    code = "bad_frame"
    status = 422
    message_zh = "报文无法解析。请检查线路并重发。"
    message_en = "The frame cannot be understood. Check the line and send it again."


class BadHex(FrameError):
    """The text is not pairs of hexadecimal digits."""

    code = "bad_hex"
    message_zh = "不是十六进制文本。请粘贴成对的十六进制数字。"
    message_en = "This is not hexadecimal text. Paste pairs of hexadecimal digits."


class BadStart(FrameError):
    """No start byte where the protocol wants one."""

    code = "bad_start"
    message_zh = "找不到帧起始符。请从起始符开始截取报文。"
    message_en = "The start byte was not found. Copy the frame from its start byte on."


class TooShort(FrameError):
    """The bytes end before the frame does."""

    code = "too_short"
    message_zh = "报文不完整。请截取完整一帧。"
    message_en = "The frame is cut short. Copy the whole frame."


class BadLength(FrameError):
    """More bytes than the length byte speaks of, or more data than one frame can carry."""

    code = "bad_length"
    message_zh = "长度与字节数不符。请每次只给出一帧。"
    message_en = "The length byte does not fit the bytes. Give one frame at a time."


class BadChecksum(FrameError):
    """The sum over the frame differs from the sum it carries."""

    code = "bad_checksum"
    message_zh = "校验和错误。报文在途中受损，请重发。"
    message_en = "The checksum is wrong: the frame was damaged on its way. Send it again."


class BadEnd(FrameError):
    """The end byte is missing where the length says it should be."""

    code = "bad_end"
    message_zh = "结束符错误。请检查报文末尾。"
    message_en = "The end byte is wrong. Check the tail of the frame."


class BadAddress(FrameError):
    """The meter address is not what the protocol allows."""

    code = "bad_address"
    message_zh = "表地址无效。请按表牌填写地址。"
    message_en = "This is no meter address. Write it as printed on the meter."


class BadData(FrameError):
    """The frame is whole, its data are not what their identifier promises."""

    code = "bad_data"
    message_zh = "数据域与标识不符。请核对表型与规约。"
    message_en = "The data do not fit their identifier. Check the meter model and its dialect."


class BadPassword(FrameError):
    """A password or operator code that does not fit its field."""

    code = "bad_password"
    message_zh = "表密码或操作者代码应为 8 位数字（密码前两位为权限）。"
    message_en = "A meter password or operator code is 8 digits (a password begins with its level)."


class FollowUpGap(FrameError):
    """The parts of a long answer do not follow one another."""

    code = "follow_up_gap"
    message_zh = "后续帧不连续。请重新抄读。"
    message_en = "The follow-up frames do not join. Read again."


class RelayAction(StrEnum):
    """What a relay command asks for. `permit_close` waits for the button on the meter."""

    TRIP = "trip"
    PERMIT_CLOSE = "permit_close"
    CLOSE = "close"
    ALARM = "alarm"
    ALARM_OFF = "alarm_off"
    GUARANTEE = "guarantee"
    GUARANTEE_OFF = "guarantee_off"


class Readable(StrEnum):
    """What a meter can be asked for. `bands` asks for the total and every band in one frame."""

    TOTAL = "total"
    SHARP = "sharp"
    PEAK = "peak"
    FLAT = "flat"
    VALLEY = "valley"
    BANDS = "bands"
    REMAINING = "remaining"
    CLOCK = "clock"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class RegistersRead:
    """Cumulative registers in watt-hours, by name (`total`, `sharp`, `peak`, `flat`, `valley`)."""

    address: str
    registers_wh: dict[Readable, int]


@dataclass(frozen=True, slots=True)
class RemainingRead:
    """The money the meter itself still holds, in fen. Negative when it owes."""

    address: str
    remaining_fen: int


@dataclass(frozen=True, slots=True)
class ClockRead:
    """The meter's own clock, naive and local to the meter."""

    address: str
    clock: datetime


@dataclass(frozen=True, slots=True)
class RelayRead:
    """Where the relay is (`relay_open`), where it was told to be, and what protects it."""

    address: str
    relay_open: bool
    relay_commanded_open: bool
    guaranteed: bool
    pre_trip_alarm: bool


@dataclass(frozen=True, slots=True)
class AddressRead:
    """The address a meter answered with when asked for it."""

    address: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The meter took the command (`relay`, `write`, …). Accepted is not done: read the relay back."""

    address: str
    deed: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The meter said no; `reasons` are the named error bits."""

    address: str
    deed: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MoreFollows:
    """A part of a long answer: fetch part `sequence` with `build_read_next`, parse all parts together."""

    address: str
    sequence: int


@dataclass(frozen=True, slots=True)
class OtherReply:
    """A whole and valid frame that answers none of our questions."""

    address: str
    control: int
    data: bytes


Reply = (
    RegistersRead
    | RemainingRead
    | ClockRead
    | RelayRead
    | AddressRead
    | Acknowledged
    | Refused
    | MoreFollows
    | OtherReply
)


class Splitter(Protocol):
    """Finds whole frames in a stream of bytes; remembers at most one unfinished frame."""

    @abstractmethod
    def feed(self, chunk: bytes) -> list[bytes]:
        """Frames that became whole with these bytes, in order. Noise between frames is skipped."""

    @abstractmethod
    def reset(self) -> None:
        """Forget an unfinished frame. Call it before a question: what lay in the line cannot answer it."""


class Driver(Protocol):
    """A meter protocol without I/O. Every `build_…` returns the bytes of one frame."""

    @property
    @abstractmethod
    def dialect(self) -> str:
        """Name in the registry and on the meter model."""

    @abstractmethod
    def build_read(self, address: str, what: Readable) -> bytes:
        """Ask a meter for one thing. Raises BadAddress."""

    @abstractmethod
    def build_read_next(self, address: str, what: Readable, sequence: int) -> bytes:
        """Ask for part `sequence` (from 1) of a long answer. Raises BadAddress."""

    @abstractmethod
    def build_relay(
        self, address: str, action: RelayAction, *, password: str, operator: str, valid_until: datetime | None
    ) -> bytes:
        """Move the relay; void after `valid_until` on the meter's clock. Raises BadAddress, BadPassword."""

    @abstractmethod
    def build_set_time(self, address: str | None, clock: datetime) -> bytes:
        """Set one clock, or every clock on the line when `address` is None; nobody answers."""

    @abstractmethod
    def build_read_address(self) -> bytes:
        """Ask the only meter on a line for its address."""

    @abstractmethod
    def parse(self, *frames: bytes) -> Reply:
        """What the parts of one answer say. Raises FrameError by name."""

    @abstractmethod
    def answers(self, request: bytes, reply: bytes) -> bool:
        """Whether `reply` answers `request`: same meter, same deed, same thing asked for."""

    @abstractmethod
    def address_of(self, frame: bytes) -> str:
        """The meter a frame speaks to or comes from. Raises FrameError."""

    @abstractmethod
    def mask(self, frame: bytes) -> str:
        """Hex of a frame, fit to be shown: password bytes read `**`. Never raises."""

    @abstractmethod
    def splitter(self) -> Splitter:
        """A fresh stream splitter for one connection."""

    @abstractmethod
    def describe(self, raw: bytes) -> dict[str, Any]:
        """What a frame says, for people; see `describe_line`. Raises FrameError."""
