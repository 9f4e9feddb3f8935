"""Tables of collection 催缴: whose buildings, and who called whom with what answer."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow


class BuildingSteward(TenantRow, Base):
    """A building that a steward 管家 looks after; several may share one."""

    __tablename__ = "building_stewards"
    __table_args__ = (
        UniqueConstraint("tenant_id", "user_id", "building_id", name="once"),
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        ForeignKeyConstraint(["tenant_id", "building_id"], ["buildings.tenant_id", "buildings.id"], name="building"),
        Index("ix_building_stewards_building", "tenant_id", "building_id"),
    )

    user_id: Mapped[int]
    property_id: Mapped[int]
    building_id: Mapped[int]
    #: `user:<id>`, business instant.
    assigned_by: Mapped[str] = mapped_column(String(60))
    assigned_at: Mapped[datetime]


class CollectionCall(TenantRow, Base):
    """A call to somebody whose wallet is low: what came of it. Append-only: the next call is the next row."""

    __tablename__ = "collection_calls"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        ForeignKeyConstraint(
            ["tenant_id", "supply_account_id"],
            ["supply_accounts.tenant_id", "supply_accounts.id"],
            name="supply_account",
        ),
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        CheckConstraint("outcome IN ('reached', 'no_answer', 'promised', 'disputed')", name="outcome_known"),
        CheckConstraint("(outcome = 'promised') = (promised_on IS NOT NULL)", name="a_promise_has_a_day"),
        Index("ix_collection_calls_supply_account", "tenant_id", "supply_account_id", "id"),
        {"info": {"grants": "SELECT, INSERT"}},
    )

    property_id: Mapped[int]
    supply_account_id: Mapped[int]
    user_id: Mapped[int]
    #: Business instant.
    called_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(String(12))
    #: Until when they said they would pay; null unless promised.
    promised_on: Mapped[date | None]
    #: What else was said; holds no personal data.
    note: Mapped[str] = mapped_column(String(300))
