"""Money given back or away, emergency supplies, stewards of buildings and their calls.

Only new tables: old code runs beside them and sees nothing of them.

Revision: 0017
After:    0016
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_money_given()
    _create_emergency_policies()
    _create_emergency_supplies()
    _create_building_stewards()
    _create_collection_calls()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("collection_calls")
    op.drop_table("building_stewards")
    op.drop_table("emergency_supplies")
    op.drop_table("emergency_policies")
    op.drop_table("money_given")


def _create_money_given() -> None:
    op.create_table(
        "money_given",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("given_on", sa.Date(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("approval_id", sa.BigInteger(), nullable=True),
        sa.Column("prints", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=120), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "amount_fen <> 0 AND (kind = 'adjustment' OR amount_fen > 0)", name=op.f("ck_money_given_amount_signed")
        ),
        sa.CheckConstraint("kind IN ('refund', 'waiver', 'adjustment')", name=op.f("ck_money_given_kind_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name=op.f("fk_money_given_book")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entry_id"],
            ["ledger_entries.tenant_id", "ledger_entries.id"],
            name=op.f("fk_money_given_entry_row"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_money_given_property"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name=op.f("fk_money_given_supply_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_money_given")),
        sa.UniqueConstraint("tenant_id", "book_id", "kind", "number", name=op.f("uq_money_given_number")),
        sa.UniqueConstraint("tenant_id", "entry_id", name=op.f("uq_money_given_entry")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_money_given_idempotency_key")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_money_given_public_id")),
    )
    op.create_index("ix_money_given_property", "money_given", ["tenant_id", "property_id", "given_on"])
    op.create_index("ix_money_given_supply_account", "money_given", ["tenant_id", "supply_account_id", "id"])
    protect("money_given", grants="SELECT, INSERT, UPDATE")


def _create_emergency_policies() -> None:
    op.create_table(
        "emergency_policies",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hours", sa.BigInteger(), server_default=sa.text("12"), nullable=False),
        sa.Column("fen_max", sa.BigInteger(), server_default=sa.text("3000"), nullable=False),
        sa.Column("changed_by", sa.String(length=60), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("fen_max BETWEEN 100 AND 100000", name=op.f("ck_emergency_policies_fen_range")),
        sa.CheckConstraint("hours BETWEEN 1 AND 72", name=op.f("ck_emergency_policies_hours_range")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_emergency_policies_property"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "property_id", name=op.f("pk_emergency_policies")),
    )
    protect("emergency_policies")


def _create_emergency_supplies() -> None:
    op.create_table(
        "emergency_supplies",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fen_max", sa.BigInteger(), nullable=False),
        sa.Column("day_from", sa.Date(), nullable=False),
        sa.Column("rated_from_microfen", sa.BigInteger(), nullable=False),
        sa.Column("available_fen", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.CheckConstraint("until_at > given_at", name=op.f("ck_emergency_supplies_ends_after_it_began")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_emergency_supplies_property"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name=op.f("fk_emergency_supplies_supply_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_emergency_supplies")),
    )
    op.create_index("ix_emergency_supplies_property", "emergency_supplies", ["tenant_id", "property_id", "given_at"])
    op.create_index(
        "ix_emergency_supplies_supply_account", "emergency_supplies", ["tenant_id", "supply_account_id", "given_at"]
    )
    protect("emergency_supplies", grants="SELECT, INSERT")


def _create_building_stewards() -> None:
    op.create_table(
        "building_stewards",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("building_id", sa.BigInteger(), nullable=False),
        sa.Column("assigned_by", sa.String(length=60), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "building_id"],
            ["buildings.tenant_id", "buildings.id"],
            name=op.f("fk_building_stewards_building"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_building_stewards_property"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_building_stewards_user")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_building_stewards")),
        sa.UniqueConstraint("tenant_id", "user_id", "building_id", name=op.f("uq_building_stewards_once")),
    )
    op.create_index("ix_building_stewards_building", "building_stewards", ["tenant_id", "building_id"])
    protect("building_stewards")


def _create_collection_calls() -> None:
    op.create_table(
        "collection_calls",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("called_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("promised_on", sa.Date(), nullable=True),
        sa.Column("note", sa.String(length=300), nullable=False),
        sa.CheckConstraint(
            "(outcome = 'promised') = (promised_on IS NOT NULL)", name=op.f("ck_collection_calls_a_promise_has_a_day")
        ),
        sa.CheckConstraint(
            "outcome IN ('reached', 'no_answer', 'promised', 'disputed')",
            name=op.f("ck_collection_calls_outcome_known"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_collection_calls_property"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name=op.f("fk_collection_calls_supply_account"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_collection_calls_user")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_collection_calls")),
    )
    op.create_index("ix_collection_calls_supply_account", "collection_calls", ["tenant_id", "supply_account_id", "id"])
    protect("collection_calls", grants="SELECT, INSERT")
