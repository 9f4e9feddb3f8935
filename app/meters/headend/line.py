"""A line: one gateway we may talk to, its bus, its meters, and the polling of them."""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime

from app.kernel.clock import business_now
from app.meters.delivery import SeenRelay
from app.meters.drivers import DRIVERS
from app.meters.drivers.base import ClockRead, FrameError, Readable, RegistersRead, RelayRead, Reply
from app.meters.headend.bus import Bus, LineDown, NoAnswer
from app.meters.headend.heard import Heard, Lost
from app.meters.headend.intake import Intake
from app.meters.headend.leases import Lease
from app.meters.headend.polling import PollState, due_instant
from app.meters.headend.roster import RosterMeter

#: No byte for so long, heartbeats included: the other end is gone, whatever TCP believes.
SILENT_S_MAX = 150.0
PROBE_WITHIN_S = 2.0

log = logging.getLogger(__name__)


class Line:
    """Polls the meters of one gateway, one question at a time, until the connection or the lease ends."""

    def __init__(
        self, *, lease: Lease, bus: Bus, roster: Sequence[RosterMeter], intake: Intake, poll_s: int, tick_s: float
    ) -> None:
        self.lease, self.bus = lease, bus
        self.meters = {meter.meter_id: PollState.of(meter) for meter in roster}
        self._intake, self._poll_s, self._tick_s = intake, poll_s, tick_s
        self._time_told_on: date | None = None
        #: The due instant every meter has answered to: nothing to look for until the next one.
        self._settled_at: datetime | None = None

    def renew_roster(self, roster: Sequence[RosterMeter]) -> None:
        """Take meters that were added or removed since the line came up."""
        self._settled_at = None
        known = {meter.meter_id: meter for meter in roster}
        for meter_id in self.meters.keys() - known.keys():
            del self.meters[meter_id]
        for meter_id in known.keys() - self.meters.keys():
            self.meters[meter_id] = PollState.of(known[meter_id])

    def watch(self, meter_id: int) -> None:
        """Look at a meter's relay often from now on: somebody is about to press its button."""
        if meter_id in self.meters:
            self.meters[meter_id].watch(time.monotonic())
            self._settled_at = None

    async def run(self) -> None:
        """Poll until the line ends."""
        while not self.bus.closed.is_set():
            if self.bus.silent_s() > SILENT_S_MAX:
                log.info("gateway %s fell silent", self.lease.number)
                self.bus.close()
                return
            try:
                await self._round()
            except LineDown:
                return
            await asyncio.sleep(self._tick_s)

    async def is_alive(self) -> bool:
        """Does anybody still answer at the other end? Tells a half-open connection from a live one."""
        for state in list(self.meters.values())[:1]:
            try:
                await self.read(state.meter, Readable.TOTAL, within_s=PROBE_WITHIN_S)
            except (NoAnswer, LineDown, FrameError):
                return False
        return not self.bus.closed.is_set() and self.bus.silent_s() < SILENT_S_MAX

    async def read(self, meter: RosterMeter, what: Readable, *, within_s: float | None = None) -> Reply:
        """Ask a meter for one thing. Raises NoAnswer, LineDown, FrameError."""
        driver = DRIVERS[meter.dialect]
        request = driver.build_read(meter.address, what)
        return driver.parse(await self.bus.ask(driver, request, within_s=within_s))

    async def _round(self) -> None:
        due_at = due_instant(business_now(), self._poll_s)
        if due_at == self._settled_at:
            return
        states = list(self.meters.values())
        for state in states:
            if state.is_due(due_at, time.monotonic()):
                await self._poll(state)
            elif state.wants_watching(time.monotonic()):
                await self._watch(state)
        await self._tell_time()
        if all(state.is_settled(due_at, time.monotonic()) for state in states):
            self._settled_at = due_at

    async def _poll(self, state: PollState) -> None:
        # Stamped before the question: a clock that jumps meanwhile makes the meter due again.
        at = business_now()
        try:
            register_wh = await self._total(state.meter)
            relay = await self._relay(state) if state.wants_relay(at) else None
            drift_s = await self._clock_off_s(state) if state.wants_clock(at) else None
        except (NoAnswer, FrameError) as failure:
            if state.failed(time.monotonic()):
                log.info("meter %s does not answer: %s", state.meter.address, failure.code)
                await self._intake.put(self.lease.tenant_id, Lost(state.meter.meter_id))
            return
        state.answered(at)
        heard = Heard(state.meter.meter_id, at, register_wh, relay, drift_s)
        await self._intake.put(self.lease.tenant_id, heard)

    async def _watch(self, state: PollState) -> None:
        at, state.watched_at_s = business_now(), time.monotonic()
        try:
            relay = await self._relay(state)
        except (NoAnswer, FrameError):
            return
        await self._intake.put(self.lease.tenant_id, Heard(state.meter.meter_id, at, relay=relay))

    async def _total(self, meter: RosterMeter) -> int:
        reply = await self.read(meter, Readable.TOTAL)
        if not isinstance(reply, RegistersRead):
            raise NoAnswer
        return reply.registers_wh[Readable.TOTAL]

    async def _relay(self, state: PollState) -> SeenRelay:
        at = business_now()
        reply = await self.read(state.meter, Readable.RELAY)
        if not isinstance(reply, RelayRead):
            raise NoAnswer
        state.saw_relay(reply.relay_open, at)
        return SeenRelay(reply.relay_open, at)

    async def _clock_off_s(self, state: PollState) -> int | None:
        """The meter's clock minus ours, in seconds; 0 when it lies within the time the question took."""
        before = business_now()
        reply = await self.read(state.meter, Readable.CLOCK)
        after = business_now()
        if not isinstance(reply, ClockRead):
            return None
        state.clock_read_at = after
        said = reply.clock.replace(tzinfo=state.meter.zone).astimezone(UTC)
        nearest = min(max(said, before), after)
        return int((said - nearest).total_seconds())

    async def _tell_time(self) -> None:
        """Broadcast the time once a business day: it corrects small offsets, and nobody answers."""
        states = list(self.meters.values())
        if not states:
            return
        local = _local_now(states[0].meter)
        if local.date() == self._time_told_on:
            return
        self._time_told_on = local.date()
        for dialect in sorted({state.meter.dialect for state in states}):
            await self.bus.tell(DRIVERS[dialect].build_set_time(None, local))


def _local_now(meter: RosterMeter) -> datetime:
    return business_now().astimezone(meter.zone).replace(tzinfo=None)
