"""The residents' own page: properties that offer it, codes that were asked for, sessions.

Only new tables: old code runs beside them and sees nothing of them.

Revision: 0018
After:    0017
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_resident_pages()
    _create_resident_codes()
    _create_resident_sessions()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("resident_sessions")
    op.drop_table("resident_codes")
    op.drop_table("resident_pages")


def _create_resident_pages() -> None:
    op.create_table(
        "resident_pages",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("property_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("codes_day_max", sa.BigInteger(), server_default=sa.text("300"), nullable=False),
        sa.Column("opened_by", sa.String(length=60), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_resident_pages_property"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "property_id", name=op.f("pk_resident_pages")),
    )
    protect("resident_pages")


def _create_resident_codes() -> None:
    op.create_table(
        "resident_codes",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("phone_digests", postgresql.ARRAY(sa.LargeBinary()), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_resident_codes_property"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_resident_codes")),
        sa.UniqueConstraint("tenant_id", "digest", name=op.f("uq_resident_codes_digest")),
    )
    op.create_index("ix_resident_codes_property", "resident_codes", ["tenant_id", "property_id", "created_at"])
    protect("resident_codes")


def _create_resident_sessions() -> None:
    op.create_table(
        "resident_sessions",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("phone_digest", sa.LargeBinary(), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "property_id"],
            ["properties.tenant_id", "properties.id"],
            name=op.f("fk_resident_sessions_property"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_resident_sessions")),
        sa.UniqueConstraint("tenant_id", "digest", name=op.f("uq_resident_sessions_digest")),
    )
    op.create_index("ix_resident_sessions_phone", "resident_sessions", ["tenant_id", "property_id", "phone_digest"])
    protect("resident_sessions")
