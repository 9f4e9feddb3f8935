"""Dialling the gateways that wait to be dialled: serial servers at a host and port."""

import asyncio
import logging
import time

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.meters.headend.blocking import Blocking
from app.meters.headend.bus import Bus
from app.meters.headend.leases import GatewayRefused, drop_dead_leases
from app.meters.headend.registry import Registry
from app.meters.headend.roster import dialled_gateways
from app.tenants.models import Tenant

LOOK_EVERY_S = 3.0
CONNECT_WITHIN_S = 5.0
BACK_OFF_S_MAX = 60.0

log = logging.getLogger(__name__)


class Dialler:
    """Keeps one connection to every dialled gateway that no other head-end holds."""

    def __init__(self, *, blocking: Blocking, registry: Registry) -> None:
        self._blocking, self._registry = blocking, registry
        self._calls: dict[tuple[int, int], asyncio.Task[None]] = {}
        #: Gateway → (monotonic instant of the next try, pause after that one).
        self._back_off: dict[tuple[int, int], tuple[float, float]] = {}

    async def run(self) -> None:
        """Look for gateways without a connection, and for leases nobody keeps, until cancelled."""
        while True:
            try:
                for tenant_id in await self._blocking.call(self._tenants):
                    await self._blocking.run(tenant_id, drop_dead_leases)
                    gateways = await self._blocking.run(tenant_id, dialled_gateways)
                    for gateway_id, host, port in gateways:
                        self._call((tenant_id, gateway_id), host, port)
            except SQLAlchemyError as away:
                log.warning("gateways to dial not read: %s", type(away).__name__)
            await asyncio.sleep(LOOK_EVERY_S)

    async def finish(self, *, within_s: float) -> None:
        """Wait until the calls have ended; cut the rest."""
        if self._calls:
            _, late = await asyncio.wait(self._calls.values(), timeout=within_s)
            for task in late:
                task.cancel()

    def _call(self, key: tuple[int, int], host: str, port: int) -> None:
        waiting_until, _ = self._back_off.get(key, (0.0, 0.0))
        if key in self._calls or time.monotonic() < waiting_until:
            return
        task = asyncio.create_task(self._talk(key, host, port))
        self._calls[key] = task
        task.add_done_callback(lambda _: self._calls.pop(key, None))

    async def _talk(self, key: tuple[int, int], host: str, port: int) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                reader, writer = await asyncio.open_connection(host, port)
            await self._registry.serve(*key, Bus(reader, writer))
        except GatewayRefused as refused:
            log.info("%s", refused)
        except (OSError, TimeoutError, SQLAlchemyError) as failure:
            log.info("gateway at %s:%s not reached: %s", host, port, type(failure).__name__)
        self._wait_longer(key, lasted_s=time.monotonic() - began)

    def _wait_longer(self, key: tuple[int, int], *, lasted_s: float) -> None:
        _, pause_s = self._back_off.get(key, (0.0, 0.5))
        pause_s = 1.0 if lasted_s > BACK_OFF_S_MAX else min(max(pause_s, 0.5) * 2, BACK_OFF_S_MAX)
        self._back_off[key] = (time.monotonic() + pause_s, pause_s)

    def _tenants(self) -> list[int]:
        with self._blocking.db.without_tenant() as connection:
            return list(connection.scalars(select(Tenant.id).order_by(Tenant.id)))
