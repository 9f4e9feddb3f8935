"""A receiver of webhooks as a process of its own. It checks signatures with the code that docs/api.md shows.

    python -m tests.factories.receiver [certificate.pem]     prints its port, then serves until it is ended

POST /hook            what is told; answered as the knobs say
POST /control         {"secret": …, "status": 200, "location": "", "drip": 0, "bytes": 0}
GET  /seen            [{"id", "good", "body", "host"}, …]
"""

import json
import re
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def documented_verify() -> Any:
    """The function `verify` of the documentation."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(next(block for block in blocks if "def verify(" in block), names)
    return names["verify"]


class Receiver(ThreadingHTTPServer):
    """What was told, and how to answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[dict[str, Any]] = []
        self.knobs: dict[str, Any] = {"secret": "", "status": 200, "location": "", "drip": 0, "bytes": 0}
        self.verify, self.server_name_asked = documented_verify(), ""
        self.stopping = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/control":
            self.server.knobs |= json.loads(body)
            return self._answer(200, b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        good = bool(self.server.knobs["secret"]) and self.server.verify(self.server.knobs["secret"], headers, body)
        self.server.seen.append(
            {"id": headers.get("webhook-id"), "good": good, "body": json.loads(body), "host": headers.get("host"),
             "signatures": headers.get("webhook-signature", "").count("v1,"), "sni": self.server.server_name_asked}
        )  # fmt: skip
        self._answer(int(self.server.knobs["status"]), b"x" * int(self.server.knobs["bytes"]))

    def do_GET(self) -> None:
        self._answer(200, json.dumps(self.server.seen).encode())

    def _answer(self, status: int, body: bytes) -> None:
        if self.server.knobs["drip"] and self.path == "/hook":
            # A byte of a header every now and then, for ever: one deadline for the whole answer must end it.
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.server.stopping.wait(0.05):
                self.wfile.write(b"a")
                self.wfile.flush()
        self.send_response(status)
        if self.server.knobs["location"]:
            self.send_header("Location", str(self.server.knobs["location"]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing to the terminal."""


def main(arguments: list[str]) -> None:
    """Serve until ended."""
    receiver = Receiver()
    if arguments:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments[0])

        def note(_socket: object, name: str | None, _context: object) -> None:
            receiver.server_name_asked = name or ""

        tls.sni_callback = note
        receiver.socket = tls.wrap_socket(receiver.socket, server_side=True)
    sys.stdout.write(f"{receiver.server_address[1]}\n")
    sys.stdout.flush()
    receiver.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
