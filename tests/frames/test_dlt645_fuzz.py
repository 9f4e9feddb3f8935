"""Bytes of any kind: what is whole is found, what is not is refused by name, nothing else is ever raised."""

from contextlib import suppress
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from app.meters.drivers import DRIVERS
from app.meters.drivers.base import FrameError, Readable, RelayAction
from app.meters.drivers.describe import describe_line
from app.meters.drivers.dlt645.frame import FRAME_BYTES_MAX, Frame, FrameSplitter, decode, encode

driver = DRIVERS["dlt645-2007"]

addresses = st.text("0123456789", min_size=12, max_size=12)
frames = st.builds(Frame, addresses, st.integers(0, 255), st.binary(max_size=255))
#: Noise that cannot be taken for a frame: it holds no start byte.
noise = st.binary(max_size=40).map(lambda raw: raw.replace(b"\x68", b"\xfe"))
clocks = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31, 23, 59, 59)).map(
    lambda at: at.replace(microsecond=0)
)
codes = st.text("0123456789", min_size=8, max_size=8)


@given(frames)
def test_every_frame_survives_the_wire(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(frames, noise)
def test_what_stands_before_a_frame_is_skipped(frame: Frame, before: bytes) -> None:
    assert decode(before + b"\xfe\xfe\xfe\xfe" + encode(frame)) == frame


@given(st.lists(st.tuples(noise, frames), max_size=6), st.integers(1, 50))
def test_a_stream_cut_anywhere_gives_the_same_frames(parts: list[tuple[bytes, Frame]], step: int) -> None:
    stream = b"".join(before + encode(frame) for before, frame in parts)
    splitter = FrameSplitter()
    found = [raw for at in range(0, len(stream), step) for raw in splitter.feed(stream[at : at + step])]
    assert found == [encode(frame) for _, frame in parts]
    assert splitter.pending_bytes == 0
    assert splitter.skipped == len(stream) - sum(map(len, found))


@given(st.lists(st.one_of(st.binary(max_size=600), st.just(b"\x68" * 300)), max_size=8))
def test_a_splitter_never_holds_more_than_one_frame(chunks: list[bytes]) -> None:
    splitter = FrameSplitter()
    for chunk in chunks:
        for raw in splitter.feed(chunk):
            decode(raw)
        assert splitter.pending_bytes < FRAME_BYTES_MAX
    splitter.reset()
    assert splitter.pending_bytes == 0


def check_only_named_errors(raw: bytes) -> None:
    """Everything that takes bytes from outside. FrameError is the only thing it may raise."""
    driver.mask(raw)
    driver.answers(raw, raw)
    for deed in (driver.parse, driver.describe, driver.address_of):
        with suppress(FrameError):
            deed(raw)
    said, good = describe_line("dlt645", raw.hex())
    assert good is ("error" not in said)


@given(st.binary(max_size=300))
def test_random_bytes_raise_named_errors_only(raw: bytes) -> None:
    check_only_named_errors(raw)


@given(frames)
def test_well_formed_frames_of_any_content_raise_named_errors_only(frame: Frame) -> None:
    check_only_named_errors(encode(frame))


@given(
    st.sampled_from([0x11, 0x91, 0xB1, 0x92, 0xB2, 0x14, 0x1C, 0x08, 0x93, 0xD1, 0xDC, 0xC3, 0x81]),
    st.sampled_from([0x00010000, 0x0001FF00, 0x00900200, 0x0400010C, 0x04000503, 0x040005FF, 0x1D000101, 0x0201FF00]),
    st.binary(max_size=60),
)
def test_known_identifiers_with_any_body_raise_named_errors_only(control: int, di: int, body: bytes) -> None:
    check_only_named_errors(encode(Frame("000000000001", control, di.to_bytes(4, "little") + body)))


@given(st.data())
def test_a_damaged_frame_is_never_taken_for_the_sent_one(data: st.DataObject) -> None:
    sent = driver.build_relay(
        data.draw(addresses),
        data.draw(st.sampled_from(RelayAction)),
        password=data.draw(codes),
        operator=data.draw(codes),
        valid_until=data.draw(st.none() | clocks),
    )
    at = data.draw(st.integers(0, len(sent) - 1))
    damaged = (
        sent[:at] + bytes((data.draw(st.integers(0, 255).filter(lambda byte: byte != sent[at])),)) + sent[at + 1 :]
    )
    check_only_named_errors(damaged)
    try:
        assert decode(damaged) != decode(sent)
    except FrameError:
        assert not driver.answers(damaged, damaged)


@given(st.text(max_size=60))
def test_any_text_on_the_command_line_has_an_answer(text: str) -> None:
    said, good = describe_line("dlt645", text)
    assert good is ("error" not in said)


@given(addresses, st.sampled_from(Readable), st.integers(1, 255))
def test_questions_carry_their_address(address: str, what: Readable, sequence: int) -> None:
    for raw in (driver.build_read(address, what), driver.build_read_next(address, what, sequence)):
        assert driver.address_of(raw) == address
