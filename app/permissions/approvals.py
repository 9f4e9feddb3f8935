"""Requests that wait for a second person: asked, voted on, carried out.

    gate ── at or under the limit, or a process of the product ──► go on
      └── above ──► ApprovalNeeded ──► request_approval ──► approve ──► the deed, again through the gate ──► redeem

The gate stands in front of the deed and is told what the deed is about to do. A request keeps exactly that, with a
hash over it. When the last needed yes comes, the deed runs in the transaction of that yes, computes anew what it is
about to do, and `redeem` lets it go on only when that is still what was seen, by the one who asked, still in time, and
everybody concerned still holds their right. A deed that fails is undone to the last row and the request says why.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.errors import AppError, Forbidden
from app.kernel.idempotency import fingerprint
from app.permissions.approval_models import Approval, ApprovalVote
from app.permissions.deeds import LimitedDeed, deed_named, may_move, needs_second
from app.permissions.limits import Standing, load_standing, removed_somebody_lately, require_holder
from app.permissions.models import User
from app.permissions.security_policies import security_policy
from app.tenants import audit
from app.tenants.access import or_not_found

REASON_LENGTH_MAX = 200

#: Verdict → how the audit log calls it.
_VOTED = {"approve": "approval:request:approve", "refuse": "approval:request:reject"}

#: Carries a request out through the deed's own gate; returns what it made as `<table>:<id>`.
Execute = Callable[[Session, Approval], str]


class ApprovalNeeded(AppError):
    """Above what this person may do alone. `wish` is what can be asked for."""

    code, status = "approval_needed", 409
    message_zh = "超出您可独自办理的限额，需要另一人审批。请说明原因并提交审批。"
    message_en = "This is above what you may do alone and needs another person. Say why and ask for approval."

    def __init__(self, wish: "Wish", limit: int) -> None:
        super().__init__(deed=wish.deed, amount=wish.amount, limit=limit)
        self.wish = wish
        self.limit = limit


class ApprovalNobody(AppError):
    """Nobody else may decide there: the request would wait in vain."""

    code, status = "approval_nobody", 409
    message_zh = "此处没有其他人可以审批，提交后将无人处理。请先由集团管理员授权一位审批人。"
    message_en = "Nobody else may decide here, so a request would wait in vain. Have an approver appointed first."


class ApprovalReasonMissing(AppError):
    """Who asks says why; who refuses, too."""

    code, status = "approval_reason_missing", 422
    message_zh = "请写明原因，最多 200 个字。"
    message_en = "Say why, in at most 200 characters."


class ApprovalOwn(AppError):
    """Nobody decides on what they asked for or have a part in."""

    code, status = "approval_own", 403
    message_zh = "不能审批自己申请或与自己有关的事项。请由另一位审批人处理。"
    message_en = "Nobody decides on what they asked for or have a part in. Another approver must."


class ApprovalTwice(AppError):
    """One person is one voice."""

    code, status = "approval_twice", 409
    message_zh = "您已经表决过此申请，还需要另一位审批人。"
    message_en = "You have voted on this request. It needs somebody else now."


class ApprovalNotWaiting(AppError):
    """Decided, withdrawn, carried out or expired meanwhile."""

    code, status = "approval_not_waiting", 409
    message_zh = "该申请已经结束，不再等待审批。请刷新页面查看结果。"
    message_en = "This request has ended and waits for nobody. Reload to see what became of it."


class ApprovalExpired(AppError):
    """Nobody decided in time."""

    code, status = "approval_expired", 409
    message_zh = "该申请已过有效期，没有执行。如仍需要，请重新提交。"
    message_en = "This request has expired and nothing was done. Ask again if it is still wanted."


class ApprovalChanged(AppError):
    """What would happen is not what was seen."""

    code, status = "approval_changed", 409
    message_zh = "要执行的内容与审批时看到的不一致，没有执行。请核对后重新提交。"
    message_en = "What would be done is no longer what was seen, so nothing was done. Check and ask again."


class ApprovalRightLost(AppError):
    """Who asked, or who said yes, may not do so any more."""

    code, status = "approval_right_lost", 403
    message_zh = "申请人或审批人已没有此项权限，没有执行。请由有权限的人重新提交。"
    message_en = (
        "Who asked or who agreed no longer holds the right, so nothing was done. Somebody who does must ask again."
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody is about to do: everything that makes it this deed and no other. Ids and figures only."""

    deed: str
    #: Where it happens: limits and deciders are judged there.
    node_id: int
    #: `<table>:<id>`.
    subject: str
    #: In the deed's unit.
    amount: int
    #: Whole numbers, text and lists of them, so that JSON gives back what it was given.
    content: Mapping[str, Any] = field(default_factory=dict)
    #: Users with a part in it (who sold what is reversed, whose right changes): they never decide.
    concerned: frozenset[int] = frozenset()

    def kept(self) -> dict[str, Any]:
        """The content as a request keeps it."""
        return {**self.content, "concerned": sorted(self.concerned)}

    def mark(self) -> bytes:
        """SHA-256 over all of it."""
        return _mark(self.deed, self.node_id, self.subject, self.amount, self.kept())


