"""Bodies: fifty megabytes are refused without being read, whatever they say of themselves; depth has an end."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from app.kernel.db import Database
from app.permissions.policy import Role
from app.web.bodies import BODY_MAX, DEPTH_MAX, FORM_MAX, BodyTooDeep, refuse_deep
from tests.factories.world import World
from tests.web.conftest import Visitor
from tests.web.test_api_readings import token_for

Visit = Callable[..., Visitor]
HUGE = 50 * 1024 * 1024


class Tap(io.RawIOBase):
    """A body that never ends in practice, and counts what was taken of it."""

    def __init__(self, head: bytes = b"") -> None:
        self.head, self.taken = head, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = HUGE - self.taken
        size = min(len(buffer), left, 64 * 1024)
        buffer[:size] = self.head[self.taken : self.taken + size].ljust(size, b"a")
        self.taken += size
        return size


MULTIPART = (
    b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.xlsx\"\r\n"
    b"Content-Type: application/octet-stream\r\n\r\n"
)  # fmt: skip


def send(visitor: Visitor, path: str, tap: Tap, *, said: int | None, kind: str, **headers: str) -> int:
    """Post the tap; `said` is the Content-Length, None for a body in chunks."""
    environ: dict[str, Any] = {"wsgi.input": tap, "CONTENT_TYPE": kind}
    if said is None:
        environ |= {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    else:
        environ["CONTENT_LENGTH"] = str(said)
    return visitor.client.post(path, environ_overrides=environ, headers=headers).status_code


@pytest.mark.parametrize("path", ["/readings/import", "/onboarding", "/plans", "/tokens"])
def test_a_huge_upload_that_says_so_is_refused_unread(visit: Visit, world: World, path: str) -> None:
    tap = Tap(MULTIPART)
    assert send(visit(world), path, tap, said=HUGE, kind="multipart/form-data; boundary=x") == 413
    assert tap.taken == 0


@pytest.mark.parametrize(
    ("path", "most"), [("/readings/import", BODY_MAX["console.readings_load"]), ("/plans", FORM_MAX)]
)
def test_a_huge_upload_in_chunks_is_broken_off(visit: Visit, world: World, path: str, most: int) -> None:
    tap = Tap()
    # 403: what was cut off holds no forgery token.
    assert send(visit(world), path, tap, said=None, kind="application/x-www-form-urlencoded") in (403, 413)
    assert tap.taken <= most + 128 * 1024


def test_strangers_cannot_make_us_read_either(app: Flask) -> None:
    stranger, tap = Visitor(app.test_client()), Tap()
    kind = "application/x-www-form-urlencoded"
    assert send(stranger, "/sign-in", tap, said=HUGE, kind=kind) == 413
    assert send(stranger, "/api/v1/readings", tap, said=HUGE, kind="application/json") == 401
    assert send(stranger, "/webhooks/sms", tap, said=HUGE, kind="application/json") == 413
    assert tap.taken == 0


def test_a_token_does_not_open_the_door_for_huge_bodies(app: Flask, db: Database, world: World) -> None:
    visitor, tap = Visitor(app.test_client()), Tap()
    asked = {"Authorization": f"Bearer {token_for(db, world)}", "Idempotency-Key": "k"}
    assert send(visitor, "/api/v1/readings", tap, said=HUGE, kind="application/json", **asked) == 413
    assert tap.taken == 0


def test_a_body_that_lies_about_its_length_is_cut_there(visit: Visit, world: World) -> None:
    tap = Tap()
    send(visit(world, Role.CASHIER), "/sign-out", tap, said=100, kind="application/x-www-form-urlencoded")
    assert tap.taken <= 64 * 1024


def nested(depth: int) -> object:
    document: object = 1
    for _level in range(depth):
        document = [document]
    return document


def test_depth_has_an_end(app: Flask, db: Database, world: World) -> None:
    for fine in (1, None, [], {}, nested(DEPTH_MAX), {"a": [{"b": 1}] * 5_000}):
        refuse_deep(fine)
    with pytest.raises(BodyTooDeep):
        refuse_deep(nested(DEPTH_MAX + 1))
    asked = {"Authorization": f"Bearer {token_for(db, world)}", "Idempotency-Key": "k"}
    client = app.test_client()
    for depth, code in ((DEPTH_MAX, "batch_invalid"), (DEPTH_MAX + 1, "body_too_deep"), (100_000, "body_unreadable")):
        body = b'{"readings":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
        answer = client.post("/api/v1/readings", data=body, headers=asked, content_type="application/json")
        assert (answer.status_code < 500, answer.get_json().get("error", {}).get("code", code)) == (True, code)


def test_every_size_is_of_a_view_that_exists(app: Flask) -> None:
    assert {rule.endpoint for rule in app.url_map.iter_rules()} >= BODY_MAX.keys()
