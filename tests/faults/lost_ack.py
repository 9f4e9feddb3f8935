"""A proxy before PostgreSQL that forwards COMMIT, waits until it is done, and cuts the line instead of saying so."""

import socket
import threading
from pathlib import Path
from typing import Self

from sqlalchemy.engine import URL, make_url

COMMIT = b"COMMIT\0"


class LostAck:
    """Listens on a Unix socket of its own. While `armed`, the next COMMIT loses its answer; `cuts` counts them."""

    def __init__(self, url: str, folder: Path) -> None:
        self._target = make_url(url)
        self._folder = folder
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen(20)
        self._open: list[socket.socket] = []
        self.armed, self.cuts = False, 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The same database by way of the proxy."""
        kept = {name: said for name, said in self._target.query.items() if name not in ("host", "port")}
        through = self._target.set(host="", port=5432, query=kept | {"host": str(self._folder)})
        return through.render_as_string(hide_password=False)

    def _reach(self) -> socket.socket:
        host, port = place_of(self._target)
        if host.startswith("/"):
            line = socket.socket(socket.AF_UNIX)
            line.connect(f"{host}/.s.PGSQL.{port}")
            return line
        return socket.create_connection((host, port))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._reach()
            self._open += [client, server]
            for deed in (self._up, self._down):
                threading.Thread(target=deed, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        while said := receive(client):
            if self.armed and COMMIT in said:
                self.armed, self.cuts = False, self.cuts + 1
                shut(client)
            send(server, said)
        shut(server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        while said := receive(server):
            send(client, said)
        shut(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shut(self._listener)
        self._listener.close()
        for line in self._open:
            line.close()


def place_of(url: URL) -> tuple[str, int]:
    """Host (a folder for Unix sockets) and port of a server."""
    host = url.query.get("host", url.host or "127.0.0.1")
    port = url.query.get("port", url.port or 5432)
    return str(host), int(str(port))


def receive(line: socket.socket) -> bytes:
    """What comes next; nothing when the line is down."""
    try:
        return line.recv(65536)
    except OSError:
        return b""


def send(line: socket.socket, said: bytes) -> None:
    """Pass on; what a dead line does not take is lost."""
    try:
        line.sendall(said)
    except OSError:
        shut(line)


def shut(line: socket.socket) -> None:
    """Hang up, whoever is listening."""
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
