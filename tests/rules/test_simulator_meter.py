"""The simulated meter, frame by frame: what it answers, when its relay moves, how its register runs."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.meters.drivers import DRIVERS, base
from app.meters.drivers.base import Readable, RelayAction, RelayRead
from app.meters.drivers.dlt645 import messages
from app.meters.drivers.dlt645.frame import BROADCAST, WILDCARD, Frame, decode, encode
from app.meters.simulator.bus import Bus, NoSuchMeter
from app.meters.simulator.faults import BadFault, Faults
from app.meters.simulator.meter import MeterSpec, MeterState, SimMeter, fresh_state
from app.meters.simulator.profile import HOMES, HOURS, METER_ZONE, home

driver = DRIVERS["dlt645-2007"]
METER, OTHER_METER = "000000000001", "000000000002"
PASSWORD = "02123456"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=METER_ZONE)


class Clock:
    """A business clock that tests move by hand."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, **span: int) -> None:
        self.at += timedelta(**span)


def new_meter(at: datetime = NOON, **fields: object) -> SimMeter:
    spec = MeterSpec(**{"address": METER, "password": PASSWORD, "register_wh": 1_000_000, **fields})
    return SimMeter(spec, fresh_state(spec, at))


def bus_of(*meters: SimMeter) -> tuple[Bus, Clock]:
    clock = Clock()
    return Bus(meters or (new_meter(),), clock), clock


def ask(bus: Bus, request: bytes) -> base.Reply | None:
    sent = bus.answer(request)
    if sent is None:
        return None
    assert driver.answers(request, sent.raw)
    return driver.parse(sent.raw)


def read(bus: Bus, what: Readable, address: str = METER) -> base.Reply | None:
    return ask(bus, driver.build_read(address, what))


def move(
    bus: Bus, action: RelayAction, *, password: str = PASSWORD, valid_until: datetime | None = None
) -> base.Reply | None:
    request = driver.build_relay(METER, action, password=password, operator="00000001", valid_until=valid_until)
    return ask(bus, request)


def relay_open(bus: Bus) -> bool:
    status = read(bus, Readable.RELAY)
    assert isinstance(status, RelayRead)
    return status.relay_open


def total_wh(bus: Bus) -> int:
    registers = read(bus, Readable.TOTAL)
    assert isinstance(registers, base.RegistersRead)
    return registers.registers_wh[Readable.TOTAL]


def test_a_trip_opens_the_relay_and_a_close_shuts_it() -> None:
    bus, _ = bus_of()
    assert not relay_open(bus)
    assert move(bus, RelayAction.TRIP) == base.Acknowledged(METER, "relay")
    assert read(bus, Readable.RELAY) == RelayRead(METER, True, True, False, False)
    assert move(bus, RelayAction.CLOSE) == base.Acknowledged(METER, "relay")
    assert read(bus, Readable.RELAY) == RelayRead(METER, False, False, False, False)


def test_the_same_trip_five_times_moves_the_relay_once() -> None:
    bus, _ = bus_of()
    for _ in range(5):
        move(bus, RelayAction.TRIP)
    assert bus.meter_view(METER)["trips"] == 1


def test_a_permit_waits_for_the_resident_to_press_the_button() -> None:
    bus, _ = bus_of(new_meter(presses_button=False))
    meter = bus.meter(METER)
    assert meter.press_button()  # closed already
    move(bus, RelayAction.TRIP)
    assert not meter.press_button()  # nothing permits it
    move(bus, RelayAction.PERMIT_CLOSE)
    assert read(bus, Readable.RELAY) == RelayRead(METER, True, False, False, False)
    assert meter.press_button()
    assert not relay_open(bus)


def test_a_resident_at_home_presses_at_once() -> None:
    bus, _ = bus_of()
    move(bus, RelayAction.TRIP)
    move(bus, RelayAction.PERMIT_CLOSE)
    assert not relay_open(bus)


@pytest.mark.parametrize(
    ("setup", "password", "valid_until", "reasons"),
    [
        ((), "02654321", None, ("wrong_password",)),
        ((), PASSWORD, datetime(2026, 11, 23, 11, 59, 59), ("other",)),
        ((RelayAction.GUARANTEE,), PASSWORD, None, ("other",)),
        # Precedence: the password is looked at first.
        ((RelayAction.GUARANTEE,), "02654321", datetime(2000, 1, 1), ("wrong_password",)),
    ],
)
def test_a_meter_refuses_to_trip(
    setup: tuple[RelayAction, ...], password: str, valid_until: datetime | None, reasons: tuple[str, ...]
) -> None:
    bus, _ = bus_of()
    for action in setup:
        move(bus, action)
    answer = move(bus, RelayAction.TRIP, password=password, valid_until=valid_until)
    assert answer == base.Refused(METER, "relay", reasons)
    assert not relay_open(bus)


