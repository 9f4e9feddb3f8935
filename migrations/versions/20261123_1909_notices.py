"""Notices.

Revision: 0010
After:    0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_notices()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("notices")


def _create_notices() -> None:
    op.create_table(
        "notices",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("party_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("message_key", sa.String(length=120), nullable=False),
        sa.Column("channel", sa.String(length=12), server_default="sms", nullable=False),
        sa.Column("params", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.String(length=14), server_default="queued", nullable=False),
        sa.Column("provider_id", sa.String(length=80), nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("proof", postgresql.JSONB(), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'sent', 'delivered', 'failed', 'undeliverable', 'cancelled')",
            name=op.f("ck_notices_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "party_id"], ["parties.tenant_id", "parties.id"], name=op.f("fk_notices_party")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_notices")),
        sa.UniqueConstraint("tenant_id", "message_key", name=op.f("uq_notices_message_key")),
    )
    op.create_index("ix_notices_provider_id", "notices", ["tenant_id", "provider_id"], unique=False)
    op.create_index("ix_notices_subject", "notices", ["tenant_id", "subject", "id"], unique=False)
    protect("notices")
