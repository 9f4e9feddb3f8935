"""One simulated meter: a state and the answers it gives. Frames in, frames out; no socket, no clock.

The register runs on the load of a real home while the relay is closed and stands still while it is open. The
relay obeys 1C commands that carry the right password and are not void by the meter's own clock; under
guaranteed supply it refuses to trip.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.meters.drivers.base import BadData, RelayAction
from app.meters.drivers.dlt645 import messages
from app.meters.drivers.dlt645.fields import bcd, date_bytes, datetime_of
from app.meters.drivers.dlt645.frame import BROADCAST, Frame, address_bytes
from app.meters.drivers.dlt645.messages import FROM_METER, MORE, REFUSED
from app.meters.drivers.dlt645.status import StatusWord3, encode_status_3
from app.meters.simulator.profile import BANDS, METER_ZONE, STEPS_PER_WH, home

REGISTER_WH_MAX = 1_000_000_000  # eight digits of 0.01 kWh, then the register starts anew
WH_PER_DIGIT = 10
VOLTAGE_DV = 2200
SET_TIME_MAX = timedelta(minutes=5)
_PERCENT = 100
_STEPS = STEPS_PER_WH * _PERCENT

OTHER, NO_SUCH_DATA, WRONG_PASSWORD = 0x01, 0x02, 0x04


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """A meter as built in; `register_at` is when it showed `register_wh`, None: when switched on."""

    address: str
    home: int = 1
    register_wh: int = 0
    register_at: datetime | None = None
    password: str = "02000000"
    load_percent: int = 100
    presses_button: bool = True
    remaining_fen: int = 0
    reply_bytes_max: int = 200


@dataclass(slots=True)
class MeterState:
    """What a meter remembers. `steps` is the register of each band, in hundredths of a profile step."""

    at: datetime
    steps: list[int]
    relay_open: bool = False
    relay_commanded_open: bool = False
    alarm: bool = False
    guaranteed: bool = False
    clock_offset: timedelta = field(default_factory=timedelta)
    trips: int = 0
    closes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values, read back by `from_json`."""
        plain = asdict(self)
        return plain | {
            "at": self.at.isoformat(),
            "clock_offset": self.clock_offset // timedelta(microseconds=1),
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "MeterState":
        """Raises KeyError, TypeError or ValueError for anything `to_json` did not write."""
        offset = timedelta(microseconds=plain["clock_offset"])
        return cls(**(plain | {"at": datetime.fromisoformat(plain["at"]), "clock_offset": offset}))


def fresh_state(spec: MeterSpec, at: datetime) -> MeterState:
    """A meter as it leaves the fitter's hands: closed, its register shared over the bands."""
    return MeterState(at=spec.register_at or at, steps=_shared_steps(spec.register_wh))


def _shared_steps(register_wh: int) -> list[int]:
    share, rest = divmod(register_wh, BANDS)
    return [(share + (rest if band == 0 else 0)) * _STEPS for band in range(BANDS)]


class SimMeter:
    """A meter on a line. Every method takes the instant (aware) at which it happens."""

    def __init__(self, spec: MeterSpec, state: MeterState) -> None:
        self.spec = spec
        self.state = state
        self._home = home(spec.home)

    def answer(self, frame: Frame, at: datetime, *, moves: bool = True) -> Frame | None:
        """The answer to a request, None for silence. With `moves` false the relay only says yes."""
        self.advance(at)
        control = frame.control
        if control == messages.SET_TIME:
            self._set_time(frame.data)
            return None
        if frame.address == BROADCAST or frame.from_meter:
            return None
        handler = _HANDLERS.get(control)
        if handler is None:
            return self._refuse(control, OTHER)
        try:
            return handler(self, frame, moves)
        except BadData:
            return self._refuse(control, OTHER)

    def advance(self, at: datetime) -> None:
        """Let the meter run to an instant. A clock that jumped back uses nothing."""
        if at > self.state.at and not self.state.relay_open:
            before, after = self._home.steps_until(self.state.at), self._home.steps_until(at)
            used = [(late - early) * self.spec.load_percent for early, late in zip(before, after, strict=True)]
            self.state.steps = [steps + more for steps, more in zip(self.state.steps, used, strict=True)]
        self.state.at = at

    def press_button(self) -> bool:
        """The resident presses the button: the relay closes where the meter was told to permit it."""
        if self.state.relay_open and not self.state.relay_commanded_open:
            self._move(open_relay=False)
        return not self.state.relay_open

    def set_register(self, register_wh: int) -> None:
        """Put the total register to a value, shared over the bands as when new."""
        self.state.steps = _shared_steps(register_wh)

    @property
    def register_wh(self) -> int:
        """The total register in watt-hours, whole and without rollover."""
        return sum(self.state.steps) // _STEPS

    @property
    def clock(self) -> datetime:
        """The meter's own clock: naive and local."""
        return (self.state.at.astimezone(METER_ZONE) + self.state.clock_offset).replace(tzinfo=None)

    def _set_time(self, data: bytes) -> None:
        """A meter follows a set-time of up to five minutes, silently ignores the rest."""
        try:
            wanted = datetime_of(messages.TIME_ORDER, data)
        except BadData:
            return
        if abs(wanted - self.clock) <= SET_TIME_MAX:
            self._put_clock(wanted)

    def _put_clock(self, wanted: datetime) -> None:
        self.state.clock_offset += wanted - self.clock

    def _move(self, *, open_relay: bool) -> None:
        if self.state.relay_open == open_relay:
            return
        self.state.relay_open = open_relay
        self.state.trips += open_relay
        self.state.closes += not open_relay

    def _refuse(self, control: int, bits: int) -> Frame:
        return Frame(self.spec.address, control | FROM_METER | REFUSED, bytes((bits,)))

    def _accept(self, control: int, data: bytes = b"") -> Frame:
        return Frame(self.spec.address, control | FROM_METER, data)

    def _read_address(self, frame: Frame, moves: bool) -> Frame:
        return self._accept(frame.control, address_bytes(self.spec.address))

    def _read(self, frame: Frame, moves: bool) -> Frame:
        return self._part(frame, 0)

    def _read_next(self, frame: Frame, moves: bool) -> Frame:
        if len(frame.data) != 5 or not frame.data[4]:
            raise BadData()
        return self._part(frame, frame.data[4])

    def _part(self, frame: Frame, sequence: int) -> Frame:
        """Part `sequence` of the body behind an identifier; B1 and B2 say that another follows."""
        read = _READS.get(messages.di_of(frame.data))
        body, size = read(self) if read else b"", self.spec.reply_bytes_max
        part = body[sequence * size : (sequence + 1) * size]
        if not part:
            return self._refuse(frame.control, NO_SUCH_DATA)
        more = MORE if len(body) > (sequence + 1) * size else 0
        tail = bytes((sequence,)) if sequence else b""
        return self._accept(frame.control | more, frame.data[:4] + part + tail)

    def _write(self, frame: Frame, moves: bool) -> Frame:
        request = messages.write_request_of(frame)
        if request.password != self.spec.password:
            return self._refuse(frame.control, WRONG_PASSWORD)
        wanted = self._clock_written(request.di, request.data)
        if wanted is None:
            return self._refuse(frame.control, NO_SUCH_DATA)
        self._put_clock(wanted)
        return self._accept(frame.control)

    def _clock_written(self, di: int, data: bytes) -> datetime | None:
        """The clock after a write to it; None for any other identifier. Raises BadData."""
        now = self.clock
        match di:
            case 0x0400010C:
                return datetime_of("smhwDMY", data)
            case 0x04000101:
                return datetime.combine(datetime_of("smhwDMY", bytes(3) + data), now.time())
            case 0x04000102:
                return datetime.combine(now, datetime_of("smhDMY", data + date_bytes("DMY", now)).time())
        return None

    def _relay(self, frame: Frame, moves: bool) -> Frame:
        """Refusals in this order: not understood, wrong password, void, guaranteed supply."""
        request = messages.relay_request_of(frame)
        if request.password != self.spec.password:
            return self._refuse(frame.control, WRONG_PASSWORD)
        if request.valid_until is not None and request.valid_until < self.clock:
            return self._refuse(frame.control, OTHER)
        if request.action is RelayAction.TRIP and self.state.guaranteed:
            return self._refuse(frame.control, OTHER)
        if moves:
            self._obey(request.action)
        return self._accept(frame.control)

    def _obey(self, action: RelayAction) -> None:
        match action:
            case RelayAction.TRIP:
                self.state.relay_commanded_open = True
                self._move(open_relay=True)
            case RelayAction.CLOSE:
                self.state.relay_commanded_open = False
                self._move(open_relay=False)
            case RelayAction.PERMIT_CLOSE:
                self.state.relay_commanded_open = False
                if self.spec.presses_button:
                    self.press_button()
            case RelayAction.ALARM | RelayAction.ALARM_OFF:
                self.state.alarm = action is RelayAction.ALARM
            case RelayAction.GUARANTEE | RelayAction.GUARANTEE_OFF:
                self.state.guaranteed = action is RelayAction.GUARANTEE

    def energy_body(self, *bands: int) -> bytes:
        """Four bytes of register for the sum of some bands, rolling over after eight digits."""
        wh = sum(self.state.steps[band] for band in bands) // _STEPS % REGISTER_WH_MAX
        return bcd(wh // WH_PER_DIGIT, 4)

    def status_body(self) -> bytes:
        """Status word 3 as it is now."""
        return encode_status_3(
            StatusWord3(
                relay_open=self.state.relay_open,
                relay_commanded_open=self.state.relay_commanded_open,
                guaranteed=self.state.guaranteed,
                pre_trip_alarm=self.state.alarm,
                prepaid_mode="money",
                remote_account_open=True,
            )
        )

    def power_w(self) -> int:
        """The load now, in watts; nothing while the relay is open."""
        watts = self._home.power_w(self.state.at) * self.spec.load_percent // _PERCENT
        return 0 if self.state.relay_open else watts


_ALL_BANDS = tuple(range(BANDS))


def _block(meter: SimMeter) -> bytes:
    return b"".join((meter.energy_body(*_ALL_BANDS), *(meter.energy_body(band) for band in _ALL_BANDS)))


def _band(band: int) -> Callable[[SimMeter], bytes]:
    return lambda meter: meter.energy_body(band)


_READS: dict[int, Callable[[SimMeter], bytes]] = {
    0x00000000: lambda meter: meter.energy_body(*_ALL_BANDS),
    0x00010000: lambda meter: meter.energy_body(*_ALL_BANDS),
    **{0x00010000 + ((band + 1) << 8): _band(band) for band in _ALL_BANDS},
    0x0001FF00: _block,
    0x00020000: lambda meter: bytes(4),
    0x00900200: lambda meter: bcd(max(meter.spec.remaining_fen, 0), 4),
    0x00900201: lambda meter: bcd(max(-meter.spec.remaining_fen, 0), 4),
    0x02010100: lambda meter: bcd(VOLTAGE_DV, 2),
    0x02020100: lambda meter: bcd(meter.power_w() * 10_000 // VOLTAGE_DV, 3),
    0x02030000: lambda meter: bcd(meter.power_w() * 10, 3),
    0x04000101: lambda meter: date_bytes("wDMY", meter.clock),
    0x04000102: lambda meter: date_bytes("smh", meter.clock),
    0x0400010C: lambda meter: date_bytes("smhwDMY", meter.clock),
    0x04000503: SimMeter.status_body,
    0x040005FF: lambda meter: bytes(4) + meter.status_body() + bytes(8),
    0x1D000001: lambda meter: bcd(meter.state.trips, 3),
    0x1E000001: lambda meter: bcd(meter.state.closes, 3),
}

_HANDLERS: dict[int, Callable[[SimMeter, Frame, bool], Frame]] = {
    messages.READ: SimMeter._read,
    messages.READ_NEXT: SimMeter._read_next,
    messages.READ_ADDRESS: SimMeter._read_address,
    messages.WRITE: SimMeter._write,
    messages.RELAY: SimMeter._relay,
}