def test_guaranteed_supply_and_the_alarm_can_be_switched_off_again() -> None:
    bus, _ = bus_of()
    move(bus, RelayAction.GUARANTEE)
    move(bus, RelayAction.ALARM)
    assert read(bus, Readable.RELAY) == RelayRead(METER, False, False, True, True)
    move(bus, RelayAction.GUARANTEE_OFF)
    move(bus, RelayAction.ALARM_OFF)
    move(bus, RelayAction.TRIP, valid_until=datetime(2026, 11, 23, 12, 0, 1))
    assert relay_open(bus)


def test_validity_is_judged_by_the_meters_own_clock() -> None:
    bus, clock = bus_of()
    ask(bus, driver.build_set_time(METER, datetime(2026, 11, 23, 12, 4)))
    assert read(bus, Readable.CLOCK) == base.ClockRead(METER, datetime(2026, 11, 23, 12, 4))
    assert move(bus, RelayAction.TRIP, valid_until=datetime(2026, 11, 23, 12, 3)) == base.Refused(
        METER, "relay", ("other",)
    )
    clock.pass_by(hours=1)
    assert read(bus, Readable.CLOCK) == base.ClockRead(METER, datetime(2026, 11, 23, 13, 4))


@pytest.mark.parametrize(("minutes", "follows"), [(5, True), (-5, True), (6, False), (-6, False), (60 * 24, False)])
def test_a_broadcast_moves_a_clock_by_at_most_five_minutes_and_nobody_answers(minutes: int, follows: bool) -> None:
    bus, _ = bus_of(new_meter(), new_meter(address=OTHER_METER))
    wanted = datetime(2026, 11, 23, 12) + timedelta(minutes=minutes)
    assert ask(bus, driver.build_set_time(None, wanted)) is None
    shown = wanted if follows else datetime(2026, 11, 23, 12)
    for address in (METER, OTHER_METER):
        assert read(bus, Readable.CLOCK, address) == base.ClockRead(address, shown)


def test_nonsense_for_a_time_is_ignored() -> None:
    bus, _ = bus_of()
    assert bus.answer(encode(Frame(METER, 0x08, b"\xff" * 6))) is None
    assert bus.meter_view(METER)["clock_offset_ms"] == 0


@pytest.mark.parametrize(
    ("di", "data", "clock"),
    [
        (0x0400010C, "45301801241126", datetime(2026, 11, 24, 18, 30, 45)),
        (0x04000101, "02241126", datetime(2026, 11, 24, 12)),
        (0x04000102, "453018", datetime(2026, 11, 23, 18, 30, 45)),
    ],
)
def test_the_clock_can_be_written_with_the_password(di: int, data: str, clock: datetime) -> None:
    bus, _ = bus_of()

    def write(password: str, identifier: int) -> base.Reply | None:
        frame = messages.write(METER, identifier, bytes.fromhex(data), password=password, operator="00000001")
        return ask(bus, encode(frame))

    assert write("02654321", di) == base.Refused(METER, "write", ("wrong_password",))
    assert write(PASSWORD, 0x04001001) == base.Refused(METER, "write", ("no_such_data",))
    assert write(PASSWORD, di) == base.Acknowledged(METER, "write")
    assert read(bus, Readable.CLOCK) == base.ClockRead(METER, clock)


def test_the_register_stands_still_while_the_relay_is_open() -> None:
    bus, clock = bus_of()
    clock.pass_by(days=1)
    after_a_day = total_wh(bus)
    assert after_a_day > 1_000_000
    move(bus, RelayAction.TRIP)
    clock.pass_by(days=30)
    assert total_wh(bus) == after_a_day
    assert bus.meter_view(METER)["power_w"] == 0
    move(bus, RelayAction.CLOSE)
    clock.pass_by(days=1)
    assert total_wh(bus) > after_a_day


