"""The head-end process: start, run until told to end, end in order."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Collection, Iterable

import redis.asyncio
from redis.exceptions import RedisError

from app.kernel.db import Database
from app.meters.epoch import use_epoch_file
from app.meters.headend.blocking import Blocking
from app.meters.headend.dialler import Dialler
from app.meters.headend.dispatch import Dispatcher
from app.meters.headend.intake import COLLECT_S, Intake
from app.meters.headend.registry import Registry
from app.meters.headend.server import DialInServer
from app.meters.wake import CHANNEL
from app.settings import Settings

THREADS = 6
#: How often a line looks at the business clock: a moved clock must be noticed at once.
TICK_MOVED_S, TICK_S = 0.01, 0.5
#: How long a reading waits for company while the clock is moved: a street is small, and somebody waits for it.
COLLECT_MOVED_S = 0.015
REDIS_AGAIN_S = 2.0

log = logging.getLogger(__name__)


class HeadEnd:
    """All parts of one head-end. `address` is where gateways dial in to once it is started."""

    def __init__(self, db: Database, settings: Settings) -> None:
        holder = settings.headend_name or f"{socket.gethostname()}:{os.getpid()}"
        self._settings = settings
        self._blocking = Blocking(db, threads=THREADS)
        self.intake = Intake(self._blocking, collect_s=COLLECT_MOVED_S if settings.clock_file else COLLECT_S)
        self.registry = Registry(
            holder=holder,
            blocking=self._blocking,
            intake=self.intake,
            poll_s=int(settings.headend_poll_s),
            tick_s=TICK_MOVED_S if settings.clock_file else TICK_S,
        )
        self.dispatcher = Dispatcher(blocking=self._blocking, intake=self.intake, lines=self.registry.lines)
        self.registry.came_up = self.dispatcher.wake
        self._dial_in = DialInServer(blocking=self._blocking, registry=self.registry)
        self._dialler = Dialler(blocking=self._blocking, registry=self.registry)
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the listener."""
        assert self._server is not None
        host, port, *_ = self._server.sockets[0].getsockname()
        return host, port

    async def start(self) -> None:
        """Listen, dial, poll and dispatch from now on."""
        host, port = self._settings.headend_host, int(self._settings.headend_port)
        self._server = await asyncio.start_server(self._dial_in.accept, host, port)
        log.info("gateways dial in to %s:%s", *self.address)
        for work in (
            self.registry.keep_leases,
            self.registry.keep_rosters,
            self.dispatcher.run,
            self._dialler.run,
            self._hear_hints,
        ):
            self._tasks.append(asyncio.create_task(work()))

    async def stop(self) -> None:
        """Take nothing new, let what is on the wire end, write what was heard, give the leases back."""
        if self._server is not None:
            self._server.close()
        await _cancel(self._tasks)
        await self.dispatcher.finish(within_s=1.5)
        await self.registry.close()
        await asyncio.gather(self._dial_in.finish(within_s=1.0), self._dialler.finish(within_s=1.0))
        await self.intake.close(within_s=1.0)
        self._blocking.close()

    async def _hear_hints(self) -> None:
        """Wake the dispatcher when a command was written; without Redis the sweep does it."""
        while self._settings.redis_url:
            with contextlib.suppress(RedisError, OSError):
                await _listen(self._settings.redis_url, self.dispatcher.wake)
            await asyncio.sleep(REDIS_AGAIN_S)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    # A library that was just connecting may take a cancellation for a timeout of its own: ask again.
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.2)


async def _listen(url: str, wake: Callable[[Iterable[int]], None]) -> None:
    async with redis.asyncio.Redis.from_url(url) as client, client.pubsub() as hints:
        await hints.subscribe(CHANNEL)
        async for hint in hints.listen():
            if hint["type"] == "message":
                wake(int(part) for part in hint["data"].split(b",") if part.isdigit())


def run_headend(settings: Settings, db: Database) -> None:
    """Run a head-end until SIGTERM or SIGINT. The shell has opened the database and registered the consumers."""
    use_epoch_file(settings.epoch_file)
    asyncio.run(_run(settings, db))


async def _run(settings: Settings, db: Database) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, ended.set)
    head_end = HeadEnd(db, settings)
    await head_end.start()
    await ended.wait()
    await head_end.stop()
