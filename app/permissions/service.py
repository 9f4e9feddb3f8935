"""Users, their passwords and their grants.

Whatever changes what a person may do ends the person's sessions. A signed-in giver gives nothing that they do not hold
themselves at that place for as long, and changes nothing of their own (adr 0016); whoever runs the installation
(`Actor.system`) is bound by the separation of duties only.
"""

import re
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.errors import AppError, NotFound
from app.permissions.held import held_grant
from app.permissions.held import load_scope as load_scope
from app.permissions.models import Grant, OwnRole, User, UserSession
from app.permissions.names import plain_login
from app.permissions.passwords import hash_password
from app.permissions.policy import STANDARD, Role
from app.permissions.policy import Grant as HeldGrant
from app.permissions.reach import (
    TAKEN_BY_ANYBODY,
    refuse_giver,
    refuse_joined,
    refuse_oneself,
    refuse_out_of_reach,
    refuse_taker,
)
from app.tenants import audit, directory
from app.tenants.models import Node

_LOGIN = re.compile(r"[a-z0-9][a-z0-9._@-]{2,63}")
_PHONE_LIKE = re.compile(r"\+?\d{7,}")
NAME_MAX = 60


class LoginUnreadable(AppError):
    """Too short, with odd characters, or a phone number: sign-in names hold no personal data."""

    code, status = "login_unreadable", 422
    message_zh = "登录名须为 3–64 位小写字母、数字或 . _ @ -，且不能是手机号。"
    message_en = "A sign-in name has 3 to 64 letters, digits or . _ @ - and is not a phone number."


class LoginTaken(AppError):
    """Somebody signs in with this name already, in this tenant or another."""

    code, status = "login_taken", 409
    message_zh = "该登录名已被使用。请换一个，例如加上单位简称。"
    message_en = "This sign-in name is taken. Choose another, for example with your company's short name."


class NameMissing(AppError):
    """A person without a name, or with one that fits no list."""

    code, status = "name_missing", 422
    message_zh = "请填写姓名，最多 {length_max} 个字。"
    message_en = "Give a name of at most {length_max} characters."


class RoleNotKnown(AppError):
    """Neither a role of the product nor a living one of the tenant's own."""

    code, status = "role_not_known", 422
    message_zh = "角色“{role}”不存在或已停用。请从列表中重新选择。"
    message_en = "There is no role “{role}”, or it was withdrawn. Choose one from the list."


class GrantEndsTooEarly(AppError):
    """The end lies in the past."""

    code, status = "grant_ends_too_early", 422
    message_zh = "授权的到期时间必须晚于现在。请修改到期时间。"
    message_en = "A grant must end later than now. Please change the time."


class LastAdministrator(AppError):
    """Without a group administrator nobody could ever grant anything again."""

    code, status = "last_administrator", 409
    message_zh = "这是最后一位集团管理员，不能停用或收回。请先授权另一位。"
    message_en = "This is the last group administrator. Grant the role to somebody else first."


def create_user(session: Session, *, login: str, name: str, password: str, by: Actor, locale: str = "zh") -> User:
    """A person who may sign in; what they may do is granted apart.

    Raises NameMissing, LoginUnreadable, the refusals of `passwords.hash_password`, LoginTaken.
    """
    plain, called = plain_login(login), plain_name(name)
    if not _LOGIN.fullmatch(plain) or _PHONE_LIKE.fullmatch(plain):
        raise LoginUnreadable()
    password_hash = hash_password(password, login=plain)
    if not directory.enter(session, kind="login", value=plain):
        raise LoginTaken()
    user = User(login=plain, name=called, password_hash=password_hash, locale=locale)
    session.add(user)
    session.flush()  # allow: flush - grants and the audit log name the user by its id
    note_person(session, deed="user:account:create", user=user, by=by)
    return user


def set_password(session: Session, *, user: User, password: str, by: Actor) -> None:
    """Change the password; every open session of the person ends. Raises as `passwords.hash_password`."""
    user.password_hash = hash_password(password, login=user.login)
    _end_sessions(session, user)
    note_person(session, deed="user:password:change", user=user, by=by)


def disable_user(session: Session, *, user: User, by: Actor) -> None:
    """The person may no longer sign in; open sessions end at once.

    Raises OwnRights, LastAdministrator, and as `refuse_out_of_reach`.
    """
    refuse_oneself(user, by)
    refuse_out_of_reach(session, user=user, by=by, aside=TAKEN_BY_ANYBODY)
    _keep_an_administrator(session, leaving=user)
    user.disabled_at = wall_now()
    _end_sessions(session, user)
    note_person(session, deed="user:account:disable", user=user, by=by)


def revoke_all(session: Session, *, user: User, by: Actor) -> None:
    """End every open session of a person: a lost phone, a suspicion."""
    _end_sessions(session, user)
    note_person(session, deed="user:session:revoke", user=user, by=by)


