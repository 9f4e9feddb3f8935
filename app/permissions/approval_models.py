"""Tables of limits and approvals: what one person may do alone, and what waits for a second."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, uuid7


class DeedLimit(TenantRow, Base):
    """The largest amount of a deed that a role at a node (and below, unless set there) may do alone."""

    __tablename__ = "deed_limits"
    __table_args__ = (
        UniqueConstraint("tenant_id", "node_id", "role", "deed", name="once"),
        ForeignKeyConstraint(["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name="node"),
        CheckConstraint("amount_max >= 0", name="amount_not_negative"),
    )

    node_id: Mapped[int]
    #: Name of a standard role or code of an own one.
    role: Mapped[str] = mapped_column(String(40))
    #: Name of a deed in `permissions.deeds`.
    deed: Mapped[str] = mapped_column(String(40))
    #: In the deed's unit (fen, accounts, rows, 1 for "any"); 0 means always a second person.
    amount_max: Mapped[int]
    changed_at: Mapped[datetime]


class Approval(TenantRow, Base):
    """A deed above the limit: who asks, what exactly will happen, until when it may be approved and done."""

    __tablename__ = "approvals"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        ForeignKeyConstraint(["tenant_id", "node_id"], ["nodes.tenant_id", "nodes.id"], name="node"),
        ForeignKeyConstraint(["tenant_id", "requested_by"], ["users.tenant_id", "users.id"], name="requested_by"),
        CheckConstraint(
            "state IN ('waiting', 'approved', 'done', 'refused', 'withdrawn', 'expired', 'failed')", name="state_known"
        ),
        CheckConstraint("expires_at > requested_at", name="expires_later"),
        Index("ix_approvals_waiting", "tenant_id", "node_id", "id", postgresql_where=text("state = 'waiting'")),
        Index("ix_approvals_at", "tenant_id", "requested_at"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    #: Name of a deed in `permissions.deeds`.
    deed: Mapped[str] = mapped_column(String(40))
    #: Where the deed will be done; who may approve it is judged there.
    node_id: Mapped[int]
    #: `<table>:<id>` of what it is done to.
    subject: Mapped[str] = mapped_column(String(80))
    #: Everything the deed needs and nothing else, in canonical form; ids and figures, no personal data.
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    #: SHA-256 of the canonical content: what the second person saw is what is done.
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    #: In the deed's unit.
    amount: Mapped[int]
    reason: Mapped[str] = mapped_column(String(200))
    #: waiting | approved | done | refused | withdrawn | expired | failed.
    state: Mapped[str] = mapped_column(String(12), server_default="waiting")
    #: How many different persons must say yes.
    needed: Mapped[int] = mapped_column(server_default=text("1"))
    requested_by: Mapped[int]
    #: Wall instants.
    requested_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    #: Code of the refusal met when it was done, or what it made (`<table>:<id>`); null before.
    outcome: Mapped[str | None] = mapped_column(String(120))


class ApprovalVote(TenantRow, Base):
    """What one person said to a request; never its requester, never the same person twice."""

    __tablename__ = "approval_votes"
    __table_args__ = (
        UniqueConstraint("tenant_id", "approval_id", "user_id", name="once"),
        ForeignKeyConstraint(["tenant_id", "approval_id"], ["approvals.tenant_id", "approvals.id"], name="approval"),
        ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="user"),
        CheckConstraint("verdict IN ('approve', 'refuse')", name="verdict_known"),
        {"info": {"grants": "SELECT, INSERT"}},
    )

    approval_id: Mapped[int]
    user_id: Mapped[int]
    #: approve | refuse.
    verdict: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str] = mapped_column(String(200), server_default="")
    #: What was seen: must equal the request's content hash.
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime]
