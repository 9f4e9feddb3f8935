"""The head-end over real sockets: who is let in, what is read, what a moved clock sets off."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.drivers.dialin import registration_packet
from app.meters.headend import server
from app.meters.headend.quiet import pending_work
from app.meters.headend.server import STRANGERS_MAX, STRANGERS_PER_ADDRESS_MAX
from app.meters.models import Gateway, Meter, Reading
from tests.conftest import MovableClock
from tests.factories.site import head_end_on, in_unit, site_of, street_on, street_spec, until
from tests.factories.world import World

NOON = datetime(2026, 7, 15, 4, 0, tzinfo=UTC)
POLL_S = 3600


def gateway_of(session: Session) -> Gateway:
    """The world's only gateway."""
    return session.scalars(select(Gateway)).one()


async def cut_off(port: int, packet: bytes) -> bool:
    """Dial in with these first bytes; True when the head-end hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(packet)
    async with asyncio.timeout(60):
        ended = await reader.read() == b""
    writer.close()
    return ended


def test_meters_behind_a_gateway_that_dials_in_are_read_once_an_hour(
    db: Database, world: World, business_clock: MovableClock
) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            first = await site.polled()
            business_clock.set(NOON + timedelta(hours=6))
            second = await site.polled()
        assert [m.relay_state for m in first] == ["closed"] * 4
        assert [m.clock_drift_s for m in first] == [0] * 4
        assert all(later.register_wh > earlier.register_wh for earlier, later in zip(first, second, strict=True))
        counted = select(Reading.meter_id, func.count()).group_by(Reading.meter_id)
        assert await site.look(lambda s: sorted(n for _, n in s.execute(counted))) == [2] * 4

    asyncio.run(story())


def test_a_head_end_is_quiet_once_every_meter_has_answered_since_it_was_due(
    db: Database, world: World, business_clock: MovableClock
) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            done = await site.look(lambda s: pending_work(s, poll_s=POLL_S, now=business_clock.now()))
            later = business_clock.now() + timedelta(hours=1)
            due = await site.look(lambda s: pending_work(s, poll_s=POLL_S, now=later))
        assert (done.quiet, due.polls) == (True, 4)

    asyncio.run(story())


def test_a_gateway_that_is_dialled_is_read_just_the_same(
    db: Database, world: World, business_clock: MovableClock
) -> None:
    async def story() -> None:
        async with street_on(street_spec(world, 0, mode="serial")) as street:
            port = street.line(world.gateway_number).view()["port"]
            values = {"mode": "dial_out", "host": "127.0.0.1", "port": port}
            await asyncio.to_thread(in_unit, db, world, lambda s: s.execute(update(Gateway).values(**values)))
            async with head_end_on(db):
                await until(lambda: asyncio.to_thread(in_unit, db, world, _all_online))

    asyncio.run(story())


def _all_online(session: Session) -> bool:
    return all(session.scalars(select(Meter.online)))


@pytest.mark.parametrize("packet", [b"NOBODY-1\r\n", b"GET / HTTP/1.1\r\n", b"\x68" * 300, b"\r\n"])
def test_strangers_are_cut_off(db: Database, world: World, business_clock: MovableClock, packet: bytes) -> None:
    async def story() -> None:
        async with head_end_on(db) as head_end:
            assert await cut_off(head_end.address[1], packet)

    asyncio.run(story())


def test_a_gateway_with_a_secret_must_tell_it(db: Database, world: World, business_clock: MovableClock) -> None:
    number = world.gateway_number
    with unit_of_work(world.tenant_id, db=db) as session:
        gateway_of(session).secret_digest = sha256(b"open-sesame").digest()

    async def story() -> None:
        async with head_end_on(db) as head_end:
            port = head_end.address[1]
            assert await cut_off(port, registration_packet(number))
            assert await cut_off(port, registration_packet(number, "wrong"))
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(registration_packet(number, "open-sesame"))
            await until(lambda: head_end.registry.lines)
            writer.close()

    asyncio.run(story())


def test_a_real_gateway_without_a_secret_on_file_is_not_let_in(
    db: Database, make_world: Callable[..., World], business_clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its number is printed on the box: whoever read it could send readings and answer commands."""
    world = make_world(simulated=False)

    async def story() -> None:
        async with head_end_on(db) as head_end:
            for secret in (None, "guessed"):
                assert await cut_off(head_end.address[1], registration_packet(world.gateway_number, secret))

    asyncio.run(story())
    assert caplog.text.count("no_secret_on_file") == 2


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def test_silent_connections_keep_no_gateway_from_registering(
    db: Database, world: World, business_clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one address may have, then more than all may have: the oldest are cut, the gateway gets in."""
    monkeypatch.setattr(server, "REGISTER_WITHIN_S", 3_600)  # nobody is cut for being slow

    async def story() -> None:
        async with head_end_on(db) as head_end, AsyncExitStack() as silent:
            port = head_end.address[1]
            crowd = ["127.0.0.1"] * (STRANGERS_PER_ADDRESS_MAX + 1)
            crowd += [f"127.0.0.{2 + which // 40}" for which in range(STRANGERS_MAX)]
            readers = []
            for address in crowd:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
                silent.callback(_abort, writer)
                readers.append(reader)
            for oldest in readers[: STRANGERS_PER_ADDRESS_MAX + 1]:
                async with asyncio.timeout(60):
                    with suppress(ConnectionResetError):
                        assert await oldest.read() == b""
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(registration_packet(world.gateway_number))
            await until(lambda: head_end.registry.lines)
            writer.close()

    asyncio.run(story())


def test_a_second_registration_is_refused_while_the_first_line_lives(
    db: Database, world: World, business_clock: MovableClock
) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            assert await cut_off(site.head_end.address[1], registration_packet(world.gateway_number))
            business_clock.set(NOON + timedelta(hours=2))
            await site.polled()

    asyncio.run(story())


def test_a_half_open_line_gives_way_to_the_gateway_that_dials_again(
    db: Database, world: World, business_clock: MovableClock
) -> None:
    async def story() -> None:
        async with head_end_on(db) as head_end:
            port = head_end.address[1]
            _, dead = await asyncio.open_connection("127.0.0.1", port)
            dead.write(registration_packet(world.gateway_number))
            await until(lambda: head_end.registry.lines)
            async with street_on(street_spec(world, port)):
                await until(lambda: asyncio.to_thread(in_unit, db, world, _all_online))
            dead.close()

    asyncio.run(story())


def test_a_meter_that_falls_silent_is_lost_and_told_when_it_returns(
    db: Database, world: World, business_clock: MovableClock
) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            await site.fault(1, offline=True)
            business_clock.set(NOON + timedelta(hours=1))
            await until(lambda: site.look(lambda s: not s.get_one(Meter, (world.tenant_id, world.meter_ids[1])).online))
            await site.fault(1, offline=False)
            await until(lambda: site.told("meters.returned"))
            assert await site.told("meters.returned") == [{"meter_id": world.meter_ids[1]}]

    asyncio.run(story())


def test_a_gateway_that_went_away_takes_its_meters_offline_and_brings_them_back(
    db: Database, world: World, business_clock: MovableClock
) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            await site.fault(offline=True)
            await until(lambda: site.look(lambda s: not gateway_of(s).online))
            assert await site.look(lambda s: list(s.scalars(select(Meter.online)))) == [False] * 4
            business_clock.set(NOON + timedelta(days=3))
            await site.fault(offline=False)
            await site.polled()
            assert len(await site.told("meters.returned")) == 4

    asyncio.run(story())


def test_a_head_end_that_is_told_to_end_ends_soon_and_gives_its_leases_back(
    db: Database, world: World, business_clock: MovableClock
) -> None:
    async def story() -> float:
        async with site_of(db, world) as site:
            await site.polled()
            began = time.monotonic()
            await site.head_end.stop()
            took_s = time.monotonic() - began
            gateway = await site.look(gateway_of)
            assert (gateway.lease_holder, gateway.online) == (None, False)
            assert await site.look(_all_online)
        return took_s

    assert asyncio.run(story()) < 30  # half a second, where nothing else runs