def pass_gate(session: Session, *, wish: Wish, by: Actor, approval_id: int | None = None) -> None:
    """Let a deed go on, or say that it needs another person. Call it first in the deed, in its own transaction.

    Processes of the product pass. Raises Forbidden, ApprovalNeeded; with a request, what `redeem` raises.
    """
    if approval_id is not None:
        redeem(session, approval_id=approval_id, wish=wish, by=by)
    elif by.kind != "system":
        deed, standing = deed_named(wish.deed), load_standing(session)
        require_holder(standing, by=by, permission=deed.permission, node_id=wish.node_id)
        limit = standing.limit(int(by.ref), deed, wish.node_id) or 0
        if needs_second(wish.amount, limit) and not _alone_allowed(session, standing, deed, wish, int(by.ref)):
            raise ApprovalNeeded(wish, limit)


def request_approval(session: Session, *, wish: Wish, reason: str, by: Actor) -> Approval:
    """Put a deed before another person. The same wish of the same person, still waiting, is the same request.

    Raises ApprovalReasonMissing, Forbidden, ApprovalNobody.
    """
    reason = _reason(reason)
    deed, standing = deed_named(wish.deed), load_standing(session)
    require_holder(standing, by=by, permission=deed.permission, node_id=wish.node_id)
    user_id = int(by.ref)
    if len(_deciders(standing, deed, wish.node_id, wish.concerned | {user_id})) < deed.persons:
        raise ApprovalNobody()
    # Two clicks at once meet here, so that the second finds the request of the first.
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    waiting = select(Approval).where(
        Approval.requested_by == user_id, Approval.content_hash == wish.mark(), Approval.state == "waiting"
    )
    known = session.scalars(waiting.where(Approval.expires_at > wall_now())).first()
    return known or _file(session, deed, wish, reason, by)


def _file(session: Session, deed: LimitedDeed, wish: Wish, reason: str, by: Actor) -> Approval:
    now = wall_now()
    row = Approval(
        deed=wish.deed,
        node_id=wish.node_id,
        subject=wish.subject,
        content=wish.kept(),
        content_hash=wish.mark(),
        amount=wish.amount,
        reason=reason,
        state="waiting",
        needed=deed.persons,
        requested_by=int(by.ref),
        requested_at=now,
        expires_at=now + _waits(session, deed),
    )
    session.add(row)
    session.flush()  # allow: flush - the audit log and the page name the request by its id
    _note(session, row, "approval:request:file", by, reason=reason)
    return row


