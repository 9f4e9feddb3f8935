"""Permits, commands and frames.

Revision: 0006
After:    0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_permits()
    _create_commands()
    _create_frame_records()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("frame_records")
    op.drop_table("commands")
    op.drop_table("permits")


def _create_permits() -> None:
    op.create_table(
        "permits",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("basis", sa.String(length=12), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_reason", sa.String(length=60), nullable=True),
        sa.CheckConstraint(
            "basis IN ('zero_stop', 'arrears', 'safety', 'manual')", name=op.f("ck_permits_basis_known")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name=op.f("fk_permits_meter")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_permits")),
        sa.UniqueConstraint("tenant_id", "id", "meter_id", name=op.f("uq_permits_meter")),
    )
    protect("permits")


def _create_commands() -> None:
    op.create_table(
        "commands",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("gateway_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("permit_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=12), server_default="queued", nullable=False),
        sa.Column("reason", sa.String(length=120), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("idempotency_key", sa.String(length=120), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_back", sa.String(length=8), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=True),
        sa.Column("failure", sa.String(length=40), nullable=True),
        sa.CheckConstraint("kind <> 'trip' OR permit_id IS NOT NULL", name=op.f("ck_commands_no_trip_without_permit")),
        sa.CheckConstraint(
            "kind IN ('trip', 'close', 'permit_close', 'read_status', 'read_total', 'guarantee_on', 'guarantee_off')",
            name=op.f("ck_commands_kind_known"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'sent', 'acknowledged', 'confirmed', 'unconfirmed', 'expired', 'refused', 'cancelled', 'dry_run')",
            name=op.f("ck_commands_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name=op.f("fk_commands_meter")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "permit_id", "meter_id"],
            ["permits.tenant_id", "permits.id", "permits.meter_id"],
            name=op.f("fk_commands_permit"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_commands")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_commands_idempotency_key")),
        sa.UniqueConstraint("tenant_id", "meter_id", "seq", name=op.f("uq_commands_seq")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_commands_public_id")),
    )
    op.create_index("ix_commands_meter", "commands", ["tenant_id", "meter_id", "id"], unique=False)
    op.create_index("ix_commands_property", "commands", ["tenant_id", "property_id", "id"], unique=False)
    op.create_index(
        "ix_commands_undone",
        "commands",
        ["tenant_id", "gateway_id", "meter_id", "seq"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'sent', 'acknowledged')"),
    )
    protect("commands")


def _create_frame_records() -> None:
    op.create_table(
        "frame_records",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("command_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("direction", sa.String(length=3), nullable=False),
        sa.Column("frame", sa.String(length=600), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "command_id"], ["commands.tenant_id", "commands.id"], name=op.f("fk_frame_records_command")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_frame_records")),
    )
    op.create_index("ix_frame_records_command", "frame_records", ["tenant_id", "command_id", "id"], unique=False)
    protect("frame_records", grants="SELECT, INSERT, DELETE")
