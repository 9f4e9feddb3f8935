"""Tables of people at the console and of machines at the API."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
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
    #: argon2id of the counter PIN for the quick switch on a registered counter PC; null when none was set.
    pin_hash: Mapped[str | None] = mapped_column(String(200))
    #: AES-GCM ciphertext of the phone that password links are sent to; null when unknown.
    phone_cipher: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: zh | en.
    locale: Mapped[str] = mapped_column(String(8), server_default="zh")
    #: When the password was last chosen (wall); null for one that an administrator set.
    password_chosen_at: Mapped[datetime | None]
    #: Set when the person may no longer sign in.
    disabled_at: Mapped[datetime | None]
    #: Raised by disabling, password change and grant change; sessions of an older version are dead.
    session_version: Mapped[int] = mapped_column(server_default=text("1"))


class OwnRole(TenantRow, Base):
    """A tenant's own role: an edited copy of a standard one (自定义角色)."""

    __tablename__ = "own_roles"
    __table_args__ = (UniqueConstraint("tenant_id", "code", name="code"),)

    #: `own:<short random>`; what grants name.
    code: Mapped[str] = mapped_column(String(40))
    #: Name on screens.
    name: Mapped[str] = mapped_column(String(60))
    #: The standard role it was copied from.
    based_on: Mapped[str] = mapped_column(String(40))
    #: Names of its permissions, sorted.
    permissions: Mapped[list[str]] = mapped_column(JSONB)
    changed_at: Mapped[datetime]
    #: Set when it may no longer be granted; grants that name it give nothing.
    withdrawn_at: Mapped[datetime | None]


class SecurityPolicy(TenantScoped, Base):
    """What a tenant asks of its people; a tenant without a row has the defaults of `security_policies`."""

    __tablename__ = "security_policies"
    __table_args__ = (
        CheckConstraint("audit_keep_days >= 180", name="audit_kept_half_a_year"),
        CheckConstraint("session_hours_max BETWEEN 1 AND 24", name="session_hours_sane"),
        CheckConstraint("session_idle_min BETWEEN 5 AND 480", name="session_idle_sane"),
        CheckConstraint("approval_hours_max BETWEEN 1 AND 720", name="approval_hours_sane"),
    )

    #: Whether roles that move money or relays need a second factor.
    second_factor_required: Mapped[bool]
    session_hours_max: Mapped[int]
    session_idle_min: Mapped[int]
    #: How long a request waits for its second person.
    approval_hours_max: Mapped[int]
    audit_keep_days: Mapped[int]


class Grant(TenantRow, Base):
    """A role at a node; it holds for everything below the node."""

    __tablename__ = "grants"
    __table_args__ = (
        UniqueConstraint("tenant_id", "user_id", "role", "node_id", name="once"),
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        ForeignKeyConstraint(["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name="node"),
    )

    user_id: Mapped[int]
    #: Name of a standard role in `permissions.policy`, or the code of one of the tenant's own roles.
    role: Mapped[str] = mapped_column(String(40))
    node_id: Mapped[int]
    #: From this instant (wall) it gives nothing; null for one without an end.
    ends_at: Mapped[datetime | None]


class UserSession(TenantScoped, Base):
    """A server-side session; the cookie carries only its random token."""

    __tablename__ = "user_sessions"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        ForeignKeyConstraint(["tenant_id", "view_as_user_id"], ["users.tenant_id", "users.id"], name="view_as"),
        CheckConstraint("opened_by IN ('password', 'pin', 'passkey', 'sso')", name="opened_by_known"),
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
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
    #: How one's own list of sessions names it.
    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7, server_default=text("gen_random_uuid()"))
    #: Browser and system in a few words, for that list.
    agent: Mapped[str] = mapped_column(String(80), server_default="")
    #: password | pin | passkey | sso: how it was opened. One opened by PIN never carries administrator rights.
    opened_by: Mapped[str] = mapped_column(String(8), server_default="password")
    #: When a second factor was last shown in this session (wall); null when never.
    factor_at: Mapped[datetime | None]
    #: The registered counter PC it was opened on.
    counter_pc_id: Mapped[int | None]
    #: "View as": the user whose rights this session reads with; every write is refused meanwhile.
    view_as_user_id: Mapped[int | None]


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
    """A machine's key to one node and all below it; shown once, kept as a digest."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        UniqueConstraint("tenant_id", "digest", name="digest"),
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        ForeignKeyConstraint(["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name="node"),
        CheckConstraint("expires_at > created_at", name="expires_later"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    node_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(60))
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    #: Names of its permissions, sorted.
    permissions: Mapped[list[str]] = mapped_column(JSONB)
    #: CIDR ranges it may come from; empty means from anywhere.
    addresses: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    #: Who issued it, as the audit log names them; the token does not end with them.
    issued_by: Mapped[str] = mapped_column(String(60), server_default="")
    #: Noted at most once a minute.
    last_used_at: Mapped[datetime | None]
    last_used_from: Mapped[str | None] = mapped_column(String(45))
    #: When it was last shown from outside its addresses, and from where: somebody else may have it.
    elsewhere_at: Mapped[datetime | None]
    elsewhere_from: Mapped[str | None] = mapped_column(String(45))
    revoked_at: Mapped[datetime | None]
