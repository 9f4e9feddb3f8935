"""Tables of emergency supply 应急供电: light for a night, given by the duty officer, without any money moving."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, TenantScoped


class EmergencyPolicy(TenantScoped, Base):
    """How much a property's duty officer may give; without a row the defaults of `emergency_rules` count."""

    __tablename__ = "emergency_policies"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        CheckConstraint("hours BETWEEN 1 AND 72", name="hours_range"),
        CheckConstraint("fen_max BETWEEN 100 AND 100000", name="fen_range"),
    )

    property_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: Hours until stops are judged again.
    hours: Mapped[int] = mapped_column(server_default=text("12"))
    #: So much usage, in fen, ends it sooner.
    fen_max: Mapped[int] = mapped_column(server_default=text("3000"))
    #: `user:<id>`, business instant.
    changed_by: Mapped[str] = mapped_column(String(60))
    changed_at: Mapped[datetime]


class EmergencySupply(TenantRow, Base):
    """One emergency supply: stops of the account are held off until an instant or a usage, whichever comes first."""

    __tablename__ = "emergency_supplies"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name="supply_account",
        ),
        CheckConstraint("until_at > given_at", name="ends_after_it_began"),
        Index("ix_emergency_supplies_supply_account", "tenant_id", "supply_account_id", "given_at"),
        Index("ix_emergency_supplies_property", "tenant_id", "property_id", "given_at"),
        {"info": {"grants": "SELECT, INSERT"}},
    )

    property_id: Mapped[int]
    supply_account_id: Mapped[int]
    #: Business instants.
    given_at: Mapped[datetime]
    until_at: Mapped[datetime]
    #: Usage that ends it, in fen.
    fen_max: Mapped[int]
    #: Usage counts from this civil day on, less what that day had cost by then, in 10⁻⁶ fen.
    day_from: Mapped[date]
    rated_from_microfen: Mapped[int]
    #: What was available then, in fen.
    available_fen: Mapped[int]
    reason: Mapped[str] = mapped_column(String(200))
    #: `user:<id>` of the duty officer.
    actor: Mapped[str] = mapped_column(String(60))
