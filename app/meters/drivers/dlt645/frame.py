"""The envelope of DL/T 645 frames, shared by the editions of 1997 and 2007.

    FE… | 68 | A0 … A5 | 68 | C | L | data + 33h, L bytes | CS | 16
               address, 6 bytes BCD, low byte first        sum of all bytes from the first 68, modulo 256

    C   D7 from the meter | D6 refused | D5 more follows | D4..D0 what it is about

A frame is checked in this order, and the first failure names it: bad_start (the second 68), too_short,
bad_checksum, bad_end, bad_address; then bad_length for bytes left over. Source: DL/T 645-2007, section 5.
"""

from dataclasses import dataclass

from app.meters.drivers.base import (
    BadAddress,
    BadChecksum,
    BadEnd,
    BadLength,
    BadStart,
    FrameError,
    TooShort,
)

START, END, OFFSET = 0x68, 0x16, 0x33
HEAD_BYTES = 10  # 68, six of address, 68, C, L
TAIL_BYTES = 2  # CS, 16
DATA_BYTES_MAX = 255
FRAME_BYTES_MAX = HEAD_BYTES + DATA_BYTES_MAX + TAIL_BYTES

WILDCARD = "AA" * 6
BROADCAST = "99" * 6

#: Which failure says most when several start bytes were tried: the one that got furthest into the frame.
_PROGRESS: dict[type[FrameError], int] = {TooShort: 1, BadChecksum: 2, BadEnd: 3, BadAddress: 4}

_SCRAMBLE = bytes((byte + OFFSET) % 256 for byte in range(256))
_PLAIN = bytes((byte - OFFSET) % 256 for byte in range(256))


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame after its envelope is off: address as printed on the meter, data after removing 33h."""

    address: str
    control: int
    data: bytes

    @property
    def from_meter(self) -> bool:
        """Direction bit D7."""
        return bool(self.control & 0x80)


def address_bytes(address: str) -> bytes:
    """Six bytes, low first, of a 12-digit address. `AA` pairs in front shorten it. Raises BadAddress."""
    pairs = [address[i : i + 2].upper() for i in range(0, len(address), 2)]
    if len(address) != 12 or not all(_address_pair(pair) for pair in pairs):
        raise BadAddress()
    return bytes.fromhex(address)[::-1]


def _address_pair(pair: str) -> bool:
    return pair == "AA" or (pair.isascii() and pair.isdigit())


def encode(frame: Frame) -> bytes:
    """The bytes of a frame, without wake-up bytes. Raises BadAddress, BadLength."""
    if len(frame.data) > DATA_BYTES_MAX:
        raise BadLength()
    body = bytes((START, *address_bytes(frame.address), START, frame.control, len(frame.data)))
    body += frame.data.translate(_SCRAMBLE)
    return body + bytes((sum(body) % 256, END))


def frame_end(buffer: bytes | bytearray, at: int) -> int:
    """Offset past the frame whose first 68 stands at `at`. Raises in the order the module states."""
    have = len(buffer) - at
    if have > 7 and buffer[at + 7] != START:
        raise BadStart()
    if have < HEAD_BYTES or have < HEAD_BYTES + buffer[at + 9] + TAIL_BYTES:
        raise TooShort()
    tail = at + HEAD_BYTES + buffer[at + 9]
    if sum(buffer[at:tail]) % 256 != buffer[tail]:
        raise BadChecksum()
    if buffer[tail + 1] != END:
        raise BadEnd()
    if not all(_address_pair(f"{byte:02X}") for byte in buffer[at + 1 : at + 7]):
        raise BadAddress()
    return tail + TAIL_BYTES


def _open(raw: bytes | bytearray) -> Frame:
    """Takes the envelope off bytes that `frame_end` accepted."""
    return Frame(
        address=raw[6:0:-1].hex().upper(),
        control=raw[8],
        data=bytes(raw[HEAD_BYTES:-TAIL_BYTES]).translate(_PLAIN),
    )


def decode(raw: bytes) -> Frame:
    """The one frame in `raw`; wake-up bytes FE and garbage before it are skipped.

    Raises BadStart, TooShort, BadChecksum, BadEnd, BadAddress, BadLength. Where several start bytes were
    tried, the failure that got furthest into its frame is told.
    """
    failure: FrameError = BadStart() if raw.strip(b"\xfe") else TooShort()
    at = raw.find(START)
    while at >= 0:
        try:
            end = frame_end(raw, at)
        except FrameError as refused:
            if _PROGRESS.get(type(refused), 0) > _PROGRESS.get(type(failure), 0):
                failure = refused
        else:
            if end != len(raw):
                raise BadLength()
            return _open(raw[at:end])
        at = raw.find(START, at + 1)
    raise failure


class FrameSplitter:
    """Finds frames in a stream. Holds at most one unfinished frame, so noise cannot fill the memory."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        #: Bytes thrown away since the start: wake-up bytes, heartbeats, noise, broken frames.
        self.skipped = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Whole and valid frames completed by `chunk`, in order, each from its first 68 to its 16."""
        self._buffer += chunk
        frames: list[bytes] = []
        at = self._next_start(0)
        while at < len(self._buffer):
            try:
                end = frame_end(self._buffer, at)
            except TooShort:
                break
            except FrameError:
                end = at + 1
                self.skipped += 1
            else:
                frames.append(bytes(self._buffer[at:end]))
            at = self._next_start(end)
        del self._buffer[:at]
        return frames

    def _next_start(self, at: int) -> int:
        found = self._buffer.find(START, at)
        end = len(self._buffer) if found < 0 else found
        self.skipped += end - at
        return end

    def reset(self) -> None:
        """Forget an unfinished frame."""
        self.skipped += len(self._buffer)
        self._buffer.clear()

    @property
    def pending_bytes(self) -> int:
        """Bytes of an unfinished frame; always below FRAME_BYTES_MAX."""
        return len(self._buffer)
