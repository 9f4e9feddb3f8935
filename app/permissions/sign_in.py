"""Sign-in of operators: a growing delay after failures, and server-side sessions that can be revoked at once.

The cookie carries a random 256-bit token. The directory knows the tenant of its digest, the tenant's own
table knows whose it is, until when, and whether it was revoked or outlived by a change of password or grants.

A try is written down before the password is checked, and the check holds no database connection: guesses sent
in parallel count each other, and a flood of them cannot empty the connection pool.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, ScalarSelect, String, cast, delete, func, select, update
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import Grant, SignInAttempt, User, UserSession
from app.permissions.passwords import matches
from app.tenants import directory
from app.tenants.models import Tenant

SESSION_LASTS = timedelta(hours=12)
SESSION_IDLE_MAX = timedelta(hours=2)
SEEN_EVERY = timedelta(minutes=1)
FAILURES_WINDOW = timedelta(hours=1)
KNOWN_ADDRESS_LASTS = timedelta(days=30)
PRUNED_MAX = 1_000
#: Seconds to wait after 0, 1, 2 … recent failures of a name: never more than five tries in a quarter of an
#: hour.
NAME_DELAYS_S = (0, 0, 0, 60, 300, 900)
#: The same for an address that tries many names; a whole office may share one.
ADDRESS_DELAYS_S = (0,) * 20 + (60, 120, 300)


class SignInRefused(AppError):
    """Unknown name, wrong password and disabled user answer alike."""

    code, status = "sign_in_refused", 401
    message_zh = "登录名或密码不正确。请核对大小写后再试；忘记密码请联系集团管理员。"
    message_en = "The sign-in name or password is not right. Check capitals and try again, or ask your administrator."


class SignInDelayed(AppError):
    """Too many failures: the next try must wait. Nobody is ever locked out for good."""

    code, status = "sign_in_delayed", 429
    message_zh = "连续输错次数过多，请在 {wait_s} 秒后再试。"
    message_en = "Too many wrong tries. Please try again in {wait_s} seconds."


@dataclass(frozen=True, slots=True)
class SignInDone:
    """A session was opened: its token goes into the cookie and nowhere else."""

    token: str
    tenant_id: int
    user_id: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who a session token belongs to, with everything a request needs to know about the person."""

    user_id: int
    login: str
    name: str
    locale: str
    tenant_id: int
    tenant_name: str
    tenant_kind: str
    grants: tuple[tuple[str, int], ...]
    seen_at: datetime


def plain_login(login: str) -> str:
    """The one spelling of a sign-in name: no blanks around it, lower case."""
    return login.strip().lower()


def sign_in(db: Database, *, login: str, password: str, address: str) -> SignInDone:
    """Open a session, in transactions of its own. Raises SignInDelayed, SignInRefused.

    Unknown names take the same way and the same time as known ones: their failures are counted in a tenant
    chosen by the name's digest, so that neither the answer nor the delay tells who exists.
    """
    name = plain_login(login)
    tenant_id = _tenant_or_stand_in(db, name)
    if tenant_id is None:
        matches(None, password)
        raise SignInRefused()
    with unit_of_work(tenant_id, db=db) as session:
        user = session.scalar(select(User).where(User.login == name))
        _count_try(session, login=name, address=address, user=user)
    if not matches(user.password_hash if user else None, password) or user is None or user.disabled_at is not None:
        raise SignInRefused()
    with unit_of_work(tenant_id, db=db) as session:
        return SignInDone(begin_session(session, user=user, address=address), tenant_id, user.id)


def tenant_of(connection: Connection, *, kind: str, value: str) -> int | None:
    """The tenant of a sign-in name or session token, by exact digest; None when nobody has it."""
    return directory.find_tenant(connection, kind=kind, value=value)


def begin_session(session: Session, *, user: User, address: str) -> str:
    """Open a session and return its token, which is kept nowhere but in the cookie."""
    token, now = secrets.token_urlsafe(32), wall_now()
    session.execute(delete(SignInAttempt).where(SignInAttempt.login == _digest_text(user.login)))
    session.add(
        UserSession(
            digest=_digest(token),
            user_id=user.id,
            session_version=user.session_version,
            created_at=now,
            seen_at=now,
            expires_at=now + SESSION_LASTS,
            address=address,
        )
    )
    directory.enter(session, kind="session", value=token)
    return token


