"""A deed in front of its gate, what carrying out a request needs, and the file a request was made for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy.orm import Session

from app.billing.onboarding.service import digest_of
from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.permissions.approval_models import Approval
from app.permissions.approvals import ApprovalNeeded, Wish, pass_gate
from app.tenants.kept_files import kept_file

Made = TypeVar("Made")


class FileNotKept(AppError):
    """The file a request was made for is gone."""

    code, status = "file_not_kept", 409
    message_zh = "申请所附的文件已不在，没有执行。请重新上传并提交。"
    message_en = "The file of this request is gone, so nothing was done. Upload it and ask again."


class _Undone(Exception):
    """Ends a trial run."""


@dataclass(slots=True)
class Desk:
    """What carrying out needs besides the database, and what must be told to whoever said yes."""

    #: Folder of kept files.
    var: Path
    #: Secrets of gateways registered by it, by number: shown once, kept nowhere.
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


def gated(session: Session, *, wish: Wish, by: Actor, approval_id: int | None, deed: Callable[[], Made]) -> Made:
    """Do a deed that the gate lets pass. What could not be done today is refused today, before anybody is asked.

    Raises Forbidden, ApprovalNeeded, what `redeem` raises, and the deed's own refusals.
    """
    try:
        pass_gate(session, wish=wish, by=by, approval_id=approval_id)
    except ApprovalNeeded:
        try_out(session, deed)
        raise
    return deed()


def try_out(session: Session, deed: Callable[[], object]) -> None:
    """Do a deed and undo it: what it refuses, it refuses now."""
    try:
        with session.begin_nested():
            deed()
            raise _Undone
    except _Undone:
        return


def file_of(session: Session, row: Approval, var: Path) -> bytes:
    """The very file a request was made for. Raises FileNotKept."""
    content = kept_file(session, var=var, user_id=row.requested_by, digest=row.content["file"])
    if content is None or digest_of(content).hex() != row.content["file"]:
        raise FileNotKept()
    return content


def users_of(actor: str) -> frozenset[int]:
    """The user behind `user:<id>`; nobody for machines."""
    kind, _colon, ref = actor.partition(":")
    return frozenset({int(ref)}) if kind == "user" and ref.isdigit() else frozenset()
