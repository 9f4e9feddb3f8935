"""Company sign-in: a group's own OpenID Connect provider, and whose identity there is whose account here.

Nobody is let in for an address or a name that a provider says: an account is bound to the provider's `sub` by its owner,
signed in, or not at all. What a provider takes away (a person disabled there) it takes away by not vouching any more.
"""

import re
import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database, uuid7
from app.kernel.errors import AppError
from app.kernel.outbound import Outbound
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factor_models import OidcIdentity, OidcProvider
from app.permissions.models import User
from app.permissions.oidc import Client, Vouched, discover
from app.permissions.sessions import begin_session
from app.permissions.sign_in import SignInDone, Visitor
from app.tenants import audit, directory
from app.tenants.access import or_not_found
from app.tenants.keys import data_key, place
from app.tenants.models import Tenant

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,38}[a-z0-9])")


class SsoUnknown(AppError):
    """No group signs in under this word, or it no longer does."""

    code, status = "sso_unknown", 404
    message_zh = "没有名为“{slug}”的企业登录。请向集团管理员核对企业简称，或用登录名和密码登录。"
    message_en = (
        "There is no company sign-in named “{slug}”. Ask your administrator for the word, or use your password."
    )


class SsoNobody(AppError):
    """The provider vouches for somebody whom no account here is bound to, or whose account is disabled."""

    code, status = "sso_nobody", 403
    message_zh = "您的企业账号还没有与这里的账号绑定。请先用登录名和密码登录，在“账号安全”中绑定企业登录。"
    message_en = "Your company account is not bound to an account here. Sign in with your password and bind it first."


class SsoHeld(AppError):
    """This identity is bound to another account here, or this account to another identity."""

    code, status = "sso_held", 409
    message_zh = "该企业账号已与另一个账号绑定，或您已绑定另一个企业账号。请先解除原来的绑定。"
    message_en = "This company account is bound to another account, or yours to another one. Unbind it first."


class SlugUnreadable(AppError):
    """The word in the sign-in address has other characters, or the wrong length."""

    code, status = "sso_slug_unreadable", 422
    message_zh = "企业简称须为 3–40 位小写字母、数字或连字符。"
    message_en = "The company's word has 3 to 40 lower-case letters, digits or hyphens."


class SlugTaken(AppError):
    """Another provider, here or elsewhere, has this word."""

    code, status = "sso_slug_taken", 409
    message_zh = "企业简称“{slug}”已被使用。请换一个。"
    message_en = "The word “{slug}” is taken. Choose another."


class ProviderIncomplete(AppError):
    """Name, client id or client secret is missing or too long."""

    code, status = "sso_provider_incomplete", 422
    message_zh = "请填写名称、客户端编号和密钥（均不超过 200 字）。"
    message_en = "Name, client id and secret are needed, 200 characters each at most."


@dataclass(frozen=True, slots=True)
class FoundProvider:
    """A group's provider with what it takes to speak to it."""

    tenant_id: int
    id: int
    slug: str
    name: str
    client: Client
    demo: bool


def add_provider(
    session: Session,
    *,
    slug: str,
    name: str,
    issuer: str,
    client_id: str,
    client_secret: str,
    door: Outbound,
    by: Actor,
) -> OidcProvider:
    """Register a provider that has been asked and has answered for itself.

    Raises SlugUnreadable, ProviderIncomplete, AddressForbidden, NoAnswer, SsoFailed, SlugTaken.
    """
    if not _SLUG.fullmatch(slug):
        raise SlugUnreadable()
    if not all(0 < len(said.strip()) <= 200 for said in (name, client_id, client_secret)):
        raise ProviderIncomplete()
    issuer = issuer.strip()
    discover(door, issuer)
    if not directory.enter(session, kind="sso", value=slug):
        raise SlugTaken(slug=slug)
    public_id = uuid7()
    provider = OidcProvider(
        public_id=public_id,
        slug=slug,
        name=name.strip()[:60],
        issuer=issuer[:300],
        client_id=client_id.strip(),
        client_secret_cipher=data_key(session).encrypt(
            client_secret.strip(), place(table="oidc_providers", column="client_secret", row=public_id)
        ),
        created_at=wall_now(),
    )
    session.add(provider)
    session.flush()  # allow: flush - the audit log names the provider by its id
    _note(session, provider, by, "user:provider:add")
    return provider


def disable_provider(session: Session, *, public_id: uuid.UUID, by: Actor) -> None:
    """Nobody signs in through it any more; its word is free again. Open sessions go on. Raises NotFound."""
    query = select(OidcProvider).where(OidcProvider.public_id == public_id, OidcProvider.disabled_at.is_(None))
    provider = or_not_found(session.scalar(query.with_for_update()))
    provider.disabled_at = wall_now()
    directory.leave(session, kind="sso", value=provider.slug)
    _note(session, provider, by, "user:provider:disable")


