"""The demo group: made once, exactly as its town says, and only where no real group lives."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import insert, select, text

from app.billing.ledger.invariants import violations
from app.billing.models import SupplyAccount
from app.billing.wallets import find_wallet
from app.demo import clock as demo_clock
from app.demo.quiet import NotQuiet, Watch, wait_until_quiet
from app.demo.registers import registers_at
from app.demo.seed import Seeded, find_demo, seed_demo
from app.demo.signins import SIGN_INS, DemoNotAlone, add_missing_users, api_token, demo_allowed, is_closed, password_of
from app.demo.street import spec_path
from app.demo.town import HEFENG, Town
from app.jobs import table
from app.jobs.transport import Transport
from app.kernel.clock import EPOCH, business_now, move_clock, use_clock_file
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.launcher.databases import with_redis_db
from app.meters.models import Meter
from app.meters.simulator.spec import load_spec
from app.permissions.sign_in import sign_in
from app.permissions.tokens import find_token
from app.settings import Settings
from app.tenants.models import Space, Tenant
from tests.factories.street import empty_database, story_folder

SMALL = Town((HEFENG,), history_days=2)


@pytest.fixture(scope="module")
def home(db: Database) -> Iterator[tuple[Database, Settings]]:
    """An empty database with a movable clock."""
    with story_folder() as folder:
        folder.mkdir(parents=True)
        with empty_database(folder) as found:
            use_clock_file(str(folder / "clock.json"))
            table.install()  # whoever ran before may have left a table of its own
            yield found
            use_clock_file(None)


@pytest.fixture(scope="module")
def seeded(home: tuple[Database, Settings]) -> Seeded:
    """The demo group, made just now."""
    return seed_demo(*home, town=SMALL)


def test_every_wallet_holds_what_the_town_says(home: tuple[Database, Settings], seeded: Seeded) -> None:
    with unit_of_work(seeded.tenant_id, db=home[0]) as session:
        rows = session.execute(
            select(Space.name, SupplyAccount.id).join(SupplyAccount, SupplyAccount.space_id == Space.id)
        ).all()
        held = {name: find_wallet(session, supply_account_id=id_).available_fen for name, id_ in rows}
        assert violations(session) == []
    assert held == {supply.space: supply.left_fen for supply in HEFENG.supplies if supply.has_account}


def test_the_street_goes_on_exactly_where_history_ended(home: tuple[Database, Settings], seeded: Seeded) -> None:
    with unit_of_work(seeded.tenant_id, db=home[0]) as session:
        books = dict(session.execute(select(Meter.address, Meter.register_wh)).all())
    street = load_spec(spec_path(home[1]))
    shown = {spec.address: next(registers_at(spec, [SMALL.start])) for _, meters in street.gateways for spec in meters}
    assert len(shown) == len(HEFENG.supplies)
    assert [gateway.number for gateway, _ in street.gateways if gateway.offline] == ["GW-HF-C"]
    assert {address: books[address] for address in shown} == shown


def test_a_second_seed_changes_nothing_and_the_clock_goes_on(home: tuple[Database, Settings], seeded: Seeded) -> None:
    lived = SMALL.start + timedelta(days=3)
    with unit_of_work(seeded.tenant_id, db=home[0]) as session:
        session.execute(
            text("INSERT INTO schedule_runs (tenant_id, kind, period, claimed_at) VALUES (:t, 'x', 'y', :at)"),
            {"t": seeded.tenant_id, "at": lived},
        )
    again = seed_demo(*home, town=SMALL)
    assert (seeded.fresh, again.fresh) == (True, False)
    assert find_demo(home[0]) == again
    assert timedelta() <= business_now() - lived <= timedelta(minutes=2)


def test_the_sign_ins_open_and_the_token_is_kept(home: tuple[Database, Settings], seeded: Seeded) -> None:
    db, settings = home
    for who in (one for one in SIGN_INS if not one.site or one.site in seeded.properties):
        done = sign_in(db, login=who.login, password=password_of(settings), address="127.0.0.1")
        assert done.tenant_id == seeded.tenant_id
    where = {"settings": settings, "tenant_id": seeded.tenant_id, "property_id": seeded.properties[HEFENG.name]}
    token = api_token(db, **where)
    assert api_token(db, **where) == token
    assert find_token(db, token).property_ids == {seeded.properties[HEFENG.name]}
    assert Path(settings.var_dir, "demo_token").stat().st_mode & 0o077 == 0


def test_a_sign_in_that_came_after_the_seed_is_made_at_the_next_start(
    home: tuple[Database, Settings], seeded: Seeded
) -> None:
    db, settings = home
    late = next(who for who in SIGN_INS if who.site and who.site not in seeded.properties)
    nodes = {**seeded.properties, late.site: seeded.properties[HEFENG.name]}
    for _start in range(2):
        add_missing_users(db, settings=settings, tenant_id=seeded.tenant_id, nodes=nodes)
    done = sign_in(db, login=late.login, password=password_of(settings), address="127.0.0.1")
    assert done.tenant_id == seeded.tenant_id


def test_beside_a_real_group_the_demo_is_off(home: tuple[Database, Settings], seeded: Seeded) -> None:
    db, settings = home
    assert demo_allowed(db)
    assert not is_closed(db, "cashier-hefeng")
    with db.without_tenant() as connection:
        made = insert(Tenant).values(name="真实集团", kind="real", data_key=b"", created_at=EPOCH)
        real_id = connection.scalars(made.returning(Tenant.id)).one()
    try:
        assert not demo_allowed(db)
        assert is_closed(db, " Cashier-HEFENG ")
        assert not is_closed(db, "somebody-else")
        with pytest.raises(DemoNotAlone):
            seed_demo(db, settings, town=SMALL)
    finally:
        with psycopg.connect(settings.database_owner_url) as owner:
            owner.execute("DELETE FROM tenants WHERE id = %s", [real_id])


def test_what_is_not_quiet_is_named(home: tuple[Database, Settings], seeded: Seeded) -> None:
    unused = Transport(with_redis_db(os.environ["REDIS_URL"], 9))
    watch = Watch(home[0], seeded.tenant_id, unused, poll_s=3600)
    with pytest.raises(NotQuiet, match=r"deliveries for pricing.*not yet run: .*close_days of"):
        wait_until_quiet(watch, patience_s=0)


@pytest.fixture
def alone(home: tuple[Database, Settings], seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The demo's own database as the process's."""
    monkeypatch.setattr("app.kernel.db._database", home[0])
    return home[0]


