"""Dispatching commands: woken by a hint, sweeping every other second; PostgreSQL is the truth either way."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from sqlalchemy.exc import SQLAlchemyError

from app.meters.delivery import Claimed, LeaseLost, claim_commands, settle_command
from app.meters.headend.blocking import Blocking
from app.meters.headend.execution import Execution
from app.meters.headend.intake import Intake
from app.meters.headend.line import Line

SWEEP_S = 2.0
#: Between two sendings of one command.
AGAIN_S = 0.5

Lines = Mapping[tuple[int, int], Line]
log = logging.getLogger(__name__)


class Dispatcher:
    """Claims commands for the lines that are up and carries each one out on its line."""

    def __init__(self, *, blocking: Blocking, intake: Intake, lines: Lines) -> None:
        self._blocking, self._intake, self._lines = blocking, intake, lines
        self._wake = asyncio.Event()
        #: Gateways a hint has named since the last claim.
        self._hinted: set[int] = set()
        #: Commands being carried out now: id → its task.
        self._running: dict[int, asyncio.Task[None]] = {}

    def wake(self, gateway_ids: Iterable[int]) -> None:
        """There may be something to send on these gateways."""
        self._hinted.update(gateway_ids)
        self._wake.set()

    async def run(self) -> None:
        """Claim and send until cancelled."""
        while True:
            epochs = await self._awaited()
            await asyncio.gather(*(self._claim(tenant_id, of_tenant) for tenant_id, of_tenant in epochs.items()))

    async def _awaited(self) -> dict[int, dict[int, int]]:
        """Wait for a hint, then for the lines it named; after SWEEP_S without one, every line."""
        try:
            async with asyncio.timeout(SWEEP_S):
                await self._wake.wait()
        except TimeoutError:
            return _epochs(self._lines.values())
        self._wake.clear()
        hinted, self._hinted = self._hinted, set()
        return _epochs(line for line in self._lines.values() if line.lease.gateway_id in hinted)

    async def finish(self, *, within_s: float) -> None:
        """Let what is on the wire come to its end, for so long."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=within_s)
        for task in self._running.values():
            task.cancel()

    async def _claim(self, tenant_id: int, epochs: Mapping[int, int]) -> None:
        in_flight = list(self._running)
        try:
            claimed = await self._blocking.run(tenant_id, claim_commands, lease_epochs=epochs, in_flight=in_flight)
        except SQLAlchemyError:
            log.exception("claiming commands of tenant %s failed", tenant_id)
            return
        for command in claimed:
            line = self._lines.get((tenant_id, command.gateway_id))
            # A line that fell in this very moment leaves the command in the air; the next claim reads it back.
            if line is not None:
                task = asyncio.create_task(self._carry_out(line, command))
                self._running[command.command_id] = task
                task.add_done_callback(self._done(command))

    def _done(self, command: Claimed) -> Callable[[asyncio.Task[None]], None]:
        def forget(task: asyncio.Task[None]) -> None:
            del self._running[command.command_id]
            if not task.cancelled() and task.exception() is not None:
                log.error("command %s: %s", command.command_id, task.exception())

        return forget

    async def _carry_out(self, line: Line, command: Claimed) -> None:
        execution = Execution(line=line, command=command, blocking=self._blocking, intake=self._intake)
        outcome = await execution.run()
        if outcome.watch:
            line.watch(command.meter_id)
        try:
            await self._blocking.run(
                line.lease.tenant_id,
                settle_command,
                claimed=command,
                state=outcome.state,
                relay=outcome.relay,
                failure=outcome.failure,
                frames=execution.frames,
            )
        except LeaseLost as lost:
            log.warning("command %s: %s", command.command_id, lost.code)
        # A retry waits for its turn; another word for the same meter may be queued behind this one.
        asyncio.get_running_loop().call_later(AGAIN_S if outcome.again else 0, self.wake, [command.gateway_id])


def _epochs(lines: Iterable[Line]) -> dict[int, dict[int, int]]:
    """Tenant → gateway → epoch of our lease, for lines that are up."""
    epochs: dict[int, dict[int, int]] = defaultdict(dict)
    for line in lines:
        if not line.bus.closed.is_set():
            epochs[line.lease.tenant_id][line.lease.gateway_id] = line.lease.epoch
    return epochs
