"""Tables of people at the console and of machines at the API."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, TenantScoped, uuid7


class User(TenantRow, Base):
    """Somebody who signs in to the console (操作员)."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "login", name="login"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    #: Sign-in name, unique over all tenants through the directory; never a phone number.
    login: Mapped[str] = mapped_column(String(64))
    #: Name on receipts and in the audit log.
    name: Mapped[str] = mapped_column(String(60))
    #: argon2id, encoded with its parameters.
    password_hash: Mapped[str] = mapped_column(String(200))
    #: zh | en.
    locale: Mapped[str] = mapped_column(String(8), server_default="zh")
    #: Set when the person may no longer sign in.
    disabled_at: Mapped[datetime | None]
    #: Raised by disabling, password change and grant change; sessions of an older version are dead.
    session_version: Mapped[int] = mapped_column(server_default=text("1"))


class Grant(TenantRow, Base):
    """A role at a node; it holds for everything below the node."""

    __tablename__ = "grants"
    __table_args__ = (
        UniqueConstraint("tenant_id", "user_id", "role", "node_id", name="once"),
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        ForeignKeyConstraint(["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name="node"),
    )

    user_id: Mapped[int]
    #: Name of a role in `permissions.policy`.
    role: Mapped[str] = mapped_column(String(40))
    node_id: Mapped[int]


class UserSession(TenantScoped, Base):
    """A server-side session; the cookie carries only its random token."""

    __tablename__ = "user_sessions"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        Index("ix_user_sessions_user", "tenant_id", "user_id"),
    )

    #: Digest of the cookie's token, the same as in the directory.
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int]
    #: `users.session_version` at sign-in.
    session_version: Mapped[int]
    #: Wall instants: sessions never follow a demo's clock.
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    #: Set by sign-out and revocation.
    revoked_at: Mapped[datetime | None]
    address: Mapped[str | None] = mapped_column(String(45))


class SignInAttempt(TenantRow, Base):
    """Failures of a sign-in name, for the growing delay; pruned after a day."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (
        Index("ix_sign_in_attempts_login", "tenant_id", "login", "at"),
        Index("ix_sign_in_attempts_address", "tenant_id", "address", "at"),
    )

    #: Hex digest of what was typed: strangers type anything there, also other people's phone numbers.
    login: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(45))
    #: Wall instant.
    at: Mapped[datetime]


class ApiToken(TenantRow, Base):
    """A machine's key to one property; shown once, kept as a digest."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        UniqueConstraint("tenant_id", "digest", name="digest"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        CheckConstraint("expires_at > created_at", name="expires_later"),
    )

    property_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(60))
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    #: Comma-separated permission names.
    permissions: Mapped[str] = mapped_column(String(400))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
