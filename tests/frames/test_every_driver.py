"""The examination every meter protocol sits: whatever is in the registry is examined here by itself."""

import json
from pathlib import Path

import pytest

from app.meters.drivers import DRIVERS
from app.meters.drivers.base import Driver, FrameError, Readable, RelayAction
from app.meters.drivers.describe import PROTOCOLS

METER = "000000000161"


@pytest.fixture(params=DRIVERS, name="driver")
def each_driver(request: pytest.FixtureRequest) -> Driver:
    return DRIVERS[request.param]


def questions(driver: Driver) -> list[bytes]:
    reads = [driver.build_read(METER, what) for what in Readable]
    moves = [
        driver.build_relay(METER, action, password="02123456", operator="00000001", valid_until=None)
        for action in RelayAction
    ]
    return [*reads, *moves]


def test_it_is_registered_under_its_own_name_and_has_a_word_on_the_command_line(driver: Driver) -> None:
    assert DRIVERS[driver.dialect] is driver
    assert driver.dialect in PROTOCOLS.values()


def test_it_has_published_frames_with_a_source(driver: Driver) -> None:
    word = next(word for word, dialect in PROTOCOLS.items() if dialect == driver.dialect)
    published = json.loads((Path(__file__).parent / word / "published.json").read_text())
    assert published["source"]
    for row in published["frames"]:
        assert driver.describe(bytes.fromhex(row["frame"]))["address"] == row["address"]


def test_its_questions_differ_and_carry_the_address(driver: Driver) -> None:
    asked = questions(driver)
    assert len(set(asked)) == len(Readable) + len(RelayAction)
    assert {driver.address_of(raw) for raw in asked} == {METER}


def test_its_stream_splitter_finds_every_question_byte_by_byte(driver: Driver) -> None:
    splitter = driver.splitter()
    stream = b"HB\r\n".join(questions(driver))
    assert [raw for at in range(len(stream)) for raw in splitter.feed(stream[at : at + 1])] == questions(driver)


def test_no_question_answers_itself(driver: Driver) -> None:
    assert not any(driver.answers(raw, raw) for raw in questions(driver))


def test_it_never_shows_a_password(driver: Driver) -> None:
    one, other = (
        driver.build_relay(METER, RelayAction.TRIP, password=password, operator="00000001", valid_until=None)
        for password in ("02123456", "02654321")
    )
    assert one != other
    assert driver.mask(one) == driver.mask(other)


def test_a_flipped_bit_anywhere_is_refused_or_seen(driver: Driver) -> None:
    raw = driver.build_read(METER, Readable.TOTAL)
    for at in range(len(raw)):
        damaged = raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]
        with pytest.raises(FrameError):
            driver.parse(damaged)
