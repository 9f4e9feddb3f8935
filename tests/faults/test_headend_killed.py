"""A head-end that dies with a command on the wire: the next one reads back, and the relay has moved once."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.outbox import register_consumers
from app.meters.command_life import Kind
from app.meters.command_models import Command
from app.meters.models import Gateway
from tests.conftest import MovableClock
from tests.factories.site import CONSUMERS, in_unit, order, street_on, street_spec, until
from tests.factories.world import World

pytestmark = pytest.mark.faults


@pytest.fixture
def port() -> Iterator[int]:
    """A port that stays ours: held without listening, which keeps everybody out but who listens with SO_REUSEADDR."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


class Nursery:
    """Head-end processes of one test."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.born: list[subprocess.Popen[bytes]] = []

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """One more head-end, as `make run` starts it."""
        command = [str(Path(sys.executable).with_name("tallyhouse")), "headend"]
        self.born.append(subprocess.Popen(command, env=self.env | {"HEADEND_NAME": name}))
        return self.born[-1]


@pytest.fixture
def nursery(db: Database, business_clock: MovableClock, port: int) -> Iterator[Nursery]:
    """Starts head-ends on the test's database and clock; ends what is left of them."""
    register_consumers(CONSUMERS)
    own = {
        "DATABASE_URL": os.environ["TALLYHOUSE_TEST_DATABASE_URL"],
        "CLOCK_FILE": str(business_clock.path),
        "HEADEND_PORT": str(port),
        "HEADEND_POLL_S": "3600",
    }
    nursery = Nursery(os.environ | own)
    yield nursery
    for process in nursery.born:
        process.kill()
        process.wait()


def is_online(session: Session) -> bool:
    """Does a head-end talk to the world's gateway?"""
    return session.scalars(select(Gateway.online)).one()


def test_a_trip_in_the_air_when_the_head_end_is_killed_moves_the_relay_once(
    db: Database, world: World, nursery: Nursery, port: int
) -> None:
    def look(work):  # type: ignore[no-untyped-def]
        return asyncio.to_thread(in_unit, db, world, work)

    async def story() -> None:
        async with street_on(street_spec(world, port)) as street:
            meter = street.bus_of("000000000001").meter("000000000001")
            first = nursery.start("first")
            await until(lambda: look(is_online))
            # The meter does what it is told and nothing it says arrives: the trip stays in the air however slow we are.
            await street.obey({"gateway": world.gateway_number, "set": {"drop_every": 1}})
            trip = await asyncio.to_thread(order, db, world, Kind.TRIP)
            sent = select(Command.state).where(Command.id == trip)
            await until(lambda: meter.state.trips == 1)
            first.kill()
            await asyncio.to_thread(first.wait)
            await street.obey({"gateway": world.gateway_number, "set": {"drop_every": 0}})
            # Fifteen seconds later: the lease is over.
            past = datetime(2020, 1, 1, tzinfo=UTC)
            await look(lambda s: s.execute(update(Gateway).values(lease_expires_at=past)))
            second = nursery.start("second")
            await until(lambda: look(lambda s: s.scalar(sent) == "confirmed"))
            assert meter.state.trips == 1
            await asyncio.to_thread(end, second)
        gateway = await look(lambda s: s.scalars(select(Gateway)).one())
        assert (gateway.lease_holder, gateway.online) == (None, False)

    asyncio.run(story())


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM is enough; it takes parts of a second, and on a machine that is busy elsewhere some more."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
