"""A tenant's own roles: edited copies of the standard ones, which nobody edits.

A change reaches everybody who holds the role at once: their sessions end, and what they may do next is judged anew. It is
bound by what binds a grant (adr 0016): nobody puts into a role what they do not hold at headquarters, nobody changes a
role they hold, and no holder may come to take money and give it back.
"""

import secrets
from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.errors import AppError
from app.permissions.held import load_grants, load_scope, load_tree
from app.permissions.models import Grant, OwnRole
from app.permissions.policy import (
    PLATFORM_ONLY,
    SELLING,
    STANDARD,
    Permission,
    Role,
    joined_in,
    joined_sides,
    known,
    scope_of,
    strangers,
)
from app.permissions.policy import Grant as HeldGrant
from app.permissions.reach import DutiesJoined, OwnRights, refuse_beyond
from app.permissions.service import RoleNotKnown, end_sessions
from app.tenants import audit
from app.tenants.access import or_not_found

PREFIX = "own:"
NAME_MAX = 60


class RoleNameMissing(AppError):
    """A role without a name, or with one that fits no list."""

    code, status = "role_name_missing", 422
    message_zh = "请填写角色名称，最多 {length_max} 个字。"
    message_en = "Give the role a name of at most {length_max} characters."


class RoleNameTaken(AppError):
    """Two roles of one name could not be told apart when one is given."""

    code, status = "role_name_taken", 409
    message_zh = "已有角色叫“{name}”。请换一个名称。"
    message_en = "There is a role called “{name}” already. Choose another name."


class RoleEmpty(AppError):
    """A role that holds nothing."""

    code, status = "role_empty", 422
    message_zh = "角色至少要有一项权限。如不再使用，请停用该角色。"
    message_en = "A role holds at least one permission. Withdraw the role if it is no longer used."


class PermissionUnknown(AppError):
    """Not a permission of this version."""

    code, status = "permission_unknown", 422
    message_zh = "没有这些权限：{permissions}。请刷新页面后重新勾选。"
    message_en = "There are no such permissions: {permissions}. Reload the page and tick again."


class PermissionOfPlatform(AppError):
    """The keys and settings of the installation belong to nobody of a group."""

    code, status = "permission_of_platform", 403
    message_zh = "{permissions} 属于平台运维，不能放入集团的角色。请取消勾选。"
    message_en = "{permissions} belong to whoever runs the installation and to no role of a group. Untick them."


def own_roles(session: Session) -> list[OwnRole]:
    """The living ones, by name."""
    living = select(OwnRole).where(OwnRole.withdrawn_at.is_(None))
    return list(session.scalars(living.order_by(OwnRole.name, OwnRole.id)))


def find_role(session: Session, *, code: str) -> OwnRole:
    """A living role by its code, locked. Raises NotFound."""
    query = select(OwnRole).where(OwnRole.code == code, OwnRole.withdrawn_at.is_(None))
    return or_not_found(session.scalar(query.with_for_update()))


def holders_of(session: Session, *, code: str) -> list[int]:
    """Everybody with a grant of the role, also one that has ended."""
    return list(session.scalars(select(Grant.user_id).where(Grant.role == code).distinct().order_by(Grant.user_id)))


def copy_role(session: Session, *, based_on: str, name: str, permissions: Collection[str], by: Actor) -> OwnRole:
    """A new role, begun from a standard one. Raises RoleNotKnown, and as `_judged`."""
    if based_on not in STANDARD or based_on == Role.PLATFORM_OPERATOR:
        raise RoleNotKnown(role=based_on)
    role = OwnRole(
        code=PREFIX + secrets.token_hex(6),
        name=_free_name(session, name, None),
        based_on=based_on,
        permissions=_judged(session, permissions, by),
        changed_at=wall_now(),
    )
    session.add(role)
    session.flush()  # allow: flush - the audit log names the role by its id
    _note(session, role, deed="user:role:copy", by=by, after=_said(role))
    return role


