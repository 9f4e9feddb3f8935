"""Ordering commands, granting and revoking permits, and ending what was never sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kernel.clock import business_now
from app.kernel.errors import AppError
from app.kernel.outbox import tell
from app.meters.actuators import CLOSING, Actuator
from app.meters.command_life import (
    Coalesced,
    Kind,
    Pending,
    State,
    after_valid_until,
    check_move,
    coalesce,
)
from app.meters.command_models import Command, Permit
from app.meters.epoch import command_epoch
from app.meters.models import Meter, Mount
from app.meters.service import open_mount_of
from app.meters.wake import wake_after_commit

UNDONE = (State.QUEUED.value, State.SENT.value, State.ACKNOWLEDGED.value)
#: What was sent and never read back is given up this long after its time.
READ_BACK_GRACE = timedelta(minutes=10)
#: What they bring speaks for itself: a reading, a relay that moved.
READS = frozenset({Kind.READ_TOTAL, Kind.READ_STATUS})
_CLOSED = {"closed": True, "open": False}


class PermitMissing(AppError):
    """A trip was asked for without a live permit for this meter."""

    code, status = "permit_missing", 409
    message_zh = "没有有效的停供许可，不能拉闸。请先通过停供判定。"
    message_en = "There is no live permit for this trip. It has to pass the stop gate first."


class MeterNotSwitchable(AppError):
    """Nothing a command can do: no gateway, not mounted, or an actuator that cannot do this from afar."""

    code, status = "meter_not_switchable", 409
    message_zh = "表 {number} 不能远程执行该操作（{actuator}）。请安排人员到现场处理。"
    message_en = "Meter {number} cannot do this from afar ({actuator}). Send somebody to the meter."


@dataclass(frozen=True, slots=True)
class Ordered:
    """The command that now stands for the order (None: there was nothing left to do), and what it cancelled."""

    command: Command | None
    cancelled: tuple[int, ...]


def grant_permit(
    session: Session, *, meter: Meter, basis: str, evidence: dict[str, Any], valid_until: datetime
) -> Permit:
    """Write the right to trip one meter until a business instant. The gate above has decided; this records it."""
    permit = Permit(
        property_id=meter.property_id,
        meter_id=meter.id,
        basis=basis,
        evidence=evidence,
        granted_at=business_now(),
        valid_until=valid_until,
    )
    session.add(permit)
    session.flush()  # allow: flush - the command refers to the permit's id
    return permit


def order_command(
    session: Session,
    *,
    meter: Meter,
    kind: Kind,
    permit: Permit | None,
    reason: str,
    actor: str,
    valid_until: datetime,
    idempotency_key: str,
) -> Ordered:
    """Ask a meter for something, once per key; the latest decision overrules what was not sent yet.

    Locks the meter's row. Raises PermitMissing, MeterNotSwitchable.
    """
    known = session.scalar(select(Command).where(Command.idempotency_key == idempotency_key))
    if known is not None:
        return Ordered(known, ())
    _check_permit(meter, kind, permit)
    _check_switchable(session, meter, kind)
    _lock(session, meter)
    pending = _undone(session, meter_id=meter.id)
    plan = _coalesce(pending, kind, meter.relay_state)
    cancelled = [command for command in pending if command.id in plan.cancel]
    for command in cancelled:
        end_command(session, command=command, state=State.CANCELLED, failure="overruled")
    wake_after_commit(session, gateway_id=meter.gateway_id)
    if not plan.append:
        return Ordered(_standing(pending, kind, plan), plan.cancel)
    meter.command_seq += 1
    now = business_now()
    command = Command(
        property_id=meter.property_id,
        meter_id=meter.id,
        gateway_id=meter.gateway_id,
        kind=kind.value,
        seq=meter.command_seq,
        permit_id=permit.id if permit else None,
        state=State.QUEUED.value,
        reason=reason,
        actor=actor,
        idempotency_key=idempotency_key,
        epoch=command_epoch(),
        queued_at=now,
        valid_until=valid_until,
        attempts=0,
    )
    session.add(command)
    session.flush()  # allow: flush - the caller keeps the command's id
    return Ordered(command, plan.cancel)


def revoke_permits(session: Session, *, meter_ids: Sequence[int], reason: str) -> tuple[int, ...]:
    """Take back every live permit of these meters and cancel their trips that are still queued.

    Returns the ids of the cancelled commands. What is on the wire stays; the caller orders a close after it.
    """
    # Commands first, permits second: the same order in which the head-end locks them.
    trips = session.scalars(
        select(Command)
        .where(
            Command.meter_id.in_(meter_ids),
            Command.kind == Kind.TRIP.value,
            Command.state == State.QUEUED.value,
        )
        .order_by(Command.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for command in trips:
        end_command(session, command=command, state=State.CANCELLED, failure="permit_revoked")
    session.execute(
        update(Permit)
        .where(Permit.meter_id.in_(meter_ids), Permit.revoked_at.is_(None))
        .values(revoked_at=business_now(), revoked_reason=reason),
        execution_options={"synchronize_session": "fetch"},
    )
    return tuple(command.id for command in trips)


def expire_commands(session: Session, *, now: datetime, limit: int = 500) -> int:
    """End what is past its time: never sent → expired, perhaps sent → unconfirmed. Returns how many."""
    late = session.scalars(
        select(Command)
        .where(
            Command.state.in_(UNDONE),
            (Command.valid_until < now)
            & ((Command.state == State.QUEUED.value) | (Command.valid_until < now - READ_BACK_GRACE)),
        )
        .order_by(Command.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for command in late:
        state = after_valid_until(attempts=command.attempts)
        end_command(session, command=command, state=state, failure="too_late")
    return len(late)


def end_command(session: Session, *, command: Command, state: State, failure: str | None = None) -> None:
    """Move a locked command to a final state; tell the outbox unless it only asked. Raises IllegalMove."""
    check_move(State(command.state), state)
    now = business_now()
    command.state = state.value
    command.ended_at = now
    command.failure = failure
    if state is State.CONFIRMED:
        command.confirmed_at = now
    if Kind(command.kind) in READS:
        return
    tell(
        session,
        kind="commands.ended",
        payload={
            "command_id": command.id,
            "kind": command.kind,
            "state": state.value,
            "meter_id": command.meter_id,
        },
        order_key=f"meter:{command.meter_id}",
    )


def _check_permit(meter: Meter, kind: Kind, permit: Permit | None) -> None:
    if kind is not Kind.TRIP:
        return
    if permit is None or permit.meter_id != meter.id or permit.revoked_at is not None:
        raise PermitMissing


def _check_switchable(session: Session, meter: Meter, kind: Kind) -> None:
    if meter.gateway_id is None:
        raise MeterNotSwitchable(number=meter.number, actuator="-")
    if kind not in (Kind.TRIP, Kind.CLOSE, Kind.PERMIT_CLOSE):
        return
    mount = open_mount_of(session, meter_id=meter.id)
    if mount is None or not _can(mount, kind):
        raise MeterNotSwitchable(number=meter.number, actuator=mount.actuator if mount else "-")


def _can(mount: Mount, kind: Kind) -> bool:
    closing = CLOSING[Actuator(mount.actuator)]
    return {Kind.TRIP: True, Kind.CLOSE: closing.direct, Kind.PERMIT_CLOSE: closing.permit}[kind]


def _lock(session: Session, meter: Meter) -> None:
    """Lock the meter's row and take its columns as they stand now."""
    session.scalars(
        select(Meter)
        .where(Meter.id == meter.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()


def _undone(session: Session, *, meter_id: int) -> Sequence[Command]:
    asked = select(Command).where(Command.meter_id == meter_id, Command.state.in_(UNDONE))
    return session.scalars(
        asked.order_by(Command.seq).with_for_update().execution_options(populate_existing=True)
    ).all()


def _coalesce(pending: Sequence[Command], kind: Kind, relay_state: str) -> Coalesced:
    rows = [Pending(c.id, Kind(c.kind), State(c.state), c.seq, c.attempts) for c in pending]
    return coalesce(rows, kind, relay_closed=_CLOSED.get(relay_state))


def _standing(pending: Sequence[Command], kind: Kind, plan: Coalesced) -> Command | None:
    """The queued command of the same kind that makes a second one needless."""
    same = [c for c in pending if c.id not in plan.cancel and c.kind == kind.value]
    return same[-1] if same else None
