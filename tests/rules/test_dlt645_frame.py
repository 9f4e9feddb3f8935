"""What a DL/T 645 decoder refuses, in which order, and what it forgives."""

import pytest

from app.meters.drivers import base
from app.meters.drivers.base import FrameError
from app.meters.drivers.describe import UnknownProtocol, describe_line
from app.meters.drivers.dlt645.frame import Frame, FrameSplitter, address_bytes, decode, encode

GOOD = "68 12 90 78 56 34 12 68 91 08 33 33 34 33 AB 89 67 45 CC 16"


@pytest.mark.parametrize(
    ("hex_text", "error"),
    [
        ("", "too_short"),
        ("FE FE FE FE", "too_short"),
        ("68", "too_short"),
        ("68 12 90 78 56 34 12 68 91", "too_short"),
        ("68 12 90 78 56 34 12 68 91 08 33 33 34 33 AB 89", "too_short"),
        ("68 12 90 78 56 34 12 68 91 08 33 33 34 33 AB 89 67 45 CC", "too_short"),
        ("01 02 03", "bad_start"),
        ("68 12 90 78 56 34 12 86 91 00 33", "bad_start"),
        # Both the checksum and the end are wrong: the checksum is told.
        ("68 12 90 78 56 34 12 68 91 08 33 33 34 33 AB 89 67 45 CD 17", "bad_checksum"),
        ("68 12 90 78 56 34 12 68 91 08 33 33 34 33 AB 89 67 45 CC 17", "bad_end"),
        # The end and the address are wrong: the end is told.
        ("68 1B 90 78 56 34 12 68 13 00 1E 00", "bad_checksum"),
        ("68 1B 90 78 56 34 12 68 13 00 A2 17", "bad_end"),
        ("68 1B 90 78 56 34 12 68 13 00 A2 16", "bad_address"),
        (GOOD + " " + GOOD, "bad_length"),
        (GOOD + " 00", "bad_length"),
        ("68 1", "bad_hex"),
        ("xyz", "bad_hex"),
        ("六八", "bad_hex"),
    ],
)
def test_a_bad_frame_is_refused_by_the_first_thing_wrong_with_it(hex_text: str, error: str) -> None:
    assert describe_line("dlt645", hex_text) == ({"error": error}, False)


@pytest.mark.parametrize(
    "hex_text",
    [
        GOOD,
        GOOD.lower(),
        GOOD.replace(" ", ""),
        "FEFEFEFE" + GOOD,
        "fe " * 20 + GOOD,
        "00 11 68 22 " + GOOD,  # garbage with a start byte in it
        "  " + GOOD + "\n",
    ],
)
def test_the_same_frame_however_it_was_copied(hex_text: str) -> None:
    said, good = describe_line("dlt645", hex_text)
    assert good
    assert said["values"] == [{"name": "forward_active_total", "value": "123456.78", "unit": "kWh"}]


def test_a_protocol_nobody_speaks_is_named() -> None:
    with pytest.raises(UnknownProtocol, match="dlt645"):
        describe_line("dlt646", GOOD)


@pytest.mark.parametrize(
    "address", ["", "1", "12345678901", "1234567890123", "12345678901A", "１２３４５６７８９０１２"]
)
def test_an_address_is_twelve_digits(address: str) -> None:
    with pytest.raises(base.BadAddress):
        address_bytes(address)


@pytest.mark.parametrize("address", ["000000000001", "AAAAAAAAAAAA", "AAAAAAAA1234", "999999999999"])
def test_wildcards_and_broadcast_are_addresses_too(address: str) -> None:
    assert decode(encode(Frame(address, 0x11, b""))).address == address


def test_a_frame_carries_at_most_255_bytes() -> None:
    assert len(encode(Frame("000000000001", 0x91, bytes(255)))) == 267
    with pytest.raises(base.BadLength):
        encode(Frame("000000000001", 0x91, bytes(256)))


def test_a_stream_with_heartbeats_noise_and_a_broken_frame() -> None:
    good = bytes.fromhex(GOOD)
    broken = good[:-3] + b"\x00" + good[-2:]
    splitter = FrameSplitter()
    assert splitter.feed(b"HB\r\n\xfe\xfe" + good[:5]) == []
    assert splitter.feed(good[5:] + broken + b"HB\r\n" + good) == [good, good]
    assert splitter.skipped == len(b"HB\r\n\xfe\xfe" + broken + b"HB\r\n")


def test_a_stale_half_frame_is_forgotten_on_reset() -> None:
    good = bytes.fromhex(GOOD)
    splitter = FrameSplitter()
    splitter.feed(good[:12])
    splitter.reset()
    assert splitter.feed(good) == [good]


@pytest.mark.parametrize("error", FrameError.__subclasses__(), ids=lambda error: error.code)
def test_every_frame_error_speaks_both_languages(error: type[FrameError]) -> None:
    refusal = error()
    assert refusal.status == 422
    assert refusal.message("zh") != refusal.message("en")
    assert error.code != FrameError.code
