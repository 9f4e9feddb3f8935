"""The driver's questions and answers, its refusals, and what it hides."""

from datetime import datetime

import pytest

from app.meters.drivers import DRIVERS, base
from app.meters.drivers.base import Readable, RelayAction
from app.meters.drivers.dialin import BadRegistration, Registration, RegistrationReader, registration_packet
from app.meters.drivers.dlt645 import messages
from app.meters.drivers.dlt645.fields import bcd, date_bytes, datetime_of
from app.meters.drivers.dlt645.frame import Frame, decode, encode

driver = DRIVERS["dlt645-2007"]
METER = "000000000161"
LATE = datetime(2026, 11, 23, 18, 30, 45)


def reply(control: int, data_hex: str = "", address: str = METER) -> bytes:
    return encode(Frame(address, control, bytes.fromhex(data_hex)))


def test_a_read_is_the_published_frame() -> None:
    assert driver.build_read(METER, Readable.TOTAL).hex().upper() == "68610100000000681104333334331416"


def test_a_trip_carries_password_operator_action_and_its_last_moment() -> None:
    raw = driver.build_relay(METER, RelayAction.TRIP, password="02654321", operator="12345678", valid_until=LATE)
    assert decode(raw).data.hex(" ") == "02 21 43 65 78 56 34 12 1a 00 45 30 18 23 11 26"


@pytest.mark.parametrize(("action", "byte"), [
    ("trip", 0x1A), ("permit_close", 0x1B), ("close", 0x1C), ("alarm", 0x2A), ("alarm_off", 0x2B),
    ("guarantee", 0x3A), ("guarantee_off", 0x3B)])  # fmt: skip
def test_every_relay_action_has_its_byte(action: str, byte: int) -> None:
    raw = driver.build_relay(METER, RelayAction(action), password="02000000", operator="00000000", valid_until=None)
    assert decode(raw).data[8:] == bytes((byte, 0)) + bytes(6)


@pytest.mark.parametrize("text", ["", "1234567", "123456789", "0200000g", "02 00000", "０２００００００", "02000\n00"])
def test_a_password_is_eight_digits(text: str) -> None:
    with pytest.raises(base.BadPassword):
        driver.build_relay(METER, RelayAction.TRIP, password=text, operator="00000000", valid_until=None)
    with pytest.raises(base.BadPassword):
        driver.build_relay(METER, RelayAction.TRIP, password="02000000", operator=text, valid_until=None)


def test_time_goes_to_one_meter_or_to_all() -> None:
    assert decode(driver.build_set_time(METER, LATE)) == Frame(METER, 0x08, bytes.fromhex("453018231126"))
    assert decode(driver.build_set_time(None, LATE)).address == "999999999999"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (reply(0x91, "00000100 26000000"), base.RegistersRead(METER, {Readable.TOTAL: 260})),
        (reply(0x91, "00020100 78563412"), base.RegistersRead(METER, {Readable.PEAK: 123_456_780})),
        (reply(0x91, "00FF0100 29010000 62000000 60000000 03000000 02000000"),
         base.RegistersRead(METER, {Readable.TOTAL: 1290, Readable.SHARP: 620, Readable.PEAK: 600,
                                    Readable.FLAT: 30, Readable.VALLEY: 20})),
        (reply(0x91, "00029000 05012000"), base.RemainingRead(METER, 200105)),
        (reply(0x91, "01029000 05012000"), base.RemainingRead(METER, -200105)),
        (reply(0x91, "0C010004 45301801231126"), base.ClockRead(METER, LATE)),
        (reply(0x91, "03050004 9010"), base.RelayRead(METER, True, False, True, True)),
        (reply(0x91, "03050004 40C0"), base.RelayRead(METER, False, True, False, False)),
        (reply(0xB1, "00FF0100 29010000"), base.MoreFollows(METER, 1)),
        (reply(0x93, "610100000000"), base.AddressRead(METER)),
        (reply(0x9C), base.Acknowledged(METER, "relay")),
        (reply(0x94), base.Acknowledged(METER, "write")),
        (reply(0xDC, "04"), base.Refused(METER, "relay", ("wrong_password",))),
        (reply(0xD1, "03"), base.Refused(METER, "read", ("other", "no_such_data"))),
        (reply(0xC3, "0201"), base.Refused(METER, "fee_control", ("repeated_recharge", "suspended"))),
        (reply(0x91, "01016004 3C00"), base.OtherReply(METER, 0x91, bytes.fromhex("010160043C00"))),
        (reply(0x11, "00000100"), base.OtherReply(METER, 0x11, bytes.fromhex("00000100"))),
        (reply(0x83, "0102"), base.OtherReply(METER, 0x83, b"\x01\x02")),
    ],
)  # fmt: skip
def test_an_answer_becomes_a_typed_reply(raw: bytes, expected: base.Reply) -> None:
    assert driver.parse(raw) == expected


