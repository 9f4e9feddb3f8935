"""The double-entry ledger.

Revision: 0007
After:    0006
"""

import sqlalchemy as sa
from alembic import op

from migrations.rls import protect

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_ledger_books()
    _create_ledger_accounts()
    _create_ledger_periods()
    _create_number_series()
    _create_ledger_balances()
    _create_ledger_day_folds()
    _create_ledger_entries()
    _create_ledger_holds()
    _create_ledger_postings()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("ledger_postings")
    op.drop_table("ledger_holds")
    op.drop_table("ledger_entries")
    op.drop_table("ledger_day_folds")
    op.drop_table("ledger_balances")
    op.drop_table("number_series")
    op.drop_table("ledger_periods")
    op.drop_table("ledger_accounts")
    op.drop_table("ledger_books")


def _create_ledger_books() -> None:
    op.create_table(
        "ledger_books",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("legal_entity_id", sa.BigInteger(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), server_default="CNY", nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "legal_entity_id"],
            ["legal_entities.tenant_id", "legal_entities.id"],
            name=op.f("fk_ledger_books_legal_entity"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_ledger_books_property"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_ledger_books")),
        sa.UniqueConstraint("tenant_id", "legal_entity_id", "property_id", name=op.f("uq_ledger_books_once")),
    )
    protect("ledger_books")


def _create_ledger_accounts() -> None:
    op.create_table(
        "ledger_accounts",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), server_default="CNY", nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("side", sa.String(length=6), nullable=False),
        sa.Column("supply_account_id", sa.BigInteger(), nullable=True),
        sa.Column("keeps_balance", sa.Boolean(), nullable=False),
        sa.CheckConstraint("side IN ('debit', 'credit')", name=op.f("ck_ledger_accounts_side_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id"],
            ["ledger_books.tenant_id", "ledger_books.id"],
            name=op.f("fk_ledger_accounts_book"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_ledger_accounts")),
        sa.UniqueConstraint("tenant_id", "book_id", "currency", "id", name=op.f("uq_ledger_accounts_legs")),
    )
    op.create_index(
        "one_standard_account",
        "ledger_accounts",
        ["tenant_id", "book_id", "code"],
        unique=True,
        postgresql_where=sa.text("supply_account_id IS NULL"),
    )
    op.create_index(
        "one_wallet_each",
        "ledger_accounts",
        ["tenant_id", "supply_account_id", "code"],
        unique=True,
        postgresql_where=sa.text("supply_account_id IS NOT NULL"),
    )
    protect("ledger_accounts")


def _create_ledger_periods() -> None:
    op.create_table(
        "ledger_periods",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("book_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("state", sa.String(length=8), server_default="open", nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_ledger_periods_state_known")),
        sa.CheckConstraint("extract(day from month) = 1", name=op.f("ck_ledger_periods_month_is_first_day")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name=op.f("fk_ledger_periods_book")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "book_id", "month", name=op.f("pk_ledger_periods")),
    )
    protect("ledger_periods")


