"""Tables of the tenant, its tree, its places and its parties."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, TenantRow, TenantScoped, uuid7


class Tenant(Base):
    """A property-management group: the customer of the product."""

    __tablename__ = "tenants"
    __table_args__ = (CheckConstraint("kind IN ('real', 'demo')", name="kind_known"),)

    #: Small number that leads every key of the tenant's rows.
    id: Mapped[int] = mapped_column(Integer, Identity(always=False), primary_key=True)
    #: Name on screens.
    name: Mapped[str] = mapped_column(String(120))
    #: `real`, or `demo`: only demo tenants may trip before the full stop policy exists, and only they move
    #: the clock.
    kind: Mapped[str] = mapped_column(String(8), server_default="real")
    #: The tenant's data key, wrapped by the key-encryption key.
    data_key: Mapped[bytes] = mapped_column(LargeBinary)
    #: When the tenant was made (business clock).
    created_at: Mapped[datetime]


class DirectoryEntry(Base):
    """Exact-key look-up from a digest to a tenant."""

    __tablename__ = "directory"
    #: SHA-256 of kind and value (`kernel.crypto.directory_digest`).
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    #: login | session | api_token | gateway | merchant | step | password_link | sso | counter_pc | resident_page.
    kind: Mapped[str] = mapped_column(String(16))
    #: The tenant it belongs to.
    tenant_id: Mapped[int]


class Node(TenantRow, Base):
    """A place in the organisation tree: headquarters, region or property."""

    __tablename__ = "nodes"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        ForeignKeyConstraint(["tenant_id", "parent_id"], ["nodes.tenant_id", "nodes.id"], name="parent"),
        CheckConstraint("kind IN ('headquarters', 'region', 'property')", name="kind_known"),
        CheckConstraint("(kind = 'headquarters') = (parent_id IS NULL)", name="only_headquarters_is_root"),
        Index("one_headquarters", "tenant_id", unique=True, postgresql_where=text("parent_id IS NULL")),
        Index("ix_nodes_parent", "tenant_id", "parent_id"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    #: Null for headquarters only.
    parent_id: Mapped[int | None]
    #: headquarters | region | property.
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(120))


class LegalEntity(TenantRow, Base):
    """Owns books, a tax identity and a merchant account."""

    __tablename__ = "legal_entities"
    __table_args__ = (UniqueConstraint("tenant_id", "tax_number", name="tax_number"),)

    name: Mapped[str] = mapped_column(String(120))
    #: Unified social credit code.
    tax_number: Mapped[str] = mapped_column(String(32))


class Property(TenantRow, Base):
    """A managed site. Its id is the id of its node."""

    __tablename__ = "properties"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "id"], ["nodes.tenant_id", "nodes.id"], name="node"),
        ForeignKeyConstraint(
            ["tenant_id", "legal_entity_id"],
            ["legal_entities.tenant_id", "legal_entities.id"],
            name="legal_entity",
        ),
    )

    #: Collects energy money here unless a charge kind names another.
    legal_entity_id: Mapped[int]
    #: IANA zone of the property's civil days.
    time_zone: Mapped[str] = mapped_column(String(40), server_default="Asia/Shanghai")
    #: Kill switch: while true, no trip leaves for this property.
    stops_halted: Mapped[bool] = mapped_column(server_default=text("false"))
    #: Who halted and why, shown beside the switch; null while not halted.
    stops_halted_reason: Mapped[str | None] = mapped_column(String(200))


class Building(TenantRow, Base):
    """A building of a property."""

    __tablename__ = "buildings"
    __table_args__ = (
        UniqueConstraint("tenant_id", "property_id", "name", name="name"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
    )

    property_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(60))


class Floor(TenantRow, Base):
    """A floor of a building; `level` orders floors, the ground floor being 1 and basements negative."""

    __tablename__ = "floors"
    __table_args__ = (
        UniqueConstraint("tenant_id", "building_id", "level", name="level"),
        ForeignKeyConstraint(["tenant_id", "building_id"], ["buildings.tenant_id", "buildings.id"], name="building"),
    )

    property_id: Mapped[int]
    building_id: Mapped[int]
    level: Mapped[int]
    name: Mapped[str] = mapped_column(String(30))


class Space(TenantRow, Base):
    """What is let or owned, and what meters serve."""

    __tablename__ = "spaces"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        UniqueConstraint("tenant_id", "property_id", "building_id", "name", name="name"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        ForeignKeyConstraint(["tenant_id", "floor_id"], ["floors.tenant_id", "floors.id"], name="floor"),
        ForeignKeyConstraint(["tenant_id", "building_id"], ["buildings.tenant_id", "buildings.id"], name="building"),
        CheckConstraint(
            "usage_class IN ('residential', 'commercial', 'dormitory', 'common')", name="usage_class_known"
        ),
        CheckConstraint("area_cm2 IS NULL OR area_cm2 > 0", name="area_positive"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    building_id: Mapped[int]
    floor_id: Mapped[int]
    #: Number on the door, unique within its building.
    name: Mapped[str] = mapped_column(String(40))
    #: residential | commercial | dormitory | common: decides when a stop may happen.
    usage_class: Mapped[str] = mapped_column(String(16))
    #: Floor area in square centimetres; null when not measured.
    area_cm2: Mapped[int | None]


class Party(TenantRow, Base):
    """A person or a company. Phone and ID number are ciphertext from the first row."""

    __tablename__ = "parties"
    __table_args__ = (
        UniqueConstraint("tenant_id", "public_id", name="public_id"),
        ForeignKeyConstraint(["tenant_id", "property_id"], ["properties.tenant_id", "properties.id"], name="property"),
        Index("ix_parties_phone_blind", "tenant_id", "property_id", "phone_blind"),
        Index("ix_parties_phone_last4_blind", "tenant_id", "property_id", "phone_last4_blind"),
        Index("ix_parties_name", "tenant_id", "property_id", "name"),
        CheckConstraint("kind IN ('person', 'company')", name="kind_known"),
    )

    public_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    property_id: Mapped[int]
    #: person | company.
    kind: Mapped[str] = mapped_column(String(8), server_default="person")
    #: In clear, masked on screens by default.
    name: Mapped[str] = mapped_column(String(80))
    #: AES-GCM ciphertext bound to this row; null when unknown.
    phone_cipher: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Blind index of the full phone number.
    phone_blind: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Blind index of its last four digits.
    phone_last4_blind: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: AES-GCM ciphertext of the ID or credit code; null when unknown.
    id_number_cipher: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Blind index of the full ID number.
    id_number_blind: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: AES-GCM ciphertext of the bank account for refunds; null when unknown.
    bank_account_cipher: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: When the personal data were erased on request (wall); the row stays for the books.
    erased_at: Mapped[datetime | None]
    #: Protected party (medical device, infant, elderly alone): never tripped while set; a date to review.
    protected_until: Mapped[date | None]


class PartyRole(TenantRow, Base):
    """Owner, occupant, payer or contract party of a space, from a day to a day; history stays."""

    __tablename__ = "party_roles"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "party_id"], ["parties.tenant_id", "parties.id"], name="party"),
        ForeignKeyConstraint(["tenant_id", "space_id"], ["spaces.tenant_id", "spaces.id"], name="space"),
        CheckConstraint("role IN ('owner', 'occupant', 'payer', 'contract')", name="role_known"),
        CheckConstraint("ended_on IS NULL OR ended_on >= began_on", name="ends_after_begin"),
        Index("ix_party_roles_space", "tenant_id", "space_id"),
        Index(
            "one_open_role",
            "tenant_id",
            "space_id",
            "party_id",
            "role",
            unique=True,
            postgresql_where=text("ended_on IS NULL"),
        ),
    )

    property_id: Mapped[int]
    party_id: Mapped[int]
    space_id: Mapped[int]
    role: Mapped[str] = mapped_column(String(12))
    began_on: Mapped[date]
    #: Null while it lasts.
    ended_on: Mapped[date | None]


class AuditRecord(TenantRow, Base):
    """Who did what, when, from where, before and after.

    Append-only by grants; holds ids, never personal data.
    """

    __tablename__ = "audit_records"
    # One index for each way in, all of them ending in the order of the list.
    __table_args__ = (
        Index("ix_audit_records_at", "tenant_id", "at", "id"),
        Index("ix_audit_records_actor", "tenant_id", "actor", "at", "id"),
        Index("ix_audit_records_deed", "tenant_id", "deed", "at", "id"),
        Index("ix_audit_records_subject", "tenant_id", "subject"),
        Index("ix_audit_records_property", "tenant_id", "property_id", "at", "id"),
        # Few records have a reason, and few are refusals.
        Index("ix_audit_records_reason", "tenant_id", "at", "id", postgresql_where=text("reason IS NOT NULL")),
        Index("ix_audit_records_refused", "tenant_id", "at", "id", postgresql_where=text("result = 'refused'")),
        {"info": {"grants": "SELECT, INSERT"}},
    )

    #: Business instant.
    at: Mapped[datetime]
    #: Wall instant, when a demo's clock differs.
    wall_at: Mapped[datetime]
    #: `user:<id>`, `api_token:<id>`, `resident:<party id>`, `system:<process>`.
    actor: Mapped[str] = mapped_column(String(60))
    #: Network address of the request; null for processes.
    address: Mapped[str | None] = mapped_column(String(45))
    #: `<area>:<thing>:<deed>`.
    deed: Mapped[str] = mapped_column(String(60))
    #: What it was done to: `<table>:<id>`.
    subject: Mapped[str] = mapped_column(String(80))
    #: Null for acts of the whole tenant.
    property_id: Mapped[int | None]
    #: What it was and what it became, field by field; null where nothing changed a row.
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    #: Why, in the actor's words; null where none was asked.
    reason: Mapped[str | None] = mapped_column(String(200))
    #: The approval it was done under; null when one person might do it alone.
    approval_id: Mapped[int | None]
    #: Further facts.
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    #: done | refused.
    result: Mapped[str] = mapped_column(String(8), server_default="done")
    #: HMAC-SHA-256 of the record's canonical text; chained into blocks by the sealer.
    row_hash: Mapped[bytes] = mapped_column(LargeBinary)
    #: Which key made it (`tenants.audit_keys`).
    key_id: Mapped[str] = mapped_column(String(8))


class TenantKey(TenantScoped, Base):
    """A data key of a tenant beside its first, wrapped by the key-encryption key; ciphertexts name their version."""

    __tablename__ = "tenant_keys"
    __table_args__ = (CheckConstraint("version > 1", name="version_follows_the_first"),)

    #: 2, 3 …; version 1 lies in `tenants.data_key`.
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    #: Blind indexes derive from it since; they stay under the newest such version, the first unless one was asked for.
    blinds: Mapped[bool] = mapped_column(server_default=text("false"))
    #: Wall instants, as keys belong to the machines and not to a demo's calendar.
    created_at: Mapped[datetime]
    #: Set when every field has been written anew under it.
    rotated_at: Mapped[datetime | None]


class SealBlock(TenantScoped, Base):
    """A sealed block of records: entries of the ledger or the audit log, chained per tenant in seal order."""

    __tablename__ = "seal_blocks"
    __table_args__ = ({"info": {"grants": "SELECT, INSERT"}},)

    #: ledger | audit.
    chain: Mapped[str] = mapped_column(String(8), primary_key=True)
    #: 1, 2, 3 … without a gap.
    block_no: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: Block hash of block_no − 1; for the first the chain's genesis (`tenants.chain`).
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary)
    #: SHA-256 over the records' ids and hashes in order.
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    #: HMAC-SHA-256 over previous hash, number, size, instant and content hash.
    block_hash: Mapped[bytes] = mapped_column(LargeBinary)
    #: Which key made it (`tenants.audit_keys`).
    key_id: Mapped[str] = mapped_column(String(8))
    #: How many records it seals.
    size: Mapped[int]
    sealed_at: Mapped[datetime]
    #: SHA-256 of the archive its records went to; null while they are here.
    archive_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: HMAC-SHA-256 over block hash and archive digest: only who holds the key can say that records are rightly gone.
    archive_mac: Mapped[bytes | None] = mapped_column(LargeBinary)


class SealedRecord(TenantScoped, Base):
    """Which block sealed which record, and the hash it had then."""

    __tablename__ = "sealed_records"
    __table_args__ = (
        UniqueConstraint("tenant_id", "chain", "block_no", "position", name="position"),
        ForeignKeyConstraint(
            ["tenant_id", "chain", "block_no"],
            ["seal_blocks.tenant_id", "seal_blocks.chain", "seal_blocks.block_no"],
            name="block",
        ),
        {"info": {"grants": "SELECT, INSERT"}},
    )

    chain: Mapped[str] = mapped_column(String(8), primary_key=True)
    record_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    block_no: Mapped[int]
    position: Mapped[int]
    row_hash: Mapped[bytes] = mapped_column(LargeBinary)
