"""Tables of the double-entry ledger.

Accounts and entries belong to a book (legal entity × property) and a currency; a posting's two legs and its entry share
both by composite foreign key, so a posting across books or currencies cannot be written down. A posting has a debit
account, a credit account and a positive amount, so an unbalanced entry cannot either.
"""

import uuid
from datetime import date, datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, TenantScoped, uuid7

APPEND_ONLY = {"info": {"grants": "SELECT, INSERT"}}


class Book(TenantRow, Base):
    """A set of books: one legal entity at one property."""

    __tablename__ = "ledger_books"
    __table_args__ = (
        UniqueConstraint("tenant_id", "legal_entity_id", "property_id", name="once"),
        ForeignKeyConstraint(
            ["tenant_id", "legal_entity_id"],
            ["legal_entities.tenant_id", "legal_entities.id"],
            name="legal_entity",
        ),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
    )

    legal_entity_id: Mapped[int]
    property_id: Mapped[int]
    #: ISO 4217.
    currency: Mapped[str] = mapped_column(String(3), server_default="CNY")


class Period(TenantScoped, Base):
    """A month of a book. Every posting holds its row FOR SHARE, so that closing can never race one."""

    __tablename__ = "ledger_periods"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name="book"),
        CheckConstraint("state IN ('open', 'closed')", name="state_known"),
        CheckConstraint("extract(day from month) = 1", name="month_is_first_day"),
    )

    book_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: First day of the month.
    month: Mapped[date] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(8), server_default="open")
    closed_at: Mapped[datetime | None]


class LedgerAccount(TenantRow, Base):
    """An account in the double-entry ledger (会计科目)."""

    __tablename__ = "ledger_accounts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "book_id", "currency", "id", name="legs"),
        ForeignKeyConstraint(["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name="book"),
        CheckConstraint("side IN ('debit', 'credit')", name="side_known"),
        Index(
            "one_standard_account", "tenant_id", "book_id", "code", unique=True,
            postgresql_where=text("supply_account_id IS NULL"),
        ),
        Index(
            "one_wallet_each", "tenant_id", "supply_account_id", "code", unique=True,
            postgresql_where=text("supply_account_id IS NOT NULL"),
        ),
    )  # fmt: skip

    book_id: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3), server_default="CNY")
    #: Code in the standard chart (`ledger.chart`), e.g. `cash`, `wallet`, `revenue:electricity`.
    code: Mapped[str] = mapped_column(String(40))
    #: Which side increases it: assets and expenses debit; liabilities, equity and revenue credit.
    side: Mapped[str] = mapped_column(String(6))
    #: For wallets: whose.
    supply_account_id: Mapped[int | None]
    #: True where a balance row is kept and versioned (wallets, receivables); hot accounts are folded per day.
    keeps_balance: Mapped[bool]


class Balance(TenantScoped, Base):
    """The kept balance of a wallet or receivable, on its normal side. The row every refusable draw locks."""

    __tablename__ = "ledger_balances"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["ledger_accounts.tenant_id", "ledger_accounts.id"], name="account"
        ),
        CheckConstraint("held_fen >= 0", name="held_not_negative"),
        CheckConstraint("carry_microfen >= 0 AND carry_microfen < 1000000", name="carry_below_one_fen"),
    )

    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: Sum of the account's postings, on its normal side.
    balance_fen: Mapped[int] = mapped_column(server_default=text("0"))
    #: Reserved by pending holds.
    held_fen: Mapped[int] = mapped_column(server_default=text("0"))
    #: Rated but not yet posted, in 10⁻⁶ fen, the sub-fen carry included. available = balance − held − accrued.
    accrued_microfen: Mapped[int] = mapped_column(server_default=text("0"))
    #: What rounding has left over since the last posting, in 10⁻⁶ fen; part of `accrued_microfen`.
    carry_microfen: Mapped[int] = mapped_column(server_default=text("0"))
    #: Number of postings on the account; gapless.
    version: Mapped[int] = mapped_column(server_default=text("0"))


