"""API tokens: a machine's key to a node and all below it, shown once and kept as a digest."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database
from app.kernel.errors import AppError, NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import ApiToken
from app.permissions.policy import Permission
from app.tenants import audit, directory
from app.tenants.access import or_not_found, within
from app.tenants.models import Node
from app.tenants.tree import Tree

PREFIX = "th_"
USE_NOTED_EVERY = timedelta(minutes=1)


class TokenUnknown(AppError):
    """No such API token, or one that was revoked."""

    code, status = "token_unknown", 401
    message_zh = "API 令牌无效。请核对 Authorization 头，或在控制台重新签发。"
    message_en = "This API token is not valid. Check the Authorization header, or issue a new one in the console."


class TokenExpired(AppError):
    """The API token's time is over."""

    code, status = "token_expired", 401
    message_zh = "API 令牌已过期。请在控制台重新签发。"
    message_en = "This API token has expired. Issue a new one in the console."


class TokenExpiresTooEarly(AppError):
    """The end lies in the past."""

    code, status = "token_expires_too_early", 422
    message_zh = "令牌的到期时间必须晚于现在。请修改到期时间。"
    message_en = "A token must expire later than now. Please change the time."


@dataclass(frozen=True, slots=True)
class ApiActor:
    """Who stands behind an API request: one token, one branch of the tree, named permissions."""

    tenant_id: int
    token_id: int
    node_id: int
    #: Properties at or below the node.
    property_ids: frozenset[int]
    name: str
    permissions: frozenset[Permission]

    def actor(self, address: str | None = None) -> Actor:
        """How entries and the audit log name it."""
        return Actor.api_token(self.token_id, name=self.name, address=address)

    def allows(self, permission: Permission, property_id: int) -> bool:
        """May the machine do it at this property?"""
        return property_id in self.property_ids and permission in self.permissions


def issue_token(
    session: Session,
    *,
    node_id: int,
    name: str,
    permissions: Collection[Permission],
    expires_at: datetime,
    by: Actor,
) -> str:
    """Make a token and return it, the only time it is seen. Raises NotFound, TokenExpiresTooEarly."""
    now = wall_now()
    if session.scalar(select(Node.id).where(Node.id == node_id)) is None:
        raise NotFound()
    if expires_at <= now:
        raise TokenExpiresTooEarly()
    raw = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(
        node_id=node_id,
        name=name.strip(),
        digest=_digest(raw),
        permissions=sorted(permissions),
        created_at=now,
        expires_at=expires_at,
    )
    session.add(token)
    session.flush()  # allow: flush - the audit log names the token by its id
    directory.enter(session, kind="api_token", value=raw)
    _note(session, token, deed="api:token:issue", by=by)
    return raw


def revoke_token(session: Session, *, token_id: int, allowed: Collection[int], by: Actor) -> None:
    """End a token at once; twice is once. Raises NotFound."""
    query = select(ApiToken).where(ApiToken.id == token_id, within(ApiToken.node_id, allowed))
    token = or_not_found(session.scalar(query.with_for_update()))
    if token.revoked_at is None:
        token.revoked_at = wall_now()
        _note(session, token, deed="api:token:revoke", by=by)


def find_token(db: Database, raw: str) -> ApiActor:
    """Who showed this token, looked up in a transaction of its own. Raises TokenUnknown, TokenExpired."""
    with db.without_tenant() as connection:
        tenant_id = directory.find_tenant(connection, kind="api_token", value=raw)
    if tenant_id is None:
        raise TokenUnknown()
    now = wall_now()
    with unit_of_work(tenant_id, db=db) as session:
        token = session.scalar(select(ApiToken).where(ApiToken.digest == _digest(raw)))
        if token is None or token.revoked_at is not None:
            raise TokenUnknown()
        if token.expires_at <= now:
            raise TokenExpired()
        if token.last_used_at is None or now - token.last_used_at > USE_NOTED_EVERY:
            token.last_used_at = now
        held = frozenset(Permission(name) for name in token.permissions)
        return ApiActor(tenant_id, token.id, token.node_id, _properties_below(session, token.node_id), token.name, held)


def _properties_below(session: Session, node_id: int) -> frozenset[int]:
    nodes = session.execute(select(Node.id, Node.parent_id, Node.kind)).all()
    branch = Tree.of([(id_, parent_id) for id_, parent_id, _ in nodes]).subtree(node_id)
    return frozenset(id_ for id_, _, kind in nodes if kind == "property" and id_ in branch)


def _note(session: Session, token: ApiToken, *, deed: str, by: Actor) -> None:
    audit.record(
        session,
        deed=deed,
        subject=f"api_tokens:{token.id}",
        actor=by,
        facts={"node_id": token.node_id, "permissions": token.permissions, "expires_at": token.expires_at.isoformat()},
    )


def _digest(raw: str) -> bytes:
    return directory_digest("api_token", raw)
