"""Opening a property from its workbook: the amount is what its opening balances add up to."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from app.billing.approved.gate import Desk, file_of, try_out
from app.billing.onboarding.rows import Parsed
from app.billing.onboarding.service import ImportDone, commit_import, digest_of
from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.permissions.approval_models import Approval
from app.permissions.approvals import ApprovalNeeded, Wish, pass_gate
from app.tenants.kept_files import drop_file


class ImportTakenAlready(AppError):
    """The file of a request was imported meanwhile."""

    code, status = "import_taken_already", 409
    message_zh = "这份文件已经导入过，没有重复导入。"
    message_en = "This file was imported already, so nothing was imported again."


def open_property(
    session: Session,
    *,
    property_id: int,
    content: bytes,
    file_name: str,
    by: Actor,
    approval_id: int | None = None,
) -> ImportDone:
    """Import a property's workbook; its amount is what its opening balances add up to, debts counted as much as credits.

    Raises as `gated` and `commit_import`.
    """

    def admit(parsed: Parsed) -> None:
        wish = _opening_wish(property_id, content, file_name, parsed)
        pass_gate(session, wish=wish, by=by, approval_id=approval_id)

    def commit(look: Callable[[Parsed], None] | None) -> ImportDone:
        return commit_import(
            session,
            property_id=property_id,
            content=content,
            file_name=file_name,
            by=by,
            admit=look,
            approval_id=approval_id,
        )

    try:
        return commit(admit)
    except ApprovalNeeded:
        try_out(session, lambda: commit(None))
        raise


def _opening_wish(property_id: int, content: bytes, file_name: str, parsed: Parsed) -> Wish:
    credit_fen = sum(row.balance_fen for row in parsed.balances if row.balance_fen > 0)
    debt_fen = -sum(row.balance_fen for row in parsed.balances if row.balance_fen < 0)
    facts = {
        "file": digest_of(content).hex(),
        "file_name": file_name[-120:],
        "spaces": len(parsed.spaces),
        "meters": len(parsed.meters),
        "balances": len(parsed.balances),
        "credit_fen": credit_fen,
        "debt_fen": debt_fen,
    }
    return Wish("opening_balance", property_id, f"properties:{property_id}", credit_fen + debt_fen, facts)


def open_property_again(session: Session, row: Approval, by: Actor, desk: Desk) -> str:
    """Carry a request out, with the very file it was made for."""
    content, name = file_of(session, row, desk.var), row.content["file_name"]
    done = open_property(session, property_id=row.node_id, content=content, file_name=name, by=by, approval_id=row.id)
    if done.replayed:
        raise ImportTakenAlready()
    desk.secrets.update(done.secrets)
    drop_file(var=desk.var, user_id=row.requested_by, content=content)
    return f"import_batches:{done.batch_id}"
