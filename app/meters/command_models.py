"""Tables of commands: what was asked of a meter, the permit behind it, and the frames that went over the wire."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, uuid7


class Permit(TenantRow, Base):
    """The right to trip one meter: its basis, its evidence, its end. Written in the same transaction as the command."""

    __tablename__ = "permits"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name="meter"),
        CheckConstraint("basis IN ('zero_stop', 'arrears', 'safety', 'manual')", name="basis_known"),
        UniqueConstraint("tenant_id", "id", "meter_id", name="meter"),
    )

    property_id: Mapped[int]
    meter_id: Mapped[int]
    #: zero_stop | arrears | safety | manual.
    basis: Mapped[str] = mapped_column(String(12))
    #: Every fact the gate judged: balance, agreement, notices with proof, reading, window. Ids and figures only.
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB)
    granted_at: Mapped[datetime]
    #: Business instant after which nothing may be sent on it.
    valid_until: Mapped[datetime]
    #: Set by any credit, by the kill switch, by protection.
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None] = mapped_column(String(60))


class Command(TenantRow, Base):
    """Something asked of a meter; its life is the table in `meters.command_life`."""

    __tablename__ = "commands"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "meter_id", "seq", name="seq"),
        UniqueConstraint("tenant_id", "idempotency_key", name="idempotency_key"),
        ForeignKeyConstraint(["tenant_id", "meter_id"], ["meters.tenant_id", "meters.id"], name="meter"),
        ForeignKeyConstraint(
            ["tenant_id", "permit_id", "meter_id"],
            ["permits.tenant_id", "permits.id", "permits.meter_id"],
            name="permit",
        ),
        CheckConstraint(
            "kind IN ('trip', 'close', 'permit_close', 'read_status', 'read_total', 'guarantee_on', 'guarantee_off')",
            name="kind_known",
        ),
        CheckConstraint("kind <> 'trip' OR permit_id IS NOT NULL", name="no_trip_without_permit"),
        CheckConstraint(
            "state IN ('queued', 'sent', 'acknowledged', 'confirmed', 'unconfirmed', 'expired', 'refused',"
            " 'cancelled', 'dry_run')",
            name="state_known",
        ),
        Index(
            "ix_commands_undone", "tenant_id", "gateway_id", "meter_id", "seq",
            postgresql_where=text("state IN ('queued', 'sent', 'acknowledged')"),
        ),
        Index("ix_commands_meter", "tenant_id", "meter_id", "id"),
        Index("ix_commands_property", "tenant_id", "property_id", "id"),
    )  # fmt: skip

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    meter_id: Mapped[int]
    gateway_id: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(16))
    #: Per meter, gapless: the higher one is the later word.
    seq: Mapped[int]
    permit_id: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(12), server_default="queued")
    #: Words for a human: why it was asked.
    reason: Mapped[str] = mapped_column(String(120))
    #: `user:<id>` or `system:<process>`.
    actor: Mapped[str] = mapped_column(String(60))
    idempotency_key: Mapped[str] = mapped_column(String(120))
    #: Command epoch of the installation; after a restore from backup older epochs are never sent.
    epoch: Mapped[int] = mapped_column(server_default=text("1"))
    #: Business instants of its life.
    queued_at: Mapped[datetime]
    valid_until: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    #: Commanded, acknowledged and read-back state are three things.
    read_back: Mapped[str | None] = mapped_column(String(8))
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    #: Lease epoch of the head-end that sent it: the fence against a second sender.
    lease_epoch: Mapped[int | None]
    #: Name of the last refusal or failure: `password`, `guaranteed`, `no_answer`, `permit_revoked` …
    failure: Mapped[str | None] = mapped_column(String(40))


class FrameRecord(TenantRow, Base):
    """A frame that went over the wire for a command, password bytes masked."""

    __tablename__ = "frame_records"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "command_id"], ["commands.tenant_id", "commands.id"], name="command"),
        Index("ix_frame_records_command", "tenant_id", "command_id", "id"),
        {"info": {"grants": "SELECT, INSERT, DELETE"}},
    )

    command_id: Mapped[int]
    #: Business instant.
    at: Mapped[datetime]
    #: out | in.
    direction: Mapped[str] = mapped_column(String(3))
    #: Upper-case hex; masked bytes are `**`.
    frame: Mapped[str] = mapped_column(String(600))
