"""What meters said about their relays: the latest reading stands, in whatever order the readings are written."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select, update

from app.kernel.db import Database
from app.kernel.outbox import OutboxEvent, register_consumers
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import Kind, State
from app.meters.delivery import SeenRelay, claim_commands, note_relay, settle_command
from app.meters.epoch import use_epoch_file
from app.meters.headend.heard import Heard, write_heard
from app.meters.headend.leases import take_lease
from app.meters.models import Meter
from tests.conftest import MovableClock
from tests.factories.site import CONSUMERS, order
from tests.factories.world import World

EARLIER = datetime(2026, 7, 15, 2, 0, 3, 95_000, tzinfo=UTC)
LATER = EARLIER + timedelta(milliseconds=46)


@pytest.fixture(autouse=True)
def _installation(business_clock: MovableClock) -> None:
    register_consumers(CONSUMERS)
    use_epoch_file("")


def relay(state: str, at: datetime) -> SeenRelay:
    """A reading of a relay."""
    return SeenRelay(state == "open", at)


def kept(db: Database, world: World) -> tuple[str, datetime | None]:
    """What the row of the world's first meter says."""
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = session.get_one(Meter, (world.tenant_id, world.meter_ids[0]))
        return meter.relay_state, meter.relay_read_at


def told(db: Database, world: World) -> list[Any]:
    """Relay states told to others, in order."""
    asked = select(OutboxEvent).where(OutboxEvent.kind == "meters.relay_changed").order_by(OutboxEvent.id)
    with unit_of_work(world.tenant_id, db=db) as session:
        return [event.payload["relay_state"] for event in session.scalars(asked)]


def know(db: Database, world: World, state: str, at: datetime) -> None:
    """The meter's row as an earlier reading left it."""
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = update(Meter).where(Meter.id == world.meter_ids[0])
        session.execute(meter.values(relay_state=state, relay_read_at=at))


def hear(db: Database, world: World, *seen: SeenRelay) -> None:
    """One batch of a poll's answers."""
    said = [Heard(world.meter_ids[0], one.at, relay=one) for one in seen]
    with unit_of_work(world.tenant_id, db=db) as session:
        write_heard(session, items=said)


def settle(db: Database, world: World, kind: Kind, seen: SeenRelay) -> None:
    """A command ends with this read-back."""
    order(db, world, kind)
    with unit_of_work(world.tenant_id, db=db) as session:
        lease = take_lease(session, gateway_id=world.gateway_id, holder="a")
        claimed = claim_commands(session, lease_epochs={world.gateway_id: lease.epoch})[0]
    with unit_of_work(world.tenant_id, db=db) as session:
        settle_command(session, claimed=claimed, state=State.CONFIRMED, relay=seen, failure=None, frames=[])


def test_a_poll_that_is_written_after_a_later_read_back_changes_nothing_and_tells_nobody(
    db: Database, world: World
) -> None:
    settle(db, world, Kind.TRIP, relay("open", LATER))
    hear(db, world, relay("closed", EARLIER))
    assert kept(db, world) == ("open", LATER)
    assert told(db, world) == []


def test_a_poll_that_is_later_than_the_read_back_stands_and_is_told(db: Database, world: World) -> None:
    settle(db, world, Kind.TRIP, relay("open", EARLIER))
    hear(db, world, relay("closed", LATER))
    assert kept(db, world) == ("closed", LATER)
    assert told(db, world) == ["closed"]


@pytest.mark.parametrize(
    ("seen", "stands", "says"),
    [
        (relay("open", EARLIER), ("closed", LATER), []),
        (relay("open", LATER), ("open", LATER), ["open"]),
        (relay("open", LATER + timedelta(hours=1)), ("open", LATER + timedelta(hours=1)), ["open"]),
    ],
    ids=["older", "same instant", "newer"],
)
def test_a_status_asked_for_stands_unless_it_is_older_than_what_is_known(
    db: Database, world: World, seen: SeenRelay, stands: tuple[str, datetime], says: list[str]
) -> None:
    know(db, world, "closed", LATER)
    settle(db, world, Kind.READ_STATUS, seen)
    assert (kept(db, world), told(db, world)) == (stands, says)


@pytest.mark.parametrize("order_", list(permutations(range(3))))
def test_of_several_answers_in_one_batch_the_latest_stands(db: Database, world: World, order_: tuple[int, ...]) -> None:
    know(db, world, "closed", EARLIER)
    seen = [relay("closed", EARLIER), relay("open", LATER), relay("closed", EARLIER + timedelta(milliseconds=1))]
    hear(db, world, *(seen[n] for n in order_))
    assert kept(db, world) == ("open", LATER)
    assert told(db, world) == ["open"]


def test_an_older_answer_still_shows_that_the_meter_is_there(db: Database, world: World) -> None:
    know(db, world, "open", LATER)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Meter).values(online=False, answered_at=EARLIER - timedelta(hours=1)))
    hear(db, world, relay("closed", EARLIER))
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = session.get_one(Meter, (world.tenant_id, world.meter_ids[0]))
        assert (meter.online, meter.relay_state) == (True, "open")
        assert "meters.returned" in session.scalars(select(OutboxEvent.kind)).all()


def test_what_this_session_read_before_another_wrote_does_not_decide(db: Database, world: World) -> None:
    know(db, world, "closed", EARLIER - timedelta(hours=1))
    with unit_of_work(world.tenant_id, db=db) as session:
        session.get_one(Meter, (world.tenant_id, world.meter_ids[0]))
        know(db, world, "open", LATER)
        assert not note_relay(session, meter_id=world.meter_ids[0], relay=relay("closed", EARLIER))
    assert kept(db, world) == ("open", LATER)
