"""Limits, approvals and votes.

Revision: 0013
After:    0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_deed_limits()
    _create_approvals()
    _create_approval_votes()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("approval_votes")
    op.drop_table("approvals")
    op.drop_table("deed_limits")


def _create_deed_limits() -> None:
    op.create_table(
        "deed_limits",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("node_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("deed", sa.String(length=40), nullable=False),
        sa.Column("amount_max", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_max >= 0", name=op.f("ck_deed_limits_amount_not_negative")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name=op.f("fk_deed_limits_node")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_deed_limits")),
        sa.UniqueConstraint("tenant_id", "node_id", "role", "deed", name=op.f("uq_deed_limits_once")),
    )
    protect("deed_limits")


def _create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("deed", sa.String(length=40), nullable=False),
        sa.Column("node_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=12), server_default="waiting", nullable=False),
        sa.Column("needed", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("requested_by", sa.BigInteger(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=120), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'approved', 'done', 'refused', 'withdrawn', 'expired', 'failed')",
            name=op.f("ck_approvals_state_known"),
        ),
        sa.CheckConstraint("expires_at > requested_at", name=op.f("ck_approvals_expires_later")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name=op.f("fk_approvals_node")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "requested_by"], ["users.tenant_id", "users.id"], name=op.f("fk_approvals_requested_by")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_approvals_public_id")),
    )
    op.create_index("ix_approvals_at", "approvals", ["tenant_id", "requested_at"], unique=False)
    op.create_index(
        "ix_approvals_waiting",
        "approvals",
        ["tenant_id", "node_id", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    protect("approvals")


def _create_approval_votes() -> None:
    op.create_table(
        "approval_votes",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("approval_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.String(length=200), server_default="", nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("verdict IN ('approve', 'refuse')", name=op.f("ck_approval_votes_verdict_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "approval_id"],
            ["approvals.tenant_id", "approvals.id"],
            name=op.f("fk_approval_votes_approval"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_approval_votes_user")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_approval_votes")),
        sa.UniqueConstraint("tenant_id", "approval_id", "user_id", name=op.f("uq_approval_votes_once")),
        info={"grants": "SELECT, INSERT"},
    )
    protect("approval_votes", grants="SELECT, INSERT")
