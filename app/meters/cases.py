"""Doubtful readings that a person has looked at."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.errors import AppError, NotFound
from app.meters.models import ReadingCase
from app.tenants.audit import record

#: Letters of a reason.
REASON_MAX = 100


class CaseReasonMissing(AppError):
    """Whoever settles a doubtful reading says what was found."""

    code, status = "case_reason_missing", 422
    message_zh = "请填写核对结果（1–100 字），例如：现场核对，表计示数正常。"
    message_en = "Say what was found (1–100 characters), for example: checked on site, the register is right."


def settle_case(session: Session, *, case_id: int, allowed: Collection[int], reason: str, by: Actor) -> ReadingCase:
    """A person has looked at a doubtful reading: it stays out of the series and holds up nothing any more.

    Raises NotFound for "not there", "settled already" and "not yours" alike, CaseReasonMissing.
    """
    open_one = select(ReadingCase).where(
        ReadingCase.id == case_id, ReadingCase.property_id.in_(allowed), ReadingCase.settled_at.is_(None)
    )
    case = session.scalar(open_one.with_for_update())
    if case is None:
        raise NotFound(thing="reading_case")
    if not 1 <= len(reason) <= REASON_MAX:
        raise CaseReasonMissing()
    case.settled_at = business_now()
    record(
        session,
        deed="reading:case:settle",
        subject=f"reading_cases:{case.id}",
        actor=by,
        property_id=case.property_id,
        facts={"meter_id": case.meter_id, "flag": case.flag, "register_wh": case.register_wh, "reason": reason},
    )
    return case
