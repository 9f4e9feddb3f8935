"""Server-side sessions: opened, found in one query, listed by their owner, revoked at once.

The cookie carries a random 256-bit token. The directory knows the tenant of its digest, the tenant's own table knows
whose it is, until when, and whether it was revoked or outlived by a change of password or grants. Every limit is judged
when the session is found, so that a stricter policy holds with the next request on every worker.
"""

import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Interval,
    ScalarSelect,
    Update,
    and_,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factor_models import UserFactor
from app.permissions.held import grants_column, read_grants
from app.permissions.models import SecurityPolicy, User, UserSession
from app.permissions.policy import Grant
from app.tenants import audit, directory
from app.tenants.access import or_not_found
from app.tenants.models import Tenant

#: What holds where a tenant has not said otherwise.
SESSION_LASTS = timedelta(hours=12)
SESSION_IDLE_MAX = timedelta(hours=2)
SEEN_EVERY = timedelta(minutes=1)
KEPT = timedelta(days=30)
PRUNED_MAX = 1_000
AGENT_LENGTH_MAX = 80
_viewed = aliased(User)


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
    #: Living ones, with what their roles hold.
    grants: tuple[Grant, ...]
    seen_at: datetime
    #: How one's own list names the session.
    session_id: uuid.UUID
    #: password | pin | passkey | sso.
    opened_by: str
    #: When a second factor was last shown in it; null when never.
    factor_at: datetime | None
    #: Kinds of second factors the person has: totp, passkey.
    factor_kinds: frozenset[str]
    #: Whether the tenant asks roles that move money or relays for a second factor.
    factor_required: bool
    counter_pc_id: int | None
    #: "View as": whose rights this session reads with, and what they are; null and nothing for one's own.
    view_as_user_id: int | None
    view_as_name: str | None
    view_as_grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A line of one's own list of sessions."""

    public_id: uuid.UUID
    agent: str
    address: str | None
    opened_by: str
    created_at: datetime
    seen_at: datetime


def begin_session(
    session: Session,
    *,
    user: User,
    address: str,
    agent: str = "",
    opened_by: str = "password",
    factor_at: datetime | None = None,
    counter_pc_id: int | None = None,
) -> str:
    """Open a session and return its token, which is kept nowhere but in the cookie. Written to the audit log."""
    token, now = secrets.token_urlsafe(32), wall_now()
    lasts = session.scalar(select(SecurityPolicy.session_hours_max))
    session.add(
        UserSession(
            digest=_digest(token),
            user_id=user.id,
            session_version=user.session_version,
            created_at=now,
            seen_at=now,
            expires_at=now + (timedelta(hours=lasts) if lasts else SESSION_LASTS),
            address=address,
            agent=agent[:AGENT_LENGTH_MAX],
            opened_by=opened_by,
            factor_at=factor_at,
            counter_pc_id=counter_pc_id,
        )
    )
    directory.enter(session, kind="session", value=token)
    audit.record(
        session,
        deed="user:session:open",
        subject=f"users:{user.id}",
        actor=Actor.user(user.id, address=address),
        facts={"by": opened_by, "factor": factor_at is not None},
    )
    return token


