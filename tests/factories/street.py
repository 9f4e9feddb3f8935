"""A folder for a stage of the story, and a small database for the demo group: both gone afterwards."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.kernel.db import Database
from app.launcher.databases import create_database, drop_database, with_database
from app.launcher.home import find_home
from app.settings import Settings
from tests.conftest import TEMPLATE
from tests.factories.world import unique


@contextmanager
def story_folder() -> Iterator[Path]:
    """A folder of this process alone, so that two runs at once never share a clock."""
    folder = Path("var") / unique("test-story-")
    try:
        yield folder
    finally:
        home = find_home(folder)
        for place in (home.sockets, home.folder, folder):
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def empty_database(folder: Path) -> Iterator[tuple[Database, Settings]]:
    """A migrated database without any tenant, and settings that name it and a clock file in the folder."""
    name = unique("tallyhouse_street_")
    owner_url = create_database(os.environ["DATABASE_OWNER_URL"], name, template=TEMPLATE)
    runtime_url = with_database(os.environ["DATABASE_URL"], name)
    own = {
        "DATABASE_URL": runtime_url,
        "DATABASE_OWNER_URL": owner_url,
        "VAR_DIR": str(folder),
        "CLOCK_FILE": str(folder / "clock.json"),
        "STREET_CONTROL": "127.0.0.1:7400",
    }
    db = Database(runtime_url)
    try:
        yield db, Settings.from_env(os.environ | own)
    finally:
        db.engine.dispose()
        drop_database(os.environ["DATABASE_OWNER_URL"], name)
