"""Anchors as files: one per UTC day, only ever appended to, on disk before the deed is over.

Put the folder where the database's owner cannot write: another account, another machine, a share that keeps versions.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

_PATTERN = "anchors-*.jsonl"
#: More than the longest line.
_TAIL_BYTES = 4_096


class AnchorFiles:
    """Lines below a folder; implements `anchors.AnchorSink`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, at: datetime, lines_after: Callable[[str | None], Sequence[str]]) -> None:
        """Add what follows the last line, one writer at a time. Raises OSError when the folder cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        with self._alone():
            paths = self._paths()
            last, torn = self._last(paths)
            # A clock that was set back does not open an older day again: lines stand in the order they were written.
            path = max([self.folder / _name(at), *paths[-1:]])
            lines = "".join(f"{line}\n" for line in lines_after(last))
            _append(path, "\n" + lines if torn and path in paths else lines)

    def lines(self, since: datetime | None = None) -> Iterator[tuple[str, str]]:
        """(file:line number, line), oldest first; only from the day of `since` on when it is given."""
        for path in self._paths():
            if since is not None and path.name < _name(since):
                continue
            with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    yield f"{path.name}:{number}", line.rstrip("\n")

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(_PATTERN))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _last(self, paths: Sequence[Path]) -> tuple[str | None, bool]:
        """The last whole line of the newest file that has one, and whether a torn one stands behind it."""
        torn = False
        for path in reversed(paths):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
                whole, newline, rest = file.read().rpartition(b"\n")
            torn = torn or bool(rest)
            for line in reversed(whole.split(b"\n")) if newline else ():
                if line.endswith(b"}"):
                    return line.decode("utf-8", "replace"), torn
        return None, torn


def _name(at: datetime) -> str:
    return f"anchors-{at.astimezone(UTC):%Y-%m-%d}.jsonl"


def _append(path: Path, text: str) -> None:
    is_new = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(handle, text.encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
