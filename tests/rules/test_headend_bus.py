"""One line to a gateway: who may talk on it, and what those who wait hear when it ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.meters.drivers import DRIVERS
from app.meters.drivers.base import Readable
from app.meters.headend.bus import Bus, LineDown, NoAnswer

DLT645 = DRIVERS["dlt645-2007"]
QUESTION = DLT645.build_read("000000000161", Readable.TOTAL)
ANSWER = bytes.fromhex("6861010000000068910833333433593333338A16")
STRANGE = bytes.fromhex("6812907856341268910833333433AB896745CC16")

Far = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def line(lease_s: float = 30) -> AsyncIterator[tuple[Bus, Far]]:
    """A bus over a real socket, and the far end of it."""
    far: asyncio.Future[Far] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far.set_result((reader, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        bus = Bus(reader, writer)
        bus.may_talk_until = time.monotonic() + lease_s
        listening = asyncio.create_task(bus.listen())
        there = await far
        try:
            yield bus, there
        finally:
            bus.close()
            there[1].close()
            await listening


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_who_may_no_longer_talk_says_nothing() -> None:
    async def story() -> None:
        async with line(lease_s=-1) as (bus, (far, _)):
            with pytest.raises(LineDown):
                await bus.ask(DLT645, QUESTION)
            with pytest.raises(LineDown):
                await bus.tell(QUESTION)
            bus.close()
            assert await far.read() == b""

    run(story)


def test_who_waits_for_an_answer_hears_that_the_line_ended() -> None:
    async def story() -> None:
        async with line() as (bus, (far, there)):
            waiting = asyncio.create_task(bus.ask(DLT645, QUESTION))
            assert await far.readexactly(len(QUESTION)) == QUESTION
            there.close()
            with pytest.raises(LineDown):
                await waiting

    run(story)


def test_silence_has_its_own_name_and_the_line_goes_on() -> None:
    async def story() -> None:
        async with line() as (bus, (far, there)):
            with pytest.raises(NoAnswer):
                await bus.ask(DLT645, QUESTION, within_s=0.05)
            there.write(STRANGE)
            asked = asyncio.create_task(bus.ask(DLT645, QUESTION))
            await far.readexactly(2 * len(QUESTION))
            there.write(b"HB\r\n" + STRANGE + ANSWER)
            assert await asked == ANSWER

    run(story)
