"""Giving supply back: after any credit, when a meter returns, or by a person. Lifted means the relay was read back closed.

A stop that could be lifted and is not yet stays visible as "paid, not yet delivered" with its age, whatever the reason:
an offline meter, a button not pressed, a breaker that only a hand can close.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.billing.alarms import tell_levels
from app.billing.cutoff import OPEN_STATES, confirm_stop
from app.billing.emergency_given import held_until
from app.billing.low_balance import tell_customer
from app.billing.models import Payment, Stop, SupplyAccount
from app.billing.restore_policy import RestoreFacts, RestoreHow, RestoreVerdict, judge_restore
from app.billing.stop_gate import Switch, switches_of
from app.billing.stop_policy import Basis
from app.billing.supply_accounts import find_supply_account
from app.billing.wallets import Wallet, lock_wallet
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.errors import NotFound
from app.meters.actuators import Actuator
from app.meters.command_life import Kind, State, is_final
from app.meters.command_models import Command
from app.meters.commands import order_command
from app.meters.models import Meter, Mount
from app.tenants.audit import record

#: A close is worth sending for as long as the stop stands; a meter away for longer is decided on anew.
CLOSE_VALID_FOR = timedelta(hours=1)
_KINDS = {RestoreHow.DIRECT_CLOSE: Kind.CLOSE, RestoreHow.PERMIT_CLOSE: Kind.PERMIT_CLOSE}


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A stop whose money is there and whose light is not: `how` names what it waits for."""

    stop_id: int
    supply_account_id: int
    property_id: int
    number: str
    meter_number: str
    paid_at: datetime
    age: timedelta
    #: duty_task | appliances | button | offline | command | unconfirmed.
    how: str


def restore_supply(
    session: Session, *, supply_account_id: int, actor: Actor, by_person: bool = False, appliances_off: bool = False
) -> list[RestoreVerdict]:
    """Judge every open stop of the account and order what gives supply back. Repeating it orders nothing twice.

    Returns one verdict per open stop. Raises NotFound.
    """
    account = find_supply_account(session, supply_account_id=supply_account_id)
    wallet = lock_wallet(session, supply_account_id=account.id)
    switches = {switch.meter.id: switch for switch in switches_of(session, supply_account_id=account.id)}
    verdicts = []
    for stop in _open_stops(session, account.id):
        if appliances_off:
            stop.appliances_off_at = stop.appliances_off_at or business_now()
        if stop.meter_id in switches:
            verdict = _judge(session, stop, account, wallet, switches[stop.meter_id], by_person)
            verdicts.append(verdict)
            before = (stop.state, stop.close_command_id)
            _carry_out(session, stop, switches[stop.meter_id], verdict, str(actor))
            if (stop.state, stop.close_command_id) != before:
                _note_order(session, stop, actor, verdict)
    return verdicts


def _note_order(session: Session, stop: Stop, actor: Actor, verdict: RestoreVerdict) -> None:
    record(
        session,
        deed="supply:restore:order",
        subject=f"stops:{stop.id}",
        actor=actor,
        property_id=stop.property_id,
        facts={"how": verdict.how.value, "command_id": stop.close_command_id, "state": stop.state},
    )


def confirm_appliances_off(session: Session, *, supply_account_id: int, actor: Actor) -> list[RestoreVerdict]:
    """Somebody confirmed that cookers and heaters are off: what waited for it closes now. Raises NotFound."""
    account = find_supply_account(session, supply_account_id=supply_account_id)
    record(
        session,
        deed="supply:appliances:confirm",
        subject=f"supply_accounts:{account.id}",
        actor=actor,
        property_id=account.property_id,
    )
    return restore_supply(session, supply_account_id=account.id, actor=actor, appliances_off=True)


def close_ended(session: Session, *, stop: Stop, command: Command) -> None:
    """Follow a closing command to its end. Only a relay read back closed lifts the stop; all else stays visible."""
    if command.state == State.CONFIRMED and command.read_back == "closed":
        lift(session, stop=stop)


