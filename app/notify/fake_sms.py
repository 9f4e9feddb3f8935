"""An SMS provider for the demo and the tests: the wire format of `app.notify.sms`, from the other side.

It keeps messages by their idempotency key, posts a signed delivery report for each, and can be told to misbehave:

    POST /control {"refuse": 0, "fail": 0, "drop": 0, "undelivered": 0, "silent": 0, "delay_ms": 0}
    GET  /messages                                 what arrived on which phone, newest last

refuse: the next n messages are refused (422); fail: answered 500; drop: accepted, but the connection is cut before the
answer; undelivered: reported as failed; silent: never reported; delay_ms: every answer and report waits this long.
"""

import json
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any
from urllib.error import URLError

from app.kernel.clock import business_now
from app.notify.sms import SIGNATURE, TIMESTAMP, SignatureWrong, check_signature, signed_headers

KEPT_MAX = 500
REPORT_TRIES = 5
_KNOBS = ("refuse", "fail", "drop", "undelivered", "silent", "delay_ms")
Report = dict[str, Any]


@dataclass
class Phones:
    """What the provider knows: messages by key, and how it was told to misbehave."""

    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    knobs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KNOBS, 0))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, knob: str) -> bool:
        """Is the next message one of those that were told to go wrong in this way?"""
        with self.lock:
            if self.knobs[knob] <= 0:
                return False
            self.knobs[knob] -= 1
            return True

    def accept(self, key: str, message: dict[str, Any]) -> tuple[str, bool]:
        """Keep a message under its key; returns its id and whether it is new."""
        with self.lock:
            known = self.messages.get(key)
            if known is not None:
                return known["message_id"], False
            message_id = f"m-{len(self.messages) + 1:06d}"
            self.messages[key] = message | {"message_id": message_id, "at": business_now().isoformat()}
            while len(self.messages) > KEPT_MAX:
                del self.messages[next(iter(self.messages))]
            return message_id, True


class FakeSmsServer(ThreadingHTTPServer):
    """The provider as a server; `report_url` '' posts no reports."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], *, secret: str, report_url: str) -> None:
        super().__init__(address, _Handler)
        self.secret, self.report_url, self.phones = secret, report_url, Phones()
        self.reports: SimpleQueue[Report | None] = SimpleQueue()
        self._reporter = threading.Thread(target=self._post_reports, daemon=True)
        self._reporter.start()

    def server_close(self) -> None:
        """Stop listening and reporting."""
        super().server_close()
        self.reports.put(None)
        self._reporter.join()

    def _post_reports(self) -> None:
        while (report := self.reports.get()) is not None:
            for attempt in range(REPORT_TRIES):
                time.sleep(self.phones.knobs["delay_ms"] / 1000)
                if self._post(report):
                    break
                time.sleep(0.2 * 2**attempt)

    def _post(self, report: Report) -> bool:
        body = json.dumps(report).encode()
        headers = signed_headers(self.secret, body) | {"Content-Type": "application/json"}
        request = urllib.request.Request(self.report_url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return bool(answer.status < 300)
        except URLError:
            return False


class _Handler(BaseHTTPRequestHandler):
    server: FakeSmsServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        match self.path:
            case "/control":
                self.server.phones.knobs.update({k: int(v) for k, v in json.loads(body).items() if k in _KNOBS})
                self._answer(200, self.server.phones.knobs)
            case "/v1/messages":
                self._message(body)
            case _:
                self._answer(404, {"error": "not_found"})

    def do_GET(self) -> None:
        if self.path == "/messages":
            self._answer(200, list(self.server.phones.messages.values()))
        else:
            self._answer(404, {"error": "not_found"})

    def _message(self, body: bytes) -> None:
        phones, key = self.server.phones, self.headers.get("Idempotency-Key", "")
        time.sleep(phones.knobs["delay_ms"] / 1000)
        try:
            stamp, signature = self.headers.get(TIMESTAMP), self.headers.get(SIGNATURE)
            check_signature(self.server.secret, timestamp=stamp, signature=signature, body=body)
        except SignatureWrong:
            self._answer(401, {"error": "signature"})
            return
        said = json.loads(body)
        if not key or not str(said.get("to", "")).startswith("+") or phones.spend("refuse"):
            self._answer(422, {"error": "bad_number" if key else "no_key"})
            return
        if phones.spend("fail"):
            self._answer(500, {"error": "broken"})
            return
        message_id, is_new = phones.accept(key, said)
        if is_new:
            self._report(message_id, said["reference"])
        if phones.spend("drop"):
            self.close_connection = True
            return
        self._answer(200, {"message_id": message_id})

    def _report(self, message_id: str, reference: str) -> None:
        phones = self.server.phones
        if phones.spend("silent") or not self.server.report_url:
            return
        failed = phones.spend("undelivered")
        self.server.reports.put(
            {
                "message_id": message_id,
                "reference": reference,
                "status": "failed" if failed else "delivered",
                "detail": "switched_off" if failed else "",
                "at": business_now().isoformat(),
            }
        )

    def _answer(self, status: int, said: Any) -> None:
        body = json.dumps(said, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Phone numbers do not belong in a log."""


def serve(host: str, port: int, secret: str, report_url: str) -> None:
    """Be the provider until SIGTERM or Ctrl-C."""
    with FakeSmsServer((host, port), secret=secret, report_url=report_url) as server:
        server.serve_forever()
