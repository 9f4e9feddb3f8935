"""Tables of supply accounts, price plans, accrual, payments and stops."""

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Numeric,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, TenantScoped, uuid7


class SupplyAccount(TenantRow, Base):
    """One contract party × utility over spaces and meters (用能户)."""

    __tablename__ = "supply_accounts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "property_id", "number", name="number"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        ForeignKeyConstraint(["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name="book"),
        ForeignKeyConstraint(["tenant_id", "party_id"], ["parties.tenant_id", "parties.id"], name="party"),
        ForeignKeyConstraint(["tenant_id", "space_id"], ["spaces.tenant_id", "spaces.id"], name="space"),
        CheckConstraint("utility IN ('electricity', 'water')", name="utility_known"),
        CheckConstraint(
            "usage_class IN ('residential', 'commercial', 'dormitory', 'common')", name="usage_class_known"
        ),
        CheckConstraint("state IN ('open', 'suspended', 'closed')", name="state_known"),
        CheckConstraint("alarm_level BETWEEN 0 AND 3", name="alarm_level_range"),
        CheckConstraint("overdraft_fen_max >= 0", name="overdraft_not_negative"),
        Index("ix_supply_accounts_space", "tenant_id", "space_id"),
        Index("ix_supply_accounts_party", "tenant_id", "party_id"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    #: Whose books its wallet stands in.
    book_id: Mapped[int]
    #: 户号, unique in the property.
    number: Mapped[str] = mapped_column(String(24))
    party_id: Mapped[int]
    #: The space it is shown under; further spaces come with later issues' contracts.
    space_id: Mapped[int]
    utility: Mapped[str] = mapped_column(String(16), server_default="electricity")
    usage_class: Mapped[str] = mapped_column(String(16))
    #: open | suspended (报停) | closed.
    state: Mapped[str] = mapped_column(String(10), server_default="open")
    #: How far below zero the wallet may go before a zero stop.
    overdraft_fen_max: Mapped[int] = mapped_column(server_default=text("2000"))
    #: Fixed thresholds of alarm 1 and alarm 2; the forecast in days applies beside them.
    alarm_1_fen: Mapped[int] = mapped_column(server_default=text("3000"))
    alarm_2_fen: Mapped[int] = mapped_column(server_default=text("1000"))
    #: After a stop, power returns when available is at least this.
    restore_fen_min: Mapped[int] = mapped_column(server_default=text("0"))
    #: 0 none, 1 alarm 1, 2 alarm 2, 3 zero: how low the present episode has gone.
    alarm_level: Mapped[int] = mapped_column(server_default=text("0"))
    #: Counts low-balance episodes; notices of an episode are sent once.
    episode: Mapped[int] = mapped_column(server_default=text("0"))
    opened_on: Mapped[date]


class Agreement(TenantRow, Base):
    """A signed agreement to stop at zero: none on file, no automatic stop."""

    __tablename__ = "agreements"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name="supply_account",
        ),
        Index("ix_agreements_supply_account", "tenant_id", "supply_account_id"),
    )

    property_id: Mapped[int]
    supply_account_id: Mapped[int]
    #: zero_stop is the only kind before the full policy.
    kind: Mapped[str] = mapped_column(String(12), server_default="zero_stop")
    signed_on: Mapped[date]
    #: Where the paper is: number or file.
    document: Mapped[str] = mapped_column(String(120))
    ended_on: Mapped[date | None]


class PricePlan(TenantRow, Base):
    """A named price plan of a property; what it charges is in its versions."""

    __tablename__ = "price_plans"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "property_id", "name", name="name"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(60))
    utility: Mapped[str] = mapped_column(String(16), server_default="electricity")


class PriceVersion(TenantRow, Base):
    """What a plan charges from an instant on. Append-only: a new price is a new version."""

    __tablename__ = "price_versions"
    __table_args__ = (
        UniqueConstraint("tenant_id", "plan_id", "effective_from", "issue", name="effective_from"),
        ForeignKeyConstraint(["tenant_id", "plan_id"], ["price_plans.tenant_id", "price_plans.id"], name="plan"),
        CheckConstraint("price >= 0 AND price < 1000", name="price_range"),
        CheckConstraint("price = round(price, 5)", name="price_at_most_five_decimals"),
        {"info": {"grants": "SELECT, INSERT"}},
    )

    plan_id: Mapped[int]
    effective_from: Mapped[datetime]
    #: Yuan per kWh (per m³ for water).
    price: Mapped[Decimal] = mapped_column(Numeric(12, 8))
    #: How many prices of the plan were withdrawn from this very instant before this one was published.
    issue: Mapped[int] = mapped_column(server_default=text("0"))
    #: `user:<id>`.
    published_by: Mapped[str] = mapped_column(String(60))
    published_at: Mapped[datetime]


