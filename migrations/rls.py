"""What every new table of a tenant gets: row-level security, forced, with one policy, and the runtime grants.

    protect("spaces")                                   SELECT, INSERT, UPDATE, DELETE
    protect("ledger_entries", grants="SELECT, INSERT")  append-only
    share("directory", grants="SELECT, INSERT, DELETE") the two tables without tenant policy

Under FORCE even the owner's statements touch no row without a tenant: a data migration loops over the tenants,
sets `SET LOCAL app.tenant_id TO '<int>'` for each, and asserts how many rows it changed.
"""

import os

from alembic import op
from sqlalchemy.engine import make_url

TENANT = "nullif(current_setting('app.tenant_id', true), '')::int"
ALL = "SELECT, INSERT, UPDATE, DELETE"


def runtime_role() -> str:
    """The role of DATABASE_URL, quoted; it owns nothing and bypasses nothing."""
    name = make_url(os.environ["DATABASE_URL"]).username or "tallyhouse_app"
    return '"' + name.replace('"', '""') + '"'


def policy_sql(table: str) -> tuple[str, ...]:
    """The statements that bind a table, or a partition of one, to the tenant of the transaction."""
    return (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {table} USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})",
    )


def protect(table: str, *, grants: str = ALL) -> None:
    """Force row-level security on a new table and grant it to the runtime role. Never TRUNCATE."""
    for statement in policy_sql(table):
        op.execute(statement)
    op.execute(f"GRANT {grants} ON {table} TO {runtime_role()}")


def share(table: str, *, grants: str) -> None:
    """Grant a table without tenant policy; `app.tenants.models.SHARED_TABLES` gives its reason."""
    op.execute(f"GRANT {grants} ON {table} TO {runtime_role()}")
