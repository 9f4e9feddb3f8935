"""`tallyhouse keys`: what an operator types to change keys, and what goes on by the clock."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from app.cli import main
from app.cli.surroundings import here
from app.jobs.handlers import run_scheduled
from app.jobs.schedule import DEEDS
from app.kernel import db as kernel_db
from app.kernel.clock import business_now, wall_now
from app.kernel.db import Database
from app.kernel.outbox import send_hints_to
from app.kernel.unit_of_work import unit_of_work
from app.meters import wake
from app.tenants import keys
from app.tenants.kek import EnvironmentKey
from app.tenants.keys import data_key, wrapped_keys
from app.tenants.models import Tenant, TenantKey
from app.tenants.parties import find_parties, phone_of, register_party
from tests.factories.world import World

Run = Callable[..., tuple[int, str]]
NEWER = "7e" * 32


@pytest.fixture
def run(db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the command as it is typed, on this worker's database. Returns its exit status and what it printed."""
    monkeypatch.setenv("DATABASE_URL", os.environ["TALLYHOUSE_TEST_DATABASE_URL"])
    monkeypatch.setattr(kernel_db, "_database", db)
    monkeypatch.setattr(keys, "_installed", None)

    def typed(*words: object, **env: str) -> tuple[int, str]:
        here.cache_clear()
        done = CliRunner(env=env).invoke(main, [str(word) for word in words])
        here().database.engine.dispose()
        here().transport.redis.close()
        monkeypatch.setattr(kernel_db, "_database", db)  # the command opened its own
        return done.exit_code, done.output

    yield typed
    here.cache_clear()
    send_hints_to(None)
    wake.use_redis("")


def people(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        for n in range(3):
            register_party(session, property_id=world.property_id, name="住户", phone=f"1390000000{n}")


def test_a_key_is_changed_by_a_command_and_finished_by_the_clock(world: World, db: Database, run: Run) -> None:
    people(db, world)
    assert run("keys", "rotate", world.tenant_id)[0] == 2  # without a reason
    status, said = run("keys", "rotate", world.tenant_id, "--reason", "例行更换")
    assert status == 0, said
    assert "new ciphertexts are under version 2" in said
    assert "3 fields written anew, 0 do not open" in said
    assert "the last look follows by itself" in said
    _, shown = run("keys", "status", world.tenant_id)
    assert "version 2 since" in shown
    assert "under way, 3 fields" in shown
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(TenantKey).values(created_at=wall_now() - timedelta(minutes=6)))
    deed = next(one for one in DEEDS if one.kind == "rotate_keys")
    assert run_scheduled("rotate_keys", world.tenant_id, deed.period_at(business_now()))
    _, shown = run("keys", "status", world.tenant_id)
    assert "version 2, done" in shown


def test_all_data_keys_are_wrapped_anew_by_a_command(world: World, db: Database, run: Run) -> None:
    people(db, world)
    old = os.environ["KEY_ENCRYPTION_KEY"]
    _, said = run("keys", "rewrap", KEY_ENCRYPTION_KEY=NEWER, KEY_ENCRYPTION_KEYS_OLD=old)
    assert f"wrapped anew under {EnvironmentKey(NEWER).key_id.hex()}" in said
    _, shown = run("keys", "status", world.tenant_id, KEY_ENCRYPTION_KEY=NEWER)
    assert "not today's" not in shown
    run("keys", "rewrap", KEY_ENCRYPTION_KEYS_OLD=NEWER)  # and back, for the tests that follow
    assert phone_again(db, world) == "+8613900000000"


def test_a_group_whose_key_does_not_open_is_named_and_holds_up_no_other(
    make_world: Callable[..., World], db: Database, run: Run
) -> None:
    broken, sound = make_world(spaces=1), make_world(spaces=1)
    kept = wrapped_of(db, broken)
    put_wrapped(db, broken, b"\2" + bytes(60))
    status, said = run(
        "keys", "rewrap", KEY_ENCRYPTION_KEY=NEWER, KEY_ENCRYPTION_KEYS_OLD=os.environ["KEY_ENCRYPTION_KEY"]
    )
    assert (status, f"group {broken.tenant_id} " in said, f"group {sound.tenant_id} " in said) == (1, True, False)
    put_wrapped(db, broken, kept)
    run("keys", "rewrap", KEY_ENCRYPTION_KEYS_OLD=NEWER)
    with unit_of_work(sound.tenant_id, db=db) as session:
        assert data_key(session).version == 1


def wrapped_of(db: Database, world: World) -> bytes:
    with unit_of_work(world.tenant_id, db=db) as session:
        return wrapped_keys(session)[0].wrapped


def put_wrapped(db: Database, world: World, wrapped: bytes) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Tenant).where(Tenant.id == world.tenant_id).values(data_key=wrapped))


def phone_again(db: Database, world: World) -> str | None:
    with unit_of_work(world.tenant_id, db=db) as session:
        (party,) = find_parties(session, text="13900000000", allowed=[world.property_id])
        return phone_of(session, party=party)
