"""Carrying out one command on its line: send, hear the acknowledgement, read back. Done means read back."""

import asyncio
from dataclasses import dataclass

from app.kernel.clock import business_now
from app.meters.command_life import Kind, State, after_read_back, after_silence
from app.meters.delivery import Claimed, LeaseLost, SeenFrame, SeenRelay, mark_acknowledged
from app.meters.drivers import DRIVERS
from app.meters.drivers.base import (
    Acknowledged,
    FrameError,
    Readable,
    Refused,
    RegistersRead,
    RelayAction,
    RelayRead,
    Reply,
)
from app.meters.headend.blocking import Blocking
from app.meters.headend.bus import LineDown, NoAnswer
from app.meters.headend.heard import Heard
from app.meters.headend.intake import Intake
from app.meters.headend.line import Line

ACTIONS = {
    Kind.TRIP: RelayAction.TRIP,
    Kind.CLOSE: RelayAction.CLOSE,
    Kind.PERMIT_CLOSE: RelayAction.PERMIT_CLOSE,
    Kind.GUARANTEE_ON: RelayAction.GUARANTEE,
    Kind.GUARANTEE_OFF: RelayAction.GUARANTEE_OFF,
}
#: Operator code in the frame: this head-end acts for the platform.
OPERATOR = "00000001"
#: A relay moves in milliseconds, a motor breaker in seconds: pauses before each look.
LOOK_AFTER_S = (0.0, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one sending ended."""

    state: State
    relay: SeenRelay | None = None
    failure: str | None = None
    #: Permitted to close, and somebody has yet to press the button.
    watch: bool = False

    @property
    def again(self) -> bool:
        """Will it be sent once more?"""
        return self.state is State.QUEUED


class Execution:
    """One sending of one command; `frames` keeps what went over the wire, masked."""

    def __init__(self, *, line: Line, command: Claimed, blocking: Blocking, intake: Intake) -> None:
        self._line, self._command = line, command
        self._blocking, self._intake = blocking, intake
        self._driver = DRIVERS[command.dialect]
        self.frames: list[SeenFrame] = []

    async def run(self) -> Outcome:
        """Send it and follow it; never raises for what a meter or a line does."""
        try:
            if self._command.kind in (Kind.READ_TOTAL, Kind.READ_STATUS):
                return await self._read_once()
            if not self._command.uncertain:
                refused = await self._send()
                if refused is not None:
                    return refused
            return await self._read_back()
        except (NoAnswer, LineDown, FrameError) as failure:
            state = after_silence(attempts=self._command.attempts)
            return Outcome(state, failure=failure.code)

    async def _send(self) -> Outcome | None:
        """Send the frame; None when it is worth looking at the relay, even without an acknowledgement."""
        try:
            reply = await self._ask(self._frame())
        except NoAnswer:
            return None  # the acknowledgement may be what was lost: the relay itself will tell
        if isinstance(reply, Refused):
            return Outcome(State.REFUSED, failure=f"meter_{reply.reasons[0] if reply.reasons else 'refused'}")
        if isinstance(reply, Acknowledged):
            await self._acknowledged()
        return None

    def _frame(self) -> bytes:
        command = self._command
        return self._driver.build_relay(
            command.address,
            ACTIONS[command.kind],
            password=command.password,
            operator=OPERATOR,
            valid_until=command.valid_until.astimezone(command.zone).replace(tzinfo=None),
        )

    async def _acknowledged(self) -> None:
        try:
            await self._blocking.run(self._line.lease.tenant_id, mark_acknowledged, claimed=self._command)
        except LeaseLost:
            raise LineDown from None

    async def _read_back(self) -> Outcome:
        """Look until the meter itself says so, or it has had its time."""
        seen: RelayRead | None = None
        for pause_s in LOOK_AFTER_S:
            await asyncio.sleep(pause_s)
            seen = await self._look()
            if self._agrees(seen):
                break
        assert seen is not None
        agrees = self._agrees(seen)
        relay = SeenRelay(seen.relay_open, business_now())
        state = self._line.meters.get(self._command.meter_id)
        if state is not None:
            state.saw_relay(relay.is_open, relay.at)
        return Outcome(
            after_read_back(attempts=self._command.attempts, agrees=agrees),
            relay=relay,
            failure=None if agrees else "relay_disagrees",
            watch=agrees and self._command.kind is Kind.PERMIT_CLOSE and relay.is_open,
        )

    async def _look(self) -> RelayRead:
        reply = await self._ask(self._driver.build_read(self._command.address, Readable.RELAY))
        if not isinstance(reply, RelayRead):
            raise NoAnswer
        return reply

    def _agrees(self, seen: RelayRead) -> bool:
        match self._command.kind:
            case Kind.TRIP:
                return seen.relay_open
            case Kind.CLOSE:
                return not seen.relay_open
            case Kind.PERMIT_CLOSE:
                return not seen.relay_open or not seen.relay_commanded_open
            case Kind.GUARANTEE_ON:
                return seen.guaranteed
            case _:
                return not seen.guaranteed

    async def _read_once(self) -> Outcome:
        """A command that only asks: the answer is the confirmation."""
        at = business_now()
        if self._command.kind is Kind.READ_STATUS:
            seen = await self._look()
            return Outcome(State.CONFIRMED, relay=SeenRelay(seen.relay_open, at))
        reply = await self._ask(self._driver.build_read(self._command.address, Readable.TOTAL))
        if not isinstance(reply, RegistersRead):
            raise NoAnswer
        heard = Heard(self._command.meter_id, at, reply.registers_wh[Readable.TOTAL])
        await self._intake.put(self._line.lease.tenant_id, heard)
        return Outcome(State.CONFIRMED)

    async def _ask(self, request: bytes) -> Reply:
        self._saw("out", request)
        answer = await self._line.bus.ask(self._driver, request)
        self._saw("in", answer)
        return self._driver.parse(answer)

    def _saw(self, direction: str, frame: bytes) -> None:
        self.frames.append(SeenFrame(direction, self._driver.mask(frame), business_now()))
