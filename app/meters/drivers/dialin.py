"""How a gateway that dials in says who it is, shared by the head-end and the simulated street.

    <number>[,<secret>] CR LF        once, first thing on the connection
    HB CR LF                         now and then, telling a silent line from a dead one
    68 … 16                          raw frames of its meters, both ways, from then on

The number is the gateway's own, as printed on it. The registration must carry the secret on file; only the
simulated street may go without one. Nothing is acknowledged; a gateway that is refused finds its line cut.
After registration every byte is a sign of life, and a frame splitter skips the heartbeats as noise.
"""

import re
from dataclasses import dataclass

from app.meters.drivers.base import FrameError

REGISTRATION_BYTES_MAX = 128
LINE_END = b"\r\n"
#: No byte 68h in it, so that a splitter never takes a heartbeat for the start of a frame.
HEARTBEAT = b"HB\r\n"

_GRAMMAR = re.compile(rb"([0-9A-Za-z-]{1,32})(?:,([!-+\--~]{1,64}))?")


class BadRegistration(FrameError):
    """The first bytes of a connection are no registration packet."""

    code = "bad_registration"
    status = 422
    message_zh = "注册包格式错误。应为：网关编号[,密钥] 加回车换行。"
    message_en = "This is no registration packet. Send: gateway number[,secret] and CR LF."


@dataclass(frozen=True, slots=True)
class Registration:
    """Who a gateway says it is. `secret` is None where it sent none."""

    number: str
    secret: str | None


def registration_packet(number: str, secret: str | None = None) -> bytes:
    """The first bytes a gateway sends. Raises BadRegistration for a number or secret that does not fit."""
    line = number.encode() if secret is None else f"{number},{secret}".encode()
    if not _GRAMMAR.fullmatch(line):
        raise BadRegistration()
    return line + LINE_END


class RegistrationReader:
    """Collects the first line of a connection; holds at most REGISTRATION_BYTES_MAX bytes of it."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, chunk: bytes) -> tuple[Registration, bytes] | None:
        """The registration and the bytes after it; None while unfinished. Raises BadRegistration."""
        self._buffer += chunk
        line, end, rest = self._buffer.partition(LINE_END)
        if len(line) > REGISTRATION_BYTES_MAX:
            raise BadRegistration()
        if not end:
            return None
        match = _GRAMMAR.fullmatch(line)
        if match is None:
            raise BadRegistration()
        number, secret = match.groups()
        return Registration(number.decode(), secret.decode() if secret else None), rest
