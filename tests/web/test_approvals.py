"""Above the limit at the screen: it waits, another person sees exactly what would happen, and their yes does it."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.billing.ledger.models import Entry
from app.billing.models import Receipt, SupplyAccount
from app.billing.payments.counter import take_payment
from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Reading
from app.permissions.approval_models import Approval, DeedLimit
from app.permissions.policy import Role
from tests.conftest import MovableClock
from tests.factories.people import person
from tests.factories.workbook import good_rows, workbook
from tests.factories.world import World, add_property, unique
from tests.web.conftest import Visitor
from tests.web.test_imports import digest_on, sheet, upload

Visit = Callable[..., Visitor]


def sell(db: Database, world: World, fen: int, *, seller: Actor) -> str:
    """A top-up over the counter; the address of its receipt."""
    with unit_of_work(world.tenant_id, db=db) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        key = unique("sale")
        made = take_payment(
            session,
            supply_account=account,
            amount_fen=fen,
            channel="cash",
            till="T1",
            actor=seller,
            idempotency_key=key,
        )
        return f"/receipts/{made.public_id}"


def reversals(db: Database, world: World) -> int:
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(Entry).where(Entry.kind == "reversal")) or 0


def tighten(db: Database, world: World, deed: str, amount: int, role: Role = Role.PROPERTY_MANAGER) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.add(
            DeedLimit(
                node_id=world.headquarters_id, role=role.value, deed=deed, amount_max=amount, changed_at=wall_now()
            )
        )


def decide(visitor: Visitor, address: str, verdict: str, **fields: str) -> str:
    """Press a button of a request's page; the page afterwards."""
    seen = re.search(r'name="seen" value="([0-9a-f]{64})"', visitor.text(address))
    assert seen, "no decision is offered"
    answer = visitor.post(f"{address}/{verdict}", {"seen": seen[1], **fields}, token_from=address)
    return visitor.text(address) if answer.status_code == 303 else answer.get_data(as_text=True)


@pytest.fixture
def cashier(db: Database, world: World, business_clock: MovableClock) -> Actor:
    return person(db, world, Role.CASHIER)


def test_a_reversal_above_the_limit_waits_for_the_finance_officer(
    visit: Visit, world: World, db: Database, cashier: Actor
) -> None:
    receipt = sell(db, world, 60_000, seller=cashier)
    manager = visit(world, Role.PROPERTY_MANAGER)
    finance = visit(world, Role.GROUP_FINANCE, at=world.headquarters_id)
    assert "冲正这笔充值" in manager.text(receipt)
    filed = manager.post(f"{receipt}/reverse", {"reason": "收错户号"}, token_from=receipt)
    address = filed.location
    assert address.startswith("/approvals/")
    waiting = manager.text(address)
    assert "已提交审批，还没有执行" in waiting
    assert "同意并执行" not in waiting
    assert reversals(db, world) == 0
    assert "1 项申请等您审批" in finance.text("/")
    assert "项申请等您审批" not in manager.text("/")
    inbox = finance.text("/approvals")
    assert "冲正充值" in inbox
    assert "收错户号" in inbox
    assert '<span class="count" title="等我审批">1</span>' in inbox
    told = finance.text(address)
    for words in ("A座 A-0101", "¥600.00", "T1-000001", "可用余额", "¥0.00", "同意并执行", "内容指纹"):
        assert words in told, words
    assert "已同意，并已按所示内容执行" in decide(finance, address, "approve")
    assert reversals(db, world) == 1
    assert "这笔充值已冲正，收据作废" in manager.text(receipt)
    assert "冲正充值" in manager.text("/approvals?part=ended")
    assert 'title="等我审批"' not in finance.text("/approvals")


def test_a_reversal_at_the_limit_is_done_at_once_with_a_reason(
    visit: Visit, world: World, db: Database, cashier: Actor
) -> None:
    receipt = sell(db, world, 50_000, seller=cashier)
    manager = visit(world, Role.PROPERTY_MANAGER)
    silent = manager.post(f"{receipt}/reverse", {"reason": " "}, token_from=receipt)
    assert (silent.status_code, "没有冲正：请写明原因" in silent.get_data(as_text=True)) == (422, True)
    manager.post(f"{receipt}/reverse", {"reason": "收错户号"}, token_from=receipt)
    page = manager.text(receipt)
    assert "已冲正 ¥500.00" in page
    assert "冲正这笔充值" not in page
    assert reversals(db, world) == 1


def test_where_nobody_else_could_decide_nothing_is_filed(
    visit: Visit, world: World, db: Database, cashier: Actor
) -> None:
    receipt = sell(db, world, 60_000, seller=cashier)
    manager = visit(world, Role.PROPERTY_MANAGER)
    answer = manager.post(f"{receipt}/reverse", {"reason": "收错户号"}, token_from=receipt)
    assert (answer.status_code, "没有其他人可以审批" in answer.get_data(as_text=True)) == (409, True)


