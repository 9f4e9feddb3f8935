"""Whether the tables are already what the migrations of this checkout make them: then a start need not ask alembic."""

import hashlib
from pathlib import Path

import psycopg

from app.launcher.home import write_private


def _version(owner_url: str) -> str | None:
    """The revision the database says it is at; None when it has never been migrated."""
    with psycopg.connect(owner_url) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except psycopg.errors.UndefinedTable:
            return None
    return str(row[0]) if row else None


def state_of(owner_url: str, migrations: Path) -> str | None:
    """One line for the database's revision and the migrations' text; None when there is no revision."""
    version = _version(owner_url)
    if version is None:
        return None
    digest = hashlib.sha256()
    for file in sorted(migrations.rglob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return f"{version} {digest.hexdigest()}"


def is_current(owner_url: str, migrations: Path, mark: Path) -> bool:
    """True when nothing has changed, here or there, since `remember`."""
    return mark.is_file() and mark.read_text() == state_of(owner_url, migrations)


def remember(owner_url: str, migrations: Path, mark: Path) -> None:
    """Note that the database is up to date with these migrations."""
    write_private(mark, state_of(owner_url, migrations) or "")
