"""API tokens: a machine's key to a node and all below it, shown once and kept as a digest (adr 0019).

A token can be used from the addresses it names, until its end, for what it names. It does not end with the person who
issued it: machines stay when people leave, so the list says who issued each, and whoever manages the node revokes it.
"""

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database
from app.kernel.errors import AppError, NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions.held import load_scope
from app.permissions.models import ApiToken
from app.permissions.policy import Permission, known
from app.permissions.reach import refuse_beyond
from app.tenants import audit, directory
from app.tenants.access import or_not_found, within
from app.tenants.models import Node
from app.tenants.tree import Tree

PREFIX = "th_"
#: What a token looks like; anything else is not looked up.
SHAPE = re.compile(r"th_[A-Za-z0-9_-]{43}")
USE_NOTED_EVERY = timedelta(minutes=1)
LIVES_MAX = timedelta(days=731)
RANGES_MAX = 20
NAME_MAX = 60

#: What a machine may do at all. Money, rights, prices, relays and personal data are for people with a second factor.
MACHINE_PERMISSIONS = frozenset({Permission.METER_METER_READ, Permission.READING_IMPORT_LOAD})


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


class TokenFromElsewhere(AppError):
    """The token is good, and was shown from an address outside its range."""

    code, status = "token_from_elsewhere", 403
    message_zh = "该 API 令牌不允许从此地址（{address}）使用。请从登记的地址发起请求，或签发包含此地址的新令牌。"
    message_en = (
        "This API token may not be used from this address ({address}). Send the request from a registered address, "
        "or issue a token whose range includes it."
    )


class TokenExpiresTooEarly(AppError):
    """The end lies in the past."""

    code, status = "token_expires_too_early", 422
    message_zh = "令牌的到期时间必须晚于现在。请修改到期时间。"
    message_en = "A token must expire later than now. Please change the time."


class TokenExpiresTooLate(AppError):
    """The end lies more than two years ahead."""

    code, status = "token_expires_too_late", 422
    message_zh = "令牌的有效期最长两年。请选择更早的到期时间。"
    message_en = "A token is good for two years at most. Choose an earlier end."


class TokenNameMissing(AppError):
    """Nobody would know which machine to change when the token ends."""

    code, status = "token_name_missing", 422
    message_zh = "请填写令牌的用途（1–{length_max} 个字），例如“抄表系统”。"
    message_en = "Say in 1–{length_max} characters what the token is for, such as “meter reading system”."


class NotForMachines(AppError):
    """No permission was chosen, or one that only people hold."""

    code, status = "not_for_machines", 422
    message_zh = "请至少选择一项可授予接口的权限（{permissions}）。"
    message_en = "Choose at least one of the permissions that machines may hold ({permissions})."


class AddressRangeUnreadable(AppError):
    """Not an address and not a range in CIDR notation."""

    code, status = "address_range_unreadable", 422
    message_zh = "地址范围“{text}”无法识别。请按 203.0.113.0/24 或单个地址填写，每行一个，最多 20 行。"
    message_en = (
        "The address range “{text}” is unreadable. Write 203.0.113.0/24 or one address, one a line, 20 at most."
    )


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
    addresses: Collection[str] = (),
) -> str:
    """Make a token and return it, the only time it is seen.

    Raises NotFound, RightsBeyondYours, NotForMachines, TokenNameMissing, TokenExpiresTooEarly, TokenExpiresTooLate,
    AddressRangeUnreadable.
    """
    now, ranges = wall_now(), [read_range(text) for text in addresses]
    if session.scalar(select(Node.id).where(Node.id == node_id)) is None:
        raise NotFound()
    if not 0 < len(name.strip()) <= NAME_MAX:
        raise TokenNameMissing(length_max=NAME_MAX)
    if not permissions or not MACHINE_PERMISSIONS.issuperset(permissions):
        raise NotForMachines(permissions="、".join(sorted(MACHINE_PERMISSIONS)))
    if len(ranges) > RANGES_MAX:
        raise AddressRangeUnreadable(text=ranges[RANGES_MAX])
    _refuse_end(now, expires_at)
    _refuse_issuer(session, node_id=node_id, permissions=permissions, by=by)
    raw = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(
        node_id=node_id,
        name=name.strip(),
        digest=_digest(raw),
        permissions=sorted(permissions),
        addresses=sorted(set(ranges)),
        issued_by=str(by),
        created_at=now,
        expires_at=expires_at,
    )
    session.add(token)
    session.flush()  # allow: flush - the audit log names the token by its id
    directory.enter(session, kind="api_token", value=raw)
    audit.record(
        session, deed="api:token:issue", subject=f"api_tokens:{token.id}", actor=by, after=_facts(token),
        property_id=_property_of(session, token.node_id),
    )  # fmt: skip
    return raw


def read_range(text: str) -> str:
    """An address or CIDR range in its one spelling. Raises AddressRangeUnreadable, also when host bits are set:
    10.0.0.5/8 would let in more than was meant.
    """
    try:
        return str(ip_network(text.strip()))
    except ValueError as wrong:
        raise AddressRangeUnreadable(text=text.strip()[:60]) from wrong


