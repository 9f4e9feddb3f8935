"""Further tables.

Revision: 0011
After:    0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_stop_freezes()
    _create_zero_crossings()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("zero_crossings")
    op.drop_table("stop_freezes")


def _create_stop_freezes() -> None:
    op.create_table(
        "stop_freezes",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lifted_by", sa.String(length=60), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_stop_freezes")),
    )
    op.create_index(
        "one_open_freeze", "stop_freezes", ["tenant_id"], unique=True, postgresql_where=sa.text("lifted_at IS NULL")
    )
    protect("stop_freezes")


def _create_zero_crossings() -> None:
    op.create_table(
        "zero_crossings",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("crossings", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("crossings > 0", name=op.f("ck_zero_crossings_crossings_positive")),
        sa.PrimaryKeyConstraint("tenant_id", "property_id", "hour", name=op.f("pk_zero_crossings")),
    )
    protect("zero_crossings")
