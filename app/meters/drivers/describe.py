"""A line of hex in, what the frame says out: `tallyhouse frames decode <protocol> <hex>`."""

from typing import Any

from app.kernel.errors import AppError
from app.meters.drivers import DRIVERS
from app.meters.drivers.base import BadHex, FrameError

#: The word typed on the command line for each dialect.
PROTOCOLS = {"dlt645": "dlt645-2007"}


class UnknownProtocol(AppError):
    """The protocol named on the command line is none of ours."""

    code = "unknown_protocol"
    status = 422
    message_zh = "没有名为 {protocol} 的规约。可用：{known}。"
    message_en = "There is no protocol {protocol}. Known: {known}."


def describe_line(protocol: str, hex_text: str) -> tuple[dict[str, Any], bool]:
    """What one frame says, and whether it was good. Spaces and lower case are welcome.

    Good: protocol, address, control, direction, di where there is one, data, values, meaning.
    Bad: `{"error": code}`. Raises UnknownProtocol.
    """
    if protocol not in PROTOCOLS:
        raise UnknownProtocol(protocol=protocol, known=", ".join(sorted(PROTOCOLS)))
    try:
        return DRIVERS[PROTOCOLS[protocol]].describe(_bytes_of(hex_text)), True
    except FrameError as bad:
        return {"error": bad.code}, False


def _bytes_of(hex_text: str) -> bytes:
    """Raises BadHex."""
    try:
        return bytes.fromhex(hex_text.strip().removeprefix("\ufeff"))
    except ValueError as not_hex:
        raise BadHex() from not_hex
