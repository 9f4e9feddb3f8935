"""Users, grants, sessions, API tokens.

Revision: 0003
After:    0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_sign_in_attempts()
    _create_users()
    _create_grants()
    _create_user_sessions()
    _create_api_tokens()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("api_tokens")
    op.drop_table("user_sessions")
    op.drop_table("grants")
    op.drop_table("users")
    op.drop_table("sign_in_attempts")


def _create_sign_in_attempts() -> None:
    op.create_table(
        "sign_in_attempts",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("login", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_sign_in_attempts")),
    )
    op.create_index("ix_sign_in_attempts_address", "sign_in_attempts", ["tenant_id", "address", "at"], unique=False)
    op.create_index("ix_sign_in_attempts_login", "sign_in_attempts", ["tenant_id", "login", "at"], unique=False)
    protect("sign_in_attempts")


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("login", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=False),
        sa.Column("pin_hash", sa.String(length=200), nullable=True),
        sa.Column("phone_cipher", sa.LargeBinary(), nullable=True),
        sa.Column("locale", sa.String(length=8), server_default="zh", nullable=False),
        sa.Column("password_chosen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("session_version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_users")),
        sa.UniqueConstraint("tenant_id", "login", name=op.f("uq_users_login")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_users_public_id")),
    )
    protect("users")


def _create_grants() -> None:
    op.create_table(
        "grants",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("node_id", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name=op.f("fk_grants_node")),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_grants_user")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_grants")),
        sa.UniqueConstraint("tenant_id", "user_id", "role", "node_id", name=op.f("uq_grants_once")),
    )
    protect("grants")


def _create_user_sessions() -> None:
    op.create_table(
        "user_sessions",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("session_version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.Column("public_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("agent", sa.String(length=80), server_default="", nullable=False),
        sa.Column("opened_by", sa.String(length=8), server_default="password", nullable=False),
        sa.Column("factor_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counter_pc_id", sa.BigInteger(), nullable=True),
        sa.Column("view_as_user_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "opened_by IN ('password', 'pin', 'passkey', 'sso')", name=op.f("ck_user_sessions_opened_by_known")
        ),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_user_sessions_public_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_user_sessions_user")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "view_as_user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_user_sessions_view_as")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name=op.f("pk_user_sessions")),
    )
    op.create_index("ix_user_sessions_user", "user_sessions", ["tenant_id", "user_id"], unique=False)
    protect("user_sessions")


def _create_api_tokens() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("node_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("permissions", postgresql.JSONB(), nullable=False),
        sa.Column("addresses", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_by", sa.String(length=60), server_default="", nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_from", sa.String(length=45), nullable=True),
        sa.Column("elsewhere_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("elsewhere_from", sa.String(length=45), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_api_tokens_expires_later")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name=op.f("fk_api_tokens_node")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("tenant_id", "digest", name=op.f("uq_api_tokens_digest")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_api_tokens_public_id")),
    )
    protect("api_tokens")
