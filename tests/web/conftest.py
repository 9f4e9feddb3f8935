"""A browser without a screen: Flask's client on the real database, signed in as one of the three roles."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache
from werkzeug.test import TestResponse

from app import create_app
from app.kernel import db as kernel_db
from app.kernel.actor import Actor
from app.kernel.db import Database, database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.permissions.service import create_user, grant_role
from app.settings import Settings
from tests.conftest import MovableClock
from tests.factories.authenticator import code
from tests.factories.world import World, unique
from tests.web.audit_watch import AuditWatch

PASSWORD = "correct horse 7 staple"
SEEDER = Actor.system("tests")
#: Tests ask faster than people; tests/web/test_rate_limits.py sets limits of its own.
NO_LIMITS = {
    f"LIMIT_{what}": "" for what in ("TENANT", "USER", "TOKEN", "ADDRESS", "SIGN_IN", "EXPORT", "UNMASK")
}  # fmt: skip


class _Compiled(BytecodeCache):
    """Templates compiled once for all applications of a worker: a test makes its own application and no other page."""

    def __init__(self) -> None:
        self.kept: dict[str, CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """What an earlier application compiled from the same source."""
        bucket.code = self.kept.get(bucket.key + bucket.checksum)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it for the next one."""
        if bucket.code is not None:
            self.kept[bucket.key + bucket.checksum] = bucket.code


COMPILED = _Compiled()


@dataclass
class Visitor:
    """Somebody at the console: posts carry the token of the last page, like a browser's forms do."""

    client: FlaskClient
    login: str = ""
    user_id: int = 0

    def get(self, address: str, **options: object) -> TestResponse:
        """Ask for a page."""
        return self.client.get(address, **options)  # type: ignore[arg-type]

    def post(self, address: str, data: dict[str, object] | None = None, *, token_from: str = "/search") -> TestResponse:
        """Send a form with the forgery token of a page."""
        page = self.client.get(token_from).get_data(as_text=True)
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found, f"{token_from} has no form"
        return self.client.post(address, data={"csrf_token": found[1], **(data or {})})

    def text(self, address: str) -> str:
        """The page's HTML; it must answer 200."""
        answer = self.get(address)
        assert answer.status_code == 200, f"{address}: {answer.status}"
        return answer.get_data(as_text=True)


def settings_for(folder: Path, **wishes: str) -> Settings:
    """Settings of a web process on this worker's database."""
    env = {
        "DATABASE_URL": os.environ["TALLYHOUSE_TEST_DATABASE_URL"],
        "REDIS_URL": os.environ["REDIS_URL"],
        "SECRET_KEY": os.environ["SECRET_KEY"],
        "KEY_ENCRYPTION_KEY": os.environ["KEY_ENCRYPTION_KEY"],
        "AUDIT_KEY": os.environ["AUDIT_KEY"],
        "DATABASE_POOL_MAX": "4",
        "VAR_DIR": str(folder),
        **NO_LIMITS,
        **wishes,
    }
    return Settings.from_env(env)


@pytest.fixture
def make_app(
    db: Database, tmp_path: Path, business_clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Flask]]:
    """Applications on this worker's database; settings by name. The test's own database object is put back after."""
    monkeypatch.setattr(kernel_db, "_database", db)
    opened: list[Database] = []

    watches: list[AuditWatch] = []

    def build(**wishes: str) -> Flask:
        wishes = {"CLOCK_FILE": str(business_clock.path), **wishes}
        app = create_app(settings_for(tmp_path / "var", **wishes))
        app.jinja_env.bytecode_cache = COMPILED
        app.testing = True
        app.config["PROPAGATE_EXCEPTIONS"] = False
        opened.append(database())
        watches.append(AuditWatch(database()))
        watches[-1].over(app)
        return app

    yield build
    silent = [name for watch in watches for name in watch.silent]
    for one in opened:
        one.engine.dispose()
    assert silent == [], "answered well and left no record; say why in tests/web/audit_watch.py if that is right"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application with default settings."""
    return make_app()


@pytest.fixture
def visit(app: Flask, db: Database) -> Callable[..., Visitor]:
    """`visit(world, Role.CASHIER)`: a visitor signed in with that role at the world's headquarters or property."""

    def sign_in(world: World, role: Role = Role.GROUP_ADMINISTRATOR, *, at: int | None = None) -> Visitor:
        node = at or (world.headquarters_id if role is Role.GROUP_ADMINISTRATOR else world.property_id)
        login, user_id = make_user(db, world, role, node)
        visitor = Visitor(app.test_client(), login, user_id)
        answer = visitor.post("/sign-in", {"login": login, "password": PASSWORD}, token_from="/sign-in")
        if answer.location == "/sign-in/enrol":
            answer = enrol(visitor)
        assert answer.status_code in (200, 302), answer.get_data(as_text=True)
        return visitor

    return sign_in


def enrol(visitor: Visitor) -> TestResponse:
    """Set up the authenticator app that a real group asks for; the answer shows the recovery codes."""
    shown = re.search(r'<div class="hex mt-2">([A-Z2-7 ]+)</div>', visitor.text("/sign-in/enrol"))
    assert shown
    return visitor.post("/sign-in/enrol", {"answer": code(shown[1].replace(" ", ""))}, token_from="/sign-in/enrol")


def make_user(db: Database, world: World, role: Role, node_id: int) -> tuple[str, int]:
    """An operator with one grant: (login, user id)."""
    login = unique("u")
    with unit_of_work(world.tenant_id, db=db) as session:
        user = create_user(session, login=login, name="陈静怡", password=PASSWORD, by=SEEDER)
        session.flush()
        grant_role(session, user=user, role=role, node_id=node_id, by=SEEDER)
        return login, user.id
