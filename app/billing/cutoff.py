"""Stopping supply: the one way to a trip. Screens, schedules and events all come through `order_stop`.

facts under lock → judge_stop → permit + trip command + stop, in one unit of work
                              → or a judgement: why not, and when it is asked again
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.arrears import Notice, NoticeState
from app.billing.low_balance import tell_customer
from app.billing.models import Stop, StopJudgement, SupplyAccount
from app.billing.stop_evidence import evidence
from app.billing.stop_gate import Asked, Switch, gather, lock_property, switches_of
from app.billing.stop_policy import Basis, StopFacts, StopVerdict, judge_stop
from app.billing.stop_refusals import Refusal
from app.billing.supply_accounts import find_supply_account
from app.billing.wallets import lock_wallet
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.meters.command_life import Kind, State
from app.meters.command_models import Command
from app.meters.commands import grant_permit, order_command, revoke_permits
from app.meters.models import Meter
from app.tenants.audit import record
from app.tenants.service import halt_stops

OPEN_STATES = ("ordered", "in_force", "restoring")
#: What a command keeps of the reason.
REASON_LENGTH_MAX = 120
#: The verdict of a judgement that let a stop through, and the two that no rule of the gate gives.
ALLOWED = "allowed"
DRY_RUN = "dry_run"
NO_GATEWAY = "no_gateway"
#: Refusals that nobody announces when they end: looked at again after this long, so that nothing is forgotten.
LOOK_AGAIN_AFTER = timedelta(hours=1)
_UNANNOUNCED = frozenset(
    {
        Refusal.KILL_SWITCH,
        Refusal.FROZEN,
        Refusal.PAYMENT_DOWN,
        Refusal.WEATHER_ALERT,
        Refusal.WEATHER_UNKNOWN,
        Refusal.CALENDAR_UNKNOWN,
        Refusal.DAY_LIMIT,
        # Its usage may be over before its time.
        Refusal.EMERGENCY_SUPPLY,
    }
)
#: A meter that refused, or a rehearsal: asked again a day later, not with every reading.
REFUSED_PAUSE = timedelta(hours=24)
#: A trip that expired on a meter thought online is tried again after this.
EXPIRED_PAUSE = timedelta(minutes=5)


class ReasonTooLong(AppError):
    """The reason does not fit into the command that carries it."""

    code, status = "stop_reason_too_long", 422
    message_zh = "原因最多 {most} 个字。请缩短后重新提交。"
    message_en = "A reason has at most {most} characters. Shorten it and submit again."


@dataclass(frozen=True, slots=True)
class StopOutcome:
    """What came of asking for a stop: ids of the stops ordered, or the first refusal and when it is asked again."""

    ordered: tuple[int, ...]
    verdict: str
    next_at: datetime | None
    #: The nearer end of the hours in which stops may happen, where they are what refused.
    edge_at: datetime | None = None


def order_stop(
    session: Session,
    *,
    supply_account_id: int,
    basis: Basis,
    actor: Actor,
    reason: str = "",
    emergency: bool = False,
) -> StopOutcome:
    """Ask the gate for every meter of a supply account and order what it allows. Raises ReasonTooLong, NotFound.

    Nothing else in the product may order a trip.
    """
    if len(reason) > REASON_LENGTH_MAX:
        raise ReasonTooLong(most=REASON_LENGTH_MAX)
    account = find_supply_account(session, supply_account_id=supply_account_id)
    asked = Asked(Basis(basis), str(actor), reason, emergency)
    place = lock_property(session, property_id=account.property_id)
    wallet = lock_wallet(session, supply_account_id=account.id)
    now = business_now()
    outcome = StopOutcome((), NO_GATEWAY, None)
    facts_said: dict[str, Any] = {}
    stopped = _stopped_meters(session, account.id)
    for switch in switches_of(session, supply_account_id=account.id):
        if switch.meter.id in stopped:
            continue
        facts = gather(session, asked=asked, account=account, place=place, wallet=wallet, switch=switch, now=now)
        verdict = judge_stop(facts)
        facts_said = evidence(facts, verdict)
        done = _carry_out(session, account, switch, asked, facts, verdict, facts_said)
        outcome = StopOutcome(outcome.ordered + done.ordered, done.verdict, done.next_at, done.edge_at)
    store_judgement(
        session, account=account, verdict=outcome.verdict, facts=facts_said, now=now, next_at=outcome.next_at
    )
    if outcome.ordered or asked.basis is Basis.MANUAL:
        _note(session, account, asked, actor, outcome)
    return outcome


def _note(session: Session, account: SupplyAccount, asked: Asked, actor: Actor, outcome: StopOutcome) -> None:
    """Every stop that was ordered, and every one that a person asked for in vain, leaves who, why and what came of it."""
    record(
        session,
        deed="supply:stop:order",
        subject=f"supply_accounts:{account.id}",
        actor=actor,
        property_id=account.property_id,
        facts={
            "basis": asked.basis.value,
            "reason": asked.reason,
            "verdict": outcome.verdict,
            "stop_ids": list(outcome.ordered),
        },
        result="done" if outcome.ordered else "refused",
    )


def halt(session: Session, *, property_id: int, reason: str, by: Actor) -> None:
    """The kill switch: no trip leaves for this property any more, and what was permitted is taken back."""
    halt_stops(session, property_id=property_id, reason=reason, by=by)
    meters = session.scalars(select(Meter.id).where(Meter.property_id == property_id).order_by(Meter.id)).all()
    revoke_permits(session, meter_ids=meters, reason="halted")


def trip_ended(session: Session, *, stop: Stop, command: Command) -> None:
    """Follow a trip to its end: done means read back; what did not happen is judged anew."""
    now = business_now()
    account = find_supply_account(session, supply_account_id=stop.supply_account_id)
    match State(command.state):
        case State.CONFIRMED:
            confirm_stop(session, stop=stop, account=account, at=now)
        case State.DRY_RUN:
            stop.state = "dry_run"
            _again(session, account, stop, DRY_RUN, now, now + REFUSED_PAUSE)
        case State.CANCELLED:
            _end_unsent(stop)
        case State.EXPIRED:
            _end_unsent(stop)
            online = session.scalar(select(Meter.online).where(Meter.id == stop.meter_id))
            # An offline meter is decided on anew when it is back, never caught up blindly.
            _again(session, account, stop, "expired", now, now + EXPIRED_PAUSE if online else None)
        case State.REFUSED:
            _end_unsent(stop)
            _again(session, account, stop, "meter_refused", now, now + REFUSED_PAUSE)
        case _:
            # Unconfirmed: it may have tripped. The stop stays open, so that a payment will close it.
            return


def confirm_stop(session: Session, *, stop: Stop, account: SupplyAccount, at: datetime) -> None:
    """The relay was read back open: the stop is in force, and the customer is told."""
    stop.in_force_at = stop.in_force_at or at
    if stop.state == "ordered":
        stop.state = "in_force"
        tell_customer(session, account=account, kind="stopped", message_key=f"stop:{stop.id}:stopped", **_figures(stop))


def store_judgement(
    session: Session,
    *,
    account: SupplyAccount,
    verdict: str,
    facts: dict[str, Any],
    now: datetime,
    next_at: datetime | None,
) -> None:
    """Keep the gate's last answer for the account, for its page and for the schedule."""
    said = {"verdict": verdict, "facts": facts, "judged_at": now, "next_at": next_at}
    row = insert(StopJudgement).values(
        tenant_id=current_tenant_id(), supply_account_id=account.id, property_id=account.property_id, **said
    )
    session.execute(row.on_conflict_do_update(index_elements=["tenant_id", "supply_account_id"], set_=said))


