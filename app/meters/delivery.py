"""Delivering commands: claimed under lock by the head-end that leases the gateway, looked at once more, followed.

    claim → frame sent → acknowledged → read back → confirmed | sent again | given up

Every write after the claim carries the lease epoch it was claimed under; a head-end that lost its lease writes nothing.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session, aliased

from app.kernel.clock import business_now
from app.kernel.crypto import CipherBroken
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.kernel.outbox import tell
from app.meters.command_life import Kind, State, check_move, is_final
from app.meters.command_models import Command, FrameRecord, Permit
from app.meters.commands import UNDONE, end_command
from app.meters.epoch import command_epoch
from app.meters.models import Gateway, Meter, MeterModel, Mount
from app.meters.sending import SendFacts, withhold
from app.meters.service import password_of
from app.tenants.access import within
from app.tenants.kek import KeyStoreAway
from app.tenants.models import Property, Tenant

log = logging.getLogger(__name__)

CLAIM_MAX = 200
_Locked = TypeVar("_Locked", Permit, Property)


class LeaseLost(AppError):
    """Another head-end talks on this bus now; what this one saw is not written."""

    code, status = "lease_lost", 409
    message_zh = "该网关已由另一台前置机接管，本次结果未记录。"
    message_en = "Another head-end has taken this gateway over; this result was not recorded."


@dataclass(frozen=True, slots=True, repr=False)
class Claimed:
    """A command in the hands of a head-end. `uncertain`: it may have been sent already; read back before anything.

    Has no repr: it carries the meter's password.
    """

    command_id: int
    meter_id: int
    gateway_id: int
    kind: Kind
    address: str
    dialect: str
    password: str
    #: The meter keeps the civil time of its property.
    zone: ZoneInfo
    valid_until: datetime
    attempts: int
    lease_epoch: int
    uncertain: bool


@dataclass(frozen=True, slots=True)
class SeenRelay:
    """What a meter said about its relay, at a business instant."""

    is_open: bool
    at: datetime

    @property
    def state(self) -> str:
        """Name kept in the meter's row."""
        return "open" if self.is_open else "closed"


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame on the wire, masked: direction out | in."""

    direction: str
    frame: str
    at: datetime


def claim_commands(
    session: Session, *, lease_epochs: Mapping[int, int], in_flight: Collection[int] = ()
) -> list[Claimed]:
    """Take what is to be sent on these gateways (gateway → epoch of our lease), oldest word first per meter.

    Each is looked at once more under lock; what may no longer leave ends here. What was sent, is not settled and is
    not among `in_flight` was left in the air by a sender that is gone: it comes back as uncertain.
    """
    halted = _lock_properties(session, lease_epochs)
    uncertain = _left_in_the_air(session, lease_epochs, in_flight)
    queued = _next_queued(session, lease_epochs, properties=halted)
    if closed := _closed_meters(session, {command.meter_id for command in (*uncertain, *queued)}):
        # Their words wait for the key store; the others leave, those behind them in the queue as well.
        uncertain = [command for command in uncertain if command.meter_id not in closed]
        queued = _next_queued(session, lease_epochs, properties=halted, leaving=closed)
    facts = _load_facts(session, queued, halted)
    sendable = []
    for command in queued:
        withheld = withhold(facts[command.id])
        if withheld is not None:
            end_command(session, command=command, state=withheld.state, failure=withheld.failure)
            continue
        command.state = State.SENT.value
        command.sent_at = business_now()
        command.attempts += 1
        sendable.append(command)
    for command in (*uncertain, *sendable):
        command.lease_epoch = lease_epochs[command.gateway_id or 0]
    return [
        *_hand_over(session, uncertain, uncertain=True),
        *_hand_over(session, sendable, uncertain=False),
    ]


def mark_acknowledged(session: Session, *, claimed: Claimed) -> None:
    """The meter accepted the command, which is not yet done. Raises LeaseLost."""
    command = _own(session, claimed)
    check_move(State(command.state), State.ACKNOWLEDGED)
    command.state = State.ACKNOWLEDGED.value
    command.acknowledged_at = business_now()


def settle_command(
    session: Session,
    *,
    claimed: Claimed,
    state: State,
    relay: SeenRelay | None,
    failure: str | None,
    frames: Sequence[SeenFrame],
) -> None:
    """Write how a sending ended: confirmed, queued for another try, unconfirmed or refused. Raises LeaseLost."""
    _lock_meter(session, claimed.meter_id)
    command = _own(session, claimed)
    session.add_all(
        FrameRecord(command_id=command.id, at=seen.at, direction=seen.direction, frame=seen.frame) for seen in frames
    )
    if relay is not None:
        command.read_back = relay.state
        if note_relay(session, meter_id=claimed.meter_id, relay=relay) and claimed.kind is Kind.READ_STATUS:
            payload = {"meter_id": claimed.meter_id, "relay_state": relay.state}
            tell(session, kind="meters.relay_changed", payload=payload, order_key=f"meter:{claimed.meter_id}")
    if is_final(state):
        end_command(session, command=command, state=state, failure=failure)
        return
    check_move(State(command.state), state)
    command.state, command.failure = state.value, failure


def note_relay(session: Session, *, meter_id: int, relay: SeenRelay) -> bool:
    """Keep what a meter says of its relay, unless a later reading is kept; True when it is another state than known.

    Whether it stands is asked in the statement that writes it: a poll's answer may be written at the same time.
    """
    known = select(Meter.relay_state).where(Meter.id == meter_id).with_for_update(key_share=True)
    before = session.scalars(known).one()
    stands = or_(Meter.relay_read_at.is_(None), Meter.relay_read_at <= relay.at)
    keep = update(Meter).where(Meter.id == meter_id, stands).values(relay_state=relay.state, relay_read_at=relay.at)
    after = session.scalars(keep.returning(Meter.relay_state)).one_or_none()
    return after is not None and after != before


def _lock_properties(session: Session, lease_epochs: Mapping[int, int]) -> dict[int, bool]:
    """Properties with something queued on these gateways → whether stops are halted there, under share lock.

    Before the commands, as a stop and the kill switch lock them: the other way round each would wait for the other.
    """
    waiting = select(Command.property_id).where(
        Command.gateway_id.in_(lease_epochs), Command.state == State.QUEUED.value
    )
    places = _by_id(session, Property, set(session.scalars(waiting.distinct())))
    return {property_id: place.stops_halted for property_id, place in places.items()}


def _left_in_the_air(session: Session, gateway_ids: Collection[int], in_flight: Collection[int]) -> Sequence[Command]:
    return session.scalars(
        select(Command)
        .where(
            Command.gateway_id.in_(gateway_ids),
            Command.state.in_((State.SENT.value, State.ACKNOWLEDGED.value)),
            Command.id.not_in(in_flight),
        )
        .order_by(Command.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()


def _closed_meters(session: Session, meter_ids: Collection[int]) -> frozenset[int]:
    """Meters whose password cannot be read now: all that have one while the key store is away, among these each that
    does not open.
    """
    guarded = select(Meter).where(Meter.password_cipher.is_not(None))
    meters = session.scalars(guarded.where(within(Meter.id, meter_ids))).all() if meter_ids else ()
    try:
        closed = frozenset(meter.id for meter in meters if not _opens(session, meter))
    except KeyStoreAway:
        closed = frozenset(session.scalars(guarded.with_only_columns(Meter.id)))
    if closed:
        log.error("words to %d meters wait for their passwords", len(closed))
    return closed


def _opens(session: Session, meter: Meter) -> bool:
    """Raises KeyStoreAway."""
    try:
        password_of(session, meter=meter)
    except CipherBroken:
        log.exception("the password of meter %s does not open", meter.id)
        return False
    return True


def _next_queued(
    session: Session,
    lease_epochs: Mapping[int, int],
    *,
    properties: Collection[int],
    leaving: Collection[int] = (),
) -> Sequence[Command]:
    """The oldest word per meter, in the locked properties; what was queued elsewhere meanwhile has its own hint."""
    earlier = aliased(Command)
    waits = (
        select(earlier.id)
        .where(
            earlier.tenant_id == current_tenant_id(),
            earlier.meter_id == Command.meter_id,
            earlier.seq < Command.seq,
            earlier.state.in_(UNDONE),
        )
        .exists()
    )
    return session.scalars(
        select(Command)
        .where(
            Command.gateway_id.in_(lease_epochs),
            Command.property_id.in_(properties),
            Command.state == State.QUEUED.value,
            ~waits,
            ~within(Command.meter_id, leaving),
        )
        .order_by(Command.id)
        .limit(CLAIM_MAX)
        .with_for_update(of=Command, skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()


def _load_facts(session: Session, commands: Sequence[Command], halted: Mapping[int, bool]) -> dict[int, SendFacts]:
    """Everything the last look needs, read under share locks in a few statements."""
    if not commands:
        return {}
    permits = _by_id(session, Permit, {c.permit_id for c in commands if c.permit_id is not None})
    mounts = _open_mounts(session, {c.meter_id for c in commands})
    may_trip = _gateways_that_may_trip(session, {c.gateway_id or 0 for c in commands})
    now, epoch_now = business_now(), command_epoch()
    return {
        c.id: SendFacts(
            kind=Kind(c.kind),
            now=now,
            valid_until=c.valid_until,
            attempts=c.attempts,
            epoch=c.epoch,
            epoch_now=epoch_now,
            permit_alive=_alive(permits.get(c.permit_id or 0), now),
            stops_halted=halted[c.property_id],
            guaranteed_supply=c.meter_id in mounts and mounts[c.meter_id].guaranteed_supply,
            bypassed=c.meter_id in mounts and mounts[c.meter_id].control == "bypassed",
            on_account=c.meter_id in mounts and mounts[c.meter_id].supply_account_id is not None,
            may_trip=(c.gateway_id or 0) in may_trip,
        )
        for c in commands
    }


def _by_id(session: Session, table: type[_Locked], ids: Collection[int]) -> dict[int, _Locked]:
    rows = session.scalars(
        select(table)
        .where(table.id.in_(ids))
        .order_by(table.id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    )
    return {row.id: row for row in rows}


def _alive(permit: Permit | None, now: datetime) -> bool:
    return permit is not None and permit.revoked_at is None and now <= permit.valid_until


def _open_mounts(session: Session, meter_ids: Collection[int]) -> dict[int, Mount]:
    rows = session.scalars(
        select(Mount)
        .where(Mount.meter_id.in_(meter_ids), Mount.ended_at.is_(None))
        .order_by(Mount.id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    )
    return {row.meter_id: row for row in rows}


def _gateways_that_may_trip(session: Session, gateway_ids: Collection[int]) -> frozenset[int]:
    """Simulated gateways of a demo tenant; of any other tenant none, until the full stop policy exists."""
    kind = session.scalar(select(Tenant.kind).where(Tenant.id == current_tenant_id()))
    if kind != "demo":
        return frozenset()
    asked = select(Gateway.id).where(Gateway.id.in_(gateway_ids), Gateway.simulated.is_(True))
    return frozenset(session.scalars(asked))


def _hand_over(session: Session, commands: Sequence[Command], *, uncertain: bool) -> list[Claimed]:
    if not commands:
        return []
    asked = (
        select(Meter, MeterModel.dialect, Property.time_zone)
        .join(MeterModel, (MeterModel.tenant_id == Meter.tenant_id) & (MeterModel.id == Meter.model_id))
        .join(Property, (Property.tenant_id == Meter.tenant_id) & (Property.id == Meter.property_id))
        .where(Meter.id.in_({command.meter_id for command in commands}))
    )
    known = {row[0].id: row for row in session.execute(asked)}
    claims = []
    for command in commands:
        meter, dialect, time_zone = known[command.meter_id]
        claims.append(_claimed(session, command, meter, dialect, ZoneInfo(time_zone), uncertain))
    return claims


def _claimed(
    session: Session, command: Command, meter: Meter, dialect: str, zone: ZoneInfo, uncertain: bool
) -> Claimed:
    return Claimed(
        command_id=command.id,
        meter_id=meter.id,
        gateway_id=command.gateway_id or 0,
        kind=Kind(command.kind),
        address=meter.address,
        dialect=dialect,
        password=password_of(session, meter=meter),
        zone=zone,
        valid_until=command.valid_until,
        attempts=command.attempts,
        lease_epoch=command.lease_epoch or 0,
        uncertain=uncertain,
    )


def _own(session: Session, claimed: Claimed) -> Command:
    command = session.scalars(
        select(Command)
        .where(Command.id == claimed.command_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if command.lease_epoch != claimed.lease_epoch or is_final(State(command.state)):
        raise LeaseLost
    return command


def _lock_meter(session: Session, meter_id: int) -> None:
    session.scalars(
        select(Meter)
        .where(Meter.id == meter_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()