def test_the_panel_moves_the_clock(alone: Database) -> None:
    move_clock(to=SMALL.start, rate=0)
    assert demo_clock.clock_state().paused
    assert demo_clock.jump(timedelta(days=1)).at == SMALL.start + timedelta(days=1)
    assert demo_clock.set_rate(60).rate == 60
    assert demo_clock.set_rate(0).paused


def test_the_panel_refuses_what_cannot_be(alone: Database) -> None:
    with pytest.raises(demo_clock.RateUnknown):
        demo_clock.set_rate(7)
    for wrong in (timedelta(), timedelta(seconds=-1), demo_clock.JUMP_MAX + timedelta(seconds=1)):
        with pytest.raises(demo_clock.JumpTooFar):
            demo_clock.jump(wrong)


def test_without_a_clock_file_there_is_no_clock_to_move(alone: Database, home: tuple[Database, Settings]) -> None:
    use_clock_file(None)
    try:
        with pytest.raises(demo_clock.NoDemoClock):
            demo_clock.set_rate(60)
    finally:
        use_clock_file(home[1].clock_file)


def test_beside_real_groups_the_panel_is_refused(db: Database) -> None:
    with db.without_tenant() as connection:
        made = insert(Tenant).values(name="真实集团", kind="real", data_key=b"", created_at=EPOCH)
        connection.execute(made)
    with pytest.raises(DemoNotAlone):
        demo_clock.set_rate(60)