@pytest.mark.parametrize("raw", [
    reply(0x91, "00000100 1A000000"), reply(0x91, "00000100 FFFFFFFF"), reply(0x91, "00000100"),
    reply(0x91, "0000"), reply(0x91, "0C010004 45301801311126"), reply(0x91, "03050004 90"),
    reply(0x93, "6101"), reply(0x92, "00000100"), reply(0x91, "00000100 2600000000"),
])  # fmt: skip
def test_an_answer_that_does_not_fit_its_identifier_is_refused(raw: bytes) -> None:
    with pytest.raises(base.BadData):
        driver.parse(raw)


def test_a_long_answer_is_joined_in_order() -> None:
    parts = [
        reply(0xB1, "00FF0100 29010000 6200"),
        reply(0xB2, "00FF0100 0000 60000000 01"),
        reply(0x92, "00FF0100 03000000 02000000 02"),
    ]
    assert driver.parse(*parts[:2]) == base.MoreFollows(METER, 2)
    joined = driver.parse(*parts)
    assert isinstance(joined, base.RegistersRead)
    assert list(joined.registers_wh.values()) == [1290, 620, 600, 30, 20]


@pytest.mark.parametrize("parts", [
    (reply(0xB1, "00FF0100 29010000"), reply(0x92, "00FF0100 29010000 02")),
    (reply(0xB1, "00FF0100 29010000"), reply(0x92, "00FF0200 29010000 01")),
    (reply(0xB1, "00FF0100 29010000"), reply(0x92, "00FF0100 29010000 01", "000000000162")),
    (reply(0x91, "00FF0100 29010000"), reply(0x92, "00FF0100 29010000 01")),
    (reply(0x92, "00FF0100 29010000 01"),),
])  # fmt: skip
def test_parts_that_do_not_follow_one_another_are_refused(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(base.FollowUpGap):
        driver.parse(*parts)


TRIP = driver.build_relay(METER, RelayAction.TRIP, password="02654321", operator="12345678", valid_until=LATE)


@pytest.mark.parametrize(("asked", "given", "answers"), [
    (driver.build_read(METER, Readable.TOTAL), reply(0x91, "00000100 26000000"), True),
    (driver.build_read(METER, Readable.TOTAL), reply(0xB1, "00000100 26000000"), True),
    (driver.build_read(METER, Readable.TOTAL), reply(0xD1, "02"), True),
    (driver.build_read(METER, Readable.TOTAL), reply(0x91, "00000200 26000000"), False),
    (driver.build_read(METER, Readable.TOTAL), reply(0x91, "00000100 26000000", "000000000162"), False),
    (driver.build_read(METER, Readable.TOTAL), reply(0x9C), False),
    (driver.build_read(METER, Readable.TOTAL), driver.build_read(METER, Readable.TOTAL), False),
    (driver.build_read(METER, Readable.TOTAL), b"HB\r\n", False),
    (driver.build_read("AAAAAAAA0161", Readable.TOTAL), reply(0x91, "00000100 26000000"), True),
    (driver.build_read_next(METER, Readable.BANDS, 1), reply(0x92, "00FF0100 26000000 01"), True),
    (driver.build_read_next(METER, Readable.BANDS, 2), reply(0x92, "00FF0100 26000000 01"), False),
    (driver.build_read_address(), reply(0x93, "610100000000"), True),
    (TRIP, reply(0x9C), True),
    (TRIP, reply(0xDC, "04"), True),
    (TRIP, reply(0x94), False),
])  # fmt: skip
def test_a_late_or_foreign_frame_answers_nothing(asked: bytes, given: bytes, answers: bool) -> None:
    assert driver.answers(asked, given) is answers


@pytest.mark.parametrize(("frame", "hidden"), [
    (Frame(METER, 0x1C, bytes(16)), (1, 2, 3)),
    (Frame(METER, 0x14, bytes(15)), (5, 6, 7)),
    (Frame(METER, 0x14, bytes.fromhex("010C0004") + bytes(12)), (5, 6, 7, 12, 13, 14, 15)),
    (Frame(METER, 0x18, bytes(12)), (5, 6, 7, 9, 10, 11)),
    (Frame(METER, 0x1A, bytes(8)), (1, 2, 3)),
])  # fmt: skip
def test_a_shown_frame_hides_its_password_and_its_checksum(frame: Frame, hidden: tuple[int, ...]) -> None:
    for lead in (b"", b"\xfe\xfe\xfe\xfe"):
        raw = lead + encode(frame)
        stars = {len(lead) + 10 + at for at in hidden} | {len(raw) - 2}
        shown = driver.mask(raw)
        assert {at for at in range(len(raw)) if shown[at * 2 : at * 2 + 2] == "**"} == stars


def test_a_frame_without_a_password_is_shown_whole() -> None:
    for raw in (driver.build_read(METER, Readable.TOTAL), reply(0x9C), reply(0x94)):
        assert driver.mask(raw) == raw.hex().upper()


def test_a_torn_trip_frame_is_hidden_where_its_password_would_be() -> None:
    assert driver.mask(TRIP[:-4]) == TRIP[:10].hex().upper() + "**" * (len(TRIP) - 14)


def test_a_meter_reads_back_the_write_it_was_sent() -> None:
    frame = messages.write(METER, 0x04000102, bytes.fromhex("003018"), password="02654321", operator="12345678")
    expected = messages.WriteRequest(METER, 0x04000102, "02654321", "12345678", bytes.fromhex("003018"))
    assert messages.write_request_of(frame) == expected
    with pytest.raises(base.BadData):
        messages.write_request_of(Frame(METER, 0x14, bytes(11)))


@pytest.mark.parametrize(("number", "size"), [(-1, 2), (10000, 2), (100, 1)])
def test_a_number_that_does_not_fit_its_field_is_refused(number: int, size: int) -> None:
    with pytest.raises(base.BadData):
        bcd(number, size)


def test_a_date_survives_the_wire_and_an_impossible_one_is_refused() -> None:
    assert datetime_of("smhwDMY", date_bytes("smhwDMY", LATE)) == LATE
    assert date_bytes("w", datetime(2026, 11, 22)) == b"\x00"  # a Sunday
    with pytest.raises(base.BadData):
        datetime_of("smhDMY", bytes.fromhex("000000310226"))


@pytest.mark.parametrize(("number", "secret", "packet"), [
    ("GW0001", None, b"GW0001\r\n"),
    ("GW-0001", "s3cret!", b"GW-0001,s3cret!\r\n"),
])  # fmt: skip
def test_a_gateway_says_its_number_and_perhaps_a_secret(number: str, secret: str | None, packet: bytes) -> None:
    assert registration_packet(number, secret) == packet
    reader = RegistrationReader()
    assert [reader.feed(packet[at : at + 1]) for at in range(len(packet) - 1)] == [None] * (len(packet) - 1)
    assert reader.feed(packet[-1:] + b"HB\r\n") == (Registration(number, secret), b"HB\r\n")


@pytest.mark.parametrize("first", [b"\r\n", b"GW 1\r\n", b"GW1,\r\n", b"GW1,a,b\r\n", b"\x68\x00\r\n",
                                   b"G" * 33 + b"\r\n",
                                   b"G" * 129, "网关\r\n".encode()])  # fmt: skip
def test_anything_else_is_no_registration(first: bytes) -> None:
    with pytest.raises(BadRegistration):
        RegistrationReader().feed(first)


@pytest.mark.parametrize(("number", "secret"), [("", None), ("a b", None), ("GW1", ""), ("GW1", "a,b")])
def test_a_packet_that_could_not_be_read_is_not_built(number: str, secret: str | None) -> None:
    with pytest.raises(BadRegistration):
        registration_packet(number, secret)
