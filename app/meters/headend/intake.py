"""What meters said, collected for a moment and written many at a time, tenant by tenant.

A database that is away does not lose readings: they wait here, up to a bound, and are written when it returns.
"""

import asyncio
import logging
from collections.abc import Sequence

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from app.meters.headend.blocking import Blocking
from app.meters.headend.heard import Heard, Lost, write_heard

#: How long the first of a batch waits for company, and how big a batch may grow.
COLLECT_S = 0.03
BATCH_MAX = 500
#: Readings kept while the database is away; beyond it the lines stop polling.
WAITING_MAX = 50_000
RETRY_S_MAX = 5.0

log = logging.getLogger(__name__)


class Intake:
    """Queues per tenant, each emptied by its own task, so that one tenant's long transaction delays no other."""

    def __init__(self, blocking: Blocking, *, collect_s: float = COLLECT_S) -> None:
        self._blocking, self._collect_s = blocking, collect_s
        self._queues: dict[int, asyncio.Queue[Heard | Lost]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def put(self, tenant_id: int, item: Heard | Lost) -> None:
        """Hand over what a meter said; waits while too much is unwritten."""
        if tenant_id not in self._queues:
            self._queues[tenant_id] = asyncio.Queue(WAITING_MAX)
            self._tasks[tenant_id] = asyncio.create_task(self._empty(tenant_id))
        await self._queues[tenant_id].put(item)

    async def drain(self) -> None:
        """Wait until everything handed over is written."""
        await asyncio.gather(*(queue.join() for queue in self._queues.values()))

    async def close(self, *, within_s: float) -> None:
        """Write what is left, for so long, and end."""
        try:
            async with asyncio.timeout(within_s):
                await self.drain()
        except TimeoutError:
            log.warning("readings left unwritten: %s", sum(q.qsize() for q in self._queues.values()))
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _empty(self, tenant_id: int) -> None:
        queue = self._queues[tenant_id]
        while True:
            batch = [await queue.get()]
            await asyncio.sleep(self._collect_s)
            while len(batch) < BATCH_MAX and not queue.empty():
                batch.append(queue.get_nowait())
            await self._write(tenant_id, batch)
            for _ in batch:
                queue.task_done()

    async def _write(self, tenant_id: int, batch: Sequence[Heard | Lost]) -> None:
        wait_s = 0.1
        while True:
            try:
                await self._blocking.run(tenant_id, write_heard, items=batch)
            except (OperationalError, InterfaceError) as away:
                log.warning("database away, %s items wait: %s", len(batch), type(away.orig).__name__)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_S_MAX)
            except SQLAlchemyError:
                await self._write_singly(tenant_id, batch)
                return
            else:
                return

    async def _write_singly(self, tenant_id: int, batch: Sequence[Heard | Lost]) -> None:
        """One bad item must not take the others with it."""
        if len(batch) == 1:
            log.exception("cannot write what meter %s said", batch[0].meter_id)
            return
        for item in batch:
            await self._write(tenant_id, [item])