class Entry(TenantRow, Base):
    """A balanced set of postings (凭证). Immutable; undone only by a reversing entry."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        UniqueConstraint("tenant_id", "book_id", "currency", "id", name="legs"),
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "idempotency_key", name="idempotency_key"),
        ForeignKeyConstraint(["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name="book"),
        ForeignKeyConstraint(
            ["tenant_id", "book_id", "month"],
            ["ledger_periods.tenant_id", "ledger_periods.book_id", "ledger_periods.month"],
            name="period",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "reverses_id"], ["ledger_entries.tenant_id", "ledger_entries.id"], name="reverses"
        ),
        CheckConstraint("date_trunc('month', booked_on::timestamp) = month::timestamp", name="booked_in_its_month"),
        Index(
            "one_reversal",
            "tenant_id",
            "reverses_id",
            unique=True,
            postgresql_where=text("reverses_id IS NOT NULL"),
        ),
        Index("ix_ledger_entries_booked", "tenant_id", "book_id", "booked_on"),
        Index("ix_ledger_entries_document", "tenant_id", "document"),
        APPEND_ONLY,
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    book_id: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3), server_default="CNY")
    #: Civil day it counts for.
    booked_on: Mapped[date]
    #: First day of that month: names the period row it shares.
    month: Mapped[date]
    #: When it happened in the world (business clock).
    event_at: Mapped[datetime]
    #: top_up | usage_day | opening | reversal | transfer | refund …
    kind: Mapped[str] = mapped_column(String(24))
    #: `user:<id>`, `system:<process>` …
    actor: Mapped[str] = mapped_column(String(60))
    #: What it documents: `receipt:<id>`, `account_day:<…>`.
    document: Mapped[str | None] = mapped_column(String(80))
    #: The entry this one undoes.
    reverses_id: Mapped[int | None]
    idempotency_key: Mapped[str] = mapped_column(String(120))
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    #: Which canonical text `row_hash` was computed over.
    hash_version: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    row_hash: Mapped[bytes] = mapped_column(LargeBinary)


class EntryPosting(TenantScoped, Base):
    """One line of an entry: a debit account, a credit account, a positive amount."""

    __tablename__ = "ledger_postings"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "book_id", "currency", "entry_id"],
            [
                "ledger_entries.tenant_id",
                "ledger_entries.book_id",
                "ledger_entries.currency",
                "ledger_entries.id",
            ],
            name="entry",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "book_id", "currency", "debit_account_id"],
            [
                "ledger_accounts.tenant_id",
                "ledger_accounts.book_id",
                "ledger_accounts.currency",
                "ledger_accounts.id",
            ],
            name="debit",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "book_id", "currency", "credit_account_id"],
            [
                "ledger_accounts.tenant_id",
                "ledger_accounts.book_id",
                "ledger_accounts.currency",
                "ledger_accounts.id",
            ],
            name="credit",
        ),
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint("debit_account_id <> credit_account_id", name="two_ends"),
        UniqueConstraint("tenant_id", "debit_account_id", "debit_version", name="debit_version"),
        UniqueConstraint("tenant_id", "credit_account_id", "credit_version", name="credit_version"),
        Index("ix_ledger_postings_debit", "tenant_id", "debit_account_id", "entry_id"),
        Index("ix_ledger_postings_credit", "tenant_id", "credit_account_id", "entry_id"),
        APPEND_ONLY,
    )

    entry_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    line_no: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    book_id: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3), server_default="CNY")
    debit_account_id: Mapped[int]
    credit_account_id: Mapped[int]
    #: Integer of the smallest coin.
    amount_fen: Mapped[int]
    #: Words on the statement; holds no personal data.
    memo: Mapped[str] = mapped_column(String(120), server_default="")
    #: Version and balance of the debit account after this posting; null for accounts without a kept balance.
    debit_version: Mapped[int | None]
    debit_balance_fen: Mapped[int | None]
    #: The same of the credit account.
    credit_version: Mapped[int | None]
    credit_balance_fen: Mapped[int | None]


class Hold(TenantRow, Base):
    """Money reserved on a kept balance: pending → posted | voided | expired."""

    __tablename__ = "ledger_holds"
    __table_args__ = (
        UniqueConstraint("tenant_id", "idempotency_key", name="idempotency_key"),
        ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["ledger_accounts.tenant_id", "ledger_accounts.id"], name="account"
        ),
        ForeignKeyConstraint(
            ["tenant_id", "entry_id"], ["ledger_entries.tenant_id", "ledger_entries.id"], name="entry"
        ),
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint("state IN ('pending', 'posted', 'voided', 'expired')", name="state_known"),
        CheckConstraint("(state = 'posted') = (entry_id IS NOT NULL)", name="posted_has_entry"),
        Index("ix_ledger_holds_pending", "tenant_id", "account_id", postgresql_where=text("state = 'pending'")),
    )

    account_id: Mapped[int]
    amount_fen: Mapped[int]
    state: Mapped[str] = mapped_column(String(8), server_default="pending")
    #: Business instant after which it no longer holds.
    expires_at: Mapped[datetime]
    #: The entry that posted it.
    entry_id: Mapped[int | None]
    idempotency_key: Mapped[str] = mapped_column(String(120))
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)


class DayFold(TenantScoped, Base):
    """A hot account's postings of a day, folded, so that a balance is a sum of few rows."""

    __tablename__ = "ledger_day_folds"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "account_id"], ["ledger_accounts.tenant_id", "ledger_accounts.id"], name="account"
        ),
    )

    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    booked_on: Mapped[date] = mapped_column(primary_key=True)
    debit_fen: Mapped[int] = mapped_column(server_default=text("0"))
    credit_fen: Mapped[int] = mapped_column(server_default=text("0"))


class Series(TenantScoped, Base):
    """A series of numbers people read: per book × till, taken last in the transaction, without a gap."""

    __tablename__ = "number_series"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name="book"),
    )

    book_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: Till name, e.g. `T1`; `AUTO` for what no cashier issues.
    till: Mapped[str] = mapped_column(String(12), primary_key=True)
    last_no: Mapped[int] = mapped_column(server_default=text("0"))
