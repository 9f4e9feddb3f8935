"""Payments, receipts, stops.

Revision: 0009
After:    0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_payments()
    _create_stop_judgements()
    _create_stops()
    _create_receipts()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("receipts")
    op.drop_table("stops")
    op.drop_table("stop_judgements")
    op.drop_table("payments")


def _create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=8), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("received_on", sa.Date(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=120), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "channel IN ('cash', 'bank', 'wechat', 'alipay', 'stripe', 'pos')", name=op.f("ck_payments_channel_known")
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_payments_amount_positive")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entry_id"], ["ledger_entries.tenant_id", "ledger_entries.id"], name=op.f("fk_payments_entry")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name=op.f("fk_payments_property")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name=op.f("fk_payments_supply_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_payments")),
        sa.UniqueConstraint("tenant_id", "entry_id", name=op.f("uq_payments_entry")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_payments_idempotency_key")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_payments_public_id")),
    )
    op.create_index("ix_payments_property", "payments", ["tenant_id", "property_id", "received_on"], unique=False)
    op.create_index("ix_payments_supply_account", "payments", ["tenant_id", "supply_account_id", "id"], unique=False)
    protect("payments")


def _create_stop_judgements() -> None:
    op.create_table(
        "stop_judgements",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=40), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name=op.f("fk_stop_judgements_supply_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "supply_account_id", name=op.f("pk_stop_judgements")),
    )
    op.create_index("ix_stop_judgements_next", "stop_judgements", ["tenant_id", "next_at"], unique=False)
    protect("stop_judgements")


def _create_stops() -> None:
    op.create_table(
        "stops",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("basis", sa.String(length=12), nullable=False),
        sa.Column("state", sa.String(length=10), server_default="ordered", nullable=False),
        sa.Column("trip_command_id", sa.BigInteger(), nullable=True),
        sa.Column("close_command_id", sa.BigInteger(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("in_force_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("appliances_off_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("basis IN ('zero_stop', 'arrears', 'safety', 'manual')", name=op.f("ck_stops_basis_known")),
        sa.CheckConstraint(
            "state IN ('ordered', 'in_force', 'restoring', 'lifted', 'cancelled', 'dry_run')",
            name=op.f("ck_stops_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name=op.f("fk_stops_meter")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name=op.f("fk_stops_supply_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_stops")),
    )
    op.create_index(
        "ix_stops_open",
        "stops",
        ["tenant_id", "property_id"],
        unique=False,
        postgresql_where=sa.text("state IN ('ordered', 'in_force', 'restoring')"),
    )
    op.create_index("ix_stops_ordered", "stops", ["tenant_id", "property_id", "ordered_at"], unique=False)
    op.create_index("ix_stops_supply_account", "stops", ["tenant_id", "supply_account_id", "id"], unique=False)
    op.create_index(
        "one_open_stop",
        "stops",
        ["tenant_id", "supply_account_id", "meter_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('ordered', 'in_force', 'restoring')"),
    )
    protect("stops")


def _create_receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("till", sa.String(length=12), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("payment_id", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("prints", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name=op.f("fk_receipts_book")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "payment_id"], ["payments.tenant_id", "payments.id"], name=op.f("fk_receipts_payment_row")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_receipts")),
        sa.UniqueConstraint("tenant_id", "book_id", "till", "number", name=op.f("uq_receipts_number")),
        sa.UniqueConstraint("tenant_id", "payment_id", name=op.f("uq_receipts_payment")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_receipts_public_id")),
    )
    protect("receipts")
