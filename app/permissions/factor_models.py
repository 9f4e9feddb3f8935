"""Tables of what a person shows beside the password: second factors, links, providers, counter PCs."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, TenantScoped, uuid7


class UserFactor(TenantRow, Base):
    """A second factor of a person: an authenticator app (TOTP, RFC 6238) or a passkey (WebAuthn Level 2)."""

    __tablename__ = "user_factors"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "credential_id", name="credential_id"),
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        CheckConstraint("kind IN ('totp', 'passkey')", name="kind_known"),
        Index("ix_user_factors_user", "tenant_id", "user_id"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    user_id: Mapped[int]
    #: totp | passkey.
    kind: Mapped[str] = mapped_column(String(8))
    #: What its owner calls it.
    name: Mapped[str] = mapped_column(String(60))
    #: TOTP: the shared secret as ciphertext bound to this row; null for passkeys.
    secret_cipher: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: TOTP: the last 30-second step that was taken, so that no code counts twice; null before the first.
    last_step: Mapped[int | None]
    #: Passkey: credential id and COSE public key as the authenticator gave them; null for TOTP.
    credential_id: Mapped[bytes | None] = mapped_column(LargeBinary)
    public_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Passkey: signature counter last seen; 0 for authenticators that keep none.
    sign_count: Mapped[int] = mapped_column(server_default=text("0"))
    #: Wall instants. An unconfirmed factor counts for nothing.
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]


class RecoveryCode(TenantRow, Base):
    """One of ten codes that stand in once for a lost second factor."""

    __tablename__ = "recovery_codes"
    __table_args__ = (
        UniqueConstraint("tenant_id", "user_id", "digest", name="digest"),
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
    )

    user_id: Mapped[int]
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SignInStep(TenantScoped, Base):
    """Something begun and not yet finished: a password accepted and a factor awaited, a passkey asked."""

    __tablename__ = "sign_in_steps"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        CheckConstraint("purpose IN ('second_factor', 'enrol', 'passkey', 'step_up')", name="purpose_known"),
        Index("ix_sign_in_steps_expires", "tenant_id", "expires_at"),
    )

    #: Digest of the random token that the browser holds.
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    #: second_factor | enrol | passkey | step_up.
    purpose: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[int]
    #: WebAuthn: the challenge that must come back signed.
    challenge: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Where to go afterwards. No personal data.
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    #: Wrong answers so far.
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    address: Mapped[str | None] = mapped_column(String(45))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class PasswordLink(TenantScoped, Base):
    """A link that lets its holder choose a password once."""

    __tablename__ = "password_links"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        Index("ix_password_links_user", "tenant_id", "user_id"),
    )

    #: Digest of the link's random token.
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int]
    #: `user:<id>` of the administrator who handed it out, or `system:web` when the person asked for it.
    made_by: Mapped[str] = mapped_column(String(60))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class OidcProvider(TenantRow, Base):
    """A group's own sign-in service (OpenID Connect Core 1.0)."""

    __tablename__ = "oidc_providers"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "slug", name="slug"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    #: The word in the sign-in address, unique over all tenants through the directory.
    slug: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(60))
    #: Issuer identifier, https; discovery is read from below it.
    issuer: Mapped[str] = mapped_column(String(300))
    client_id: Mapped[str] = mapped_column(String(200))
    #: AES-GCM ciphertext bound to this row.
    client_secret_cipher: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class OidcIdentity(TenantRow, Base):
    """Who a provider's subject is here."""

    __tablename__ = "oidc_identities"
    __table_args__ = (
        UniqueConstraint("tenant_id", "provider_id", "subject", name="subject"),
        ForeignKeyConstraint(
            ["tenant_id", "provider_id"], ["oidc_providers.tenant_id", "oidc_providers.id"], name="provider"
        ),
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
    )

    provider_id: Mapped[int]
    user_id: Mapped[int]
    #: The `sub` claim, never reassigned by the provider.
    subject: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]


class CounterPc(TenantRow, Base):
    """A shared computer at a counter, registered so that its people may switch by PIN."""

    __tablename__ = "counter_pcs"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "digest", name="digest"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(60))
    #: Digest of the random token in the computer's own cookie.
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    registered_by: Mapped[str] = mapped_column(String(60))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
