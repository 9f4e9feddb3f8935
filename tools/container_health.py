"""The image's health check: each kind of process is asked what it is there for.

The web must answer /healthz, a head-end must take a gateway's connection, the others must reach their servers.
"""

import os
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import redis

TIMEOUT_S = 4


def check_web() -> None:
    """Raises URLError unless the web process answers 200."""
    port = os.environ.get("WEB_PORT", "8080")
    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=TIMEOUT_S).close()


def check_headend() -> None:
    """Raises OSError unless the head-end takes connections."""
    port = int(os.environ.get("HEADEND_PORT", "8645"))
    socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S).close()


def check_servers() -> None:
    """Raises psycopg.OperationalError or redis.RedisError unless PostgreSQL and Redis answer."""
    psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=TIMEOUT_S).close()
    with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=TIMEOUT_S) as client:
        client.ping()


def main(command: str) -> int:
    """Check the process whose command line this is. Returns the exit status."""
    check = check_web if "wsgi:app" in command else check_headend if "headend" in command else check_servers
    try:
        check()
    except (urllib.error.URLError, OSError, psycopg.OperationalError, redis.RedisError) as refusal:
        print(f"{check.__name__}: {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path("/proc/1/cmdline").read_bytes().replace(b"\0", b" ").decode()))
