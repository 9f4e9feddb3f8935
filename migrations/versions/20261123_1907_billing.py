"""Supply accounts, price plans, accrual.

Revision: 0008
After:    0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_import_batches()
    _create_run_cursors()
    _create_price_plans()
    _create_price_versions()
    _create_supply_accounts()
    _create_account_days()
    _create_agreements()
    _create_plan_assignments()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("plan_assignments")
    op.drop_table("agreements")
    op.drop_table("account_days")
    op.drop_table("supply_accounts")
    op.drop_table("price_versions")
    op.drop_table("price_plans")
    op.drop_table("run_cursors")
    op.drop_table("import_batches")


def _create_import_batches() -> None:
    op.create_table(
        "import_batches",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("file_digest", sa.LargeBinary(), nullable=False),
        sa.Column("file_name", sa.String(length=120), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("counts", postgresql.JSONB(), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_import_batches")),
        sa.UniqueConstraint("tenant_id", "property_id", "file_digest", name=op.f("uq_import_batches_file")),
    )
    protect("import_batches")


def _create_run_cursors() -> None:
    op.create_table(
        "run_cursors",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("period", sa.Date(), nullable=False),
        sa.Column("done_to", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "property_id", "kind", "period", name=op.f("pk_run_cursors")),
    )
    protect("run_cursors")


def _create_price_plans() -> None:
    op.create_table(
        "price_plans",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("utility", sa.String(length=16), server_default="electricity", nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_price_plans_property"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_price_plans")),
        sa.UniqueConstraint("tenant_id", "property_id", "name", name=op.f("uq_price_plans_name")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_price_plans_public_id")),
    )
    protect("price_plans")


def _create_price_versions() -> None:
    op.create_table(
        "price_versions",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price", sa.Numeric(precision=12, scale=8), nullable=False),
        sa.Column("published_by", sa.String(length=60), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("price = round(price, 5)", name=op.f("ck_price_versions_price_at_most_five_decimals")),
        sa.CheckConstraint("price >= 0 AND price < 1000", name=op.f("ck_price_versions_price_range")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "plan_id"], ["price_plans.tenant_id", "price_plans.id"], name=op.f("fk_price_versions_plan")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_price_versions")),
        sa.UniqueConstraint("tenant_id", "plan_id", "effective_from", name=op.f("uq_price_versions_effective_from")),
    )
    protect("price_versions", grants="SELECT, INSERT")


def _create_supply_accounts() -> None:
    op.create_table(
        "supply_accounts",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.String(length=24), nullable=False),
        sa.Column("party_id", sa.BigInteger(), nullable=False),
        sa.Column("space_id", sa.BigInteger(), nullable=False),
        sa.Column("utility", sa.String(length=16), server_default="electricity", nullable=False),
        sa.Column("usage_class", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=10), server_default="open", nullable=False),
        sa.Column("overdraft_fen_max", sa.BigInteger(), server_default=sa.text("2000"), nullable=False),
        sa.Column("alarm_1_fen", sa.BigInteger(), server_default=sa.text("3000"), nullable=False),
        sa.Column("alarm_2_fen", sa.BigInteger(), server_default=sa.text("1000"), nullable=False),
        sa.Column("restore_fen_min", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("alarm_level", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("episode", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'suspended', 'closed')", name=op.f("ck_supply_accounts_state_known")),
        sa.CheckConstraint(
            "usage_class IN ('residential', 'commercial', 'dormitory', 'common')",
            name=op.f("ck_supply_accounts_usage_class_known"),
        ),
        sa.CheckConstraint("utility IN ('electricity', 'water')", name=op.f("ck_supply_accounts_utility_known")),
        sa.CheckConstraint("alarm_level BETWEEN 0 AND 3", name=op.f("ck_supply_accounts_alarm_level_range")),
        sa.CheckConstraint("overdraft_fen_max >= 0", name=op.f("ck_supply_accounts_overdraft_not_negative")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id"],
            ["ledger_books.tenant_id", "ledger_books.id"],
            name=op.f("fk_supply_accounts_book"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "party_id"], ["parties.tenant_id", "parties.id"], name=op.f("fk_supply_accounts_party")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_supply_accounts_property"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "space_id"], ["spaces.tenant_id", "spaces.id"], name=op.f("fk_supply_accounts_space")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_supply_accounts")),
        sa.UniqueConstraint("tenant_id", "property_id", "number", name=op.f("uq_supply_accounts_number")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_supply_accounts_public_id")),
    )
    op.create_index("ix_supply_accounts_party", "supply_accounts", ["tenant_id", "party_id"], unique=False)
    op.create_index("ix_supply_accounts_space", "supply_accounts", ["tenant_id", "space_id"], unique=False)
    protect("supply_accounts")


def _create_account_days() -> None:
    op.create_table(
        "account_days",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("usage_wh", sa.BigInteger(), nullable=False),
        sa.Column("rated_microfen", sa.BigInteger(), nullable=False),
        sa.Column("posted_microfen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lines", postgresql.JSONB(), nullable=False),
        sa.Column("rated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name=op.f("fk_account_days_supply_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "supply_account_id", "day", name=op.f("pk_account_days")),
    )
    op.create_index(
        "ix_account_days_property",
        "account_days",
        ["tenant_id", "property_id", "day", "supply_account_id"],
        unique=False,
    )
    op.create_index(
        "ix_account_days_unposted",
        "account_days",
        ["tenant_id", "property_id", "day", "supply_account_id"],
        unique=False,
        postgresql_where=sa.text("rated_microfen <> posted_microfen"),
    )
    protect("account_days")


def _create_agreements() -> None:
    op.create_table(
        "agreements",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=12), server_default="zero_stop", nullable=False),
        sa.Column("signed_on", sa.Date(), nullable=False),
        sa.Column("document", sa.String(length=120), nullable=False),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name=op.f("fk_agreements_supply_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_agreements")),
    )
    op.create_index("ix_agreements_supply_account", "agreements", ["tenant_id", "supply_account_id"], unique=False)
    protect("agreements")


def _create_plan_assignments() -> None:
    op.create_table(
        "plan_assignments",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=False),
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "plan_id"], ["price_plans.tenant_id", "price_plans.id"], name=op.f("fk_plan_assignments_plan")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name=op.f("fk_plan_assignments_supply_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_plan_assignments")),
        sa.UniqueConstraint(
            "tenant_id", "supply_account_id", "effective_from", name=op.f("uq_plan_assignments_effective_from")
        ),
    )
    op.create_index("ix_plan_assignments_plan", "plan_assignments", ["tenant_id", "plan_id"], unique=False)
    protect("plan_assignments")
