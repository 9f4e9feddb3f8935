"""The town is built once per worker; every test finds its clock and its database in place, and leaves them."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from app.kernel import clock
from app.kernel import db as kernel_db
from app.kernel.db import Database
from tests.matrix.town import Town, build_town

NOON = datetime(2026, 7, 15, 2, tzinfo=UTC)


@pytest.fixture(scope="session")
def _town(db: Database, owner_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    clock_file, before = folder / "clock.json", kernel_db._database
    clock.use_clock_file(str(clock_file))
    clock.move_clock(to=NOON, rate=0)
    kernel_db._database = db
    town = build_town(db, owner_url, folder / "var", clock_file)
    kernel_db._database = before
    yield town
    town.app_db.engine.dispose()


@pytest.fixture
def town(_town: Town, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    """The application, its places and its guests."""
    monkeypatch.setattr(kernel_db, "_database", _town.app_db)
    clock.use_clock_file(str(_town.clock_file))
    _town.look = None
    yield _town
    _town.look = None
    clock.use_clock_file(None)
