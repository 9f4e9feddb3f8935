"""The line behind a gateway: its meters, the faults set on it, and which of them answers a frame."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from textwrap import wrap
from typing import Any

from app.kernel.errors import AppError
from app.meters.drivers.dlt645.frame import BROADCAST, decode, encode
from app.meters.simulator.faults import NO_FAULTS, Answer, Faults, bend, faults_view
from app.meters.simulator.meter import SimMeter
from app.meters.simulator.profile import METER_ZONE

Now = Callable[[], datetime]


class NoSuchMeter(AppError):
    """No meter of the street has this address."""

    code = "no_such_meter"
    status = 404
    message_zh = "模拟街区没有这块表：{address}。"
    message_en = "The simulated street has no such meter: {address}."


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes that go back to the head-end after a while."""

    raw: bytes
    delay_ms: int


class Bus:
    """The meters behind one gateway. `now` gives the business instant (aware)."""

    def __init__(self, meters: Sequence[SimMeter], now: Now) -> None:
        self.meters = {meter.spec.address: meter for meter in meters}
        self.now = now
        self.faults = NO_FAULTS
        self.meter_faults: dict[str, Faults] = {}
        #: Frames that came in, and answers that were due; every `drop_every`-th of these is lost.
        self.frames = 0
        self.answers = 0

    def answer(self, raw: bytes) -> Sent | None:
        """What comes back for a whole and valid frame; None where nobody answers."""
        self.frames += 1
        frame, at = decode(raw), self.now()
        addressed = [meter for meter in self._addressed(frame.address) if not self._deaf(meter)]
        if frame.address == BROADCAST or len(addressed) > 1:
            # Several meters answering at once destroy each other's bytes: the line stays mute.
            for meter in addressed:
                meter.answer(frame, at)
            return None
        return self._answer_of(addressed[0], raw, at) if addressed else None

    def _addressed(self, address: str) -> list[SimMeter]:
        if address in self.meters:
            return [self.meters[address]]
        if "A" not in address and address != BROADCAST:
            return []
        return [meter for meter in self.meters.values() if _matches(address, meter.spec.address)]

    def _deaf(self, meter: SimMeter) -> bool:
        return self.faults_of(meter.spec.address).offline

    def _answer_of(self, meter: SimMeter, raw: bytes, at: datetime) -> Sent | None:
        faults = self.faults_of(meter.spec.address)
        answer = meter.answer(decode(raw), at, moves=faults.answer is not Answer.ACK_ONLY)
        if answer is None:
            return None
        self.answers += 1
        if faults.drop_every and self.answers % faults.drop_every == 0:
            return None
        return Sent(bend(encode(answer), faults.answer), faults.delay_ms)

    def faults_of(self, address: str) -> Faults:
        """The faults one meter suffers: its own under those of the gateway."""
        return self.meter_faults.get(address, NO_FAULTS).under(self.faults)

    def set_meter_faults(self, address: str, wanted: Mapping[str, Any]) -> None:
        """Set some faults of one meter. Raises NoSuchMeter, BadFault."""
        self.meter(address)
        self.meter_faults[address] = self.meter_faults.get(address, NO_FAULTS).changed(wanted)

    def meter(self, address: str) -> SimMeter:
        """A meter on this line, run to this instant. Raises NoSuchMeter."""
        if address not in self.meters:
            raise NoSuchMeter(address=address)
        meter = self.meters[address]
        meter.advance(self.now())
        return meter

    def meter_view(self, address: str) -> dict[str, Any]:
        """The truth about a meter, for tests and for the story. Raises NoSuchMeter."""
        meter = self.meter(address)
        state = meter.state
        return {
            "meter": address,
            "at": state.at.astimezone(METER_ZONE).isoformat(),
            "clock": meter.clock.isoformat(),
            "register_wh": meter.register_wh,
            "power_w": meter.power_w(),
            "relay_open": state.relay_open,
            "relay_commanded_open": state.relay_commanded_open,
            "guaranteed": state.guaranteed,
            "alarm": state.alarm,
            "trips": state.trips,
            "closes": state.closes,
            "clock_offset_ms": state.clock_offset // timedelta(milliseconds=1),
            "faults": faults_view(self.faults_of(address)),
        }


def _matches(pattern: str, address: str) -> bool:
    """AA stands for any pair of digits; the broadcast address for every meter."""
    pairs = zip(wrap(pattern, 2), wrap(address, 2), strict=True)
    return pattern == BROADCAST or all(wanted in ("AA", pair) for wanted, pair in pairs)