def filed_reversal(visit: Visit, world: World, db: Database, cashier: Actor) -> tuple[Visitor, str]:
    receipt = sell(db, world, 60_000, seller=cashier)
    manager = visit(world, Role.PROPERTY_MANAGER)
    person(db, world, Role.GROUP_FINANCE, at=world.headquarters_id)
    address = manager.post(f"{receipt}/reverse", {"reason": "收错户号"}, token_from=receipt).location
    return manager, address


def test_a_no_says_why_and_a_request_is_taken_back_by_who_asked(
    visit: Visit, world: World, db: Database, cashier: Actor
) -> None:
    manager, address = filed_reversal(visit, world, db, cashier)
    admin = visit(world)
    assert "请写明原因" in decide(admin, address, "refuse")
    assert "现场核对无误" in decide(admin, address, "refuse", reason="现场核对无误")
    assert "现场核对无误" in manager.text(address)
    again, other = filed_reversal(visit, world, db, cashier)
    assert "申请人已撤回" in again.client.post(
        f"{other}/withdraw", data={"csrf_token": token(again, other)}, follow_redirects=True
    ).get_data(as_text=True)
    assert reversals(db, world) == 0


def token(visitor: Visitor, address: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', visitor.text(address))
    assert found
    return found[1]


@pytest.mark.parametrize("seen", ["", "zz", "00" * 32])
def test_a_yes_to_something_else_does_nothing(
    visit: Visit, world: World, db: Database, cashier: Actor, seen: str
) -> None:
    _manager, address = filed_reversal(visit, world, db, cashier)
    admin = visit(world)
    answer = admin.post(f"{address}/approve", {"seen": seen, "content": "{}", "amount": "1"}, token_from=address)
    assert (answer.status_code, "与审批时看到的不一致" in answer.get_data(as_text=True)) == (409, True)
    assert reversals(db, world) == 0


def test_who_may_not_see_a_request_hears_that_it_is_not_there(
    visit: Visit, world: World, db: Database, cashier: Actor, make_world: Callable[..., World]
) -> None:
    manager, address = filed_reversal(visit, world, db, cashier)
    with unit_of_work(world.tenant_id, db=db) as session:
        sibling = add_property(session, world, name="翠湖天地")
    strangers = [
        visit(world, Role.PROPERTY_MANAGER, at=sibling),
        visit(make_world()),
        visit(world, Role.METER_ENGINEER),
    ]
    for stranger in strangers:
        assert stranger.get(address).status_code == 404
        for deed in ("approve", "refuse", "withdraw"):
            assert stranger.post(f"{address}/{deed}", {"seen": "00" * 32, "reason": "x"}).status_code == 404
        assert "收错户号" not in stranger.text("/approvals?part=ended")
    # A manager of the place sees it, and so does the auditor, who decides on nothing.
    assert "同意并执行" in visit(world, Role.PROPERTY_MANAGER).text(address)
    auditor = visit(world, Role.GROUP_AUDITOR, at=world.headquarters_id)
    assert "同意并执行" not in auditor.text(address)
    auditor.post(f"{address}/approve", {"seen": "00" * 32}, token_from="/search")
    assert reversals(db, world) == 0
    # The cashier has no inbox at all.
    assert visit(world, Role.CASHIER).get("/approvals").status_code == 403
    assert "撤回申请" in manager.text(address)


def test_an_expired_request_says_so_and_offers_nothing(
    visit: Visit, world: World, db: Database, cashier: Actor
) -> None:
    _manager, address = filed_reversal(visit, world, db, cashier)
    past = wall_now() - timedelta(hours=1)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Approval).values(requested_at=past - timedelta(hours=2), expires_at=past))
    admin = visit(world)
    page = admin.text(address)
    assert "已过期，未执行" in page
    assert "同意并执行" not in page
    assert "没有等您审批的事项" in admin.text("/approvals")


def test_a_deed_that_fails_says_why_on_its_page(visit: Visit, world: World, db: Database, cashier: Actor) -> None:
    _manager, address = filed_reversal(visit, world, db, cashier)
    with unit_of_work(world.tenant_id, db=db) as session:
        receipt = session.scalars(select(Receipt.public_id)).one()
    finance = visit(world, Role.GROUP_FINANCE, at=world.headquarters_id)
    finance.post(f"/receipts/{receipt}/reverse", {"reason": "另一路径"}, token_from="/search")
    page = decide(visit(world), address, "approve")
    assert "已同意，但没有执行" in page
    assert "已经冲正" in page or "已冲正" in page
    assert reversals(db, world) == 1