def due_judgements(session: Session, *, now: datetime, limit: int) -> Sequence[int]:
    """Supply accounts whose judgement is to be asked again by now, the longest waiting first."""
    query = select(StopJudgement.supply_account_id).where(StopJudgement.next_at <= now)
    return session.scalars(query.order_by(StopJudgement.next_at).limit(limit)).all()


def _stopped_meters(session: Session, supply_account_id: int) -> set[int]:
    query = select(Stop.meter_id).where(Stop.supply_account_id == supply_account_id, Stop.state.in_(OPEN_STATES))
    return set(session.scalars(query))


def _carry_out(
    session: Session,
    account: SupplyAccount,
    switch: Switch,
    asked: Asked,
    facts: StopFacts,
    verdict: StopVerdict,
    said: dict[str, Any],
) -> StopOutcome:
    if verdict.first_refusal is not None:
        return StopOutcome((), verdict.first_refusal.value, next_look(facts, verdict), verdict.edge_at)
    if switch.meter.gateway_id is None:
        return StopOutcome((), NO_GATEWAY, None)
    if verdict.dry_run or verdict.valid_until is None:
        stop = _write_stop(session, account, switch, asked, said, facts.now, state=DRY_RUN, command=None)
        return StopOutcome((), DRY_RUN, facts.now + REFUSED_PAUSE if stop.id else None)
    command = _order_trip(session, account, switch, asked, said, verdict.valid_until)
    stop = _write_stop(session, account, switch, asked, said, facts.now, state="ordered", command=command)
    return StopOutcome((stop.id,), ALLOWED, None)


