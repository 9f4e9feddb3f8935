"""The audit log and the seal blocks.

Revision: 0002
After:    0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    _create_audit_records()
    _create_seal_blocks()
    _create_sealed_records()


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("sealed_records")
    op.drop_table("seal_blocks")
    op.drop_table("audit_records")


def _create_audit_records() -> None:
    op.create_table(
        "audit_records",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wall_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.Column("deed", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("property_id", sa.BigInteger(), nullable=True),
        sa.Column("before", postgresql.JSONB(), nullable=True),
        sa.Column("after", postgresql.JSONB(), nullable=True),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("approval_id", sa.BigInteger(), nullable=True),
        sa.Column("facts", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("result", sa.String(length=8), server_default="done", nullable=False),
        sa.Column("row_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_audit_records")),
    )
    op.create_index("ix_audit_records_at", "audit_records", ["tenant_id", "at", "id"])
    for name, column in (("actor", "actor"), ("deed", "deed"), ("property", "property_id")):
        op.create_index(f"ix_audit_records_{name}", "audit_records", ["tenant_id", column, "at", "id"])
    op.create_index("ix_audit_records_subject", "audit_records", ["tenant_id", "subject"])
    for name, which in (("reason", "reason IS NOT NULL"), ("refused", "result = 'refused'")):
        op.create_index(
            f"ix_audit_records_{name}", "audit_records", ["tenant_id", "at", "id"], postgresql_where=sa.text(which)
        )
    protect("audit_records", grants="SELECT, INSERT")


def _create_seal_blocks() -> None:
    op.create_table(
        "seal_blocks",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("chain", sa.String(length=8), nullable=False),
        sa.Column("block_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archive_digest", sa.LargeBinary(), nullable=True),
        sa.Column("archive_mac", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "chain", "block_no", name=op.f("pk_seal_blocks")),
    )
    protect("seal_blocks", grants="SELECT, INSERT")


def _create_sealed_records() -> None:
    op.create_table(
        "sealed_records",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("chain", sa.String(length=8), nullable=False),
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block_no", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("row_hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "chain", "block_no"],
            ["seal_blocks.tenant_id", "seal_blocks.chain", "seal_blocks.block_no"],
            name=op.f("fk_sealed_records_block"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "chain", "record_id", name=op.f("pk_sealed_records")),
        sa.UniqueConstraint("tenant_id", "chain", "block_no", "position", name=op.f("uq_sealed_records_position")),
    )
    protect("sealed_records", grants="SELECT, INSERT")
