"""Collection 催缴: whose buildings a steward 管家 looks after, and what came of a call. No money moves here."""

from datetime import date

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.collection_models import BuildingSteward, CollectionCall
from app.billing.models import SupplyAccount
from app.kernel.actor import Actor
from app.kernel.clock import business_now, local_day
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.permissions.held import load_scope
from app.permissions.policy import Permission
from app.tenants.audit import record
from app.tenants.models import Building, Property

OUTCOMES = ("reached", "promised", "no_answer", "disputed")
NOTE_LENGTH_MAX = 300


class StewardUnfit(AppError):
    """Who may not see the call list looks after no building."""

    code, status = "steward_unfit", 422
    message_zh = "此人在该项目没有查看催缴名单的权限。请先授予“楼栋管家”等角色。"
    message_en = "This person may not see the call list there. Grant a role such as building steward first."


class CallOutcomeMissing(AppError):
    """Nobody can go on from a call without an answer."""

    code, status = "call_outcome_missing", 422
    message_zh = "请选择通话结果；说明最多 {most} 个字。"
    message_en = "Choose what came of the call; the note has at most {most} characters."


class CallPromiseWrong(AppError):
    """A promise has a day, and it lies ahead."""

    code, status = "call_promise_wrong", 422
    message_zh = "承诺缴费须填写今天或以后的日期；其他结果不填日期。"
    message_en = "A promise has a day, today or later; other answers have none."


def assign_building(session: Session, *, building: Building, user_id: int, by: Actor) -> None:
    """Give a steward a building; the same again changes nothing. Raises StewardUnfit."""
    if not load_scope(session, user_id=user_id).allows(Permission.COLLECTION_CALL_READ, building.property_id):
        raise StewardUnfit()
    row = insert(BuildingSteward).values(
        tenant_id=current_tenant_id(), user_id=user_id, property_id=building.property_id, building_id=building.id,
        assigned_by=str(by), assigned_at=business_now(),
    )  # fmt: skip
    session.execute(row.on_conflict_do_nothing())
    _note(session, "collection:steward:assign", building, user_id, by)


def withdraw_building(session: Session, *, building: Building, user_id: int, by: Actor) -> None:
    """Take a building from a steward."""
    session.execute(
        delete(BuildingSteward).where(BuildingSteward.user_id == user_id, BuildingSteward.building_id == building.id)
    )
    _note(session, "collection:steward:withdraw", building, user_id, by)


def buildings_of(session: Session, *, user_id: int, property_ids: list[int]) -> list[int]:
    """Ids of the buildings a person looks after at these properties."""
    mine = select(BuildingSteward.building_id).where(
        BuildingSteward.user_id == user_id, BuildingSteward.property_id.in_(property_ids)
    )
    return sorted(session.scalars(mine))


def note_call(
    session: Session, *, account: SupplyAccount, outcome: str, promised_on: date | None, note: str, by: Actor
) -> CollectionCall:
    """Write down what came of a call. Raises CallOutcomeMissing, CallPromiseWrong."""
    if outcome not in OUTCOMES or len(note.strip()) > NOTE_LENGTH_MAX:
        raise CallOutcomeMissing(most=NOTE_LENGTH_MAX)
    zone = session.scalars(select(Property.time_zone).where(Property.id == account.property_id)).one()
    now = business_now()
    if (outcome == "promised") != (promised_on is not None) or (promised_on and promised_on < local_day(now, zone)):
        raise CallPromiseWrong()
    call = CollectionCall(
        property_id=account.property_id, supply_account_id=account.id, user_id=int(by.ref), called_at=now,
        outcome=outcome, promised_on=promised_on, note=note.strip(),
    )  # fmt: skip
    session.add(call)
    record(
        session, deed="collection:call:note", subject=f"supply_accounts:{account.id}", actor=by,
        property_id=account.property_id,
        facts={"outcome": outcome, "promised_on": promised_on.isoformat() if promised_on else None},
    )  # fmt: skip
    return call


def _note(session: Session, deed: str, building: Building, user_id: int, by: Actor) -> None:
    record(
        session, deed=deed, subject=f"users:{user_id}", actor=by, property_id=building.property_id,
        facts={"building_id": building.id},
    )  # fmt: skip