def next_look(facts: StopFacts, verdict: StopVerdict) -> datetime | None:
    """When to ask again: when the gate says so, or half an hour before the hours begin if the warning is still to go."""
    first = verdict.first_refusal
    if first in _UNANNOUNCED:
        return facts.now + LOOK_AGAIN_AFTER
    if verdict.next_window_at is None or not facts.automatic or _warned(facts):
        return verdict.again_at
    warn_at = verdict.next_window_at - facts.alarms.warning_lead
    return warn_at if warn_at > facts.now else verdict.again_at


def _warned(facts: StopFacts) -> bool:
    """Is a last warning under way, or given and still fresh when the hours begin?"""
    for proof in facts.notices:
        if proof.notice is Notice.LAST_WARNING and proof.state is NoticeState.DELIVERED and proof.at is not None:
            opens = facts.window.next_opening(facts.now) or facts.now
            return opens - proof.at <= facts.alarms.warning_age_max
        if proof.notice is Notice.LAST_WARNING and proof.state is NoticeState.WAITING:
            return True
    return False


def _order_trip(
    session: Session,
    account: SupplyAccount,
    switch: Switch,
    asked: Asked,
    said: dict[str, Any],
    valid_until: datetime,
) -> Command | None:
    count = session.scalars(
        select(func.count()).where(Stop.supply_account_id == account.id, Stop.meter_id == switch.meter.id)
    ).one()
    permit = grant_permit(session, meter=switch.meter, basis=asked.basis.value, evidence=said, valid_until=valid_until)
    return order_command(
        session,
        meter=switch.meter,
        kind=Kind.TRIP,
        permit=permit,
        reason=asked.reason or asked.basis.value,
        actor=asked.actor,
        valid_until=valid_until,
        idempotency_key=f"trip:{account.id}:{switch.meter.id}:{count + 1}",
    ).command


def _write_stop(
    session: Session,
    account: SupplyAccount,
    switch: Switch,
    asked: Asked,
    said: dict[str, Any],
    now: datetime,
    *,
    state: str,
    command: Command | None,
) -> Stop:
    stop = Stop(
        property_id=account.property_id,
        supply_account_id=account.id,
        meter_id=switch.meter.id,
        basis=asked.basis.value,
        state=state,
        trip_command_id=command.id if command else None,
        evidence=said,
        ordered_at=now,
    )
    session.add(stop)
    session.flush()  # allow: flush - the caller reports the stop's id
    return stop


def _end_unsent(stop: Stop) -> None:
    if stop.state in OPEN_STATES:
        stop.state = "cancelled"


def _again(
    session: Session, account: SupplyAccount, stop: Stop, verdict: str, now: datetime, next_at: datetime | None
) -> None:
    store_judgement(session, account=account, verdict=verdict, facts={"stop_id": stop.id}, now=now, next_at=next_at)


def _figures(stop: Stop) -> dict[str, Any]:
    facts = stop.evidence.get("facts", {})
    return {"available_fen": facts.get("available_fen"), "overdraft_fen": facts.get("overdraft_fen")}
