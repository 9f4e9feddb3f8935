"""Gateways, meters, mounts, readings, usage.

Revision: 0005
After:    0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_meter_models()
    _create_reading_batches()
    _create_reading_cases()
    _create_readings()
    _create_usage_spans()
    _create_gateways()
    _create_meters()
    _create_dirty_ranges()
    _create_mounts()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("mounts")
    op.drop_table("dirty_ranges")
    op.drop_table("meters")
    op.drop_table("gateways")
    op.drop_table("usage_spans")
    op.drop_table("readings")
    op.drop_table("reading_cases")
    op.drop_table("reading_batches")
    op.drop_table("meter_models")


def _create_meter_models() -> None:
    op.create_table(
        "meter_models",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("utility", sa.String(length=16), server_default="electricity", nullable=False),
        sa.Column("dialect", sa.String(length=24), nullable=False),
        sa.Column("modulus_wh", sa.BigInteger(), nullable=False),
        sa.Column("rated_power_w", sa.BigInteger(), nullable=False),
        sa.Column("step_wh", sa.BigInteger(), server_default=sa.text("10"), nullable=False),
        sa.Column("registers", sa.ARRAY(sa.String(length=12)), nullable=False),
        sa.CheckConstraint("modulus_wh > 0", name=op.f("ck_meter_models_modulus_positive")),
        sa.CheckConstraint("rated_power_w > 0", name=op.f("ck_meter_models_rated_power_positive")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_meter_models")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_meter_models_name")),
    )
    protect("meter_models")


def _create_reading_batches() -> None:
    op.create_table(
        "reading_batches",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=120), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("answer", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_reading_batches")),
        sa.UniqueConstraint(
            "tenant_id", "property_id", "idempotency_key", name=op.f("uq_reading_batches_idempotency_key")
        ),
    )
    protect("reading_batches")


def _create_reading_cases() -> None:
    op.create_table(
        "reading_cases",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("register", sa.String(length=8), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("register_wh", sa.BigInteger(), nullable=False),
        sa.Column("flag", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("facts", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_reading_cases")),
    )
    op.create_index(
        "ix_reading_cases_open",
        "reading_cases",
        ["tenant_id", "property_id", "id"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_index(
        "one_case_per_reading",
        "reading_cases",
        ["tenant_id", "meter_id", "register", "read_at", "register_wh", "flag"],
        unique=True,
    )
    protect("reading_cases")


def _create_readings() -> None:
    op.create_table(
        "readings",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("register", sa.String(length=8), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("register_wh", sa.BigInteger(), nullable=False),
        sa.Column("flag", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("register_wh >= 0", name=op.f("ck_readings_register_not_negative")),
        sa.PrimaryKeyConstraint("tenant_id", "meter_id", "register", "read_at", "revision", name=op.f("pk_readings")),
        postgresql_partition_by="RANGE (read_at)",
    )
    protect("readings", grants="SELECT, INSERT")


def _create_usage_spans() -> None:
    op.create_table(
        "usage_spans",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("mount_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("from_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("to_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=True),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("usage_wh", sa.BigInteger(), nullable=False),
        sa.Column("quality", sa.String(length=8), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("quality IN ('actual', 'spread')", name=op.f("ck_usage_spans_quality_known")),
        sa.CheckConstraint("to_at > from_at", name=op.f("ck_usage_spans_runs_forward")),
        sa.CheckConstraint("usage_wh >= 0", name=op.f("ck_usage_spans_usage_not_negative")),
        sa.PrimaryKeyConstraint("tenant_id", "mount_id", "from_at", name=op.f("pk_usage_spans")),
        postgresql_partition_by="RANGE (from_at)",
    )
    op.create_index(
        "ix_usage_spans_account_day", "usage_spans", ["tenant_id", "supply_account_id", "day"], unique=False
    )
    op.create_index("ix_usage_spans_property_day", "usage_spans", ["tenant_id", "property_id", "day"], unique=False)
    protect("usage_spans")


def _create_gateways() -> None:
    op.create_table(
        "gateways",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.String(length=32), nullable=False),
        sa.Column("mode", sa.String(length=8), nullable=False),
        sa.Column("host", sa.String(length=120), nullable=True),
        sa.Column("port", sa.BigInteger(), nullable=True),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=True),
        sa.Column("simulated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("lease_holder", sa.String(length=80), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("online", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "mode = 'dial_in' OR (host IS NOT NULL AND port IS NOT NULL)", name=op.f("ck_gateways_dialled_has_address")
        ),
        sa.CheckConstraint("mode IN ('dial_in', 'dial_out')", name=op.f("ck_gateways_mode_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name=op.f("fk_gateways_property")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_gateways")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_gateways_number")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_gateways_public_id")),
    )
    op.create_index("ix_gateways_property", "gateways", ["tenant_id", "property_id"], unique=False)
    protect("gateways")


def _create_meters() -> None:
    op.create_table(
        "meters",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("gateway_id", sa.BigInteger(), nullable=True),
        sa.Column("number", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=16), nullable=False),
        sa.Column("password_cipher", sa.LargeBinary(), nullable=True),
        sa.Column("relay_state", sa.String(length=8), server_default="unknown", nullable=False),
        sa.Column("relay_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reading_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("register_wh", sa.BigInteger(), nullable=True),
        sa.Column("clock_drift_s", sa.BigInteger(), nullable=True),
        sa.Column("command_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("online", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("relay_state IN ('closed', 'open', 'unknown')", name=op.f("ck_meters_relay_state_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "gateway_id"], ["gateways.tenant_id", "gateways.id"], name=op.f("fk_meters_gateway")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"], ["meter_models.tenant_id", "meter_models.id"], name=op.f("fk_meters_model")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name=op.f("fk_meters_property")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_meters")),
        sa.UniqueConstraint("tenant_id", "gateway_id", "address", name=op.f("uq_meters_address")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_meters_number")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_meters_public_id")),
    )
    op.create_index("ix_meters_property", "meters", ["tenant_id", "property_id"], unique=False)
    protect("meters")


def _create_dirty_ranges() -> None:
    op.create_table(
        "dirty_ranges",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("from_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name=op.f("fk_dirty_ranges_meter")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "meter_id", name=op.f("pk_dirty_ranges")),
    )
    op.create_index("ix_dirty_ranges_property", "dirty_ranges", ["tenant_id", "property_id", "meter_id"], unique=False)
    protect("dirty_ranges")


def _create_mounts() -> None:
    op.create_table(
        "mounts",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=True),
        sa.Column("space_id", sa.BigInteger(), nullable=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("register_wh_first", sa.BigInteger(), nullable=False),
        sa.Column("register_wh_last", sa.BigInteger(), nullable=True),
        sa.Column("ratio", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("actuator", sa.String(length=16), server_default="internal_relay", nullable=False),
        sa.Column("guaranteed_supply", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("control", sa.String(length=10), server_default="engaged", nullable=False),
        sa.Column("button_reachable", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "actuator IN ('internal_relay', 'motor_breaker', 'shunt_trip', 'hv_switch')",
            name=op.f("ck_mounts_actuator_known"),
        ),
        sa.CheckConstraint("control IN ('engaged', 'bypassed')", name=op.f("ck_mounts_control_known")),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (register_wh_last IS NULL)", name=op.f("ck_mounts_ended_has_last_reading")
        ),
        sa.CheckConstraint("ended_at IS NULL OR ended_at > began_at", name=op.f("ck_mounts_ends_after_begin")),
        sa.CheckConstraint("ratio >= 1", name=op.f("ck_mounts_ratio_at_least_one")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name=op.f("fk_mounts_meter")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name=op.f("fk_mounts_property")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "space_id"], ["spaces.tenant_id", "spaces.id"], name=op.f("fk_mounts_space")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_mounts")),
    )
    op.create_index("ix_mounts_meter", "mounts", ["tenant_id", "meter_id"], unique=False)
    op.create_index("ix_mounts_supply_account", "mounts", ["tenant_id", "supply_account_id"], unique=False)
    op.create_index(
        "one_open_mount", "mounts", ["tenant_id", "meter_id"], unique=True, postgresql_where=sa.text("ended_at IS NULL")
    )
    protect("mounts")