def find_session(session: Session, *, token: str) -> SignedIn | None:
    """Who the token belongs to, in one query; None when it expired, was revoked, or was outlived by its user."""
    now = wall_now()
    row = session.execute(
        select(User, UserSession.seen_at, Tenant.name, Tenant.kind, _grants_of_user())
        .join(UserSession, (UserSession.tenant_id == User.tenant_id) & (UserSession.user_id == User.id))
        .join(Tenant, Tenant.id == User.tenant_id)
        .where(
            UserSession.digest == _digest(token),
            UserSession.session_version == User.session_version,
            UserSession.revoked_at.is_(None),
            UserSession.expires_at > now,
            UserSession.seen_at > now - SESSION_IDLE_MAX,
            User.disabled_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    user, seen_at, tenant_name, tenant_kind, grants = row
    held = tuple((role, int(node)) for role, _, node in (text.partition("@") for text in grants or ()))
    return SignedIn(
        user.id, user.login, user.name, user.locale, user.tenant_id, tenant_name, tenant_kind, held, seen_at
    )


def touch_session(session: Session, *, token: str) -> None:
    """Note that the session is in use; called at most once a minute."""
    session.execute(update(UserSession).where(UserSession.digest == _digest(token)).values(seen_at=wall_now()))


def end_session(session: Session, *, token: str) -> None:
    """Revoke the session; its token is worth nothing from now on."""
    session.execute(update(UserSession).where(UserSession.digest == _digest(token)).values(revoked_at=wall_now()))
    directory.leave(session, kind="session", value=token)


def prune_sign_ins(session: Session) -> None:
    """Forget failures that delay nobody any more, and sessions so old that not even their address counts."""
    now = wall_now()
    session.execute(delete(SignInAttempt).where(SignInAttempt.at < now - timedelta(days=1)))
    old = select(UserSession.digest).where(UserSession.created_at < now - KNOWN_ADDRESS_LASTS)
    digests = session.scalars(old.order_by(UserSession.created_at).limit(PRUNED_MAX)).all()
    directory.forget(session, digests=digests)
    session.execute(delete(UserSession).where(UserSession.digest.in_(digests)))


def delay_s(failures: int, delays_s: tuple[int, ...] = NAME_DELAYS_S) -> int:
    """Seconds to wait after so many recent failures; the last figure of the table holds for all that follow."""
    return delays_s[min(failures, len(delays_s) - 1)]


def _tenant_or_stand_in(db: Database, login: str) -> int | None:
    with db.without_tenant() as connection:
        tenant_id = directory.find_tenant(connection, kind="login", value=login)
        if tenant_id is not None:
            return tenant_id
        tenant_ids = connection.scalars(select(Tenant.id).order_by(Tenant.id)).all()
    if not tenant_ids:
        return None
    return tenant_ids[int.from_bytes(directory_digest("stand-in", login)[:8], "big") % len(tenant_ids)]


def _count_try(session: Session, *, login: str, address: str, user: User | None) -> None:
    """Write the try down, unless it comes too early: then it is not even looked at. Raises SignInDelayed."""
    # Serialises the tries of one name for the length of two statements; on a cluster each coordinator counts
    # its own.
    session.execute(select(func.pg_advisory_xact_lock(int.from_bytes(directory_digest("try", login)[:7], "big"))))
    wait_s = _wait_s(session, SignInAttempt.login == _digest_text(login), SignInAttempt.address == address)
    if not _knows(session, user, address):
        wait_s = max(
            wait_s,
            _wait_s(session, SignInAttempt.address == address, delays_s=ADDRESS_DELAYS_S),
            _wait_s(session, SignInAttempt.login == _digest_text(login)),
        )
    if wait_s > 0:
        raise SignInDelayed(wait_s=wait_s)
    session.add(SignInAttempt(login=_digest_text(login), address=address, at=wall_now()))


def _knows(session: Session, user: User | None, address: str) -> bool:
    """Whether the person has signed in from here before: strangers' failures must not keep its owner out."""
    if user is None:
        return False
    since = wall_now() - KNOWN_ADDRESS_LASTS
    before = select(UserSession.digest).where(
        UserSession.user_id == user.id, UserSession.address == address, UserSession.created_at > since
    )
    return session.scalar(before.limit(1)) is not None


def _wait_s(session: Session, *which: Any, delays_s: tuple[int, ...] = NAME_DELAYS_S) -> int:
    since = wall_now() - FAILURES_WINDOW
    failures, last = session.execute(
        select(func.count(), func.max(SignInAttempt.at)).where(SignInAttempt.at > since, *which)
    ).one()
    if not failures:
        return 0
    return max(0, delay_s(failures, delays_s) - int((wall_now() - last).total_seconds()))


def _grants_of_user() -> ScalarSelect[Any]:
    held = select(func.array_agg(Grant.role.concat("@").concat(cast(Grant.node_id, String))))
    return held.where(Grant.tenant_id == User.tenant_id, Grant.user_id == User.id).scalar_subquery()


def _digest(token: str) -> bytes:
    """The same digest as in the directory, so that an old session's entry can be found there and taken out."""
    return directory_digest("session", token)


def _digest_text(login: str) -> str:
    """How a tried name is kept: strangers type anything there, also other people's phone numbers."""
    return directory_digest("try", login).hex()
