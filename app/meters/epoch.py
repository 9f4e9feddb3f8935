"""The command epoch: a number kept outside the database, so that a restored backup cannot send old commands again.

After a restore the operator raises the number in the file; commands written under a smaller one are never sent.
"""

from pathlib import Path

from app.settings import Settings

EPOCH_FIRST = 1

_path: str | None = None


def use_epoch_file(path: str) -> None:
    """Follow this file from now on; '' means the installation was never restored."""
    global _path
    _path = path


def command_epoch() -> int:
    """The epoch in force. A missing file is an installation that was never restored."""
    if _path is None:
        use_epoch_file(Settings.from_env().epoch_file)
    try:
        return int(Path(_path).read_text()) if _path else EPOCH_FIRST
    except FileNotFoundError:
        return EPOCH_FIRST