def _create_number_series() -> None:
    op.create_table(
        "number_series",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("book_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("till", sa.String(length=12), nullable=False),
        sa.Column("last_no", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name=op.f("fk_number_series_book")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "book_id", "till", name=op.f("pk_number_series")),
    )
    protect("number_series")


def _create_ledger_balances() -> None:
    op.create_table(
        "ledger_balances",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("balance_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("accrued_microfen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("carry_microfen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "carry_microfen >= 0 AND carry_microfen < 1000000", name=op.f("ck_ledger_balances_carry_below_one_fen")
        ),
        sa.CheckConstraint("held_fen >= 0", name=op.f("ck_ledger_balances_held_not_negative")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["ledger_accounts.tenant_id", "ledger_accounts.id"],
            name=op.f("fk_ledger_balances_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", name=op.f("pk_ledger_balances")),
    )
    protect("ledger_balances")


def _create_ledger_day_folds() -> None:
    op.create_table(
        "ledger_day_folds",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("debit_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("credit_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["ledger_accounts.tenant_id", "ledger_accounts.id"],
            name=op.f("fk_ledger_day_folds_account"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", "booked_on", name=op.f("pk_ledger_day_folds")),
    )
    protect("ledger_day_folds")


def _create_ledger_entries() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), server_default="CNY", nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("document", sa.String(length=80), nullable=True),
        sa.Column("reverses_id", sa.BigInteger(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=120), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("hash_version", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("row_hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "date_trunc('month', booked_on::timestamp) = month::timestamp",
            name=op.f("ck_ledger_entries_booked_in_its_month"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id", "month"],
            ["ledger_periods.tenant_id", "ledger_periods.book_id", "ledger_periods.month"],
            name=op.f("fk_ledger_entries_period"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name=op.f("fk_ledger_entries_book")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "reverses_id"],
            ["ledger_entries.tenant_id", "ledger_entries.id"],
            name=op.f("fk_ledger_entries_reverses"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint("tenant_id", "book_id", "currency", "id", name=op.f("uq_ledger_entries_legs")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_ledger_entries_idempotency_key")),
        sa.UniqueConstraint("tenant_id", "public_id", name=op.f("uq_ledger_entries_public_id")),
    )
    op.create_index("ix_ledger_entries_booked", "ledger_entries", ["tenant_id", "book_id", "booked_on"], unique=False)
    op.create_index("ix_ledger_entries_document", "ledger_entries", ["tenant_id", "document"], unique=False)
    op.create_index(
        "one_reversal",
        "ledger_entries",
        ["tenant_id", "reverses_id"],
        unique=True,
        postgresql_where=sa.text("reverses_id IS NOT NULL"),
    )
    protect("ledger_entries", grants="SELECT, INSERT")


def _create_ledger_holds() -> None:
    op.create_table(
        "ledger_holds",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=8), server_default="pending", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=120), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "(state = 'posted') = (entry_id IS NOT NULL)", name=op.f("ck_ledger_holds_posted_has_entry")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'posted', 'voided', 'expired')", name=op.f("ck_ledger_holds_state_known")
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_ledger_holds_amount_positive")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "account_id"],
            ["ledger_accounts.tenant_id", "ledger_accounts.id"],
            name=op.f("fk_ledger_holds_account"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entry_id"],
            ["ledger_entries.tenant_id", "ledger_entries.id"],
            name=op.f("fk_ledger_holds_entry"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_ledger_holds")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_ledger_holds_idempotency_key")),
    )
    op.create_index(
        "ix_ledger_holds_pending",
        "ledger_holds",
        ["tenant_id", "account_id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    protect("ledger_holds")


def _create_ledger_postings() -> None:
    op.create_table(
        "ledger_postings",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), server_default="CNY", nullable=False),
        sa.Column("debit_account_id", sa.BigInteger(), nullable=False),
        sa.Column("credit_account_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("memo", sa.String(length=120), server_default="", nullable=False),
        sa.Column("debit_version", sa.BigInteger(), nullable=True),
        sa.Column("debit_balance_fen", sa.BigInteger(), nullable=True),
        sa.Column("credit_version", sa.BigInteger(), nullable=True),
        sa.Column("credit_balance_fen", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_ledger_postings_amount_positive")),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name=op.f("ck_ledger_postings_two_ends")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id", "currency", "credit_account_id"],
            ["ledger_accounts.tenant_id", "ledger_accounts.book_id", "ledger_accounts.currency", "ledger_accounts.id"],
            name=op.f("fk_ledger_postings_credit"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id", "currency", "debit_account_id"],
            ["ledger_accounts.tenant_id", "ledger_accounts.book_id", "ledger_accounts.currency", "ledger_accounts.id"],
            name=op.f("fk_ledger_postings_debit"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "book_id", "currency", "entry_id"],
            ["ledger_entries.tenant_id", "ledger_entries.book_id", "ledger_entries.currency", "ledger_entries.id"],
            name=op.f("fk_ledger_postings_entry"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "entry_id", "line_no", name=op.f("pk_ledger_postings")),
        sa.UniqueConstraint(
            "tenant_id", "credit_account_id", "credit_version", name=op.f("uq_ledger_postings_credit_version")
        ),
        sa.UniqueConstraint(
            "tenant_id", "debit_account_id", "debit_version", name=op.f("uq_ledger_postings_debit_version")
        ),
    )
    op.create_index(
        "ix_ledger_postings_credit", "ledger_postings", ["tenant_id", "credit_account_id", "entry_id"], unique=False
    )
    op.create_index(
        "ix_ledger_postings_debit", "ledger_postings", ["tenant_id", "debit_account_id", "entry_id"], unique=False
    )
    protect("ledger_postings", grants="SELECT, INSERT")
