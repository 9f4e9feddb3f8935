"""Stopping or giving back many supplies at once: each still passes the one gate, and each answer is kept in words.

property, wallets (all locks, in id order) → order_stop / restore_supply one by one → a line for each → audit
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.cutoff import OPEN_STATES, REASON_LENGTH_MAX, order_stop
from app.billing.models import Stop, SupplyAccount
from app.billing.restore import restore_supply
from app.billing.restore_policy import RestoreHow
from app.billing.stop_policy import Basis
from app.billing.supply import lock_in_order
from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.tenants.audit import record

ACCOUNTS_MAX = 300
#: Answers that neither the gate nor a restore gives.
STOPPED_ALREADY, NOTHING_STOPPED = "stopped_already", "nothing_stopped"


class MassDeed(StrEnum):
    """What is done to all of them."""

    STOP = "stop"
    RESTORE = "restore"


class MassNothingChosen(AppError):
    """No supply account was ticked."""

    code, status = "mass_nothing_chosen", 422
    message_zh = "还没有选择房间。请勾选楼层或房间。"
    message_en = "No room is chosen yet. Tick floors or rooms."


class MassTooMany(AppError):
    """More than a person can look over."""

    code, status = "mass_too_many", 422
    message_zh = "一次最多 {most} 户。请分批办理。"
    message_en = "At most {most} accounts at once. Do it in parts."


class MassReasonMissing(AppError):
    """Many people sit in the dark: somebody will ask why."""

    code, status = "mass_reason_missing", 422
    message_zh = "请写明原因，最多 {most} 个字。"
    message_en = "Say why, in at most {most} characters."


@dataclass(frozen=True, slots=True)
class MassLine:
    """What came of one account: the gate's verdict or the way it is given back."""

    supply_account_id: int
    done: bool
    answer: str
    next_at: datetime | None = None
    edge_at: datetime | None = None
    pay_fen: int = 0

    def plain(self) -> dict[str, Any]:
        """Ready for JSON."""
        said = asdict(self)
        return said | {name: said[name].isoformat() if said[name] else None for name in ("next_at", "edge_at")}


def switch_many(
    session: Session,
    *,
    accounts: Sequence[SupplyAccount],
    deed: MassDeed,
    reason: str,
    actor: Actor,
    approval_id: int | None = None,
) -> list[MassLine]:
    """Stop, or give back, supply accounts of one property; one line for each, in the order given.

    Raises MassNothingChosen, MassTooMany, MassReasonMissing. What the gate refuses is a line, not an error.
    """
    check_mass(accounts=len(accounts), reason=reason)
    property_id = accounts[0].property_id
    lock_in_order(session, supply_account_ids=[account.id for account in accounts])
    switch = _stop if deed is MassDeed.STOP else _restore
    lines = [switch(session, account, reason.strip(), actor) for account in accounts]
    done = sum(line.done for line in lines)
    record(
        session,
        deed="supply:mass:control",
        subject=f"properties:{property_id}",
        actor=actor,
        property_id=property_id,
        reason=reason.strip(),
        approval_id=approval_id,
        facts={"deed": deed.value, "accounts": len(lines), "done": done, "lines": [line.plain() for line in lines]},
        result="done" if done else "refused",
    )
    return lines


def check_mass(*, accounts: int, reason: str) -> None:
    """Raises MassNothingChosen, MassTooMany, MassReasonMissing."""
    if not accounts:
        raise MassNothingChosen()
    if accounts > ACCOUNTS_MAX:
        raise MassTooMany(most=ACCOUNTS_MAX)
    if not 0 < len(reason.strip()) <= REASON_LENGTH_MAX:
        raise MassReasonMissing(most=REASON_LENGTH_MAX)


def _stop(session: Session, account: SupplyAccount, reason: str, actor: Actor) -> MassLine:
    if _is_stopped(session, account.id):
        _note_nothing(session, account, "supply:stop:order", STOPPED_ALREADY, actor)
        return MassLine(account.id, False, STOPPED_ALREADY)
    # Its own record is written by the gate's door, whatever the answer.
    outcome = order_stop(session, supply_account_id=account.id, basis=Basis.MANUAL, actor=actor, reason=reason)
    return MassLine(account.id, bool(outcome.ordered), outcome.verdict, outcome.next_at, outcome.edge_at)


def _restore(session: Session, account: SupplyAccount, _reason: str, actor: Actor) -> MassLine:
    verdicts = restore_supply(
        session, supply_account_id=account.id, actor=actor, by_person=True, appliances_off=True
    )  # fmt: skip
    refused = next((verdict for verdict in verdicts if verdict.refusal is not None), None)
    if not verdicts or refused is not None:
        answer = refused.refusal.value if refused is not None and refused.refusal else NOTHING_STOPPED
        _note_nothing(session, account, "supply:restore:order", answer, actor)
        return MassLine(account.id, False, answer, pay_fen=refused.pay_fen if refused else 0)
    by_hand = any(verdict.how is RestoreHow.DUTY_TASK for verdict in verdicts)
    return MassLine(account.id, True, (RestoreHow.DUTY_TASK if by_hand else verdicts[0].how).value)


def _is_stopped(session: Session, supply_account_id: int) -> bool:
    query = select(Stop.id).where(Stop.supply_account_id == supply_account_id, Stop.state.in_(OPEN_STATES)).limit(1)
    return session.scalar(query) is not None


def _note_nothing(session: Session, account: SupplyAccount, deed: str, answer: str, actor: Actor) -> None:
    record(
        session, deed=deed, subject=f"supply_accounts:{account.id}", actor=actor, property_id=account.property_id,
        facts={"verdict": answer}, result="refused",
    )  # fmt: skip
