"""Refund, waiver and adjustment at the screen: who sees the forms, what a second click does, what waits for another."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from app.billing.giving_models import MoneyGiven
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.approval_models import Approval
from app.permissions.policy import Role
from tests.conftest import MovableClock
from tests.factories.history import pay, public_id
from tests.factories.supply import run_dry
from tests.factories.world import World, build_sibling
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
KINDS = ("refund", "waiver", "adjustment")


def key_of(page: str) -> str:
    """The request number of a form."""
    found = re.search(r'name="key" value="([^"]+)"', page)
    assert found
    return found[1]


def papers(db: Database, world: World) -> int:
    """How many papers the world has."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(MoneyGiven)) or 0


def send(visitor: Visitor, account: str, kind: str, **typed: object) -> object:
    """Send the form of an account as the page gave it."""
    page = f"/accounts/{account}/{kind}"
    form = {"key": key_of(visitor.text(page)), "amount": "12.50", "reason": "退租结清", **typed}
    return visitor.post(page, form, token_from=page)


def test_money_goes_back_with_a_paper_that_prints_and_is_undone_by_another(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    pay(db, world, fen=5_000)
    finance, account = visit(world, Role.PROPERTY_FINANCE), public_id(db, world)
    answer = send(finance, account, "refund", code="cash")
    assert answer.status_code == 303  # type: ignore[attr-defined]
    address = answer.location  # type: ignore[attr-defined]
    paper = finance.text(address)
    for words in (
        "退款单",
        "TK-000001",
        "¥12.50",
        "壹拾贰元伍角",
        "退租结清",
        "¥37.50",
        "领款人签字",
        "不能冲正自己办理的一笔",
    ):
        assert words in paper, words
    prints = [finance.post(f"{address}/print", token_from=address).get_data(as_text=True) for _n in range(2)]
    assert ["COPY" in page for page in prints] == [False, True]
    manager = visit(world, Role.PROPERTY_MANAGER)
    assert manager.post(f"{address}/undo", {"reason": ""}, token_from=address).status_code == 422
    assert manager.post(f"{address}/undo", {"reason": "办错了"}, token_from=address).status_code == 303
    assert "已冲正，本单作废" in manager.text(address)
    assert "已冲正" in manager.text(f"/accounts/{account}")


def test_the_same_form_twice_gives_once(visit: Visit, world: World, db: Database) -> None:
    pay(db, world, fen=5_000)
    finance, account = visit(world, Role.PROPERTY_FINANCE), public_id(db, world)
    page = f"/accounts/{account}/refund"
    form = {"key": key_of(finance.text(page)), "amount": "5", "reason": "退租", "code": "bank"}
    answers = [finance.post(page, form, token_from=page) for _n in range(2)]
    assert [a.status_code for a in answers] == [303, 303]
    assert answers[0].location == answers[1].location
    assert papers(db, world) == 1


@pytest.mark.parametrize(
    ("kind", "typed", "said"),
    [
        ("refund", {"amount": "50.01", "code": "cash"}, "不足以支付"),
        ("refund", {"amount": "abc", "code": "cash"}, "看不懂金额"),
        ("refund", {"amount": "0", "code": "cash"}, "金额须大于 0"),
        ("refund", {"code": "gold"}, "请从列表中选择"),
        ("refund", {"code": "cash", "reason": " "}, "请写明原因"),
        ("waiver", {}, "减免不能超过欠费"),
        ("adjustment", {"code": "meter"}, "请选择调增或调减"),
        ("adjustment", {"code": "cash", "direction": "up"}, "请从列表中选择"),
        ("adjustment", {"code": "meter", "direction": "down", "amount": "50.01"}, "不足以支付"),
    ],
)
def test_what_is_refused_keeps_what_was_typed(
    visit: Visit, world: World, db: Database, kind: str, typed: dict[str, str], said: str
) -> None:
    pay(db, world, fen=5_000)
    answer = send(visit(world, Role.PROPERTY_FINANCE), public_id(db, world), kind, **typed)
    page = answer.get_data(as_text=True)  # type: ignore[attr-defined]
    assert 400 <= answer.status_code < 500  # type: ignore[attr-defined]
    assert said in page
    assert f'value="{typed.get("amount", "12.50")}"' in page
    assert papers(db, world) == 0


def test_above_the_limit_the_form_asks_and_another_person_decides(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    pay(db, world, fen=50_000)
    manager, account = visit(world, Role.PROPERTY_MANAGER), public_id(db, world)
    head = visit(world)
    answer = send(manager, account, "refund", amount="300", code="bank")
    page = answer.get_data(as_text=True)  # type: ignore[attr-defined]
    assert "需要另一人审批" in page
    assert papers(db, world) == 0
    form = {"key": key_of(page), "amount": "300", "reason": "退租结清", "code": "bank"}
    asked = manager.post(f"/accounts/{account}/refund/ask", form, token_from=f"/accounts/{account}/refund")
    assert asked.status_code == 303
    request_page = head.text(asked.location)
    for words in ("退给 A座 A-0101 ¥300.00", "银行转账", "¥500.00", "¥200.00"):
        assert words in request_page, words
    seen = re.search(r'name="seen" value="([^"]+)"', request_page)
    assert seen
    done = head.post(f"{asked.location}/approve", {"seen": seen[1]}, token_from=asked.location)
    assert done.status_code == 303
    assert papers(db, world) == 1
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalars(select(Approval.state)).one() == "done"


def test_a_debt_is_waived_and_a_wallet_put_right(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    run_dry(world)
    finance, account = visit(world, Role.PROPERTY_FINANCE), public_id(db, world)
    assert send(finance, account, "waiver", amount="10").status_code == 303  # type: ignore[attr-defined]
    up = send(finance, account, "adjustment", amount="30", direction="up", code="meter")
    down = send(finance, account, "adjustment", amount="1", direction="down", code="misposted")
    assert [up.status_code, down.status_code] == [303, 303]  # type: ignore[attr-defined]
    page = finance.text(f"/accounts/{account}")
    for words in ("JM-000001", "TZ-000001", "TZ-000002", "更多操作"):
        assert words in page, words
    assert "错户更正" in finance.text(down.location)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "role", [Role.CASHIER, Role.METER_ENGINEER, Role.DUTY_OFFICER, Role.READ_ONLY, Role.GROUP_AUDITOR]
)
@pytest.mark.parametrize("kind", KINDS)
def test_who_may_not_give_sees_no_form(visit: Visit, world: World, db: Database, role: Role, kind: str) -> None:
    visitor, account = visit(world, role), public_id(db, world)
    assert visitor.get(f"/accounts/{account}/{kind}").status_code == 403
    assert visitor.post(f"/accounts/{account}/{kind}", {"amount": "1"}).status_code == 403
    assert f"/accounts/{account}/{kind}" not in visitor.text(f"/accounts/{account}")


def test_a_neighbours_account_and_paper_are_not_there(visit: Visit, world: World, db: Database) -> None:
    pay(db, world, fen=5_000)
    finance = visit(world, Role.PROPERTY_FINANCE)
    paper = send(finance, public_id(db, world), "refund", code="cash").location  # type: ignore[attr-defined]
    sibling = build_sibling(db, world, name="邻园")
    neighbour = visit(world, Role.PROPERTY_FINANCE, at=sibling.property_id)
    account = public_id(db, world)
    assert neighbour.get(paper).status_code == 404
    assert neighbour.post(f"{paper}/print").status_code == 404
    assert neighbour.post(f"{paper}/undo", {"reason": "x"}).status_code == 404
    for kind in KINDS:
        assert neighbour.get(f"/accounts/{account}/{kind}").status_code == 404
        assert neighbour.post(f"/accounts/{account}/{kind}", {"amount": "1"}).status_code == 404
        assert neighbour.post(f"/accounts/{account}/{kind}/ask", {"amount": "1"}).status_code == 404
