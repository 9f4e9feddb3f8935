"""Valkey of our own: on a private socket, with a password, in memory only.

What it holds may be lost at any time.
"""

import signal
import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.launcher import children
from app.launcher.binaries import find_valkey
from app.launcher.errors import ServerDidNotStart
from app.launcher.home import Home, kept_secrets, write_private

START_S_MAX = 20.0


def _socket(home: Home) -> Path:
    return home.sockets / "valkey.sock"


def _password(home: Home) -> str:
    return kept_secrets(home.folder / "valkey.json", {"password": 24})["password"]


def address(home: Home) -> str:
    """The address of a home's server, whether it runs or not."""
    return f"unix://:{_password(home)}@{_socket(home)}?db=0"


def _client(home: Home) -> redis.Redis:
    # Without its usual retries: a server that is not there is the ordinary answer here.
    return redis.Redis.from_url(address(home), socket_timeout=5, retry=Retry(NoBackoff(), 0))


def _configuration(home: Home) -> str:
    return "\n".join(
        [
            "port 0",
            f"unixsocket {_socket(home)}",
            "unixsocketperm 700",
            f"requirepass {_password(home)}",
            f"dir {home.sockets}",
            "databases 64",
            'save ""',
            "appendonly no",
            "maxmemory 128mb",
            "maxmemory-policy noeviction",
            "",
        ]
    )


def start(home: Home, *, log: Path) -> "subprocess.Popen[bytes]":
    """Start the home's server and wait until it answers. Raises NoValkey, ServerDidNotStart."""
    binary = find_valkey(home)
    end_leftover(home)
    settings = home.sockets / "valkey.conf"
    write_private(settings, _configuration(home), owner=(home.uid, home.gid))
    uid, gid = (home.uid, home.gid) if home.as_root else (None, None)
    env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    child = children.start(children.Launch([str(binary), str(settings)], log, env, home.sockets, uid, gid))
    from_then = time.monotonic()
    while not answers(home):
        if child.poll() is not None or time.monotonic() - from_then > START_S_MAX:
            stop(child)
            raise ServerDidNotStart(f"Valkey did not start; the end of {log}:\n{children.tail(log)}")
        time.sleep(0.02)
    return child


def stop(child: "subprocess.Popen[bytes]") -> None:
    """End a server."""
    children.end(child, signal.SIGTERM, patience_s=5)


def answers(home: Home) -> bool:
    """True when the home's server takes commands."""
    try:
        with _client(home) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False


def end_leftover(home: Home) -> None:
    """End a server of this home that outlived its launcher, and take its socket away."""
    if answers(home):
        with _client(home) as client:
            client.shutdown(nosave=True)
    _socket(home).unlink(missing_ok=True)
