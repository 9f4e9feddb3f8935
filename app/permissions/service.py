"""Users, their passwords and their grants.

Whatever changes what a person may do ends the person's sessions.
"""

import re

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.errors import AppError, NotFound
from app.permissions.models import Grant, User, UserSession
from app.permissions.passwords import hash_password
from app.permissions.policy import Grant as HeldGrant
from app.permissions.policy import Role, Scope, scope_of
from app.permissions.sign_in import plain_login
from app.tenants import audit, directory
from app.tenants.models import Node
from app.tenants.tree import Tree

_LOGIN = re.compile(r"[a-z0-9][a-z0-9._@-]{2,63}")
_PHONE_LIKE = re.compile(r"\+?\d{7,}")


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


class RoleNotKnown(AppError):
    """Not one of the roles of the product."""

    code, status = "role_not_known", 422
    message_zh = "角色“{role}”不存在。请选择集团管理员、项目经理或营业员。"
    message_en = "There is no role “{role}”. Choose group administrator, property manager or cashier."


class LastAdministrator(AppError):
    """Without a group administrator nobody could ever grant anything again."""

    code, status = "last_administrator", 409
    message_zh = "这是最后一位集团管理员，不能停用或收回。请先授权另一位。"
    message_en = "This is the last group administrator. Grant the role to somebody else first."


def create_user(session: Session, *, login: str, name: str, password: str, by: Actor, locale: str = "zh") -> User:
    """A person who may sign in; what they may do is granted apart.

    Raises LoginUnreadable, the refusals of `passwords.hash_password`, LoginTaken.
    """
    plain = plain_login(login)
    if not _LOGIN.fullmatch(plain) or _PHONE_LIKE.fullmatch(plain):
        raise LoginUnreadable()
    password_hash = hash_password(password, login=plain)
    if not directory.enter(session, kind="login", value=plain):
        raise LoginTaken()
    user = User(login=plain, name=name.strip(), password_hash=password_hash, locale=locale)
    session.add(user)
    session.flush()  # allow: flush - grants and the audit log name the user by its id
    _note(session, deed="user:account:create", user=user, by=by)
    return user


def set_password(session: Session, *, user: User, password: str, by: Actor) -> None:
    """Change the password; every open session of the person ends. Raises as `passwords.hash_password`."""
    user.password_hash = hash_password(password, login=user.login)
    _end_sessions(session, user)
    _note(session, deed="user:password:change", user=user, by=by)


def disable_user(session: Session, *, user: User, by: Actor) -> None:
    """The person may no longer sign in; open sessions end at once. Raises LastAdministrator."""
    _keep_an_administrator(session, leaving=user)
    user.disabled_at = wall_now()
    _end_sessions(session, user)
    _note(session, deed="user:account:disable", user=user, by=by)


def revoke_all(session: Session, *, user: User, by: Actor) -> None:
    """End every open session of a person: a lost phone, a suspicion."""
    _end_sessions(session, user)
    _note(session, deed="user:session:revoke", user=user, by=by)


def grant_role(session: Session, *, user: User, role: str, node_id: int, by: Actor) -> None:
    """Give a role at a node and below; twice is once. Raises RoleNotKnown, NotFound."""
    if role not in set(Role):
        raise RoleNotKnown(role=role)
    if session.scalar(select(Node.id).where(Node.id == node_id)) is None:
        raise NotFound()
    if _grant(session, user, role, node_id) is not None:
        return
    session.add(Grant(user_id=user.id, role=role, node_id=node_id))
    _end_sessions(session, user)
    _note(session, deed="user:grant:give", user=user, by=by, role=role, node_id=node_id)


def withdraw_role(session: Session, *, user: User, role: str, node_id: int, by: Actor) -> None:
    """Take a role back; effective with the next request. Raises NotFound, LastAdministrator."""
    held = _grant(session, user, role, node_id)
    if held is None:
        raise NotFound()
    if role == Role.GROUP_ADMINISTRATOR:
        _keep_an_administrator(session, leaving=user)
    session.delete(held)
    _end_sessions(session, user)
    _note(session, deed="user:grant:withdraw", user=user, by=by, role=role, node_id=node_id)


def load_scope(session: Session, *, user_id: int) -> Scope:
    """Where each permission of a person holds, in two queries.

    `scope.nodes(p)` is the filter `property_id = ANY(…)`.
    """
    grants = session.execute(select(Grant.role, Grant.node_id).where(Grant.user_id == user_id)).all()
    tree = Tree.of([(node_id, parent_id) for node_id, parent_id in session.execute(select(Node.id, Node.parent_id))])
    return scope_of([HeldGrant(Role(role), node_id) for role, node_id in grants], tree)


def _grant(session: Session, user: User, role: str, node_id: int) -> Grant | None:
    return session.scalar(select(Grant).where(Grant.user_id == user.id, Grant.role == role, Grant.node_id == node_id))


def _keep_an_administrator(session: Session, *, leaving: User) -> None:
    """Raises LastAdministrator when nobody else, able to sign in, administers the whole group."""
    administrators = session.scalars(
        select(User.id)
        .join(Grant, (Grant.tenant_id == User.tenant_id) & (Grant.user_id == User.id))
        .join(Node, (Node.tenant_id == Grant.tenant_id) & (Node.id == Grant.node_id))
        .where(Grant.role == Role.GROUP_ADMINISTRATOR, Node.parent_id.is_(None), User.disabled_at.is_(None))
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


def _note(session: Session, *, deed: str, user: User, by: Actor, **facts: object) -> None:
    audit.record(session, deed=deed, subject=f"users:{user.id}", actor=by, facts=facts)