@given(
    st.integers(1, HOMES),
    st.lists(st.timedeltas(timedelta(0), timedelta(days=3)), max_size=8),
    st.integers(1, 300),
)
def test_reading_often_loses_no_energy(number: int, spans: list[timedelta], percent: int) -> None:
    often, seldom = (new_meter(home=number, load_percent=percent) for _ in range(2))
    at = NOON
    for span in spans:
        at += span
        often.advance(at)
    seldom.advance(at)
    assert often.state.steps == seldom.state.steps


def test_a_year_of_a_home_is_the_year_of_the_data() -> None:
    for number in range(1, HOMES + 1):
        meter = new_meter(home=number, register_wh=0)
        meter.advance(NOON + timedelta(hours=HOURS))
        assert meter.register_wh == sum(home(number).hourly_wh)


def test_the_bands_add_up_to_the_total() -> None:
    bus, clock = bus_of()
    clock.pass_by(days=3, minutes=17)
    registers = read(bus, Readable.BANDS)
    assert isinstance(registers, base.RegistersRead)
    total, *bands = registers.registers_wh.values()
    assert len(bands) == 4
    assert 0 <= total - sum(bands) < 40  # each band is cut to 10 Wh on its own
    for what in (Readable.SHARP, Readable.PEAK, Readable.FLAT, Readable.VALLEY):
        assert read(bus, what) == base.RegistersRead(METER, {what: registers.registers_wh[what]})


def test_a_register_rolls_over_after_eight_digits() -> None:
    bus, clock = bus_of(new_meter(register_wh=999_999_990))
    assert total_wh(bus) == 999_999_990
    clock.pass_by(hours=5)
    assert total_wh(bus) < 100_000


def test_a_clock_that_jumps_back_uses_nothing() -> None:
    bus, clock = bus_of()
    clock.pass_by(days=2)
    before = total_wh(bus)
    clock.pass_by(days=-1)
    assert total_wh(bus) == before


def test_a_meter_knows_what_it_showed_when_it_was_fitted() -> None:
    fitted = NOON - timedelta(days=200)
    bus, _ = bus_of(new_meter(register_at=fitted, register_wh=0, home=17))
    assert total_wh(bus) // 10 == (sum(home(17).steps_until(NOON)) - sum(home(17).steps_until(fitted))) // (
        10 * 3_600_000_000
    )


@pytest.mark.parametrize(("fen", "expected"), [(12_345, 12_345), (0, 0)])
def test_the_remaining_amount_is_told(fen: int, expected: int) -> None:
    bus, _ = bus_of(new_meter(remaining_fen=fen))
    assert read(bus, Readable.REMAINING) == base.RemainingRead(METER, expected)


def test_a_long_answer_comes_in_parts() -> None:
    bus, _ = bus_of(new_meter(reply_bytes_max=8))
    sent = bus.answer(driver.build_read(METER, Readable.BANDS))
    assert sent is not None
    frames = [sent.raw]
    while isinstance(reply := driver.parse(*frames), base.MoreFollows):
        request = driver.build_read_next(METER, Readable.BANDS, reply.sequence)
        sent = bus.answer(request)
        assert sent is not None
        assert driver.answers(request, sent.raw)
        frames.append(sent.raw)
    assert len(frames) == 3
    assert isinstance(reply, base.RegistersRead)
    assert len(reply.registers_wh) == 5
    past_the_end = ask(bus, driver.build_read_next(METER, Readable.BANDS, 3))
    assert past_the_end == base.Refused(METER, "read_next", ("no_such_data",))


@pytest.mark.parametrize(
    ("control", "data", "answer"),
    [
        (0x11, "01FF0004", base.Refused(METER, "read", ("no_such_data",))),
        (0x11, "00", base.Refused(METER, "read", ("other",))),
        (0x12, "00FF010000", base.Refused(METER, "read_next", ("other",))),
        (0x14, "0C010004", base.Refused(METER, "write", ("other",))),
        (0x1C, "02", base.Refused(METER, "relay", ("other",))),
        (0x19, "02563412 00000000", base.Refused(METER, "clear_demand", ("other",))),
    ],
)
def test_a_request_it_cannot_follow_is_refused(control: int, data: str, answer: base.Reply) -> None:
    bus, _ = bus_of()
    assert ask(bus, encode(Frame(METER, control, bytes.fromhex(data)))) == answer


@given(st.integers(0, 255), st.binary(max_size=255))
def test_no_frame_upsets_a_meter(control: int, data: bytes) -> None:
    bus, _ = bus_of()
    for address in (METER, WILDCARD, BROADCAST, OTHER_METER):
        sent = bus.answer(encode(Frame(address, control, data)))
        assert sent is None or decode(sent.raw).address == METER