def test_a_sheet_above_the_limit_waits_with_its_rows_shown(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    tighten(db, world, "reading_correction", 0)
    at = (business_clock.now() + timedelta(hours=7)).replace(tzinfo=None)
    content = sheet(("000000000001", at, 101.5), ("000000000002", at, 102.25))
    manager, admin = visit(world, Role.PROPERTY_MANAGER), visit(world)
    page = manager.post("/readings/import", {"deed": "check", "file": upload("七月.xlsx", content)}).get_data(
        as_text=True
    )
    form = {"deed": "load", "digest": digest_on(page), "file_name": "七月.xlsx"}
    above = manager.post("/readings/import", form)
    assert (above.status_code, "提交审批" in above.get_data(as_text=True)) == (422, True)
    address = manager.post("/readings/import", {**form, "reason": "补抄七月"}).location
    told = admin.text(address)
    for words in ("2 行", "000000000002", "102.25", "文件指纹"):
        assert words in told, words
    assert "已按所示内容执行" in decide(admin, address, "approve")
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalar(select(func.count()).select_from(Reading)) == 2


def test_an_opening_above_the_limit_waits_and_the_secrets_are_shown_once(
    visit: Visit, world: World, db: Database
) -> None:
    tighten(db, world, "opening_balance", 0)
    content = workbook(good_rows(building="B座"))
    manager, admin = visit(world, Role.PROPERTY_MANAGER), visit(world)
    page = manager.post("/onboarding", {"deed": "check", "file": upload("和风苑.xlsx", content)}).get_data(as_text=True)
    form = {"deed": "commit", "digest": digest_on(page), "file_name": "和风苑.xlsx", "reason": "新项目上线"}
    assert manager.post("/onboarding", {**form, "reason": ""}).status_code == 422
    address = manager.post("/onboarding", form).location
    told = admin.text(address)
    for words in ("¥113.60", "90000001", "¥56.80"):
        assert words in told, words
    seen = re.search(r'name="seen" value="([0-9a-f]{64})"', told)
    assert seen
    answer = admin.post(f"{address}/approve", {"seen": seen[1]}, token_from=address)
    assert "新网关的密钥只显示这一次" in answer.get_data(as_text=True)
    assert "新网关的密钥只显示这一次" not in admin.text(address)


def test_limits_are_seen_and_set_by_headquarters_only(visit: Visit, world: World, db: Database) -> None:
    admin = visit(world)
    matrix = admin.text("/limits")
    assert "¥500.00" in matrix
    node = re.search(r'<option value="([0-9a-f-]{36})">[^<]*和风苑', matrix)
    assert node
    form = f"/limits/reversal/property_manager?node={node[1]}"
    assert "系统默认" in admin.text(form)
    assert admin.post(form, {"amount": "800", "reason": "年度复核"}, token_from=form).status_code == 303
    assert "¥800.00" in admin.text(f"/limits?node={node[1]}")
    assert "¥800.00" not in admin.text("/limits")
    for wrong in ("", "abc", "-1", "1e30"):
        answer = admin.post(form, {"amount": wrong}, token_from=form)
        assert (answer.status_code, "没有设置" in answer.get_data(as_text=True)) == (422, True), wrong
    price = "/limits/price_change/property_manager"
    assert admin.post(price, {"amount": "0.05"}, token_from=price).status_code == 303
    assert "0.05 元/kWh" in admin.text("/limits")
    for wrong in ("x", "NaN", "0.000001"):
        assert admin.post(price, {"amount": wrong}, token_from=price).status_code == 422
    own = "/limits/reversal/group_administrator"
    assert admin.post(own, {"amount": "9000"}, token_from=own).status_code == 403
    assert admin.post(form, {"deed": "inherit"}, token_from=form).status_code == 303
    assert "¥800.00" not in admin.text(f"/limits?node={node[1]}")
    for missing in ("/limits/dance/cashier", "/limits/reversal/cashier", f"/limits?node={node[1][:-1]}x"):
        assert admin.get(missing).status_code == 404
    assert "/limits/" not in visit(world, Role.PROPERTY_MANAGER).text("/limits")


def test_no_chinese_is_left_on_the_page_of_a_request_read_in_english(
    visit: Visit, world: World, db: Database, cashier: Actor
) -> None:
    _manager, address = filed_reversal(visit, world, db, cashier)
    admin = visit(world)
    admin.client.set_cookie("locale", "en")
    for page in (admin.text(address), admin.text("/approvals"), decide(admin, address, "approve")):
        for name in ("切换到中文", "远景物业集团", "和风苑", "陈静怡", "收错户号", "A座", "中文", "中", "账"):
            page = page.replace(name, "")
        left = re.search(r"[一-鿿]", page)
        assert left is None, page[left.start() - 60 : left.end() + 60]


@pytest.mark.parametrize("before", ["9223372036854775808", "-1", "0", "x"])
def test_a_page_of_the_inbox_that_no_number_can_mean_is_the_first_one(visit: Visit, world: World, before: str) -> None:
    assert visit(world, Role.PROPERTY_MANAGER).get(f"/approvals?before={before}").status_code == 200
