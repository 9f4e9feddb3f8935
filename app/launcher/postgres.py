"""PostgreSQL of our own: a private cluster on a private socket, started with us and ended with us.

Passwords (scram) are asked of everybody, also on the socket; nothing listens on the network.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from app.launcher import children
from app.launcher.binaries import PostgresBinaries, find_postgres
from app.launcher.errors import NoPostgres, ServerDidNotStart
from app.launcher.home import Home, kept_secrets, write_private

DATABASE = "tallyhouse"
SUPERUSER, OWNER, RUNTIME, BACKUP = "postgres", "tallyhouse_owner", "tallyhouse_app", "tallyhouse_backup"
#: Attributes of our roles; an external server needs roles like these (docs/settings.md).
ROLES = {
    OWNER: "LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS",
    RUNTIME: "LOGIN NOSUPERUSER NOBYPASSRLS",
    BACKUP: "LOGIN BYPASSRLS NOSUPERUSER",
}
#: Small, because it shares a laptop with all the rest; durable, because money is durable also in a demo.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "96MB",
    "max_wal_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "fsync": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_lock_waits": "on",
    "log_line_prefix": "%m [%p] %u@%d ",
}
START_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the four roles find their database."""

    runtime: str
    owner: str
    backup: str
    superuser: str


def addresses(home: Home) -> Addresses:
    """The addresses of a home's server, whether it runs or not; passwords are made when missing."""
    passwords = _passwords(home)
    place = f"host={quote(str(home.sockets), safe='')}&port=5432"

    def address(role: str) -> str:
        return f"postgresql://{role}:{passwords[role]}@/{DATABASE}?{place}"

    return Addresses(address(RUNTIME), address(OWNER), address(BACKUP), address(SUPERUSER))


def _passwords(home: Home) -> dict[str, str]:
    return kept_secrets(home.folder / "postgres.json", dict.fromkeys((SUPERUSER, *ROLES), 24))


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}


def start(home: Home, *, log: Path, wish: str = "") -> "subprocess.Popen[bytes]":
    """Start the home's server, made first where there is none, and wait until it answers.

    A server left over by a launcher that was killed is ended first. Raises NoPostgres, ServerDidNotStart.
    """
    binaries = find_postgres(home, wish)
    data = home.folder / f"postgres-{binaries.major}"
    if not (data / "PG_VERSION").is_file():
        _make_cluster(home, binaries, data)
    end_leftover(home)
    settings = [word for name, value in SERVER_SETTINGS.items() for word in ("-c", f"{name}={value}")]
    argv = [str(binaries.folder / "postgres"), "-D", str(data), "-k", str(home.sockets), *settings]
    uid, gid = (home.uid, home.gid) if home.as_root else (None, None)
    launch = children.Launch(argv, log, _environment(), data, uid, gid, death_signal=signal.SIGINT)
    child = children.start(launch)
    try:
        _await_answer(home, child, log)
        _make_roles(home)
    except BaseException:
        stop(child)
        raise
    return child


def stop(child: "subprocess.Popen[bytes]") -> None:
    """End a server: fast shutdown, then immediate."""
    children.end(child, signal.SIGINT, signal.SIGQUIT, patience_s=20)


def end_leftover(home: Home) -> None:
    """End a server of this home that outlived its launcher, and take away what a dead one left behind."""
    for pid_file in home.folder.glob("postgres-*/postmaster.pid"):
        first = pid_file.read_text().partition("\n")[0]
        pid = int(first) if first.isdigit() else 0
        data = str(pid_file.parent)
        if pid and children.runs(pid, "postgres", data):
            children.end_stranger(pid, signal.SIGINT, "postgres", data)
        # The number may belong to somebody else by now, and PostgreSQL would refuse to start for its sake.
        pid_file.unlink(missing_ok=True)
        for stale in home.sockets.glob(".s.PGSQL.*"):
            stale.unlink()


def _make_cluster(home: Home, binaries: PostgresBinaries, data: Path) -> None:
    fresh = data.with_name(f"{data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password = home.sockets / "initdb.password"
    # initdb wants to know its user's name, which only users of the machine have: `nobody` lends its own.
    maker = _nobody() if home.as_root else home.uid
    try:
        os.chown(fresh, maker, home.gid)
        os.chown(home.sockets, maker, home.gid)
        write_private(password, _passwords(home)[SUPERUSER], owner=(maker, home.gid))
        _run_initdb(home, binaries, fresh, password, maker)
        if home.as_root:
            _give(fresh, home)
    finally:
        password.unlink(missing_ok=True)
        os.chown(home.sockets, home.uid, home.gid)
    fresh.rename(data)


def _nobody() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise NoPostgres("this machine has no user `nobody`: start as an ordinary user instead of root") from None


def _run_initdb(home: Home, binaries: PostgresBinaries, data: Path, password: Path, maker: int) -> None:
    words = ["-D", str(data), "-U", SUPERUSER, f"--pwfile={password}", "--auth=scram-sha-256"]
    result = subprocess.run(
        [str(binaries.folder / "initdb"), *words, "--encoding=UTF8", "--locale=C.UTF-8"],
        cwd=data,
        env=_environment(),
        user=maker if home.as_root else None,
        group=home.gid if home.as_root else None,
        extra_groups=[] if home.as_root else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ServerDidNotStart(f"initdb failed: {result.stderr.strip()}")


def _give(folder: Path, home: Home) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, home.uid, home.gid, follow_symlinks=False)


def _await_answer(home: Home, child: "subprocess.Popen[bytes]", log: Path) -> None:
    from_then = time.monotonic()
    while time.monotonic() - from_then < START_S_MAX and child.poll() is None:
        if answers(home):
            return
        time.sleep(0.02)
    raise ServerDidNotStart(f"PostgreSQL did not start; the end of {log}:\n{children.tail(log)}")


def _superuser_address(home: Home) -> str:
    return addresses(home).superuser.replace(f"@/{DATABASE}?", "@/postgres?")


def answers(home: Home) -> bool:
    """True when the home's server takes connections."""
    try:
        with psycopg.connect(_superuser_address(home), connect_timeout=5):
            return True
    except psycopg.OperationalError:
        return False


def _make_roles(home: Home) -> None:
    """Roles and database as they should be, on a new cluster and on an old one alike."""
    passwords = _passwords(home)
    with psycopg.connect(_superuser_address(home), autocommit=True) as connection:
        there = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
        for role, attributes in ROLES.items():
            verb = "ALTER" if role in there else "CREATE"
            statement = sql.SQL("{} ROLE {} {} PASSWORD {}").format(
                sql.SQL(verb), sql.Identifier(role), sql.SQL(attributes), sql.Literal(passwords[role])
            )
            connection.execute(statement)
        connection.execute(f"GRANT pg_read_all_data TO {BACKUP}")
        connection.execute(f"GRANT pg_signal_backend TO {OWNER}")
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