def lift(session: Session, *, stop: Stop) -> None:
    """The relay was read back closed while the stop was being undone: it is over, and the customer is told."""
    if stop.state not in OPEN_STATES:
        return
    account = find_supply_account(session, supply_account_id=stop.supply_account_id)
    stop.state, stop.lifted_at = "lifted", business_now()
    tell_customer(session, account=account, kind="restored", message_key=f"stop:{stop.id}:restored")
    if held_until(session, supply_account_id=account.id, now=business_now()) is not None:
        # The wallet is as low as before: the gate looks at it every hour from now on, as nobody has paid.
        tell_levels(session, [account.id])


def relay_changed(session: Session, *, meter_id: int, relay_state: str) -> None:
    """A read-back outside any command found the relay elsewhere: the button was pressed, or a hand was at the breaker."""
    query = select(Stop).where(Stop.meter_id == meter_id, Stop.state.in_(OPEN_STATES)).with_for_update()
    for stop in session.scalars(query, execution_options={"populate_existing": True}):
        if relay_state == "closed" and stop.paid_at is not None:
            lift(session, stop=stop)
        elif relay_state == "open" and stop.state == "ordered":
            account = find_supply_account(session, supply_account_id=stop.supply_account_id)
            confirm_stop(session, stop=stop, account=account, at=business_now())


def report_closed_by_hand(session: Session, *, stop_id: int, actor: Actor) -> None:
    """The duty task is done: a person closed the breaker on site. Raises NotFound."""
    stop = session.scalar(
        select(Stop).where(Stop.id == stop_id, Stop.state.in_(OPEN_STATES), Stop.paid_at.is_not(None)).with_for_update()
    )
    if stop is None:
        raise NotFound(thing="stop")
    lift(session, stop=stop)
    record(
        session,
        deed="supply:stop:lift",
        subject=f"stops:{stop.id}",
        actor=actor,
        property_id=stop.property_id,
    )


def paid_not_delivered(session: Session, *, property_ids: Collection[int], now: datetime) -> list[Undelivered]:
    """Stops whose money is there and whose light is not, the longest waiting first."""
    close = Command.state
    rows = session.execute(
        select(Stop, SupplyAccount.number, Meter, Mount.actuator, close, Command.read_back)
        .join(SupplyAccount, (SupplyAccount.tenant_id == Stop.tenant_id) & (SupplyAccount.id == Stop.supply_account_id))
        .join(Meter, (Meter.tenant_id == Stop.tenant_id) & (Meter.id == Stop.meter_id))
        .outerjoin(
            Mount, (Mount.tenant_id == Stop.tenant_id) & (Mount.meter_id == Stop.meter_id) & Mount.ended_at.is_(None)
        )
        .outerjoin(Command, (Command.tenant_id == Stop.tenant_id) & (Command.id == Stop.close_command_id))
        .where(Stop.property_id.in_(property_ids), Stop.state.in_(OPEN_STATES), Stop.paid_at.is_not(None))
        .order_by(Stop.paid_at)
    )
    return [
        _undelivered(stop, number, meter, _waits_for(stop, meter, actuator, state, read_back), now)
        for stop, number, meter, actuator, state, read_back in rows
    ]


def undelivered_accounts(session: Session, *, limit: int) -> Sequence[int]:
    """Supply accounts with a paid stop whose closing command ended without light, on a meter that can be reached."""
    query = (
        select(Stop.supply_account_id)
        .join(Meter, (Meter.tenant_id == Stop.tenant_id) & (Meter.id == Stop.meter_id))
        .join(Command, (Command.tenant_id == Stop.tenant_id) & (Command.id == Stop.close_command_id))
        .where(
            Stop.state == "restoring",
            Meter.online,
            Command.state.in_((State.EXPIRED, State.UNCONFIRMED, State.REFUSED, State.CANCELLED)),
        )
        .order_by(Stop.id)
        .limit(limit)
    )
    return session.scalars(query).all()


