"""A site: a head-end and a simulated street in one event loop, over real sockets, for the meters of a world."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.clock import business_now
from app.kernel.db import Database
from app.kernel.outbox import OutboxEvent, register_consumers
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import Kind
from app.meters.command_models import Command
from app.meters.commands import grant_permit, order_command
from app.meters.headend.main import HeadEnd
from app.meters.models import Meter
from app.meters.simulator.gateway import GatewaySpec
from app.meters.simulator.meter import MeterSpec, SimMeter
from app.meters.simulator.spec import StreetSpec
from app.meters.simulator.street import Street
from app.settings import Settings
from tests.factories.world import BEGAN_AT, World

CONSUMERS = {
    "readings.arrived": ["pricing"],
    "commands.ended": ["supply"],
    "meters.returned": ["supply"],
    "meters.relay_changed": ["supply"],
}
PATIENCE_S = 60
#: Told by every gateway of a street; only one whose row has a secret is asked for it.
STREET_SECRET = "street"
Found = TypeVar("Found")


def settings(**changes: str) -> Settings:
    """Settings of a head-end on any free port, polling every business hour, its clock moved by the test."""
    env = {
        "DATABASE_URL": os.environ["DATABASE_URL"],
        "REDIS_URL": os.environ["REDIS_URL"],
        "SECRET_KEY": os.environ["SECRET_KEY"],
        "KEY_ENCRYPTION_KEY": os.environ["KEY_ENCRYPTION_KEY"],
        "AUDIT_KEY": os.environ["AUDIT_KEY"],
        "CLOCK_FILE": "moved",
        "HEADEND_PORT": "0",
    }
    return Settings.from_env(env | changes)


async def until(look: Callable[[], Found | Awaitable[Found]]) -> Found:
    """Look again and again until something is there; fails loudly after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"nothing came of {look}"
        await asyncio.sleep(0.01)


class Site:
    """One world's head-end and street, and quick looks into the database from the event loop."""

    def __init__(self, db: Database, world: World, head_end: HeadEnd, street: Street) -> None:
        self.db, self.world, self.head_end, self.street = db, world, head_end, street

    def sim(self, which: int = 0) -> SimMeter:
        """The simulated meter behind the world's meter."""
        address = f"{which + 1:012d}"
        return self.street.bus_of(address).meter(address)

    async def fault(self, which: int | None = None, **faults: Any) -> None:
        """Set faults on a meter, or on the gateway."""
        if which is None:
            await self.street.obey({"gateway": self.world.gateway_number, "set": faults})
        else:
            await self.street.obey({"meter": f"{which + 1:012d}", "set": faults})

    async def look(self, work: Callable[[Session], Found]) -> Found:
        """Run a query in a unit of work, off the event loop."""
        return await asyncio.to_thread(in_unit, self.db, self.world, work)

    async def meters(self) -> list[Meter]:
        """The world's meters as the database knows them."""
        return await self.look(lambda s: list(s.scalars(select(Meter).order_by(Meter.id))))

    async def polled(self) -> list[Meter]:
        """Wait until every meter has answered at the present business instant."""

        async def all_answered() -> list[Meter]:
            meters = await self.meters()
            return meters if all(m.answered_at == business_now() for m in meters) else []

        return await until(all_answered)

    async def order(self, kind: Kind, which: int = 0, **wishes: Any) -> int:
        """Order a command, a trip with its permit; returns its id."""
        return await asyncio.to_thread(order, self.db, self.world, kind, which, **wishes)

    async def ended(self, command_id: int) -> Command:
        """Wait for the end of a command."""

        def done(session: Session) -> Command | None:
            command = session.scalars(select(Command).where(Command.id == command_id)).one()
            return command if command.ended_at else None

        found = await until(lambda: self.look(done))
        assert found is not None
        return found

    async def told(self, kind: str) -> list[dict[str, Any]]:
        """Payloads of the events of a kind."""
        asked = select(OutboxEvent.payload).where(OutboxEvent.kind == kind).order_by(OutboxEvent.id)
        return await self.look(lambda s: list(s.scalars(asked)))


def in_unit(db: Database, world: World, work: Callable[[Session], Found]) -> Found:
    """Run something in a unit of work of the world's tenant."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return work(session)


def order(
    db: Database,
    world: World,
    kind: Kind,
    which: int = 0,
    *,
    lasts: timedelta = timedelta(minutes=30),
    key: str = "",
) -> int:
    """Order a command for one of the world's meters; a trip gets its permit. Returns its id."""
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = session.get_one(Meter, (world.tenant_id, world.meter_ids[which]))
        until_at = business_now() + lasts
        permit = None
        if kind is Kind.TRIP:
            permit = grant_permit(session, meter=meter, basis="zero_stop", evidence={}, valid_until=until_at)
        ordered = order_command(
            session,
            meter=meter,
            kind=kind,
            permit=permit,
            reason="test",
            actor="system:tests",
            valid_until=until_at,
            idempotency_key=key or f"{kind}:{which}:{time.monotonic_ns()}",
        )
        assert ordered.command is not None
        return ordered.command.id


def street_spec(world: World, port: int, *, mode: str = "dial_in", **meter: Any) -> StreetSpec:
    """The street of a world: its one gateway and its meters, fast to redial."""
    gateway = GatewaySpec(world.gateway_number, mode, "127.0.0.1", port, secret=STREET_SECRET, redial_ms=100)
    built = MeterSpec(address="", register_wh=100_000, register_at=BEGAN_AT)
    addresses = [f"{number:012d}" for number in range(1, len(world.meter_ids) + 1)]
    return StreetSpec(gateways=((gateway, tuple(replace(built, address=a, **meter) for a in addresses)),))


@asynccontextmanager
async def head_end_on(db: Database, **changes: str) -> AsyncIterator[HeadEnd]:
    """A running head-end."""
    register_consumers(CONSUMERS)
    head_end = HeadEnd(db, settings(**changes))
    await head_end.start()
    try:
        yield head_end
    finally:
        await head_end.stop()


@asynccontextmanager
async def street_on(spec: StreetSpec) -> AsyncIterator[Street]:
    """A running street; its serial servers listen once this is entered."""
    street, ready = Street(spec, business_now), asyncio.Event()
    task = asyncio.create_task(street.run(lambda _: ready.set()))
    try:
        await asyncio.wait({asyncio.create_task(ready.wait()), task}, return_when=asyncio.FIRST_COMPLETED)
        yield street
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def site_of(
    db: Database, world: World, changes: Iterable[tuple[str, str]] = (), **meter: Any
) -> AsyncIterator[Site]:
    """A head-end and the street of a world that dials in to it."""
    async with head_end_on(db, **dict(changes)) as head_end:
        async with street_on(street_spec(world, head_end.address[1], **meter)) as street:
            yield Site(db, world, head_end, street)
