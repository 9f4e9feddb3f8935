"""Lines that are up: how one comes up, how its lease is kept, and how it ends."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from sqlalchemy.exc import SQLAlchemyError

from app.meters.headend.blocking import Blocking
from app.meters.headend.bus import Bus
from app.meters.headend.intake import Intake
from app.meters.headend.leases import (
    RENEW_EVERY_S,
    TALK_AT_MOST_S,
    GatewayRefused,
    Lease,
    release_lease,
    renew_leases,
    take_lease,
)
from app.meters.headend.line import Line
from app.meters.headend.roster import load_roster

ROSTER_EVERY_S = 10.0
TIDY_WITHIN_S = 3.0

log = logging.getLogger(__name__)


class Registry:
    """Every line of this head-end by (tenant, gateway). `came_up` hears of each that is ready to carry commands."""

    def __init__(self, *, holder: str, blocking: Blocking, intake: Intake, poll_s: int, tick_s: float) -> None:
        self.lines: dict[tuple[int, int], Line] = {}
        self.came_up: Callable[[Iterable[int]], None] = _nobody_listens
        self._holder, self._blocking, self._intake = holder, blocking, intake
        self._poll_s, self._tick_s = poll_s, tick_s
        self._ending = False

    async def serve(self, tenant_id: int, gateway_id: int, bus: Bus, first: bytes = b"") -> None:
        """Lease the gateway, poll and carry commands until the connection ends. Raises GatewayRefused."""
        key = (tenant_id, gateway_id)
        await self._clear_half_open(key)
        lease = await self._blocking.run(tenant_id, take_lease, gateway_id=gateway_id, holder=self._holder)
        listening = asyncio.create_task(bus.listen(first))
        try:
            line = await self._bring_up(key, lease, bus)
            await line.run()
        finally:
            bus.close()
            self.lines.pop(key, None)
            await asyncio.gather(listening, return_exceptions=True)
            await self._release(lease)

    async def keep_leases(self) -> None:
        """Renew every lease well before its end, until cancelled; a line whose lease is gone falls silent."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            by_tenant: dict[int, list[Line]] = defaultdict(list)
            for line in list(self.lines.values()):
                by_tenant[line.lease.tenant_id].append(line)
            for tenant_id, lines in by_tenant.items():
                await self._renew(tenant_id, lines)

    async def keep_rosters(self) -> None:
        """Look for meters added to or taken from gateways, until cancelled."""
        while True:
            await asyncio.sleep(ROSTER_EVERY_S)
            for line in list(self.lines.values()):
                try:
                    roster = await self._blocking.run(
                        line.lease.tenant_id, load_roster, gateway_id=line.lease.gateway_id
                    )
                except SQLAlchemyError as away:
                    log.warning("roster of %s not read: %s", line.lease.number, type(away).__name__)
                else:
                    line.renew_roster(roster)

    async def close(self) -> None:
        """End every line; meters stay as they are, this head-end only ends."""
        self._ending = True
        for line in list(self.lines.values()):
            line.bus.close()

    async def _clear_half_open(self, key: tuple[int, int]) -> None:
        """A gateway that registers again: refuse it while the first line lives, end that line when it is dead."""
        earlier = self.lines.get(key)
        if earlier is None:
            return
        if await earlier.is_alive():
            raise GatewayRefused(number=earlier.lease.number, reason="registered_already")
        earlier.bus.close()
        for _ in range(int(TIDY_WITHIN_S / 0.02)):
            if key not in self.lines:
                return
            await asyncio.sleep(0.02)

    async def _bring_up(self, key: tuple[int, int], lease: Lease, bus: Bus) -> Line:
        bus.may_talk_until = time.monotonic() + TALK_AT_MOST_S
        roster = await self._blocking.run(lease.tenant_id, load_roster, gateway_id=lease.gateway_id)
        line = Line(
            lease=lease,
            bus=bus,
            roster=roster,
            intake=self._intake,
            poll_s=self._poll_s,
            tick_s=self._tick_s,
        )
        self.lines[key] = line
        log.info("gateway %s is up with %s meters, epoch %s", lease.number, len(roster), lease.epoch)
        self.came_up([lease.gateway_id])
        return line

    async def _renew(self, tenant_id: int, lines: list[Line]) -> None:
        asked_at = time.monotonic()
        epochs = {line.lease.gateway_id: line.lease.epoch for line in lines}
        try:
            ours = await self._blocking.run(tenant_id, renew_leases, holder=self._holder, epochs=epochs)
        except SQLAlchemyError as away:
            log.warning("leases of tenant %s not renewed: %s", tenant_id, type(away).__name__)
            return
        for line in lines:
            if line.lease.gateway_id in ours:
                line.bus.may_talk_until = asked_at + TALK_AT_MOST_S
            else:
                log.warning("lease of %s is gone", line.lease.number)
                line.bus.close()

    async def _release(self, lease: Lease) -> None:
        try:
            await self._blocking.run(lease.tenant_id, release_lease, lease=lease, lost=not self._ending)
        except SQLAlchemyError as away:
            log.warning("lease of %s ends by itself: %s", lease.number, type(away).__name__)


def _nobody_listens(gateway_ids: Iterable[int]) -> None:
    return None
