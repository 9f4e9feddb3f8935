"""The outbox and the schedule.

Revision: 0004
After:    0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_outbox_events()
    _create_outbox_lanes()
    _create_schedule_runs()
    _create_outbox_deliveries()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("outbox_deliveries")
    op.drop_table("schedule_runs")
    op.drop_table("outbox_lanes")
    op.drop_table("outbox_events")


def _create_outbox_events() -> None:
    op.create_table(
        "outbox_events",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("order_key", sa.String(length=60), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_outbox_events")),
    )
    protect("outbox_events", grants="SELECT, INSERT, DELETE")


def _create_outbox_lanes() -> None:
    op.create_table(
        "outbox_lanes",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("consumer", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "consumer", name=op.f("pk_outbox_lanes")),
    )
    protect("outbox_lanes")


def _create_schedule_runs() -> None:
    op.create_table(
        "schedule_runs",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("period", sa.String(length=20), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "period", name=op.f("pk_schedule_runs")),
    )
    protect("schedule_runs")


def _create_outbox_deliveries() -> None:
    op.create_table(
        "outbox_deliveries",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("consumer", sa.String(length=40), nullable=False),
        sa.Column("order_key", sa.String(length=60), server_default="", nullable=False),
        sa.Column("state", sa.String(length=8), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(length=300), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'done', 'dead')", name=op.f("ck_outbox_deliveries_state_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "event_id"],
            ["outbox_events.tenant_id", "outbox_events.id"],
            name=op.f("fk_outbox_deliveries_event"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_outbox_deliveries")),
        sa.UniqueConstraint("tenant_id", "event_id", "consumer", name=op.f("uq_outbox_deliveries_once")),
    )
    op.create_index(
        "ix_outbox_deliveries_waiting",
        "outbox_deliveries",
        ["tenant_id", "consumer", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    protect("outbox_deliveries")