def approve(
    session: Session,
    *,
    public_id: uuid.UUID,
    by: Actor,
    seen: bytes,
    execute: Execute,
    reason: str = "",
    facts: Mapping[str, str] | None = None,
) -> Approval:
    """Say yes to what was seen; the last needed yes carries the deed out in the same transaction.

    `facts` go to the audit record of the vote. A deed that refuses leaves the request `failed` with its code and
    nothing else. Raises NotFound, ApprovalNotWaiting, ApprovalExpired, ApprovalChanged, ApprovalOwn, Forbidden,
    ApprovalTwice.
    """
    row = _vote(session, public_id, by, seen, "approve", reason.strip()[:REASON_LENGTH_MAX], facts)
    if len(_yes(session, row)) >= row.needed:
        _move(row, "approved")
        _carry_out(session, row, execute, by)
    return row


def _carry_out(session: Session, row: Approval, execute: Execute, by: Actor) -> None:
    try:
        with session.begin_nested():
            row.outcome = execute(session, row)
            if row.state != "done":
                raise RuntimeError(f"the deed {row.deed} did not redeem its request")
    except AppError as refused:
        _end(row, "failed", outcome=refused.code)
        _note(session, row, "approval:request:fail", by, result="failed")


def refuse(session: Session, *, public_id: uuid.UUID, by: Actor, seen: bytes, reason: str) -> Approval:
    """Say no; one no ends it. Raises ApprovalReasonMissing and what `approve` raises."""
    row = _vote(session, public_id, by, seen, "refuse", _reason(reason))
    _end(row, "refused")
    return row


def withdraw(session: Session, *, public_id: uuid.UUID, by: Actor) -> Approval:
    """Take back what one asked for oneself. Raises NotFound, ApprovalNotWaiting."""
    row = or_not_found(_locked(session, Approval.public_id == public_id))
    or_not_found(row if str(by) == f"user:{row.requested_by}" else None)
    if not may_move(row.state, "withdrawn"):
        raise ApprovalNotWaiting()
    _end(row, "withdrawn")
    _note(session, row, "approval:request:withdraw", by)
    return row


def redeem(session: Session, *, approval_id: int, wish: Wish, by: Actor) -> Approval:
    """Use a request up: the deed that calls this goes on in the same transaction, or neither happens.

    Raises NotFound, ApprovalChanged, ApprovalNotWaiting, ApprovalExpired, ApprovalRightLost.
    """
    row = or_not_found(_locked(session, Approval.id == approval_id))
    if row.content_hash != wish.mark() or str(by) != f"user:{row.requested_by}":
        raise ApprovalChanged()
    if row.state != "approved":
        raise ApprovalNotWaiting()
    if row.expires_at <= wall_now():
        raise ApprovalExpired()
    _still_right(load_standing(session), row, _yes(session, row))
    _end(row, "done")
    _note(session, row, "approval:request:redeem", by)
    return row


def expire_approvals(session: Session) -> int:
    """End what nobody decided in time. Returns how many."""
    late = select(Approval).where(Approval.state.in_(("waiting", "approved")), Approval.expires_at <= wall_now())
    rows = session.scalars(late.order_by(Approval.id).with_for_update(skip_locked=True)).all()
    for row in rows:
        _end(row, "expired")
        _note(session, row, "approval:request:expire", Actor.system("worker"))
    return len(rows)


def _vote(
    session: Session,
    public_id: uuid.UUID,
    by: Actor,
    seen: bytes,
    verdict: str,
    reason: str,
    facts: Mapping[str, str] | None = None,
) -> Approval:
    row = or_not_found(_locked(session, Approval.public_id == public_id))
    if row.state != "waiting":
        raise ApprovalNotWaiting()
    if row.expires_at <= wall_now():
        raise ApprovalExpired()
    if row.content_hash != seen or row.content_hash != mark_of(row):
        raise ApprovalChanged()
    if by.kind != "user":
        raise Forbidden(permission=deed_named(row.deed).decide)
    user_id = int(by.ref)
    if user_id in {row.requested_by, *row.content["concerned"]}:
        raise ApprovalOwn()
    require_holder(load_standing(session), by=by, permission=deed_named(row.deed).decide, node_id=row.node_id)
    if user_id in _voters(session, row):
        raise ApprovalTwice()
    vote = {"approval_id": row.id, "user_id": user_id, "verdict": verdict, "reason": reason}
    session.add(ApprovalVote(**vote, content_hash=seen, at=wall_now()))
    session.flush()  # allow: flush - the votes are counted next
    _note(session, row, _VOTED[verdict], by, reason=reason or None, more=facts)
    return row