class PriceWithdrawal(TenantScoped, Base):
    """A published price that was taken back before its instant came: it never counts. Append-only like the price."""

    __tablename__ = "price_withdrawals"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "price_version_id"], ["price_versions.tenant_id", "price_versions.id"], name="price_version"
        ),
        {"info": {"grants": "SELECT, INSERT"}},
    )

    price_version_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: `user:<id>`.
    withdrawn_by: Mapped[str] = mapped_column(String(60))
    #: Business instant, before the price's own.
    withdrawn_at: Mapped[datetime]


class PlanAssignment(TenantRow, Base):
    """Which plan a supply account is priced by, from an instant on."""

    __tablename__ = "plan_assignments"
    __table_args__ = (
        UniqueConstraint("tenant_id", "supply_account_id", "effective_from", name="effective_from"),
        ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name="supply_account",
        ),
        ForeignKeyConstraint(["tenant_id", "plan_id"], ["price_plans.tenant_id", "price_plans.id"], name="plan"),
        Index("ix_plan_assignments_plan", "tenant_id", "plan_id"),
    )

    supply_account_id: Mapped[int]
    plan_id: Mapped[int]
    effective_from: Mapped[datetime]


class AccountDay(TenantScoped, Base):
    """What a supply account used on a civil day, rated, and how much of it is posted."""

    __tablename__ = "account_days"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"], ["supply_accounts.tenant_id", "supply_accounts.id"], name="supply_account"
        ),
        Index("ix_account_days_property", "tenant_id", "property_id", "day", "supply_account_id"),
        Index(
            "ix_account_days_unposted", "tenant_id", "property_id", "day", "supply_account_id",
            postgresql_where=text("rated_microfen <> posted_microfen"),
        ),
    )  # fmt: skip

    supply_account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    property_id: Mapped[int]
    usage_wh: Mapped[int]
    #: Rated amount in 10⁻⁶ fen.
    rated_microfen: Mapped[int]
    #: The part of it that day close has taken into the ledger (or into the carry).
    posted_microfen: Mapped[int] = mapped_column(server_default=text("0"))
    #: Rises with every posting of a difference.
    revision: Mapped[int] = mapped_column(server_default=text("0"))
    #: The working: [{price_version_id, price, usage_wh, amount_microfen, from, to}].
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    #: Business instant of the last pricing.
    rated_at: Mapped[datetime]


class Payment(TenantRow, Base):
    """Money in."""

    __tablename__ = "payments"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "idempotency_key", name="idempotency_key"),
        UniqueConstraint("tenant_id", "entry_id", name="entry"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name="supply_account",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "entry_id"], ["ledger_entries.tenant_id", "ledger_entries.id"], name="entry"
        ),
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint("channel IN ('cash', 'bank', 'wechat', 'alipay', 'stripe', 'pos')", name="channel_known"),
        Index("ix_payments_property", "tenant_id", "property_id", "received_on"),
        Index("ix_payments_supply_account", "tenant_id", "supply_account_id", "id"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    supply_account_id: Mapped[int]
    channel: Mapped[str] = mapped_column(String(8))
    amount_fen: Mapped[int]
    #: Civil day and business instant it was received.
    received_on: Mapped[date]
    received_at: Mapped[datetime]
    #: `user:<id>` of the cashier, or the channel.
    actor: Mapped[str] = mapped_column(String(60))
    entry_id: Mapped[int]
    idempotency_key: Mapped[str] = mapped_column(String(120))
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)


