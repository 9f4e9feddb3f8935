"""`tallyhouse stops`, `groups` and `access`: what is done without a browser."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from app.billing.freeze import open_freeze
from app.billing.models import StopFreeze
from app.cli import main
from app.cli.surroundings import here
from app.kernel import db as kernel_db
from app.kernel.clock import business_now, wall_now
from app.kernel.db import Database
from app.kernel.outbox import send_hints_to
from app.kernel.unit_of_work import unit_of_work
from app.meters import wake
from app.meters.headend.leases import GatewayRefused, admit
from app.permissions.models import Grant
from app.permissions.policy import Permission
from app.permissions.service import load_scope
from app.permissions.sign_in import SignInRefused, sign_in
from app.permissions.tokens import TokenUnknown, find_token
from app.tenants.models import AuditRecord, Property
from tests.factories.world import World, unique

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the command as it is typed, on this worker's database. Returns its exit status and what it printed."""
    monkeypatch.setenv("DATABASE_URL", os.environ["TALLYHOUSE_TEST_DATABASE_URL"])
    monkeypatch.setattr(kernel_db, "_database", db)  # the command opens its own; the worker's comes back afterwards

    def typed(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, [str(word) for word in words])
        return done.exit_code, done.output

    here.cache_clear()
    yield typed
    around = here()
    here.cache_clear()
    around.database.engine.dispose()
    around.transport.redis.close()
    send_hints_to(None)
    wake.use_redis("")


def switches(world: World) -> dict[int, str | None]:
    with unit_of_work(world.tenant_id) as session:
        return {p.id: p.stops_halted_reason for p in session.query(Property) if p.stops_halted}


def test_the_kill_switch_is_thrown_seen_and_released(world: World, run: Run) -> None:
    assert run("stops", "halt", world.tenant_id, "--reason", "配电房进水")[0] == 0
    assert switches(world) == {world.property_id: "配电房进水（system:operator-cli）"}
    assert f"property {world.property_id}" in run("stops", "list")[1]
    assert "HALTED: 配电房进水" in run("stops", "list")[1]
    assert run("stops", "resume", world.tenant_id)[0] == 0
    assert switches(world) == {}


def test_one_property_can_be_halted_alone_and_never_another_groups(make_world: Callable[..., World], run: Run) -> None:
    ours, theirs = make_world(), make_world()
    status, said = run("stops", "halt", ours.tenant_id, "--property", theirs.property_id, "--reason", "认错了项目")
    assert (status, "no such group or property" in said) == (1, True)
    assert (switches(ours), switches(theirs)) == ({}, {})


def test_a_switch_without_a_reason_is_refused(world: World, run: Run) -> None:
    status, said = run("stops", "halt", world.tenant_id, "--reason", " ")
    assert (status, "Give a reason" in said) == (1, True)
    assert switches(world) == {}


def test_a_freeze_is_lifted_once(world: World, run: Run) -> None:
    with unit_of_work(world.tenant_id) as session:
        session.add(StopFreeze(facts={"crossings": 40}, frozen_at=business_now()))
    assert "FROZEN since" in run("stops", "list")[1]
    assert run("stops", "unfreeze", world.tenant_id) == (0, f"group {world.tenant_id} unfrozen\n")
    with unit_of_work(world.tenant_id) as session:
        assert open_freeze(session) is None
    assert run("stops", "unfreeze", world.tenant_id)[0] == 1


def number_in(said: str) -> int:
    """The number a command printed last."""
    return int(said.split()[-1])


@pytest.fixture
def real_group(run: Run) -> tuple[int, int]:
    """(group, property) of a real group made from the command line."""
    said = run("groups", "add", "海棠物业", "--company", "海棠物业有限公司", "--tax-number", "91310000MA1FL0000X")[1]
    group_id, headquarters_id = int(said.split()[1].strip(",")), number_in(said)
    region_id = number_in(run("groups", "region", group_id, headquarters_id, "华东")[1])
    return group_id, number_in(run("groups", "property", group_id, region_id, "海棠里")[1])


def test_a_real_group_is_made_and_its_people_sign_in(db: Database, run: Run, real_group: tuple[int, int]) -> None:
    group_id, property_id = real_group
    login, password = f"li.{group_id}", "correct horse battery 9"
    who = ("access", "add", group_id, login, "李经理", "--role", "energy_manager", "--at", property_id)
    assert run(*who, "--password", password) == (0, f"user {login}\n")
    assert sign_in(db, login=login, password=password, address="127.0.0.1").tenant_id == group_id
    with pytest.raises(SignInRefused):
        sign_in(db, login=login, password="another", address="127.0.0.1")
    fresh = "another horse battery 8"
    assert run("access", "password", group_id, login, "--password", fresh)[0] == 0
    assert sign_in(db, login=login, password=fresh, address="127.0.0.1").tenant_id == group_id
    assert run("access", "disable", group_id, login) == (0, f"user {login} disabled\n")
    with pytest.raises(SignInRefused):
        sign_in(db, login=login, password=fresh, address="127.0.0.1")


