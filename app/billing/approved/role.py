"""Granting a role, taking it back, and widening one that people hold: the amount is how far the role reaches."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.approved.gate import Desk, gated
from app.kernel.actor import Actor
from app.permissions.approval_models import Approval
from app.permissions.approvals import Wish
from app.permissions.deeds import REACH_ABOVE, REACH_OWN, REACH_PROPERTY
from app.permissions.held import load_tree
from app.permissions.models import OwnRole, User
from app.permissions.policy import DECIDING, STANDARD, Grant, known
from app.permissions.roles import change_own_role, find_role, holders_of
from app.permissions.service import grant_role, withdraw_role
from app.tenants.access import or_not_found
from app.tenants.models import Node


def change_role(
    session: Session,
    *,
    user: User,
    role: str,
    node_id: int,
    give: bool,
    by: Actor,
    ends_at: datetime | None = None,
    reason: str | None = None,
    approval_id: int | None = None,
) -> None:
    """Grant a role or take it back; the person concerned never decides on it.

    Who may say yes to others is appointed by two, at a property too: otherwise one person made themselves a second.
    Raises as `gated`, `grant_role` and `withdraw_role`.
    """
    until, given = ends_at.astimezone(UTC).isoformat() if ends_at else None, _given(session, role)
    appoints = give and bool(given.permissions & DECIDING)
    content = {"user_id": user.id, "role": role, "node_id": node_id, "give": give, "ends_at": until}
    # What an own role holds may change while a request waits; then it is no longer what was seen.
    content |= {} if given.own is None else {"permissions": sorted(given.own)}
    wish = Wish(
        "role_change",
        node_id,
        f"users:{user.id}",
        _reach(session, user, node_id, by, appoints=appoints),
        content,
        concerned=frozenset({user.id}),
    )

    def deed() -> None:
        facts: dict[str, Any] = {"user": user, "role": role, "node_id": node_id, "by": by, "reason": reason}
        if give:
            grant_role(session, **facts, ends_at=ends_at, approval_id=approval_id)
        else:
            withdraw_role(session, **facts, approval_id=approval_id)

    gated(session, wish=wish, by=by, approval_id=approval_id, deed=deed)


def edit_role(
    session: Session,
    *,
    role: OwnRole,
    name: str,
    permissions: Collection[str],
    by: Actor,
    reason: str | None = None,
    approval_id: int | None = None,
) -> None:
    """Change a role of the group's own. To widen what people hold already is to give it to them: a second person decides.

    Another name, fewer permissions, or a role that nobody holds need nobody else. Raises as `gated` and
    `change_own_role`.
    """

    def deed() -> None:
        change_own_role(
            session, role=role, name=name, permissions=permissions, by=by, reason=reason, approval_id=approval_id
        )

    holders = holders_of(session, code=role.code)
    if not holders or set(permissions) <= set(role.permissions):
        return deed()
    content = {
        "own_role": role.code,
        "name": name,
        "before": list(role.permissions),
        "permissions": sorted(permissions),
    }
    top = load_tree(session).roots[0]
    wish = Wish("role_change", top, f"own_roles:{role.id}", REACH_ABOVE, content, concerned=frozenset(holders))
    return gated(session, wish=wish, by=by, approval_id=approval_id, deed=deed)


def _given(session: Session, role: str) -> Grant:
    """The role with what it holds now; one that is gone holds nothing, and is refused by the deed."""
    if role in STANDARD:
        return Grant(role, 0)
    held = session.scalar(select(OwnRole.permissions).where(OwnRole.code == role, OwnRole.withdrawn_at.is_(None)))
    return Grant(role, 0, known(held or ()))


def _reach(session: Session, user: User, node_id: int, by: Actor, *, appoints: bool) -> int:
    if str(by) == f"user:{user.id}":
        return REACH_OWN
    if appoints:
        return REACH_ABOVE
    kind = or_not_found(session.scalar(select(Node.kind).where(Node.id == node_id)))
    return REACH_PROPERTY if kind == "property" else REACH_ABOVE


def change_role_again(session: Session, row: Approval, by: Actor, _desk: Desk) -> str:
    """Carry a request out."""
    said = row.content
    if "own_role" in said:
        role = find_role(session, code=said["own_role"])
        edit_role(
            session, role=role, name=said["name"], permissions=said["permissions"], by=by, reason=row.reason,
            approval_id=row.id,
        )  # fmt: skip
        return row.subject
    user = or_not_found(session.get(User, (row.tenant_id, said["user_id"])))
    until = datetime.fromisoformat(said["ends_at"]) if said["ends_at"] else None
    change_role(
        session,
        user=user,
        role=said["role"],
        node_id=said["node_id"],
        give=said["give"],
        by=by,
        ends_at=until,
        reason=row.reason,
        approval_id=row.id,
    )
    return row.subject
