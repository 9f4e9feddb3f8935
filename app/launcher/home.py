"""Where the embedded servers live, and as whom they run.

Started by an ordinary user, they run as that user below `var/`. Started by root, PostgreSQL refuses to run,
so they run as a number that belongs to nobody: derived from the checkout, no user is made for it. A checkout
below a folder that this number may not pass (`/root` is 0700) keeps its data in /var/lib instead: its
permissions are not ours to change.
"""

import fcntl
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.launcher.errors import ForeignFolder

#: Numbers that Debian and systemd give to no ordinary user.
UID_FIRST, UID_COUNT = 61_200, 4_000
#: A socket's whole path ends at 107 bytes; PostgreSQL adds `/.s.PGSQL.5432.lock` to the folder.
SOCKET_FOLDER_BYTES_MAX = 107 - len("/.s.PGSQL.5432.lock")


@dataclass(frozen=True, slots=True)
class Home:
    """Folders of one checkout's servers, and the numeric user and group that own what is inside."""

    folder: Path
    sockets: Path
    uid: int
    gid: int

    @property
    def as_root(self) -> bool:
        """True when root started us, so that the servers run as another user."""
        return os.geteuid() == 0


def _name(var_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(var_dir)).hexdigest()[:12]


def _passable(folder: Path) -> bool:
    """True when anybody may pass through a folder and all above it."""
    return all(above.stat().st_mode & stat.S_IXOTH for above in (folder, *folder.parents) if above.exists())


def _place(var_dir: Path) -> Path:
    if os.geteuid() != 0 or _passable(var_dir):
        return var_dir / "stack"
    return Path("/var/lib") / f"tallyhouse-{_name(var_dir)}"


def _socket_place(folder: Path, name: str) -> Path:
    inside = folder / "run"
    if len(os.fsencode(inside)) <= SOCKET_FOLDER_BYTES_MAX:
        return inside
    above = Path("/run") if os.geteuid() == 0 else Path(tempfile.gettempdir())
    return above / f"tallyhouse-{os.geteuid()}-{name}"


def find_home(var_dir: Path) -> Home:
    """Where the servers of a checkout live. Makes nothing."""
    var_dir = var_dir.resolve()
    name = _name(var_dir)
    folder = _place(var_dir)
    number = UID_FIRST + int(name, 16) % UID_COUNT
    uid, gid = (number, number) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    return Home(folder, _socket_place(folder, name), uid, gid)


def private_folder(path: Path, *, uid: int, gid: int, mode: int = 0o700) -> Path:
    """Make a folder for one user only. Raises ForeignFolder when another's (or a link) is in its place."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {uid, os.geteuid()}:
        raise ForeignFolder(f"{path} belongs to another user: remove it, or run as the user who made it")
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


def make_home(var_dir: Path) -> Home:
    """The home of a checkout's servers, made where it is missing. Raises ForeignFolder."""
    var_dir.mkdir(parents=True, exist_ok=True)
    home = find_home(var_dir)
    # Root keeps the folder itself (the servers only pass through by their group): secrets lie in it.
    private_folder(home.folder, uid=os.geteuid(), gid=home.gid, mode=0o710 if home.as_root else 0o700)
    private_folder(home.sockets, uid=home.uid, gid=home.gid)
    return home


def write_private(path: Path, text: str, *, owner: tuple[int, int] | None = None) -> None:
    """Write a file that only its owner may read; the old one stays whole until the new one is."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    if owner is not None:
        os.chown(fresh, *owner)
    fresh.rename(path)


def kept_secrets(path: Path, lengths: Mapping[str, int]) -> dict[str, str]:
    """Random hex secrets by name (length in bytes), made once and kept in a file only we may read."""
    kept: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    missing = {name: secrets.token_hex(length) for name, length in lengths.items() if name not in kept}
    if missing:
        kept |= missing
        write_private(path, json.dumps(kept, indent=1) + "\n")
    return kept


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file for the length of the block; others wait."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def hold(path: Path) -> int | None:
    """Take a lock until this process ends or closes the returned descriptor; None when another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