def find_session(session: Session, *, token: str) -> SignedIn | None:
    """Who the token belongs to, in one query; None when it expired, was revoked, or was outlived by its user."""
    row = session.execute(
        select(
            User, UserSession, Tenant.name, Tenant.kind, grants_column(User.tenant_id, User.id), _factors_of_user(),
            asks_factor(), _viewed.name, grants_column(_viewed.tenant_id, _viewed.id),
        )
        .join(UserSession, (UserSession.tenant_id == User.tenant_id) & (UserSession.user_id == User.id))
        .join(Tenant, Tenant.id == User.tenant_id)
        .outerjoin(SecurityPolicy, SecurityPolicy.tenant_id == User.tenant_id)
        .outerjoin(_viewed, _is_viewed())
        .where(UserSession.digest == _digest(token), *_alive())
        .execution_options(populate_existing=True)
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    user, own, tenant_name, tenant_kind, grants, kinds, required, viewed, viewed_grants = row
    held = read_grants(grants)
    return SignedIn(
        user.id, user.login, user.name, user.locale, user.tenant_id, tenant_name, tenant_kind, held, own.seen_at,
        own.public_id, own.opened_by, own.factor_at, frozenset(kinds or ()), bool(required), own.counter_pc_id,
        own.view_as_user_id, viewed, read_grants(viewed_grants),
    )  # fmt: skip


def touch_session(session: Session, *, token: str) -> None:
    """Note that the session is in use; called at most once a minute."""
    session.execute(_of(token).values(seen_at=wall_now()))


def note_factor(session: Session, *, token: str) -> None:
    """A second factor was shown in this session just now."""
    session.execute(_of(token).values(factor_at=wall_now()))


def end_session(session: Session, *, token: str) -> None:
    """Revoke the session; its token is worth nothing from now on."""
    session.execute(_of(token).values(revoked_at=wall_now()))
    directory.leave(session, kind="session", value=token)


def end_token(db: Database, *, token: str) -> None:
    """End the session of a token, whosever it is, in a transaction of its own; nothing for a token of nobody."""
    with db.without_tenant() as connection:
        tenant_id = directory.find_tenant(connection, kind="session", value=token)
    if tenant_id is not None:
        with unit_of_work(tenant_id, db=db) as session:
            end_session(session, token=token)


def list_sessions(session: Session, *, user_id: int) -> list[OpenSession]:
    """A person's living sessions, the one used last first."""
    rows = session.execute(
        select(UserSession)
        .join(User, (User.tenant_id == UserSession.tenant_id) & (User.id == UserSession.user_id))
        .outerjoin(SecurityPolicy, SecurityPolicy.tenant_id == User.tenant_id)
        .where(UserSession.user_id == user_id, *_alive())
        .order_by(UserSession.seen_at.desc(), UserSession.public_id)
    ).scalars()
    return [OpenSession(s.public_id, s.agent, s.address, s.opened_by, s.created_at, s.seen_at) for s in rows]


def revoke_session(session: Session, *, user_id: int, public_id: uuid.UUID, by: Actor) -> None:
    """End one of a person's own sessions, wherever it is open. Raises NotFound."""
    query = select(UserSession).where(UserSession.user_id == user_id, UserSession.public_id == public_id)
    own = or_not_found(session.scalar(query.with_for_update()))
    own.revoked_at = own.revoked_at or wall_now()
    _note(session, user_id, by, which="one")


def revoke_others(session: Session, *, user_id: int, keep: uuid.UUID, by: Actor) -> int:
    """End all of a person's sessions but this one. Returns how many there were."""
    others = update(UserSession).where(
        UserSession.user_id == user_id, UserSession.public_id != keep, UserSession.revoked_at.is_(None)
    )
    ended = len(session.scalars(others.values(revoked_at=wall_now()).returning(UserSession.public_id)).all())
    _note(session, user_id, by, which="others", ended=ended)
    return ended


def prune_sessions(session: Session) -> None:
    """Forget sessions so old that not even their address counts."""
    old = select(UserSession.digest).where(UserSession.created_at < wall_now() - KEPT)
    digests = session.scalars(old.order_by(UserSession.created_at).limit(PRUNED_MAX)).all()
    directory.forget(session, digests=digests)
    session.execute(delete(UserSession).where(UserSession.digest.in_(digests)))


def asks_factor() -> ColumnElement[bool]:
    """Whether the tenant asks for second factors; stands beside `Tenant` and an outer join of `SecurityPolicy`."""
    return func.coalesce(SecurityPolicy.second_factor_required, Tenant.kind != "demo")


def _alive() -> tuple[ColumnElement[bool], ...]:
    now = wall_now()
    hours = func.coalesce(SecurityPolicy.session_hours_max, int(SESSION_LASTS.total_seconds()) // 3600)
    minutes = func.coalesce(SecurityPolicy.session_idle_min, int(SESSION_IDLE_MAX.total_seconds()) // 60)
    return (
        UserSession.session_version == User.session_version,
        UserSession.revoked_at.is_(None),
        UserSession.expires_at > now,
        UserSession.created_at + hours * literal(timedelta(hours=1), Interval) > now,
        UserSession.seen_at + minutes * literal(timedelta(minutes=1), Interval) > now,
        User.disabled_at.is_(None),
    )


def _of(token: str) -> Update:
    return update(UserSession).where(UserSession.digest == _digest(token))


def _is_viewed() -> ColumnElement[bool]:
    """Who is viewed as; somebody disabled meanwhile is not found, and nothing is seen through their eyes."""
    return and_(
        _viewed.tenant_id == UserSession.tenant_id,
        _viewed.id == UserSession.view_as_user_id,
        _viewed.disabled_at.is_(None),
    )


def _factors_of_user() -> ScalarSelect[Any]:
    held = select(func.array_agg(UserFactor.kind.distinct())).where(
        UserFactor.tenant_id == User.tenant_id,
        UserFactor.user_id == User.id,
        UserFactor.confirmed_at.is_not(None),
        UserFactor.removed_at.is_(None),
    )
    return held.scalar_subquery()


def _digest(token: str) -> bytes:
    """The same digest as in the directory, so that an old session's entry can be found there and taken out."""
    return directory_digest("session", token)


def _note(session: Session, user_id: int, by: Actor, **facts: object) -> None:
    audit.record(session, deed="user:session:revoke", subject=f"users:{user_id}", actor=by, facts=facts)