def _refuse_end(now: datetime, expires_at: datetime) -> None:
    if expires_at <= now:
        raise TokenExpiresTooEarly()
    if expires_at > now + LIVES_MAX:
        raise TokenExpiresTooLate()


def _refuse_issuer(session: Session, *, node_id: int, permissions: Collection[Permission], by: Actor) -> None:
    """Nobody hands a machine what they do not hold at the same node. Raises NotFound, RightsBeyondYours."""
    if by.kind != "user":
        return
    held = load_scope(session, user_id=int(by.ref)).at(node_id)
    if Permission.API_TOKEN_MANAGE not in held:
        raise NotFound()
    refuse_beyond(frozenset(permissions) - held)


def revoke_token(session: Session, *, token_id: int, allowed: Collection[int], by: Actor) -> None:
    """End a token at once; twice is once. Raises NotFound."""
    query = select(ApiToken).where(ApiToken.id == token_id, within(ApiToken.node_id, allowed))
    token = or_not_found(session.scalar(query.with_for_update()))
    if token.revoked_at is None:
        before = _facts(token)
        token.revoked_at = wall_now()
        audit.record(
            session, deed="api:token:revoke", subject=f"api_tokens:{token.id}", actor=by,
            before=before, after=_facts(token), property_id=_property_of(session, token.node_id),
        )  # fmt: skip


def list_tokens(session: Session, *, allowed: Collection[int]) -> list[ApiToken]:
    """Tokens of these nodes, the good ones first, newest first."""
    query = select(ApiToken).where(within(ApiToken.node_id, allowed))
    return list(session.scalars(query.order_by(ApiToken.revoked_at.is_not(None), ApiToken.id.desc())))


def find_token(db: Database, raw: str, *, address: str | None = None) -> ApiActor:
    """Who showed this token from this address, looked up in a transaction of its own; None is a process of ours.

    Raises TokenUnknown, TokenExpired, TokenFromElsewhere.
    """
    if not SHAPE.fullmatch(raw):
        raise TokenUnknown()
    with db.without_tenant() as connection:
        tenant_id = directory.find_tenant(connection, kind="api_token", value=raw)
    if tenant_id is None:
        raise TokenUnknown()
    with unit_of_work(tenant_id, db=db) as session:
        token = _good_token(session, raw)
        elsewhere = address is not None and not comes_from(address, token.addresses)
        (_note_elsewhere if elsewhere else _note_use)(session, token, address)
        found = ApiActor(
            tenant_id, token.id, token.node_id, _properties_below(session, token.node_id), token.name,
            known(token.permissions),
        )  # fmt: skip
    # Raised after the commit: that it was tried stays in the log.
    if elsewhere:
        raise TokenFromElsewhere(address=address)
    return found


def comes_from(address: str, ranges: Collection[str]) -> bool:
    """Whether an address lies in one of the ranges; without any, every address does."""
    if not ranges:
        return True
    try:
        came = ip_address(address)
    except ValueError:
        return False
    if isinstance(came, IPv6Address) and came.ipv4_mapped is not None:
        came = came.ipv4_mapped
    return any(came in ip_network(text) for text in ranges)


def _good_token(session: Session, raw: str) -> ApiToken:
    token = session.scalar(select(ApiToken).where(ApiToken.digest == _digest(raw)))
    if token is None or token.revoked_at is not None:
        raise TokenUnknown()
    if token.expires_at <= wall_now():
        raise TokenExpired()
    return token


def _note_use(_session: Session, token: ApiToken, address: str | None) -> None:
    now = wall_now()
    if token.last_used_at is None or now - token.last_used_at > USE_NOTED_EVERY:
        token.last_used_at, token.last_used_from = now, address


def _note_elsewhere(session: Session, token: ApiToken, address: str | None) -> None:
    """Once a minute: whoever stole a token must not fill the log with it."""
    now = wall_now()
    if token.elsewhere_at is not None and now - token.elsewhere_at <= USE_NOTED_EVERY:
        return
    token.elsewhere_at, token.elsewhere_from = now, address
    audit.record(
        session, deed="api:token:use", subject=f"api_tokens:{token.id}", result="refused",
        actor=Actor.api_token(token.id, address=address), facts={"refused": TokenFromElsewhere.code},
        property_id=_property_of(session, token.node_id),
    )  # fmt: skip


def _properties_below(session: Session, node_id: int) -> frozenset[int]:
    nodes = session.execute(select(Node.id, Node.parent_id, Node.kind)).all()
    branch = Tree.of([(id_, parent_id) for id_, parent_id, _ in nodes]).subtree(node_id)
    return frozenset(id_ for id_, _, kind in nodes if kind == "property" and id_ in branch)


def _property_of(session: Session, node_id: int) -> int | None:
    """The node when it is a property: the audit log of a property shows what concerns it alone."""
    return session.scalar(select(Node.id).where(Node.id == node_id, Node.kind == "property"))


def _facts(token: ApiToken) -> dict[str, object]:
    return {
        "node_id": token.node_id,
        "permissions": token.permissions,
        "addresses": token.addresses,
        "expires_at": token.expires_at.isoformat(),
        "revoked": token.revoked_at is not None,
    }


def _digest(raw: str) -> bytes:
    return directory_digest("api_token", raw)