def test_every_register_a_meter_shows_can_be_read() -> None:
    bus, _ = bus_of()
    shown = [0x00000000, 0x00020000, 0x02010100, 0x02020100, 0x02030000, 0x00900201, 0x04000101, 0x04000102]
    for di in [*shown, 0x040005FF, 0x1D000001, 0x1E000001]:
        sent = bus.answer(encode(messages.read(METER, di)))
        assert sent is not None
        assert driver.describe(sent.raw)["values"]


def test_a_line_with_one_meter_answers_to_any_address() -> None:
    bus, _ = bus_of()
    assert ask(bus, driver.build_read_address()) == base.AddressRead(METER)
    assert isinstance(read(bus, Readable.TOTAL, "AAAAAAAA0001"), base.RegistersRead)


def test_two_meters_asked_at_once_leave_the_line_mute_and_a_stranger_too() -> None:
    bus, _ = bus_of(new_meter(), new_meter(address=OTHER_METER))
    assert bus.answer(driver.build_read_address()) is None
    assert read(bus, Readable.TOTAL, "000000000099") is None
    with pytest.raises(NoSuchMeter):
        bus.meter("000000000099")


def test_an_offline_meter_hears_nothing_not_even_a_broadcast() -> None:
    bus, _ = bus_of()
    bus.set_meter_faults(METER, {"offline": True})
    assert read(bus, Readable.TOTAL) is None
    ask(bus, driver.build_set_time(None, datetime(2026, 11, 23, 12, 3)))
    bus.set_meter_faults(METER, {"offline": False})
    assert read(bus, Readable.CLOCK) == base.ClockRead(METER, datetime(2026, 11, 23, 12))


def test_every_third_answer_is_lost() -> None:
    bus, _ = bus_of()
    bus.faults = Faults(drop_every=3)
    answers = [bus.answer(driver.build_read(METER, Readable.TOTAL)) is not None for _ in range(6)]
    assert answers == [True, True, False, True, True, False]


def test_an_acknowledgement_without_a_moving_relay() -> None:
    bus, _ = bus_of()
    bus.set_meter_faults(METER, {"answer": "ack_only"})
    assert move(bus, RelayAction.TRIP) == base.Acknowledged(METER, "relay")
    assert not relay_open(bus)


def test_a_wrong_meter_or_a_broken_checksum_answers_nothing() -> None:
    bus, _ = bus_of()
    request = driver.build_read(METER, Readable.TOTAL)
    for answer in ("wrong_address", "bad_checksum"):
        bus.set_meter_faults(METER, {"answer": answer})
        sent = bus.answer(request)
        assert sent is not None
        assert not driver.answers(request, sent.raw)


def test_a_meters_faults_come_under_those_of_its_gateway() -> None:
    gateway = Faults(drop_every=2, delay_ms=100)
    meter = Faults().changed({"answer": "bad_checksum", "delay_ms": 50})
    worse = meter.under(gateway)
    assert (worse.offline, worse.drop_every, worse.delay_ms, worse.answer) == (False, 2, 100, "bad_checksum")


@pytest.mark.parametrize(
    "wanted",
    [{"offline": 1}, {"drop_every": -1}, {"drop_every": True}, {"delay_ms": 60_001}, {"answer": "maybe"},
     {"answer": []}, {"mood": "bad"}, {"delay_ms": "5"}],
)  # fmt: skip
def test_a_fault_that_does_not_exist_is_refused(wanted: dict[str, object]) -> None:
    with pytest.raises(BadFault):
        Faults().changed(wanted)


@given(st.booleans(), st.booleans(), st.integers(-(10**9), 10**9))
def test_what_a_meter_remembers_survives_a_restart(relay: bool, guaranteed: bool, offset_us: int) -> None:
    meter = new_meter()
    meter.advance(NOON.astimezone(UTC) + timedelta(seconds=12345))
    meter.state.relay_open, meter.state.guaranteed = relay, guaranteed
    meter.state.clock_offset = timedelta(microseconds=offset_us)
    assert MeterState.from_json(meter.state.to_json()) == meter.state


@pytest.mark.parametrize("number", [0, 18, -1])
def test_there_are_seventeen_homes(number: int) -> None:
    with pytest.raises(IndexError):
        home(number)
