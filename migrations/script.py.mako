"""${message}.

Before writing: is the lock short (no rewrite of a large table, indexes CONCURRENTLY in a revision of their own)? Does old
code still run against the new schema, and new code against the old? Is a new table protected (`rls.protect`) and led by
tenant_id in every key? Does a data migration loop over the tenants and assert its row counts?

Revision: ${up_revision}
After:    ${down_revision | comma,n}
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.rls import protect

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Forward."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Back."""
    op.execute("SET LOCAL lock_timeout = '4s'")
    ${downgrades if downgrades else "pass"}
