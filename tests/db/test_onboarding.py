"""Bringing a property in: every bad row is listed, all or nothing is written, the same file only once."""

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from app.billing.ledger.balances import read_balance
from app.billing.ledger.books import wallet_ids
from app.billing.models import Agreement, ImportBatch, PlanAssignment, SupplyAccount
from app.billing.onboarding.columns import HEADING_ROWS
from app.billing.onboarding.service import (
    ImportCollided,
    ImportDone,
    ImportHasBadRows,
    Report,
    commit_import,
    dry_run,
)
from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.errors import AppError, NotFound
from app.kernel.unit_of_work import unit_of_work
from app.meters.headend.leases import GatewayRefused, admit
from app.meters.models import Gateway, Meter, Mount
from app.tenants.models import AuditRecord, Building, Floor, Party, PartyRole, Space
from app.tenants.parties import find_parties, phone_of
from tests.factories.workbook import good_rows, workbook
from tests.factories.world import World

CLERK = Actor.user(7, name="周经理")
WRITTEN = (
    Building,
    Floor,
    Space,
    Party,
    PartyRole,
    Gateway,
    Meter,
    Mount,
    SupplyAccount,
    Agreement,
    ImportBatch,
    AuditRecord,
)


def tried(db: Database, world: World, content: bytes) -> Report:
    with unit_of_work(world.tenant_id, db=db) as session:
        return dry_run(session, property_id=world.property_id, content=content)


def committed(db: Database, world: World, content: bytes) -> ImportDone:
    with unit_of_work(world.tenant_id, db=db) as session:
        return commit_import(session, property_id=world.property_id, content=content, file_name="和风苑.xlsx", by=CLERK)


def counted(db: Database, world: World) -> dict[str, int]:
    with unit_of_work(world.tenant_id, db=db) as session:
        return {table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0 for table in WRITTEN}


def account(session: Session, number: str) -> SupplyAccount:
    return session.scalars(select(SupplyAccount).where(SupplyAccount.number == number)).one()


def balance_fen(session: Session, number: str) -> int:
    supply_account_id = account(session, number).id
    return read_balance(
        session, wallet_ids(session, supply_account_ids=[supply_account_id])[supply_account_id]
    ).balance_fen


# --- what a good file does ---


def test_a_good_file_brings_everything_and_the_money(db: Database, world: World) -> None:
    rows = good_rows(2)
    rows["balances"][1]["balance_fen"] = "-3.20"
    report = tried(db, world, workbook(rows))
    assert (report.ok, report.counts) == (True, {"spaces": 2, "parties": 2, "meters": 2, "balances": 2})
    before = counted(db, world)
    done = committed(db, world, workbook(rows))
    assert done.counts == {"spaces": 2, "parties": 2, "meters": 2, "supply_accounts": 2, "balances": 2}
    after = counted(db, world)
    assert {name: after[name] - before[name] for name in after} == {
        "buildings": 0, "floors": 0, "spaces": 2, "parties": 2, "party_roles": 2, "gateways": 1, "meters": 2,
        "mounts": 2, "supply_accounts": 2, "agreements": 2, "import_batches": 1, "audit_records": 1,
    }  # fmt: skip
    with unit_of_work(world.tenant_id, db=db) as session:
        assert (balance_fen(session, "90000001"), balance_fen(session, "90000002")) == (5_680, -320)


def test_each_new_gateway_gets_a_secret_that_is_told_once_and_kept_as_a_digest(db: Database, world: World) -> None:
    rows = good_rows(31)
    number, other = (rows["meters"][which]["gateway"] for which in (0, 30))
    content = workbook(rows)  # written once: a workbook carries the second it was saved in
    done = committed(db, world, content)
    assert set(done.secrets) == {number, other}
    assert len(set(done.secrets.values())) == 2
    assert done.secrets[number] not in repr(done)
    with unit_of_work(world.tenant_id, db=db) as session:
        gateway_id = session.scalars(select(Gateway.id).where(Gateway.number == number)).one()
        assert admit(session, number=number, secret=done.secrets[number]) == gateway_id
        for secret in (None, done.secrets[other]):
            with pytest.raises(GatewayRefused):
                admit(session, number=number, secret=secret)
    assert committed(db, world, content).secrets == {}


