"""Tables of gateways, meters, mounts, readings and usage."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, TenantScoped, uuid7


class MeterModel(TenantRow, Base):
    """What a kind of meter is: a row of data, so that a new model needs no code."""

    __tablename__ = "meter_models"
    __table_args__ = (
        UniqueConstraint("tenant_id", "name", name="name"),
        CheckConstraint("modulus_wh > 0", name="modulus_positive"),
        CheckConstraint("rated_power_w > 0", name="rated_power_positive"),
    )

    name: Mapped[str] = mapped_column(String(60))
    #: electricity | water.
    utility: Mapped[str] = mapped_column(String(16), server_default="electricity")
    #: Name of a driver in `meters.drivers`.
    dialect: Mapped[str] = mapped_column(String(24))
    #: The register falls to 0 here, in Wh (999,999.99 kWh + 0.01 kWh = 1,000,000,000 Wh).
    modulus_wh: Mapped[int]
    #: Largest continuous power, in W: more than 1.2 of it is an impossible jump.
    rated_power_w: Mapped[int]
    #: Smallest step of the register, in Wh.
    step_wh: Mapped[int] = mapped_column(server_default=text("10"))
    #: Registers it keeps: total, sharp, peak, flat, valley.
    registers: Mapped[list[str]] = mapped_column(ARRAY(String(12)))


class Gateway(TenantRow, Base):
    """The box on site: it dials in with its number, or it is a serial server that is dialled."""

    __tablename__ = "gateways"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "number", name="number"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        CheckConstraint("mode IN ('dial_in', 'dial_out')", name="mode_known"),
        CheckConstraint("mode = 'dial_in' OR (host IS NOT NULL AND port IS NOT NULL)", name="dialled_has_address"),
        Index("ix_gateways_property", "tenant_id", "property_id"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    #: What it says when it registers; unique over all tenants through the directory.
    number: Mapped[str] = mapped_column(String(32))
    #: dial_in | dial_out.
    mode: Mapped[str] = mapped_column(String(8))
    #: For dial_out.
    host: Mapped[str | None] = mapped_column(String(120))
    port: Mapped[int | None]
    #: SHA-256 of the registration secret; null where we dial, and for the simulated street.
    secret_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: A gateway of the simulated street: the only kind that may trip before the full stop policy exists.
    simulated: Mapped[bool] = mapped_column(server_default=text("false"))
    #: Which head-end talks on this bus; null when none.
    lease_holder: Mapped[str | None] = mapped_column(String(80))
    #: Rises with every new holder: an older holder's writes are refused.
    lease_epoch: Mapped[int] = mapped_column(server_default=text("0"))
    #: Wall instant.
    lease_expires_at: Mapped[datetime | None]
    #: Wall instant of the last byte heard.
    seen_at: Mapped[datetime | None]
    online: Mapped[bool] = mapped_column(server_default=text("false"))


class Meter(TenantRow, Base):
    """A device that measures and may switch."""

    __tablename__ = "meters"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "gateway_id", "address", name="address"),
        UniqueConstraint("tenant_id", "number", name="number"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        ForeignKeyConstraint(["tenant_id", "gateway_id"], ["gateways.tenant_id", "gateways.id"], name="gateway"),
        ForeignKeyConstraint(["tenant_id", "model_id"], ["meter_models.tenant_id", "meter_models.id"], name="model"),
        CheckConstraint("relay_state IN ('closed', 'open', 'unknown')", name="relay_state_known"),
        Index("ix_meters_property", "tenant_id", "property_id"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    model_id: Mapped[int]
    #: Null for meters read by hand or pushed over HTTP.
    gateway_id: Mapped[int | None]
    #: Number on the plate (表号), unique in the tenant.
    number: Mapped[str] = mapped_column(String(32))
    #: Address on the bus: 12 digits for DL/T 645.
    address: Mapped[str] = mapped_column(String(16))
    #: Relay password, level and six digits, encrypted for this row; null: the model's default `00000000` at level 02.
    password_cipher: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Read back from the meter, never assumed from an acknowledgement.
    relay_state: Mapped[str] = mapped_column(String(8), server_default="unknown")
    #: Business instant of that read-back.
    relay_read_at: Mapped[datetime | None]
    #: Last good total reading: what pages and the freshness check read.
    reading_at: Mapped[datetime | None]
    register_wh: Mapped[int | None]
    #: Meter clock minus business clock at the last check, in seconds.
    clock_drift_s: Mapped[int | None]
    #: Sequence of the last command made for it.
    command_seq: Mapped[int] = mapped_column(server_default=text("0"))
    #: False after so many polls without an answer.
    online: Mapped[bool] = mapped_column(server_default=text("false"))
    #: Business instant of the last valid answer.
    answered_at: Mapped[datetime | None]


class Mount(TenantRow, Base):
    """The period during which a meter serves a supply account, with first and last readings."""

    __tablename__ = "mounts"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name="meter"),
        ForeignKeyConstraint(["tenant_id", "space_id"], ["spaces.tenant_id", "spaces.id"], name="space"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        CheckConstraint("ratio >= 1", name="ratio_at_least_one"),
        CheckConstraint(
            "actuator IN ('internal_relay', 'motor_breaker', 'shunt_trip', 'hv_switch')",
            name="actuator_known",
        ),
        CheckConstraint("control IN ('engaged', 'bypassed')", name="control_known"),
        CheckConstraint("ended_at IS NULL OR ended_at > began_at", name="ends_after_begin"),
        CheckConstraint("(ended_at IS NULL) = (register_wh_last IS NULL)", name="ended_has_last_reading"),
        Index("one_open_mount", "tenant_id", "meter_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_mounts_supply_account", "tenant_id", "supply_account_id"),
        Index("ix_mounts_meter", "tenant_id", "meter_id"),
    )

    property_id: Mapped[int]
    meter_id: Mapped[int]
    #: Null for meters that serve no account (public area, substation): never tripped.
    supply_account_id: Mapped[int | None]
    space_id: Mapped[int | None]
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    register_wh_first: Mapped[int]
    register_wh_last: Mapped[int | None]
    #: CT × PT.
    ratio: Mapped[int] = mapped_column(server_default=text("1"))
    actuator: Mapped[str] = mapped_column(String(16), server_default="internal_relay")
    #: 保电: nothing may trip it.
    guaranteed_supply: Mapped[bool] = mapped_column(server_default=text("false"))
    #: engaged | bypassed (退出): the breaker was taken out of control.
    control: Mapped[str] = mapped_column(String(10), server_default="engaged")
    #: The resident can reach the meter's button: restored by "permit close"; otherwise by direct close.
    button_reachable: Mapped[bool] = mapped_column(server_default=text("false"))


class Reading(TenantScoped, Base):
    """A register's value at an instant, as it came. Partitioned by month of `read_at`; never edited."""

    __tablename__ = "readings"
    __table_args__ = (
        CheckConstraint("register_wh >= 0", name="register_not_negative"),
        {
            "postgresql_partition_by": "RANGE (read_at)",
            "info": {"grants": "SELECT, INSERT", "partition": "read_at"},
        },
    )

    meter_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: total | sharp | peak | flat | valley.
    register: Mapped[str] = mapped_column(String(8), primary_key=True)
    #: The meter's instant on the business clock, UTC.
    read_at: Mapped[datetime] = mapped_column(primary_key=True)
    #: 0 for what the meter said; higher for corrections.
    revision: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    property_id: Mapped[int]
    #: Cumulative register in Wh, before the ratio.
    register_wh: Mapped[int]
    #: Name of the flag found on arrival (`meters.readings.Flag`); `ok` and `first` and `rollover` and `gap` are billable.
    flag: Mapped[str] = mapped_column(String(16))
    #: headend | api | sheet | manual.
    source: Mapped[str] = mapped_column(String(8))
    #: Wall instant of arrival.
    received_at: Mapped[datetime]


