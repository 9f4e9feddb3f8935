"""Tables of webhooks: who of the outside hears of what, and every attempt to tell."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, uuid7


class WebhookEndpoint(TenantRow, Base):
    """An address of the tenant's own systems that wants to hear of events at a node and below."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        ForeignKeyConstraint(["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name="node"),
        CheckConstraint("disabled_why IN ('person', 'dead', 'gone')", name="disabled_why_known"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    node_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(60))
    #: https, to a public address; judged anew at every attempt.
    url: Mapped[str] = mapped_column(String(500))
    #: The HMAC secret as ciphertext bound to this row; shown once.
    secret_cipher: Mapped[bytes] = mapped_column(LargeBinary)
    #: Kinds of events it hears of, sorted.
    kinds: Mapped[list[str]] = mapped_column(JSONB)
    #: The secret before, with which everything is signed as well until its end.
    secret_old_cipher: Mapped[bytes | None] = mapped_column(LargeBinary)
    secret_old_until: Mapped[datetime | None]
    #: Deliveries that were given up one after another; a success begins anew.
    dead_in_a_row: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    #: person | dead | gone: switched off by hand, after too many failures, or because the receiver said 410.
    disabled_why: Mapped[str | None] = mapped_column(String(8))


class WebhookDelivery(TenantRow, Base):
    """One event for one endpoint, with what came of the last attempt."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "endpoint_id", "event_id", name="once"),
        ForeignKeyConstraint(
            ["tenant_id", "endpoint_id"], ["webhook_endpoints.tenant_id", "webhook_endpoints.id"], name="endpoint"
        ),
        CheckConstraint("state IN ('waiting', 'delivered', 'dead')", name="state_known"),
        Index("ix_webhook_deliveries_waiting", "tenant_id", "not_before", postgresql_where=text("state = 'waiting'")),
        Index("ix_webhook_deliveries_endpoint", "tenant_id", "endpoint_id", "id"),
    )

    #: The receiver's idempotency key.
    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    endpoint_id: Mapped[int]
    #: The outbox event it tells of; null for a test.
    event_id: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(60))
    #: Ids and figures only.
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    #: waiting | delivered | dead.
    state: Mapped[str] = mapped_column(String(12), server_default="waiting")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    #: Wall instants.
    created_at: Mapped[datetime]
    not_before: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    last_at: Mapped[datetime | None]
    #: HTTP status of the last answer; null when none came.
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(String(200))
    last_took_ms: Mapped[int | None]
