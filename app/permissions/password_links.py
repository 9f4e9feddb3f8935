"""Links that let somebody choose a password once, within half an hour.

A person asks for one by sign-in name and gets it by text message; an administrator hands one out. Whoever asks hears the
same, whether the name is known or not: the asking only leaves an event, and the link is made and sent by a worker. The
link itself is kept nowhere; the second factor is still asked for after it was used.
"""

import secrets
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.outbox import tell
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factor_models import PasswordLink
from app.permissions.models import User
from app.permissions.names import plain_login
from app.permissions.service import set_password
from app.permissions.sign_in import SignInDelayed, count_try, tenant_or_stand_in
from app.tenants import audit, directory
from app.tenants.keys import data_key, place

LINK_LASTS = timedelta(minutes=30)
KEPT = timedelta(days=1)


class LinkOver(AppError):
    """Used before, too old, replaced by a newer one, or never made: all answer alike."""

    code, status = "password_link_over", 410
    message_zh = "这个链接已失效：每个链接只能用一次，30 分钟内有效。请重新申请，或联系集团管理员。"
    message_en = "This link is no longer good: each works once, within 30 minutes. Ask for a new one."


def make_link(session: Session, *, user: User, by: Actor) -> str:
    """The token of a new link, the only time it is seen; earlier links of the person end. It goes behind `/password/`."""
    now, token = wall_now(), secrets.token_urlsafe(32)
    _end_links(session, user_id=user.id)
    session.add(
        PasswordLink(
            digest=directory_digest("password_link", token),
            user_id=user.id,
            made_by=str(by),
            created_at=now,
            expires_at=now + LINK_LASTS,
        )
    )
    directory.enter(session, kind="password_link", value=token)
    _note(session, "user:password_link:make", user, by)
    return token


def ask_link(db: Database, *, login: str, address: str) -> None:
    """Somebody forgot a password. Nothing is said, and unknown names leave the same trace as known ones.

    Who asks too often is not heard for a while; that is not said either.
    """
    name = plain_login(login)
    tenant_id = tenant_or_stand_in(db, name)
    if tenant_id is None:
        return
    try:
        with unit_of_work(tenant_id, db=db) as session:
            count_try(session, what=f"password_link {name}", address=address)
            user_id = session.scalar(select(User.id).where(User.login == name, User.disabled_at.is_(None)))
            tell(session, kind="people.link_asked", payload={"user_id": user_id}, order_key=f"user:{user_id}")
    except SignInDelayed:
        return


def phone_of_user(session: Session, *, user: User) -> str | None:
    """The phone that links are sent to, in clear; None when none is on file."""
    if user.phone_cipher is None:
        return None
    return data_key(session).decrypt(user.phone_cipher, place(table="users", column="phone_cipher", row=user.public_id))


def is_open(db: Database, *, token: str) -> bool:
    """Whether the link may still be used; looking does not use it."""
    tenant_id = _tenant_of(db, token)
    if tenant_id is None:
        return False
    with unit_of_work(tenant_id, db=db) as session:
        return _living(session, token) is not None


def use_link(db: Database, *, token: str, password: str, address: str) -> None:
    """Choose the password; the link is used, every session ends. Raises LinkOver, and as `passwords.hash_password`."""
    tenant_id = _tenant_of(db, token)
    if tenant_id is None:
        raise LinkOver()
    with unit_of_work(tenant_id, db=db) as session:
        link = _living(session, token, lock=True)
        user = session.scalar(select(User).where(User.id == link.user_id, User.disabled_at.is_(None))) if link else None
        if link is None or user is None:
            raise LinkOver()
        choose_password(session, user=user, password=password, by=Actor.user(user.id, address=address))
        link.used_at = wall_now()
        _note(session, "user:password_link:use", user, Actor.user(user.id, address=address))


def choose_password(session: Session, *, user: User, password: str, by: Actor) -> None:
    """A person's own new password: every session and every open link ends. Raises as `passwords.hash_password`."""
    set_password(session, user=user, password=password, by=by)
    user.password_chosen_at = wall_now()
    _end_links(session, user_id=user.id)


def prune_links(session: Session) -> None:
    """Forget links that are long over."""
    old = select(PasswordLink.digest).where(PasswordLink.expires_at < wall_now() - KEPT)
    digests = session.scalars(old).all()
    directory.forget(session, digests=digests)
    session.execute(delete(PasswordLink).where(PasswordLink.digest.in_(digests)))


def _living(session: Session, token: str, *, lock: bool = False) -> PasswordLink | None:
    query = select(PasswordLink).where(
        PasswordLink.digest == directory_digest("password_link", token),
        PasswordLink.used_at.is_(None),
        PasswordLink.expires_at > wall_now(),
    )
    return session.scalar(query.with_for_update() if lock else query)


def _end_links(session: Session, *, user_id: int) -> None:
    now = wall_now()
    living = (PasswordLink.user_id == user_id, PasswordLink.used_at.is_(None), PasswordLink.expires_at > now)
    session.execute(update(PasswordLink).where(*living).values(expires_at=now))


def _tenant_of(db: Database, token: str) -> int | None:
    with db.without_tenant() as connection:
        return directory.find_tenant(connection, kind="password_link", value=token)


def _note(session: Session, deed: str, user: User, by: Actor) -> None:
    audit.record(session, deed=deed, subject=f"users:{user.id}", actor=by)
