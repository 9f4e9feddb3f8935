"""Readings by hand from a sheet: the amount is its rows."""

import io
from collections.abc import Callable, Mapping, Sequence
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from app.billing.approved.gate import Desk, file_of, try_out
from app.billing.onboarding.service import digest_of
from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.meters import sheet
from app.permissions.approval_models import Approval
from app.permissions.approvals import ApprovalNeeded, Wish, pass_gate
from app.tenants.kept_files import drop_file


class SeveralProperties(AppError):
    """A request is decided at one place."""

    code, status = "several_properties", 422
    message_zh = "超出限额的文件只能包含一个项目的数据。请按项目拆分后分别导入。"
    message_en = "A file above the limit may hold the rows of one property only. Split it by property."


def import_readings(
    session: Session,
    *,
    allowed: Sequence[int],
    content: bytes,
    zone: ZoneInfo,
    actor: Actor,
    approval_id: int | None = None,
) -> list[sheet.PreviewRow]:
    """Take a sheet of hand-read registers. Raises SeveralProperties, and as `gated` and `sheet.load`."""

    def admit(rows: Mapping[int, int]) -> None:
        wishes = [_readings_wish(content, zone, property_id, count) for property_id, count in sorted(rows.items())]
        try:
            for wish in wishes:
                pass_gate(session, wish=wish, by=actor, approval_id=approval_id)
        except ApprovalNeeded as needed:
            if len(wishes) > 1:
                raise SeveralProperties() from needed
            raise

    def load(look: Callable[[Mapping[int, int]], None] | None) -> list[sheet.PreviewRow]:
        return sheet.load(
            session,
            allowed=allowed,
            file=io.BytesIO(content),
            zone=zone,
            actor=actor,
            admit=look,
            approval_id=approval_id,
        )

    try:
        return load(admit)
    except ApprovalNeeded:
        try_out(session, lambda: load(None))
        raise


def _readings_wish(content: bytes, zone: ZoneInfo, property_id: int, rows: int) -> Wish:
    facts = {"file": digest_of(content).hex(), "rows": rows, "zone": zone.key}
    return Wish("reading_correction", property_id, f"properties:{property_id}", rows, facts)


def import_readings_again(session: Session, row: Approval, by: Actor, desk: Desk) -> str:
    """Carry a request out, with the very file it was made for."""
    content, zone = file_of(session, row, desk.var), ZoneInfo(row.content["zone"])
    import_readings(session, allowed=[row.node_id], content=content, zone=zone, actor=by, approval_id=row.id)
    drop_file(var=desk.var, user_id=row.requested_by, content=content)
    return row.subject