def list_providers(session: Session) -> list[OidcProvider]:
    """The group's living providers, by name."""
    query = select(OidcProvider).where(OidcProvider.disabled_at.is_(None))
    return list(session.scalars(query.order_by(OidcProvider.name, OidcProvider.id)))


def find_provider(db: Database, *, slug: str, redirect_uri: str) -> FoundProvider:
    """The provider behind a word, in transactions of its own. Raises SsoUnknown."""
    with db.without_tenant() as connection:
        tenant_id = directory.find_tenant(connection, kind="sso", value=slug)
    if tenant_id is None:
        raise SsoUnknown(slug=slug[:40])
    with unit_of_work(tenant_id, db=db) as session:
        query = select(OidcProvider).where(OidcProvider.slug == slug, OidcProvider.disabled_at.is_(None))
        provider = session.scalar(query)
        if provider is None:
            raise SsoUnknown(slug=slug[:40])
        where = place(table="oidc_providers", column="client_secret", row=provider.public_id)
        secret = data_key(session).decrypt(provider.client_secret_cipher, where)
        demo = session.scalars(select(Tenant.kind).where(Tenant.id == tenant_id)).one() == "demo"
        client = Client(provider.issuer, provider.client_id, secret, redirect_uri)
        return FoundProvider(tenant_id, provider.id, slug, provider.name, client, demo)


def enter_by_provider(db: Database, *, provider: FoundProvider, who: Vouched, visitor: Visitor) -> SignInDone:
    """Open a session for whom the provider vouches. Raises SsoNobody."""
    with unit_of_work(provider.tenant_id, db=db) as session:
        user = session.scalar(
            select(User)
            .join(OidcIdentity, (OidcIdentity.tenant_id == User.tenant_id) & (OidcIdentity.user_id == User.id))
            .where(OidcIdentity.provider_id == provider.id, OidcIdentity.subject == who.subject)
        )
        if user is not None and user.disabled_at is None:
            factor_at = wall_now() if who.second_factor else None
            token = begin_session(
                session, user=user, address=visitor.address, agent=visitor.agent, opened_by="sso", factor_at=factor_at
            )
            return SignInDone(token, provider.tenant_id, user.id)
        if user is not None:
            _refuse(session, user, visitor)
    raise SsoNobody()


def bind_identity(session: Session, *, provider_id: int, subject: str, user: User, by: Actor) -> None:
    """Bind a provider's subject to one's own account; twice is once. Raises SsoHeld."""
    mine = select(OidcIdentity).where(
        OidcIdentity.provider_id == provider_id,
        (OidcIdentity.subject == subject) | (OidcIdentity.user_id == user.id),
    )
    held = session.scalars(mine).all()
    if any((one.subject, one.user_id) != (subject, user.id) for one in held):
        raise SsoHeld()
    if held:
        return
    session.add(OidcIdentity(provider_id=provider_id, subject=subject, user_id=user.id, created_at=wall_now()))
    try:
        session.flush()  # allow: flush - two who bind the same identity at once: the second is told so
    except IntegrityError as taken:
        raise SsoHeld() from taken
    _note_identity(session, user, by, "user:identity:bind", provider_id)


def unbind_identity(session: Session, *, provider_id: int, user: User, by: Actor) -> None:
    """Leave company sign-in. Raises NotFound."""
    query = select(OidcIdentity).where(OidcIdentity.provider_id == provider_id, OidcIdentity.user_id == user.id)
    session.delete(or_not_found(session.scalar(query)))
    _note_identity(session, user, by, "user:identity:unbind", provider_id)


def bound_providers(session: Session, *, user_id: int) -> frozenset[int]:
    """Ids of the providers a person has bound."""
    return frozenset(session.scalars(select(OidcIdentity.provider_id).where(OidcIdentity.user_id == user_id)))


def _refuse(session: Session, user: User, visitor: Visitor) -> None:
    audit.record(
        session, deed="user:session:refuse", subject=f"users:{user.id}",
        actor=Actor("system", "sign-in", address=visitor.address), facts={"reason": "disabled"}, result="refused",
    )  # fmt: skip


def _note(session: Session, provider: OidcProvider, by: Actor, deed: str) -> None:
    audit.record(
        session, deed=deed, subject=f"oidc_providers:{provider.id}", actor=by,
        after={"slug": provider.slug, "issuer": provider.issuer, "disabled": provider.disabled_at is not None},
    )  # fmt: skip


def _note_identity(session: Session, user: User, by: Actor, deed: str, provider_id: int) -> None:
    audit.record(session, deed=deed, subject=f"users:{user.id}", actor=by, facts={"provider_id": provider_id})