def test_every_fact_of_a_row_arrives_where_it_belongs(db: Database, world: World) -> None:
    rows = good_rows(1, building="C座")
    rows["spaces"][0] |= {"usage_class": "商业", "level": "B2"}
    rows["meters"][0] |= {"ratio": "150/5", "overdraft_fen": "12.34", "register_wh": "120.505"}
    rows["parties"][0] |= {"id_number": "11010519491231002X"}
    committed(db, world, workbook(rows))
    with unit_of_work(world.tenant_id, db=db) as session:
        opened = account(session, "90000001")
        space = session.get_one(Space, (world.tenant_id, opened.space_id))
        floor = session.get_one(Floor, (world.tenant_id, space.floor_id))
        party = session.get_one(Party, (world.tenant_id, opened.party_id))
        mounted = session.scalars(select(Mount).where(Mount.supply_account_id == opened.id)).one()
        meter = session.get_one(Meter, (world.tenant_id, mounted.meter_id))
        plan_id = session.scalars(
            select(PlanAssignment.plan_id).where(PlanAssignment.supply_account_id == opened.id)
        ).one()
        assert (space.name, space.usage_class, space.area_cm2) == ("C座-0001", "commercial", 896_000)
        assert (floor.level, floor.name) == (-2, "B2")
        assert (opened.usage_class, opened.overdraft_fen_max, plan_id) == ("commercial", 1_234, world.plan_id)
        assert (mounted.ratio, mounted.register_wh_first, mounted.guaranteed_supply) == (30, 120_505, False)
        assert (meter.number, meter.address) == ("900000000001", "900000000001")
        assert (phone_of(session, party=party), party.id_number_blind is None) == ("+8613800000001", False)
        assert find_parties(session, text="0001", allowed={world.property_id}) == [party]


def test_one_person_with_two_homes_is_one_party_also_in_a_later_file(db: Database, world: World) -> None:
    rows = good_rows(2)
    for row in rows["parties"]:
        row |= {"name": "王小明", "phone": "13812345678"}
    committed(db, world, workbook(rows))
    more = good_rows(1, building="C座", prefix="8")
    more["parties"][0] |= {"name": "王小明", "phone": "138-1234-5678"}
    committed(db, world, workbook(more))
    with unit_of_work(world.tenant_id, db=db) as session:
        assert len(find_parties(session, text="13812345678", allowed={world.property_id})) == 1


def test_the_account_is_made_out_to_the_contract_party_first(db: Database, world: World) -> None:
    rows = good_rows(1)
    rows["parties"][0]["role"] = "业主"
    for role, name in (("住户", "乙"), ("签约人", "丙"), ("付款人", "丁")):
        rows["parties"].append(rows["parties"][0] | {"role": role, "name": name, "phone": None})
    committed(db, world, workbook(rows))
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.get_one(Party, (world.tenant_id, account(session, "90000001").party_id)).name == "丙"


def test_the_same_file_is_taken_once(db: Database, world: World) -> None:
    content = workbook(good_rows(2))
    first = committed(db, world, content)
    after = counted(db, world)
    again = committed(db, world, content)
    assert (again.batch_id, again.replayed, first.replayed) == (first.batch_id, True, False)
    assert again.counts == first.counts
    assert counted(db, world) == after


