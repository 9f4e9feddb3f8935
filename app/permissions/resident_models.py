"""Tables of the residents' own page: which properties offer it, codes that were asked for, sessions."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, TenantScoped


class ResidentPage(TenantScoped, Base):
    """A property whose residents may look at what is theirs; without a row, or closed, its address answers 404."""

    __tablename__ = "resident_pages"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
    )

    property_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: Codes sent by text message within 24 hours at most: what a night of abuse can cost.
    codes_day_max: Mapped[int] = mapped_column(server_default=text("300"))
    opened_by: Mapped[str] = mapped_column(String(60))
    #: Wall instants.
    opened_at: Mapped[datetime]
    #: Null while it is open.
    closed_at: Mapped[datetime | None]


class ResidentCode(TenantRow, Base):
    """Somebody typed a phone number and waits for six digits; the same row whether the number is known here or not."""

    __tablename__ = "resident_codes"
    __table_args__ = (
        UniqueConstraint("tenant_id", "digest", name="digest"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        Index("ix_resident_codes_property", "tenant_id", "property_id", "created_at"),
    )

    property_id: Mapped[int]
    #: Digest of the random token that the asking browser holds; the digits follow from it under the tenant's data key.
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    #: Keyed digests of the number, as parties carry them: one, or two while digests are being changed.
    phone_digests: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary))
    #: Wrong digits so far.
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    address: Mapped[str | None] = mapped_column(String(45))
    #: Wall instants.
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    #: Null while nothing was sent, and for numbers that nobody has.
    sent_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


class ResidentSession(TenantRow, Base):
    """A phone at which a resident looks at what is theirs; never an operator's session, and worth nothing on the console."""

    __tablename__ = "resident_sessions"
    __table_args__ = (
        UniqueConstraint("tenant_id", "digest", name="digest"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        Index("ix_resident_sessions_phone", "tenant_id", "property_id", "phone_digest"),
    )

    property_id: Mapped[int]
    #: Digest of the cookie's random token.
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    #: The party's own digest of the number that was proved: whoever's number changes is not found by it any more.
    phone_digest: Mapped[bytes] = mapped_column(LargeBinary)
    address: Mapped[str | None] = mapped_column(String(45))
    #: Wall instants.
    created_at: Mapped[datetime]
    #: Noted at most once an hour.
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
