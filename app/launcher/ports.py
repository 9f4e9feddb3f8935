"""Whether a port is free, and if not, who has it."""

import os
import socket
from pathlib import Path

from app.launcher.errors import PortInUse


def check_port_free(host: str, port: int, *, variable: str) -> None:
    """Raises PortInUse, naming the process that has the port and the variable that chooses another."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as refusal:
            raise PortInUse(
                f"port {port} on {host} is taken by {_holder(port)}: end it, or choose another: {variable}=…"
            ) from refusal


def _holder(port: int) -> str:
    inodes = _listening_inodes(port)
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(descriptor)  # noqa: PTH115 - the link names no path
        except OSError:
            continue
        if target.removeprefix("socket:[").removesuffix("]") in inodes:
            pid = descriptor.parts[2]
            return f"{(Path('/proc') / pid / 'comm').read_text().strip()} (process {pid})"
    return "another process"


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.is_file() else ():
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port and words[3] == "0A":
                found.add(words[9])
    return found