def grant_role(
    session: Session,
    *,
    user: User,
    role: str,
    node_id: int,
    by: Actor,
    ends_at: datetime | None = None,
    reason: str | None = None,
    approval_id: int | None = None,
) -> None:
    """Give a role at a node and below, until an instant or without end; twice is once, another end replaces the first.

    Raises, in this order: RoleNotKnown, NotFound, GrantEndsTooEarly, OwnRights, RightsBeyondYours, DutiesJoined,
    LastAdministrator.
    """
    new = _held(session, role, node_id)
    if session.scalar(select(Node.id).where(Node.id == node_id)) is None:
        raise NotFound()
    if ends_at is not None and ends_at <= wall_now():
        raise GrantEndsTooEarly()
    refuse_giver(session, user=user, given=new, by=by, until=ends_at)
    held = _grant(session, user, role, node_id)
    if held is not None and held.ends_at == ends_at:
        return
    refuse_joined(session, user, new)
    if held is None:
        session.add(Grant(user_id=user.id, role=role, node_id=node_id, ends_at=ends_at))
    else:
        _change_end(session, user, held, ends_at)
    _end_sessions(session, user)
    note_person(
        session, deed="user:grant:give", user=user, by=by, reason=reason, approval_id=approval_id,
        after=_said(role, node_id, ends_at),
    )  # fmt: skip


def withdraw_role(
    session: Session,
    *,
    user: User,
    role: str,
    node_id: int,
    by: Actor,
    reason: str | None = None,
    approval_id: int | None = None,
) -> None:
    """Take a role back; effective with the next request.

    Raises NotFound, OwnRights, RightsBeyondYours, LastAdministrator.
    """
    held = _grant(session, user, role, node_id)
    if held is None:
        raise NotFound()
    own = session.scalar(select(OwnRole).where(OwnRole.code == role, OwnRole.withdrawn_at.is_(None)))
    given = held_grant(role, node_id, own.permissions if own else None, None)
    refuse_taker(session, user=user, given=given, by=by)
    if role == Role.GROUP_ADMINISTRATOR:
        _keep_an_administrator(session, leaving=user)
    before = _said(role, node_id, held.ends_at)
    session.delete(held)
    _end_sessions(session, user)
    note_person(
        session, deed="user:grant:withdraw", user=user, by=by, reason=reason, approval_id=approval_id, before=before
    )


def end_sessions(session: Session, *, user_ids: Collection[int]) -> None:
    """End every open session of these people: what they may do has changed."""
    wanted = sorted(user_ids)
    session.execute(update(User).where(User.id.in_(wanted)).values(session_version=User.session_version + 1))
    living_ones = update(UserSession).where(UserSession.user_id.in_(wanted), UserSession.revoked_at.is_(None))
    session.execute(living_ones.values(revoked_at=wall_now()))


def _held(session: Session, role: str, node_id: int) -> HeldGrant:
    """A role that may be given. Raises RoleNotKnown."""
    if role in STANDARD:
        return HeldGrant(role, node_id)
    own = session.scalar(select(OwnRole).where(OwnRole.code == role, OwnRole.withdrawn_at.is_(None)))
    if own is None:
        raise RoleNotKnown(role=role)
    return held_grant(role, node_id, own.permissions, own.name)


def _change_end(session: Session, user: User, held: Grant, ends_at: datetime | None) -> None:
    """Raises LastAdministrator: who ends next week is none to rely on."""
    if held.role == Role.GROUP_ADMINISTRATOR and ends_at is not None and held.ends_at is None:
        _keep_an_administrator(session, leaving=user)
    held.ends_at = ends_at


def plain_name(text: str) -> str:
    """A person's name with single blanks. Raises NameMissing."""
    plain = " ".join(text.split())
    if not plain or len(plain) > NAME_MAX:
        raise NameMissing(length_max=NAME_MAX)
    return plain


def _said(role: str, node_id: int, ends_at: datetime | None) -> dict[str, object]:
    return {"role": role, "node_id": node_id, "ends_at": ends_at}


def _grant(session: Session, user: User, role: str, node_id: int) -> Grant | None:
    return session.scalar(select(Grant).where(Grant.user_id == user.id, Grant.role == role, Grant.node_id == node_id))


def _keep_an_administrator(session: Session, *, leaving: User) -> None:
    """Raises LastAdministrator when nobody else, able to sign in, administers the whole group."""
    administrators = session.scalars(
        select(User.id)
        .join(Grant, (Grant.tenant_id == User.tenant_id) & (Grant.user_id == User.id))
        .join(Node, (Node.tenant_id == Grant.tenant_id) & (Node.id == Grant.node_id))
        .where(
            Grant.role == Role.GROUP_ADMINISTRATOR,
            Grant.ends_at.is_(None),
            Node.parent_id.is_(None),
            User.disabled_at.is_(None),
        )
        .order_by(User.id)
        .with_for_update(of=User)
    ).all()
    if set(administrators) == {leaving.id}:
        raise LastAdministrator()


def _end_sessions(session: Session, user: User) -> None:
    user.session_version = User.session_version + 1
    session.execute(
        update(UserSession)
        .where(UserSession.user_id == user.id, UserSession.revoked_at.is_(None))
        .values(revoked_at=wall_now())
    )
    session.flush()  # allow: flush - the version is an SQL expression until it is written
    session.refresh(user)


def note_person(
    session: Session,
    *,
    deed: str,
    user: User,
    by: Actor,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
    reason: str | None = None,
    approval_id: int | None = None,
    **facts: object,
) -> None:
    """Write a deed concerning a person to the audit log: ids and figures, never their name or phone."""
    audit.record(
        session,
        deed=deed,
        subject=f"users:{user.id}",
        actor=by,
        before=before,
        after=after,
        reason=reason,
        approval_id=approval_id,
        facts=facts,
    )
