"""Commands over real sockets: a relay moves once, done means read back, and nothing late is ever carried out."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.outbox import register_consumers
from app.meters.command_life import Kind, State
from app.meters.command_models import Command, FrameRecord
from app.meters.commands import expire_commands, revoke_permits
from app.meters.delivery import claim_commands
from app.meters.epoch import use_epoch_file
from app.meters.headend.leases import take_lease
from app.meters.models import Gateway, Meter, Mount
from app.meters.wake import use_redis
from app.tenants.models import Property
from tests.conftest import MovableClock
from tests.factories.site import CONSUMERS, STREET_SECRET, in_unit, order, settings, site_of, until
from tests.factories.world import World

NOON = datetime(2026, 7, 15, 4, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _installation(business_clock: MovableClock) -> None:
    use_redis(settings().redis_url)
    use_epoch_file("")
    register_consumers(CONSUMERS)


def state_of(session: Session, command_id: int) -> tuple[str, str | None]:
    """State and failure of a command."""
    command = session.scalars(select(Command).where(Command.id == command_id)).one()
    return command.state, command.failure


def orphan(session: Session, gateway_id: int, *, acknowledged: bool = False) -> None:
    """A head-end that claimed everything and died."""
    lease = take_lease(session, gateway_id=gateway_id, holder="dead")
    claim_commands(session, lease_epochs={gateway_id: lease.epoch})
    session.execute(update(Gateway).values(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
    if acknowledged:
        session.execute(update(Command).values(state="acknowledged"))


def test_a_trip_is_sent_acknowledged_read_back_and_its_frames_kept_without_the_password(
    db: Database, world: World
) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            command = await site.ended(await site.order(Kind.TRIP))
            assert (command.state, command.read_back, command.attempts) == ("confirmed", "open", 1)
            assert command.acknowledged_at is not None
            assert (site.sim().state.relay_open, site.sim().state.trips) == (True, 1)
            frames = await site.look(lambda s: list(s.scalars(select(FrameRecord).order_by(FrameRecord.id))))
            meter = (await site.meters())[0]
        assert [f.direction for f in frames] == ["out", "in", "out", "in"]
        assert "**" in frames[0].frame
        assert (meter.relay_state, meter.relay_read_at) == ("open", NOON - timedelta(hours=2))

    asyncio.run(story())


@pytest.mark.parametrize(("kind", "closes"), [(Kind.CLOSE, 1), (Kind.PERMIT_CLOSE, 1)])
def test_light_returns_by_direct_close_or_by_a_permit_and_a_button(
    db: Database, world: World, kind: Kind, closes: int
) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.ended(await site.order(Kind.TRIP))
            command = await site.ended(await site.order(kind))
            assert (command.state, command.read_back) == ("confirmed", "closed")
            assert site.sim().state.closes == closes

    asyncio.run(story())


def test_a_permit_waits_for_the_button_and_the_closed_relay_is_told_when_it_is_pressed(
    db: Database, world: World
) -> None:
    async def story() -> None:
        async with site_of(db, world, presses_button=False) as site:
            await site.polled()
            await site.ended(await site.order(Kind.TRIP))
            command = await site.ended(await site.order(Kind.PERMIT_CLOSE))
            assert (command.state, command.read_back) == ("confirmed", "open")
            await site.street.obey({"meter": "000000000001", "press": True})
            await until(lambda: site.told("meters.relay_changed"))
            told = await site.told("meters.relay_changed")
            assert told == [{"meter_id": world.meter_ids[0], "relay_state": "closed"}]

    asyncio.run(story())


def test_guaranteed_supply_is_set_in_the_meter_which_then_refuses_a_trip(db: Database, world: World) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            on = await site.ended(await site.order(Kind.GUARANTEE_ON))
            trip = await site.ended(await site.order(Kind.TRIP))
            assert (on.state, site.sim().state.guaranteed) == ("confirmed", True)
            assert (trip.state, trip.failure, site.sim().state.trips) == ("refused", "meter_other", 0)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "failure", "trips"),
    [
        ({"answer": "ack_only"}, "relay_disagrees", 0),
        ({"answer": "wrong_address"}, "no_answer", 1),
        ({"answer": "bad_checksum"}, "no_answer", 1),
    ],
)
def test_what_is_never_read_back_is_unconfirmed_after_three_sendings(
    db: Database, world: World, monkeypatch: pytest.MonkeyPatch, fault: dict[str, str], failure: str, trips: int
) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            if failure == "no_answer":  # what comes is no answer, however long it is waited for
                monkeypatch.setattr("app.meters.headend.bus.ANSWER_WITHIN_S", 0.2)
            await site.fault(0, **fault)
            command = await site.ended(await site.order(Kind.TRIP))
            assert (command.state, command.failure, command.attempts) == ("unconfirmed", failure, 3)
            assert site.sim().state.trips == trips

    asyncio.run(story())


def test_a_lost_acknowledgement_is_made_good_by_the_read_back(db: Database, world: World) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            # The meter has answered total, relay and clock: the answer to the trip is its next but lost.
            lost = site.street.bus_of("000000000001").answers + 1
            await site.fault(0, drop_every=lost)
            command = await site.ended(await site.order(Kind.TRIP))
            assert (command.state, command.attempts, command.acknowledged_at) == ("confirmed", 1, None)
            assert site.sim().state.trips == 1

    asyncio.run(story())


def test_a_command_for_a_gateway_that_is_away_expires_and_is_never_carried_out(
    db: Database, world: World, business_clock: MovableClock
) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            await site.fault(offline=True)
            await until(lambda: site.look(lambda s: not s.scalars(select(Gateway.online)).one()))
            trip = await site.order(Kind.TRIP, lasts=timedelta(minutes=5))
            now = business_clock.set(NOON + timedelta(hours=2))
            assert await site.look(lambda s: expire_commands(s, now=now)) == 1
            await site.fault(offline=False)
            await site.polled()
            assert await site.look(lambda s: state_of(s, trip)) == ("expired", "too_late")
            assert site.sim().state.trips == 0

    asyncio.run(story())


def _revoke(session: Session, world: World) -> None:
    assert len(revoke_permits(session, meter_ids=world.meter_ids, reason="paid")) == 1


def _halt(session: Session, world: World) -> None:
    session.execute(update(Property).values(stops_halted=True))


def _guarantee(session: Session, world: World) -> None:
    session.execute(update(Mount).values(guaranteed_supply=True))


def _bypass(session: Session, world: World) -> None:
    session.execute(update(Mount).values(control="bypassed"))


def _take_off_account(session: Session, world: World) -> None:
    session.execute(update(Mount).values(supply_account_id=None))


def _real_gateway(session: Session, world: World) -> None:
    digest = sha256(STREET_SECRET.encode()).digest()
    session.execute(update(Gateway).values(simulated=False, secret_digest=digest))


@pytest.mark.parametrize(
    ("change", "state", "failure"),
    [
        (_revoke, "cancelled", "permit_revoked"),
        (_halt, "cancelled", "stops_halted"),
        (_guarantee, "refused", "guaranteed"),
        (_bypass, "refused", "bypassed"),
        (_take_off_account, "refused", "no_account"),
        (_real_gateway, "dry_run", "dry_run"),
    ],
)
def test_a_queued_trip_never_leaves_when_its_ground_is_gone(
    db: Database, world: World, change: Callable[[Session, World], None], state: str, failure: str
) -> None:
    trip = order(db, world, Kind.TRIP)
    in_unit(db, world, lambda s: change(s, world))

    async def story() -> None:
        async with site_of(db, world) as site:
            command = await site.ended(trip)
            await site.polled()
            assert (command.state, command.failure, command.attempts) == (state, failure, 0)
            assert site.sim().state.trips == 0

    asyncio.run(story())


def test_a_real_tenant_trips_only_on_paper(db: Database, make_world) -> None:
    world = make_world(kind="real")

    async def story() -> None:
        async with site_of(db, world) as site:
            command = await site.ended(await site.order(Kind.TRIP))
            assert (command.state, site.sim().state.trips) == ("dry_run", 0)

    asyncio.run(story())


def test_after_a_restore_from_backup_commands_of_the_older_epoch_are_not_sent(
    db: Database, world: World, tmp_path
) -> None:
    trip, close = order(db, world, Kind.TRIP), order(db, world, Kind.CLOSE, 1)
    (tmp_path / "epoch").write_text("2")
    use_epoch_file(str(tmp_path / "epoch"))

    async def story() -> None:
        async with site_of(db, world) as site:
            ended = [await site.ended(trip), await site.ended(close)]
            assert [(c.state, c.failure) for c in ended] == [("expired", "epoch_fence")] * 2

    asyncio.run(story())


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("acknowledged", [False, True])
def test_what_a_dead_head_end_left_in_the_air_is_read_back_before_anything_is_sent(
    db: Database, world: World, moved: bool, acknowledged: bool
) -> None:
    trip = order(db, world, Kind.TRIP)
    in_unit(db, world, lambda s: orphan(s, world.gateway_id, acknowledged=acknowledged))

    async def story() -> None:
        async with site_of(db, world, [("HEADEND_NAME", "next")]) as site:
            if moved:
                site.sim().state.relay_open, site.sim().state.trips = True, 1
            command = await site.ended(trip)
            assert (command.state, command.attempts) == ("confirmed", 1 if moved else 2)
            assert site.sim().state.trips == 1

    asyncio.run(story())


def test_two_hundred_lights_return_in_one_go(db: Database, make_world) -> None:
    world = make_world(spaces=200)

    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            for which in range(200):
                site.sim(which).state.relay_open = True
            closes = [await site.order(Kind.CLOSE, which) for which in range(200)]
            assert {(await site.ended(c)).state for c in closes} == {State.CONFIRMED.value}
            assert not any(site.sim(which).state.relay_open for which in range(200))

    asyncio.run(story())


def test_the_later_word_wins_whatever_is_on_the_wire(db: Database, world: World) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            await site.fault(0, delay_ms=300)
            trip = await site.order(Kind.TRIP)
            await until(lambda: site.look(lambda s: state_of(s, trip)[0] != "queued"))
            close = await site.order(Kind.CLOSE)
            assert [(await site.ended(c)).state for c in (trip, close)] == ["confirmed", "confirmed"]
            assert (site.sim().state.relay_open, site.sim().state.trips, site.sim().state.closes) == (False, 1, 1)

    asyncio.run(story())


def test_reading_on_demand_is_a_command_like_any_other(db: Database, world: World) -> None:
    async def story() -> None:
        async with site_of(db, world) as site:
            await site.polled()
            total = await site.ended(await site.order(Kind.READ_TOTAL))
            status = await site.ended(await site.order(Kind.READ_STATUS))
            assert (total.state, status.state, status.read_back) == ("confirmed", "confirmed", "closed")
            meter = await site.look(lambda s: s.get_one(Meter, (world.tenant_id, world.meter_ids[0])))
            assert meter.reading_at == NOON - timedelta(hours=2)

    asyncio.run(story())