class Receipt(TenantRow, Base):
    """A receipt (收据) with its consecutive number; a re-print keeps the number and says so."""

    __tablename__ = "receipts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "book_id", "till", "number", name="number"),
        UniqueConstraint("tenant_id", "payment_id", name="payment"),
        ForeignKeyConstraint(["tenant_id", "book_id"], ["ledger_books.tenant_id", "ledger_books.id"], name="book"),
        ForeignKeyConstraint(["tenant_id", "payment_id"], ["payments.tenant_id", "payments.id"], name="payment_row"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    book_id: Mapped[int]
    till: Mapped[str] = mapped_column(String(12))
    number: Mapped[int]
    payment_id: Mapped[int]
    issued_at: Mapped[datetime]
    #: How often it was printed; the second time on it carries the copy mark.
    prints: Mapped[int] = mapped_column(server_default=text("0"))
    #: What it says, frozen at issue: amounts, balance after, names masked as printed.
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Stop(TenantRow, Base):
    """A stop of supply and its undoing: ordered → in_force → restoring → lifted, or cancelled."""

    __tablename__ = "stops"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"], ["supply_accounts.tenant_id", "supply_accounts.id"], name="supply_account"
        ),
        ForeignKeyConstraint(["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name="meter"),
        CheckConstraint("basis IN ('zero_stop', 'arrears', 'safety', 'manual')", name="basis_known"),
        CheckConstraint("state IN ('ordered', 'in_force', 'restoring', 'lifted', 'cancelled', 'dry_run')", name="state_known"),
        Index(
            "one_open_stop", "tenant_id", "supply_account_id", "meter_id", unique=True,
            postgresql_where=text("state IN ('ordered', 'in_force', 'restoring')"),
        ),
        Index(
            "ix_stops_open", "tenant_id", "property_id",
            postgresql_where=text("state IN ('ordered', 'in_force', 'restoring')"),
        ),
        Index("ix_stops_supply_account", "tenant_id", "supply_account_id", "id"),
        Index("ix_stops_ordered", "tenant_id", "property_id", "ordered_at"),
    )  # fmt: skip

    property_id: Mapped[int]
    supply_account_id: Mapped[int]
    meter_id: Mapped[int]
    basis: Mapped[str] = mapped_column(String(12))
    state: Mapped[str] = mapped_column(String(10), server_default="ordered")
    #: Command ids of the trip and of the closing command; commands live in `meters`.
    trip_command_id: Mapped[int | None]
    close_command_id: Mapped[int | None]
    #: What was true when it was ordered.
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB)
    ordered_at: Mapped[datetime]
    in_force_at: Mapped[datetime | None]
    #: When the money that lifts it was received: "paid, not yet delivered" counts from here.
    paid_at: Mapped[datetime | None]
    #: When somebody confirmed that cookers and heaters are off: without it nothing closes unattended.
    appliances_off_at: Mapped[datetime | None]
    lifted_at: Mapped[datetime | None]


class StopJudgement(TenantScoped, Base):
    """The last answer of the gate for an account that should be stopped: why not yet, and when it is asked again."""

    __tablename__ = "stop_judgements"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name="supply_account",
        ),
        Index("ix_stop_judgements_next", "tenant_id", "next_at"),
    )

    supply_account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    property_id: Mapped[int]
    #: Name of the first refusal (`billing.stop_policy.Refusal`), or `allowed`.
    verdict: Mapped[str] = mapped_column(String(40))
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    judged_at: Mapped[datetime]
    #: Business instant of the next judgement; null when only an event can change it.
    next_at: Mapped[datetime | None]


class ZeroCrossings(TenantScoped, Base):
    """How many wallets of a property crossed zero in an hour: what tells a mass error from a usual evening."""

    __tablename__ = "zero_crossings"
    __table_args__ = (CheckConstraint("crossings > 0", name="crossings_positive"),)

    property_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: First instant of the hour, business clock, UTC.
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    crossings: Mapped[int]


class StopFreeze(TenantRow, Base):
    """Automatic stops of the whole tenant are frozen: too many wallets crossed zero at once. A person lifts it."""

    __tablename__ = "stop_freezes"
    __table_args__ = (Index("one_open_freeze", "tenant_id", unique=True, postgresql_where=text("lifted_at IS NULL")),)

    #: Crossings in the hour, usual crossings, supply accounts.
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    frozen_at: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
    #: `user:<id>` who looked at it and lifted it.
    lifted_by: Mapped[str | None] = mapped_column(String(60))


class RunCursor(TenantScoped, Base):
    """Where a set-based run stands in a property, so that a killed run goes on where it was."""

    __tablename__ = "run_cursors"
    property_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: day_close | …
    kind: Mapped[str] = mapped_column(String(24), primary_key=True)
    #: What it is run for: a civil day.
    period: Mapped[date] = mapped_column(primary_key=True)
    #: Last supply account id done.
    done_to: Mapped[int] = mapped_column(server_default=text("0"))
    finished_at: Mapped[datetime | None]


class ImportBatch(TenantRow, Base):
    """An onboarding import that was committed: what file, by whom, how many rows of each kind."""

    __tablename__ = "import_batches"
    __table_args__ = (UniqueConstraint("tenant_id", "property_id", "file_digest", name="file"),)

    property_id: Mapped[int]
    file_digest: Mapped[bytes] = mapped_column(LargeBinary)
    file_name: Mapped[str] = mapped_column(String(120))
    actor: Mapped[str] = mapped_column(String(60))
    counts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    committed_at: Mapped[datetime]
