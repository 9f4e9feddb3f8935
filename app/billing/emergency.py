"""Emergency supply 应急供电: the duty officer gives light for a night to whoever was stopped for money. No money moves.

The supply comes back through the same restore as always; the gate then holds stops off until the time or the usage is
over. Once per account a day; never what was stopped for safety or by a person.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.cutoff import OPEN_STATES
from app.billing.emergency_given import allowance_of, last_given, rated_since
from app.billing.emergency_models import EmergencyPolicy, EmergencySupply
from app.billing.emergency_rules import FEN_RANGE, HOURS_RANGE, Allowance
from app.billing.models import Stop, SupplyAccount
from app.billing.restore import restore_supply
from app.billing.stop_gate import lock_property
from app.billing.stop_policy import Basis
from app.billing.wallets import lock_wallet
from app.kernel.actor import Actor
from app.kernel.clock import business_now, local_day
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.kernel.money import format_yuan
from app.tenants.audit import record

REASON_LENGTH_MAX = 200
ABOUT_MONEY = frozenset({Basis.ZERO_STOP.value, Basis.ARREARS.value})


class EmergencyNotStopped(AppError):
    """Nothing of this account is stopped."""

    code, status = "emergency_not_stopped", 409
    message_zh = "该户没有停供，或正在恢复。无需应急供电；如仍无电，请联系表计工程师检查线路。"
    message_en = "This account is not stopped, or is coming back already. If it is dark, call the meter engineer."


class EmergencyForSafety(AppError):
    """What was stopped for safety is looked at by somebody who can."""

    code, status = "emergency_for_safety", 409
    message_zh = "该户因安全原因停供，不能应急供电。请联系表计工程师现场检查。"
    message_en = "This supply was stopped for safety and is not given back at night. Call the meter engineer."


class EmergencyByPerson(AppError):
    """A person stopped it for works."""

    code, status = "emergency_by_person", 409
    message_zh = "该户由工作人员人工停供（如检修），不能应急供电。请联系项目经理。"
    message_en = "Staff stopped this supply, for works for example. Call the property manager."


class EmergencyTooSoon(AppError):
    """Once per account a day."""

    code, status = "emergency_too_soon", 409
    message_zh = "该户 24 小时内已应急供电一次。请提醒住户充值，充值后自动恢复。"
    message_en = "This account had an emergency supply within 24 hours. A payment brings the light back at once."


class EmergencyReasonMissing(AppError):
    """The manager reads in the morning why."""

    code, status = "emergency_reason_missing", 422
    message_zh = "请写明原因，最多 200 个字。"
    message_en = "Say why, in at most 200 characters."


class EmergencyAppliances(AppError):
    """Nobody has said that cookers and heaters are off."""

    code, status = "emergency_appliances", 422
    message_zh = "请先与住户确认电炉、热水器等已关闭，并勾选确认。"
    message_en = "Ask the resident whether cookers and heaters are off, and tick that they are."


class EmergencyAllowanceWrong(AppError):
    """Beyond what may be set."""

    code, status = "emergency_allowance_wrong", 422
    message_zh = "时长须在 {hours_min}–{hours_max} 小时之间，用量须在 {least}–{most} 之间。"
    message_en = "Between {hours_min} and {hours_max} hours, and between {least} and {most} of usage."


def give_emergency_supply(
    session: Session, *, account: SupplyAccount, reason: str, appliances_off: bool, actor: Actor
) -> EmergencySupply:
    """Bring back what was stopped for money and hold stops off for a while.

    Raises, in this order: EmergencyReasonMissing, EmergencyForSafety, EmergencyByPerson, EmergencyNotStopped,
    EmergencyTooSoon, EmergencyAppliances.
    """
    if not 0 < len(reason.strip()) <= REASON_LENGTH_MAX:
        raise EmergencyReasonMissing()
    place = lock_property(session, property_id=account.property_id)
    wallet, now = lock_wallet(session, supply_account_id=account.id), business_now()
    refuse_emergency(session, supply_account_id=account.id, now=now)
    if not appliances_off:
        raise EmergencyAppliances()
    allowance, day = allowance_of(session, property_id=account.property_id), local_day(now, place.time_zone)
    given = EmergencySupply(
        property_id=account.property_id,
        supply_account_id=account.id,
        given_at=now,
        until_at=allowance.until(now),
        fen_max=allowance.fen_max,
        day_from=day,
        rated_from_microfen=rated_since(session, supply_account_id=account.id, day=day),
        available_fen=wallet.available_fen,
        reason=reason.strip(),
        actor=str(actor),
    )
    session.add(given)
    session.flush()  # allow: flush - the restore below reads it, and the audit log names it by its id
    _note(session, given, actor)
    restore_supply(session, supply_account_id=account.id, actor=actor, appliances_off=True)
    return given


def set_allowance(session: Session, *, property_id: int, hours: int, fen_max: int, by: Actor) -> None:
    """Set what the property's duty officer may give from now on. Raises EmergencyAllowanceWrong."""
    if not (HOURS_RANGE[0] <= hours <= HOURS_RANGE[1] and FEN_RANGE[0] <= fen_max <= FEN_RANGE[1]):
        raise EmergencyAllowanceWrong(
            hours_min=HOURS_RANGE[0], hours_max=HOURS_RANGE[1], least=format_yuan(FEN_RANGE[0]),
            most=format_yuan(FEN_RANGE[1]),
        )  # fmt: skip
    before = allowance_of(session, property_id=property_id)
    said = {"hours": hours, "fen_max": fen_max, "changed_by": str(by), "changed_at": business_now()}
    row = insert(EmergencyPolicy).values(tenant_id=current_tenant_id(), property_id=property_id, **said)
    session.execute(row.on_conflict_do_update(index_elements=["tenant_id", "property_id"], set_=said))
    record(
        session, deed="supply:emergency:set", subject=f"properties:{property_id}", actor=by, property_id=property_id,
        before=_figures(before), after=_figures(Allowance(hours, fen_max)),
    )  # fmt: skip


def refuse_emergency(session: Session, *, supply_account_id: int, now: datetime) -> None:
    """Say why the account gets no emergency supply now, as the deed would.

    Raises EmergencyForSafety, EmergencyByPerson, EmergencyNotStopped, EmergencyTooSoon.
    """
    query = select(Stop.basis, Stop.state).where(
        Stop.supply_account_id == supply_account_id, Stop.state.in_(OPEN_STATES)
    )
    stops = session.execute(query).all()
    grounds = {stop.basis for stop in stops}
    if Basis.SAFETY.value in grounds:
        raise EmergencyForSafety()
    if grounds - ABOUT_MONEY:
        raise EmergencyByPerson()
    if all(stop.state == "restoring" for stop in stops):
        raise EmergencyNotStopped()
    last = last_given(session, supply_account_id=supply_account_id)
    if last is not None and last.bars_next(now):
        raise EmergencyTooSoon()


def _note(session: Session, given: EmergencySupply, actor: Actor) -> None:
    record(
        session,
        deed="supply:emergency:give",
        subject=f"supply_accounts:{given.supply_account_id}",
        actor=actor,
        property_id=given.property_id,
        reason=given.reason,
        after={"until_at": given.until_at.isoformat(), "fen_max": given.fen_max},
        facts={"emergency_supply_id": given.id, "available_fen": given.available_fen},
    )


def _figures(allowance: Allowance) -> dict[str, int]:
    return {"hours": allowance.hours, "fen_max": allowance.fen_max}