def test_a_role_is_given_at_a_place_and_taken_back(run: Run, real_group: tuple[int, int]) -> None:
    group_id, property_id = real_group
    login = f"wang.{group_id}"
    at = ("--role", "cashier", "--at", property_id)
    assert run("access", "add", group_id, login, "王营业员", *at, "--password", "correct horse battery 9")[0] == 0
    held = [("meter_engineer", ()), ("meter_engineer", ("--withdraw",))]
    kept = []
    for role, how in held:
        assert run("access", "role", group_id, login, "--role", role, "--at", property_id, *how)[0] == 0
        with unit_of_work(group_id) as session:
            kept.append(sorted(session.scalars(select(Grant.role))))
    assert kept == [["cashier", "meter_engineer"], ["cashier"]]


def test_a_token_issued_is_good_for_its_property_only(db: Database, run: Run, real_group: tuple[int, int]) -> None:
    group_id, property_id = real_group
    found = find_token(db, run("access", "token", group_id, property_id, "抄表网关")[1].strip())
    assert (found.tenant_id, found.property_ids) == (group_id, {property_id})


def test_a_token_is_listed_until_it_is_revoked(db: Database, run: Run, real_group: tuple[int, int]) -> None:
    group_id, property_id = real_group
    raw = run("access", "token", group_id, property_id, "抄表网关")[1].strip()
    listed = run("access", "tokens", group_id)[1]
    assert raw not in listed
    assert (listed.count("\n"), "抄表网关" in listed, "used never" in listed) == (1, True, True)
    assert run("access", "revoke", group_id, listed.split()[1])[0] == 0
    assert run("access", "tokens", group_id)[1] == ""
    with pytest.raises(TokenUnknown):
        find_token(db, raw)


def test_the_tree_is_printed_with_the_numbers_other_commands_ask_for(run: Run, real_group: tuple[int, int]) -> None:
    group_id, property_id = real_group
    said = run("groups", "list")[1]
    assert f"group {group_id} 海棠物业" in said
    assert f"      property {property_id} 海棠里" in said


def test_models_and_gateways_are_added_before_the_workbook(run: Run, real_group: tuple[int, int]) -> None:
    group_id, property_id = real_group
    assert run("groups", "model", group_id, "DDSY-60A", "--rated-watts", "13200") == (0, "model DDSY-60A\n")
    number = f"GW-{group_id}"
    assert run("groups", "gateway", group_id, property_id, number, "--dial", "10.0.0.9:4001")[0] == 0
    status, said = run("groups", "gateway", group_id, property_id, number, "--secret", "s")
    assert (status, said.startswith("Error: ")) == (1, True)


def test_a_gateway_that_dials_in_has_a_secret_and_can_be_given_a_new_one(
    run: Run, real_group: tuple[int, int], db: Database
) -> None:
    group_id, property_id = real_group
    number = f"GW-IN-{group_id}"
    status, said = run("groups", "gateway", group_id, property_id, number)
    assert (status, "must have a secret" in said) == (1, True)
    assert run("groups", "gateway", group_id, property_id, number, "--secret", "first")[0] == 0
    status, said = run("groups", "gateway-secret", group_id, number)
    assert (status, said.startswith(f"gateway {number} secret ")) == (0, True)
    with unit_of_work(group_id, db=db) as session:
        assert admit(session, number=number, secret=said.split()[-1])
        with pytest.raises(GatewayRefused):
            admit(session, number=number, secret="first")
    assert run("groups", "gateway-secret", group_id, "GW-NOBODY")[0] == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("groups", "region", 999_999, 1, "x"), "no group 999999"),
        (("groups", "gateway", "G", "P", "GW-X", "--dial", "nowhere"), "--dial is host:port"),
        (("groups", "region", "G", "P", "below a property"), "Nothing can be put below a property"),
        (("access", "add", "G", "ab", "x", "--role", "cashier", "--at", "P", "--password", "short"), "Error"),
        (("access", "disable", "G", "nobody"), "Error"),
        (("access", "revoke", "G", 999_999), "Error"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    run: Run, real_group: tuple[int, int], words: tuple[object, ...], why: str
) -> None:
    numbers = {"G": real_group[0], "P": real_group[1]}
    status, said = run(*(numbers.get(str(word), word) for word in words))
    assert (status, why in said, said.count("\n")) == (1, True, 1)


def test_the_platform_enters_one_group_for_some_hours_and_says_why(make_world: Callable[..., World], run: Run) -> None:
    ours, theirs = make_world(), make_world()
    login = unique("platform")
    status, said = run("access", "enter", ours.tenant_id, login, "--hours", 2, "--reason", "换密钥")
    assert status == 0
    password = said.split()[-1]
    assert "UTC" in said
    with unit_of_work(ours.tenant_id) as session:
        grant = session.scalars(select(Grant).where(Grant.role == "platform_operator")).one()
        assert grant.node_id == ours.headquarters_id
        assert timedelta(hours=1) < (grant.ends_at or wall_now()) - wall_now() < timedelta(hours=3)
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "user:grant:give")).one()
        assert (told.actor, told.reason) == ("system:operator-cli", "换密钥")
        assert load_scope(session, user_id=grant.user_id).allows(Permission.PLATFORM_KEY_ROTATE, ours.property_id)
    assert password not in run("access", "enter", ours.tenant_id, login, "--hours", 1, "--reason", "再来")[1]
    status, said = run("access", "enter", theirs.tenant_id, login, "--hours", 1, "--reason", "走错门")
    assert (status, "taken" in said) == (1, True)
    assert run("access", "enter", ours.tenant_id, login, "--hours", 1, "--reason", " ")[0] == 1
    assert run("access", "enter", ours.tenant_id, login, "--hours", 25, "--reason", "太久")[0] == 2