def _open_stops(session: Session, supply_account_id: int) -> Sequence[Stop]:
    query = (
        select(Stop)
        .where(Stop.supply_account_id == supply_account_id, Stop.state.in_(OPEN_STATES))
        .order_by(Stop.id)
        .with_for_update()
    )
    return session.scalars(query, execution_options={"populate_existing": True}).all()


def _judge(
    session: Session, stop: Stop, account: SupplyAccount, wallet: Wallet, switch: Switch, by_person: bool
) -> RestoreVerdict:
    facts = RestoreFacts(
        basis=Basis(stop.basis),
        actuator=Actuator(switch.mount.actuator),
        available_fen=wallet.available_fen,
        restore_fen_min=account.restore_fen_min,
        button_reachable=switch.mount.button_reachable,
        appliances_off=stop.appliances_off_at is not None,
        by_person=by_person,
        emergency=held_until(session, supply_account_id=account.id, now=business_now()) is not None,
        safety_restores=_safety_restores(session, stop),
    )
    return judge_restore(facts)


def _safety_restores(session: Session, stop: Stop) -> int:
    if stop.basis != Basis.SAFETY:
        return 0
    since = business_now() - timedelta(hours=24)
    lifted = select(func.count()).where(
        Stop.meter_id == stop.meter_id, Stop.basis == Basis.SAFETY.value, Stop.lifted_at > since
    )
    return session.scalars(lifted).one()


def _carry_out(session: Session, stop: Stop, switch: Switch, verdict: RestoreVerdict, actor: str) -> None:
    match verdict.how:
        case RestoreHow.DUTY_TASK:
            _mark_paid(session, stop)
            stop.state = "restoring"
        case RestoreHow.DIRECT_CLOSE | RestoreHow.PERMIT_CLOSE:
            _mark_paid(session, stop)
            _order_close(session, stop, switch, _KINDS[verdict.how], actor)
        case RestoreHow.NOTHING if verdict.refusal == "appliances_unconfirmed":
            # The money is there: it counts as paid and not delivered until somebody confirms.
            _mark_paid(session, stop)
        case _:
            return


def _mark_paid(session: Session, stop: Stop) -> None:
    if stop.paid_at is None:
        last = select(func.max(Payment.received_at)).where(
            Payment.supply_account_id == stop.supply_account_id, Payment.received_at >= stop.ordered_at
        )
        stop.paid_at = session.scalar(last) or business_now()


def _order_close(session: Session, stop: Stop, switch: Switch, kind: Kind, actor: str) -> None:
    if stop.close_command_id is not None and not _ended(session, stop.close_command_id):
        return
    ordered = order_command(
        session,
        meter=switch.meter,
        kind=kind,
        permit=None,
        reason=f"restore:{stop.basis}",
        actor=actor,
        valid_until=business_now() + CLOSE_VALID_FOR,
        idempotency_key=f"close:{stop.id}:{stop.close_command_id or 0}",
    )
    if ordered.command is None:
        # The trip never left and the relay was read back closed: there is nothing to undo.
        stop.state = "cancelled"
        return
    stop.state, stop.close_command_id = "restoring", ordered.command.id


def _ended(session: Session, command_id: int) -> bool:
    state = session.scalars(select(Command.state).where(Command.id == command_id)).one()
    return is_final(State(state))


def _waits_for(stop: Stop, meter: Meter, actuator: str | None, state: str | None, read_back: str | None) -> str:
    if actuator in (Actuator.SHUNT_TRIP, Actuator.HV_SWITCH):
        return "duty_task"
    if stop.close_command_id is None:
        return "appliances"
    if state == State.CONFIRMED and read_back != "closed":
        return "button"
    if not meter.online:
        return "offline"
    return "unconfirmed" if state is not None and is_final(State(state)) else "command"


def _undelivered(stop: Stop, number: str, meter: Meter, how: str, now: datetime) -> Undelivered:
    paid_at = stop.paid_at or now
    return Undelivered(
        stop_id=stop.id,
        supply_account_id=stop.supply_account_id,
        property_id=stop.property_id,
        number=number,
        meter_number=meter.number,
        paid_at=paid_at,
        age=now - paid_at,
        how=how,
    )
