"""Tables of money given back or away at a supply account: refunds, waivers, adjustments."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, uuid7


class MoneyGiven(TenantRow, Base):
    """A refund 退款, a waiver 减免 or an adjustment 调账: what moved, why, and the paper that says so."""

    __tablename__ = "money_given"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "idempotency_key", name="idempotency_key"),
        UniqueConstraint("tenant_id", "entry_id", name="entry"),
        UniqueConstraint("tenant_id", "book_id", "kind", "number", name="number"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        ForeignKeyConstraint(["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name="book"),
        ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name="supply_account",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "entry_id"], ["ledger_entries.tenant_id", "ledger_entries.id"], name="entry_row"
        ),
        CheckConstraint("kind IN ('refund', 'waiver', 'adjustment')", name="kind_known"),
        CheckConstraint("amount_fen <> 0 AND (kind = 'adjustment' OR amount_fen > 0)", name="amount_signed"),
        Index("ix_money_given_supply_account", "tenant_id", "supply_account_id", "id"),
        Index("ix_money_given_property", "tenant_id", "property_id", "given_on"),
        {"info": {"grants": "SELECT, INSERT, UPDATE"}},
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    book_id: Mapped[int]
    supply_account_id: Mapped[int]
    kind: Mapped[str] = mapped_column(String(12))
    #: A refund leaves the wallet, a waiver comes in; an adjustment is signed as the wallet sees it.
    amount_fen: Mapped[int]
    #: Way of a refund (cash, bank), reason code of an adjustment; '' for a waiver.
    code: Mapped[str] = mapped_column(String(16))
    #: Why, in words; holds no personal data.
    reason: Mapped[str] = mapped_column(String(200))
    #: Consecutive per book and kind.
    number: Mapped[int]
    entry_id: Mapped[int]
    #: Civil day and business instant.
    given_on: Mapped[date]
    given_at: Mapped[datetime]
    #: `user:<id>`.
    actor: Mapped[str] = mapped_column(String(60))
    #: The request another person agreed to, if it was above the limit.
    approval_id: Mapped[int | None]
    #: How often the paper was printed; from the second time on it is a copy.
    prints: Mapped[int] = mapped_column(server_default=text("0"))
    #: What the paper says, frozen: balances before and after, names masked as printed.
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    idempotency_key: Mapped[str] = mapped_column(String(120))
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
