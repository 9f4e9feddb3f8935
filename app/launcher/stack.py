"""What the product stands on, PostgreSQL and Redis: given by variables, or brought up here."""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.launcher import postgres, valkey
from app.launcher.errors import NoPostgres, StackNotRunning
from app.launcher.home import Home, find_home, hold, locked, make_home


class Servers:
    """The servers that this process started, in order, and the lock that says so."""

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self._running: list[tuple[str, subprocess.Popen[bytes], Callable[[subprocess.Popen[bytes]], None]]] = []

    def add(self, name: str, child: "subprocess.Popen[bytes]", stop: Callable[..., None]) -> None:
        """Remember a started server and how to end it."""
        self._running.append((name, child, stop))

    def dead(self) -> list[str]:
        """Names of servers that have ended by themselves."""
        return [name for name, child, _ in self._running if child.poll() is not None]

    def stop(self) -> None:
        """End them, the last one first, and let others start theirs. Safe to call twice."""
        while self._running:
            _, child, stop = self._running.pop()
            stop(child)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses of the servers, and the servers themselves where this process started any."""

    database_url: str
    database_owner_url: str
    #: None where the server is somebody else's and no such role was named.
    database_backup_url: str | None
    #: None where the server is somebody else's.
    superuser_url: str | None
    redis_url: str
    servers: Servers | None = None

    def env(self) -> dict[str, str]:
        """The addresses as the variables that the product reads."""
        named = {
            "DATABASE_URL": self.database_url,
            "DATABASE_OWNER_URL": self.database_owner_url,
            "DATABASE_BACKUP_URL": self.database_backup_url,
            "REDIS_URL": self.redis_url,
        }
        return {name: value for name, value in named.items() if value is not None}

    def dead(self) -> list[str]:
        """Names of servers of ours that have ended by themselves."""
        return self.servers.dead() if self.servers else []

    def stop(self) -> None:
        """End what this process started, nothing else. Safe to call twice."""
        if self.servers:
            self.servers.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class Given:
    """What the environment says: an external PostgreSQL, an external Redis, or a wish."""

    database: postgres.Addresses | None
    backup_url: str | None
    redis_url: str | None
    wish: str


def given(env: Mapping[str, str]) -> Given:
    """Read the environment. Raises NoPostgres when only one of the two database addresses is there."""
    wish = env.get("TALLYHOUSE_POSTGRES", "")
    runtime, owner = env.get("DATABASE_URL"), env.get("DATABASE_OWNER_URL")
    redis_url = env.get("REDIS_URL") or None
    if wish in {"system", "wheel"}:
        return Given(None, None, redis_url, wish)
    if runtime and owner:
        return Given(postgres.Addresses(runtime, owner, "", ""), env.get("DATABASE_BACKUP_URL"), redis_url, wish)
    if runtime or owner:
        raise NoPostgres("set both DATABASE_URL (runtime role) and DATABASE_OWNER_URL (migrations), or neither")
    if wish == "external":
        raise NoPostgres("TALLYHOUSE_POSTGRES=external needs DATABASE_URL and DATABASE_OWNER_URL")
    return Given(None, None, redis_url, wish)


def _stack(said: Given, home: Home, servers: Servers | None) -> Stack:
    ours = None if said.database else postgres.addresses(home)
    database = said.database or ours
    assert database is not None
    return Stack(
        database_url=database.runtime,
        database_owner_url=database.owner,
        database_backup_url=ours.backup if ours else said.backup_url,
        superuser_url=ours.superuser if ours else None,
        redis_url=said.redis_url or valkey.address(home),
        servers=servers,
    )


def ensure_stack(var_dir: Path, *, env: Mapping[str, str] | None = None) -> Stack:
    """Use the given servers; start what is not given, or join those another process runs from this folder.

    Call from the main thread. Raises LauncherError: one line that names the cure.
    """
    said = given(os.environ if env is None else env)
    home = make_home(var_dir)
    if said.database and said.redis_url:
        return _stack(said, home, None)
    with locked(home.folder / "start.lock"):
        lock = hold(home.folder / "owner.lock")
        if lock is None:
            return attach(var_dir, env=env)
        servers = Servers(lock)
        try:
            _start(said, home, servers, logs=var_dir.resolve() / "log")
        except BaseException:
            servers.stop()
            raise
    return _stack(said, home, servers)


def _start(said: Given, home: Home, servers: Servers, *, logs: Path) -> None:
    if said.database is None:
        child = postgres.start(home, log=logs / "postgres.log", wish=said.wish)
        servers.add("postgres", child, postgres.stop)
    if said.redis_url is None:
        servers.add("valkey", valkey.start(home, log=logs / "valkey.log"), valkey.stop)


def attach(var_dir: Path, *, env: Mapping[str, str] | None = None) -> Stack:
    """The stack that another process runs from this folder, or the given one. Raises StackNotRunning."""
    said = given(os.environ if env is None else env)
    home = find_home(var_dir)
    if not said.database and not ((home.folder / "postgres.json").is_file() and postgres.answers(home)):
        raise StackNotRunning(f"no PostgreSQL runs from {var_dir}: start `make run`, or set DATABASE_URL")
    if not said.redis_url and not ((home.folder / "valkey.json").is_file() and valkey.answers(home)):
        raise StackNotRunning(f"no Redis runs from {var_dir}: start `make run`, or set REDIS_URL")
    return _stack(said, home, None)