class ReadingCase(TenantRow, Base):
    """A reading that was not taken into the series, kept word for word, for a human."""

    __tablename__ = "reading_cases"
    __table_args__ = (
        Index(
            "ix_reading_cases_open",
            "tenant_id",
            "property_id",
            "id",
            postgresql_where=text("settled_at IS NULL"),
        ),
        Index(
            "one_case_per_reading",
            "tenant_id",
            "meter_id",
            "register",
            "read_at",
            "register_wh",
            "flag",
            unique=True,
        ),
    )

    property_id: Mapped[int]
    meter_id: Mapped[int]
    register: Mapped[str] = mapped_column(String(8))
    read_at: Mapped[datetime]
    register_wh: Mapped[int]
    #: Why: negative, impossible_jump, future, out_of_order, conflict …
    flag: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(8))
    #: Facts of the judgement: previous reading, implied power.
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    received_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class ReadingBatch(TenantRow, Base):
    """An idempotent batch of readings and the answer it got. Unpartitioned, so that its key is unique over all time."""

    __tablename__ = "reading_batches"
    __table_args__ = (UniqueConstraint("tenant_id", "property_id", "idempotency_key", name="idempotency_key"),)

    property_id: Mapped[int]
    idempotency_key: Mapped[str] = mapped_column(String(120))
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    #: The per-row result, replayed for a repeated request.
    answer: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime]


class DirtyRange(TenantScoped, Base):
    """From this instant on, what is derived from a meter's readings must be computed anew."""

    __tablename__ = "dirty_ranges"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name="meter"),
        Index("ix_dirty_ranges_property", "tenant_id", "property_id", "meter_id"),
    )

    meter_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    property_id: Mapped[int]
    from_at: Mapped[datetime]
    #: Rises with every mark; a run clears the row only if it has not risen meanwhile.
    version: Mapped[int] = mapped_column(server_default=text("1"))


class UsageSpan(TenantScoped, Base):
    """Usage of a mount between two instants of one civil day at one price: what billing prices and energy explains."""

    __tablename__ = "usage_spans"
    __table_args__ = (
        CheckConstraint("to_at > from_at", name="runs_forward"),
        CheckConstraint("usage_wh >= 0", name="usage_not_negative"),
        CheckConstraint("quality IN ('actual', 'spread')", name="quality_known"),
        Index("ix_usage_spans_account_day", "tenant_id", "supply_account_id", "day"),
        Index("ix_usage_spans_property_day", "tenant_id", "property_id", "day"),
        {"postgresql_partition_by": "RANGE (from_at)", "info": {"partition": "from_at"}},
    )

    mount_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    from_at: Mapped[datetime] = mapped_column(primary_key=True)
    to_at: Mapped[datetime]
    property_id: Mapped[int]
    #: Null for mounts without an account.
    supply_account_id: Mapped[int | None]
    #: Civil day of the property.
    day: Mapped[date]
    #: Usage in Wh, after the ratio.
    usage_wh: Mapped[int]
    #: actual: between two close readings; spread: a gap's energy shared over time.
    quality: Mapped[str] = mapped_column(String(8))
    #: Rises when recomputed with another result.
    revision: Mapped[int] = mapped_column(server_default=text("1"))