def _locked(session: Session, which: Any) -> Approval | None:
    """The request under lock, read anew: whoever else decides on it waits here."""
    return session.scalar(select(Approval).where(which).with_for_update().execution_options(populate_existing=True))


def _voters(session: Session, row: Approval) -> frozenset[int]:
    return frozenset(session.scalars(select(ApprovalVote.user_id).where(ApprovalVote.approval_id == row.id)))


def _yes(session: Session, row: Approval) -> frozenset[int]:
    said = select(ApprovalVote.user_id).where(ApprovalVote.approval_id == row.id, ApprovalVote.verdict == "approve")
    return frozenset(session.scalars(said.where(ApprovalVote.content_hash == row.content_hash)))


def _still_right(standing: Standing, row: Approval, yes: frozenset[int]) -> None:
    """Raises ApprovalRightLost."""
    deed = deed_named(row.deed)
    asker = standing.may(row.requested_by, deed.permission, row.node_id)
    deciders = _deciders(standing, deed, row.node_id, frozenset({row.requested_by, *row.content["concerned"]}))
    if not asker or len(yes & deciders) < row.needed:
        raise ApprovalRightLost()


def _deciders(standing: Standing, deed: LimitedDeed, node_id: int, apart: frozenset[int]) -> frozenset[int]:
    return standing.holders(deed.decide, node_id) - apart


def _alone_allowed(session: Session, standing: Standing, deed: LimitedDeed, wish: Wish, user_id: int) -> bool:
    others = _deciders(standing, deed, wish.node_id, wish.concerned | {user_id})
    return deed.alone_without_others and not others and not removed_somebody_lately(session, user_id=user_id)


def mark_of(row: Approval) -> bytes:
    """The hash over what a request holds now; differs from the kept one when somebody changed the row."""
    return _mark(row.deed, row.node_id, row.subject, row.amount, row.content)


def _mark(deed: str, node_id: int, subject: str, amount: int, content: Mapping[str, Any]) -> bytes:
    return fingerprint(deed=deed, node_id=node_id, subject=subject, amount=amount, content=content)


def _waits(session: Session, deed: LimitedDeed) -> timedelta:
    waits = timedelta(hours=security_policy(session).approval_hours_max)
    return waits if deed.waits_max is None else min(waits, deed.waits_max)


def _move(row: Approval, state: str) -> None:
    if not may_move(row.state, state):
        raise ApprovalNotWaiting()
    row.state = state


def _end(row: Approval, state: str, *, outcome: str | None = None) -> None:
    _move(row, state)
    row.ended_at, row.outcome = wall_now(), outcome


def _reason(text: str) -> str:
    if not 0 < len(text.strip()) <= REASON_LENGTH_MAX:
        raise ApprovalReasonMissing()
    return text.strip()


def _note(
    session: Session,
    row: Approval,
    deed: str,
    by: Actor,
    *,
    reason: str | None = None,
    result: str = "done",
    more: Mapping[str, str] | None = None,
) -> None:
    facts = {"deed": row.deed, "amount": row.amount, "node_id": row.node_id, "content_hash": row.content_hash.hex()}
    audit.record(
        session,
        deed=deed,
        subject=f"approvals:{row.id}",
        actor=by,
        reason=reason,
        approval_id=row.id,
        facts={**facts, **(more or {}), "subject": row.subject, "state": row.state, "outcome": row.outcome},
        result=result,
    )
