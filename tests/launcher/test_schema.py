"""A start asks alembic only when the database or the migrations changed since the last one."""

from pathlib import Path

import psycopg
import pytest

from app.launcher.databases import create_database, drop_database
from app.launcher.schema import is_current, remember


def change(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions/one.py").write_text("revision = 'a'\n")
    return tmp_path


def test_only_what_is_known_to_be_current_is(owner_url: str, migrations: Path, tmp_path: Path) -> None:
    mark = tmp_path / "migrated"
    url = create_database(owner_url, "schema_mark")
    try:
        assert not is_current(url, migrations, mark)
        change(url, "CREATE TABLE alembic_version (version_num text)")
        change(url, "INSERT INTO alembic_version VALUES ('a')")
        remember(url, migrations, mark)
        assert is_current(url, migrations, mark)

        (migrations / "versions/two.py").write_text("revision = 'b'\n")
        assert not is_current(url, migrations, mark)
        remember(url, migrations, mark)
        assert is_current(url, migrations, mark)

        change(url, "UPDATE alembic_version SET version_num = 'z'")
        assert not is_current(url, migrations, mark)
        change(url, "DROP TABLE alembic_version")
        assert not is_current(url, migrations, mark)
    finally:
        drop_database(owner_url, "schema_mark")