def change_own_role(
    session: Session,
    *,
    role: OwnRole,
    name: str,
    permissions: Collection[str],
    by: Actor,
    reason: str | None = None,
    approval_id: int | None = None,
) -> None:
    """Give a role another name or other permissions; the sessions of everybody who holds it end.

    Raises OwnRights, DutiesJoined, and as `_judged`.
    """
    holders = holders_of(session, code=role.code)
    _refuse_holder(holders, by)
    before, called, wanted = _said(role), _free_name(session, name, role), _judged(session, permissions, by, role)
    if (role.name, role.permissions) == (called, wanted):
        return
    role.name, role.permissions, role.changed_at = called, wanted, wall_now()
    _refuse_joined_holders(session, holders, role)
    end_sessions(session, user_ids=holders)
    audit.record(
        session, deed="user:role:change", subject=f"own_roles:{role.id}", actor=by, before=before, after=_said(role),
        reason=reason, approval_id=approval_id, facts={"holders": len(holders)},
    )  # fmt: skip


def withdraw_role_definition(session: Session, *, role: OwnRole, by: Actor) -> None:
    """Nobody is given the role any more, and who held it holds nothing of it from now on. Raises OwnRights."""
    holders = holders_of(session, code=role.code)
    _refuse_holder(holders, by)
    role.withdrawn_at = wall_now()
    end_sessions(session, user_ids=holders)
    _note(session, role, deed="user:role:withdraw", by=by, before=_said(role), holders=len(holders))


def _judged(session: Session, names: Collection[str], by: Actor, role: OwnRole | None = None) -> list[str]:
    """The permissions to keep, sorted. What the role held already need not be the editor's to give.

    Raises, in this order: PermissionUnknown, RoleEmpty, PermissionOfPlatform, DutiesJoined, RightsBeyondYours.
    """
    if strangers(names):
        raise PermissionUnknown(permissions="、".join(strangers(names)))
    wanted = known(names)
    if not wanted:
        raise RoleEmpty()
    if wanted & PLATFORM_ONLY:
        raise PermissionOfPlatform(permissions="、".join(sorted(wanted & PLATFORM_ONLY)))
    if joined_sides(wanted):
        raise DutiesJoined(permissions="、".join(sorted(joined_sides(wanted))))
    before = known(role.permissions) if role else frozenset[Permission]()
    _refuse_beyond_editor(session, wanted ^ before, by)
    return sorted(wanted)


def _refuse_beyond_editor(session: Session, touched: frozenset[Permission], by: Actor) -> None:
    if by.kind != "user":
        return
    scope, roots = load_scope(session, user_id=int(by.ref)), load_tree(session).roots
    refuse_beyond(frozenset(p for p in touched - SELLING if not all(scope.allows(p, root) for root in roots)))


def _refuse_holder(holders: Collection[int], by: Actor) -> None:
    if by.kind == "user" and by.ref in holders:
        raise OwnRights()


def _refuse_joined_holders(session: Session, holders: Collection[int], role: OwnRole) -> None:
    tree = load_tree(session)
    for user_id in holders:
        held = load_grants(session, user_id=user_id)
        anew = [HeldGrant(g.role, g.node_id, known(role.permissions)) if g.role == role.code else g for g in held]
        clash = joined_in(scope_of(anew, tree))
        if clash:
            raise DutiesJoined(permissions="、".join(sorted(clash)))


def _free_name(session: Session, text: str, role: OwnRole | None) -> str:
    """Raises RoleNameMissing, RoleNameTaken."""
    name = " ".join(text.split())
    if not name or len(name) > NAME_MAX:
        raise RoleNameMissing(length_max=NAME_MAX)
    taken = select(OwnRole.id).where(OwnRole.name == name, OwnRole.withdrawn_at.is_(None))
    if session.scalar(taken.where(OwnRole.id != (role.id if role else 0)).limit(1)) is not None:
        raise RoleNameTaken(name=name)
    return name


def _said(role: OwnRole) -> dict[str, object]:
    return {"name": role.name, "based_on": role.based_on, "permissions": list(role.permissions)}


def _note(
    session: Session,
    role: OwnRole,
    *,
    deed: str,
    by: Actor,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
    **facts: object,
) -> None:
    audit.record(session, deed=deed, subject=f"own_roles:{role.id}", actor=by, before=before, after=after, facts=facts)
