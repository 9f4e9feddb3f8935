"""Prices withdrawn before they took effect.

Versions stay append-only: a withdrawal is a row of its own, and a price published anew for the same instant is the
next issue. Old code runs against the new schema: its versions are issue 0, and nobody withdraws.

Revision: 0016
After:    0015
"""

import sqlalchemy as sa
from alembic import op

from migrations.rls import protect

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

UNIQUE = "uq_price_versions_effective_from"


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.add_column("price_versions", sa.Column("issue", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.drop_constraint(op.f(UNIQUE), "price_versions", type_="unique")
    op.create_unique_constraint(op.f(UNIQUE), "price_versions", ["tenant_id", "plan_id", "effective_from", "issue"])
    _create_price_withdrawals()


def downgrade() -> None:
    """Back; refused by the narrower constraint while an instant has several issues."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("price_withdrawals")
    op.drop_constraint(op.f(UNIQUE), "price_versions", type_="unique")
    op.create_unique_constraint(op.f(UNIQUE), "price_versions", ["tenant_id", "plan_id", "effective_from"])
    op.drop_column("price_versions", "issue")


def _create_price_withdrawals() -> None:
    op.create_table(
        "price_withdrawals",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("price_version_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("withdrawn_by", sa.String(length=60), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "price_version_id"],
            ["price_versions.tenant_id", "price_versions.id"],
            name=op.f("fk_price_withdrawals_price_version"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "price_version_id", name=op.f("pk_price_withdrawals")),
    )
    protect("price_withdrawals", grants="SELECT, INSERT")