def test_the_same_file_sent_twice_at_once_is_taken_once(db: Database, world: World) -> None:
    content, done = workbook(good_rows(5)), []
    threads = [threading.Thread(target=lambda: done.append(committed(db, world, content))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.replayed for one in done) == [False, True, True]


def statements_of(db: Database, world: World, homes: int) -> int:
    """How many statements a commit of so many homes sends."""
    rows, sent = good_rows(homes), []
    for row in rows["meters"]:
        row["gateway"] = world.gateway_number

    def note(*facts: object) -> None:
        sent.append(facts[2])

    event.listen(db.engine, "before_cursor_execute", note)
    committed(db, world, workbook(rows))
    event.remove(db.engine, "before_cursor_execute", note)
    return len(sent)


def test_ten_times_the_homes_take_the_same_number_of_statements(make_world: Callable[..., World], db: Database) -> None:
    assert statements_of(db, make_world(), 300) == statements_of(db, make_world(), 30) < 80


@pytest.mark.long
def test_two_thousand_spaces_take_less_than_ten_seconds(db: Database, world: World) -> None:
    content = workbook(good_rows(2_000))
    begun = time.monotonic()
    done = committed(db, world, content)
    assert done.counts["spaces"] == 2_000
    assert time.monotonic() - begun < 10


# --- what a bad file does not do ---


def test_one_bad_row_keeps_all_out_and_every_one_is_listed(db: Database, world: World) -> None:
    rows = good_rows(3)
    rows["spaces"][0]["usage_class"] = "城堡"
    rows["meters"][2]["plan"] = "没有的方案"
    rows["balances"][1]["balance_fen"] = "五十"
    before = counted(db, world)
    with pytest.raises(ImportHasBadRows) as refused:
        committed(db, world, workbook(rows))
    report = refused.value.report
    assert [(bad.sheet, bad.row, bad.column, bad.value, bad.code) for bad in report.bad] == [
        ("楼栋房间", 3, "用途", "城堡", "choice_unknown"),
        ("表计", 5, "电价方案", "没有的方案", "plan_unknown"),
        ("期初余额", 4, "余额", "五十", "amount_wrong"),
    ]
    assert "居民合表" in report.bad[1].reason("zh")
    assert report.bad == tried(db, world, workbook(rows)).bad
    assert refused.value.message("zh").startswith("有 3 处需要修改")
    assert counted(db, world) == before


def test_what_was_imported_before_is_named_when_it_comes_in_another_file(db: Database, world: World) -> None:
    rows = good_rows(1)
    committed(db, world, workbook(rows))
    for sheet in rows.values():
        sheet.append({})
    rows["spaces"].append(good_rows(2)["spaces"][1])
    codes = {bad.code for bad in tried(db, world, workbook(rows)).bad if bad.row == HEADING_ROWS + 1}
    assert codes == {"space_exists", "meter_exists", "address_exists", "account_exists"}


def test_a_gateway_of_another_tenant_is_refused_without_saying_whose(
    make_world: Callable[..., World], db: Database
) -> None:
    theirs, mine = make_world(), make_world()
    rows = good_rows(1)
    rows["meters"][0]["gateway"] = theirs.gateway_number
    (bad,) = tried(db, mine, workbook(rows)).bad
    assert bad.code == "gateway_elsewhere"
    assert str(theirs.tenant_id) not in bad.reason()


def test_a_file_that_meets_another_at_the_same_moment_collides_by_name(
    make_world: Callable[..., World], db: Database
) -> None:
    """Two properties, one meter number: both dry runs are clean, one commit wins."""
    world = make_world()
    content = workbook(good_rows(1))
    with unit_of_work(world.tenant_id, db=db) as other:
        other.add(Meter(property_id=world.property_id, model_id=world.model_id, number="900000000001", address="7"))
        other.flush()
        said: list[str] = []
        thread = threading.Thread(target=lambda: said.append(_refusal(db, world, content)))
        thread.start()
        _until_somebody_waits(other)
    thread.join()
    assert said == [ImportCollided.code]


def _refusal(db: Database, world: World, content: bytes) -> str:
    try:
        committed(db, world, content)
    except AppError as refused:
        return refused.code
    return "taken"


def _until_somebody_waits(session: Session) -> None:
    """Until another connection waits for this transaction."""
    deadline = time.monotonic() + 30
    blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    while session.connection().exec_driver_sql(blocked).scalar_one() == 0:
        assert time.monotonic() < deadline


def test_a_property_that_is_not_there_is_not_found(db: Database, world: World) -> None:
    world.property_id = 999_999
    for deed in (tried, committed):
        with pytest.raises(NotFound):
            deed(db, world, workbook(good_rows(1)))
