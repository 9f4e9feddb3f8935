"""Alembic's entry: migrations run as the owner (DATABASE_OWNER_URL), never as the runtime role."""

import os

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from app.models import Base


def run() -> None:
    """Upgrade or downgrade over one connection; each revision is one transaction with its own lock timeout."""
    url = make_url(os.environ["DATABASE_OWNER_URL"]).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transaction_per_migration=True,
            compare_type=True,
            compare_server_default=False,
            include_object=lambda thing, name, kind, reflected, other: not _is_partition(connection, kind, name),
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


def _is_partition(connection: object, kind: str, name: str | None) -> bool:
    return kind == "table" and name is not None and "_p20" in name


run()
