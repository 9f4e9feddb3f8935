"""One door to the database: `unit_of_work(tenant_id)`. A session always belongs to exactly one tenant."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app.kernel.db import Database, acting_for, database

__all__ = ["unit_of_work"]


@contextmanager
def unit_of_work(tenant_id: int, *, db: Database | None = None) -> Iterator[Session]:
    """Open one database transaction for one tenant; commit at the end, roll back on any error.

    Row-level security and every ORM query are bound to `tenant_id`. Units of work do not nest for different tenants:
    raises TenantMixed when one is open for another tenant in the same context.
    """
    with acting_for(tenant_id), (db or database()).session() as session, session.begin():
        yield session
