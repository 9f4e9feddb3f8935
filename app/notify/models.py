"""The table of notices."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow


class Notice(TenantRow, Base):
    """A message to a party, sent once per message key, with its proof of delivery."""

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("tenant_id", "message_key", name="message_key"),
        ForeignKeyConstraint(["tenant_id", "party_id"], ["parties.tenant_id", "parties.id"], name="party"),
        CheckConstraint(
            "state IN ('queued', 'sent', 'delivered', 'failed', 'undeliverable', 'cancelled')", name="state_known"
        ),
        Index("ix_notices_subject", "tenant_id", "subject", "id"),
        Index("ix_notices_provider_id", "tenant_id", "provider_id"),
    )

    property_id: Mapped[int]
    party_id: Mapped[int]
    #: What it is about: `supply_account:<id>`.
    subject: Mapped[str] = mapped_column(String(60))
    #: alarm_1 | alarm_2 | zero | last_warning | stopped | restored …: name of the template.
    kind: Mapped[str] = mapped_column(String(24))
    #: Idempotency: the same key is one message.
    message_key: Mapped[str] = mapped_column(String(120))
    #: sms.
    channel: Mapped[str] = mapped_column(String(12), server_default="sms")
    #: Figures of the template; ids and numbers only, no phone, no name.
    params: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(String(14), server_default="queued")
    #: Message id at the provider.
    provider_id: Mapped[str | None] = mapped_column(String(80))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    #: Business instants.
    queued_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    #: From the provider's delivery report: the proof.
    delivered_at: Mapped[datetime | None]
    #: The report, without the phone number; or why it could not be sent.
    proof: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
