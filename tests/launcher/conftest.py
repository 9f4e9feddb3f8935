"""Folders short enough for a socket, and waiting for processes without sleeping."""

import os
import select
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.launcher.home import find_home

DEADLINE_S = 60.0


@pytest.fixture
def var_dir() -> Iterator[Path]:
    """A var folder of its own that anybody may pass through, as that of a checkout in /srv is."""
    folder = Path(tempfile.mkdtemp(prefix="th-"))
    folder.chmod(0o755)
    yield folder / "var"
    shutil.rmtree(find_home(folder / "var").folder, ignore_errors=True)
    shutil.rmtree(folder)


@pytest.fixture
def closed_var_dir() -> Iterator[Path]:
    """A var folder below one that only its owner may pass, as /root is."""
    folder = Path(tempfile.mkdtemp(prefix="th-"))
    yield folder / "var"
    home = find_home(folder / "var")
    for place in (home.folder, home.sockets, folder):
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def await_end() -> Callable[[int], None]:
    """Wait until a process, ours or not, has ended."""

    def wait(pid: int) -> None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            ready, _, _ = select.select([descriptor], [], [], DEADLINE_S)
        finally:
            os.close(descriptor)
        assert ready, f"process {pid} still runs"

    return wait
