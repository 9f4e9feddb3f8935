"""Money at the counter, as a cashier's browser does it."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.billing.models import Payment, Receipt
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.reports.documents import write_receipt
from app.reports.receipt_files import receipt_path
from tests.conftest import MovableClock
from tests.factories.history import bring_online, pay, public_id, stop_in_force
from tests.factories.world import World
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]


def hidden_key(page: str) -> str:
    """The request number in a top-up form."""
    found = re.search(r'name="key" value="([^"]+)"', page)
    assert found
    return found[1]


def top_up(visitor: Visitor, account: str, **fields: object) -> object:
    """Send the form of an account as the page gave it."""
    key = hidden_key(visitor.text(f"/counter/{account}"))
    return visitor.post(f"/counter/{account}", {"key": key, "channel": "cash", "amount": "50", **fields})


def payments(db: Database, world: World) -> int:
    """How many payments the world has."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(Payment)) or 0


def test_a_cashier_takes_fifty_yuan_and_hands_over_a_receipt(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world, Role.CASHIER)
    answer = top_up(visitor, public_id(db, world), amount="50")
    assert answer.status_code == 303  # type: ignore[attr-defined]
    receipt = visitor.text(answer.location)  # type: ignore[attr-defined]
    assert "¥50.00" in receipt
    assert "伍拾元整" in receipt
    assert "-000001" in receipt
    assert "¥50.00" in visitor.text(f"/counter/{public_id(db, world)}")


def test_the_same_form_sent_twice_takes_the_money_once(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world, Role.CASHIER)
    account = public_id(db, world)
    key = hidden_key(visitor.text(f"/counter/{account}"))
    form = {"key": key, "channel": "cash", "amount": "50"}
    first, second = (visitor.post(f"/counter/{account}", form) for _time in range(2))
    assert first.location == second.location
    assert payments(db, world) == 1


def test_the_same_key_with_another_amount_is_refused(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world, Role.CASHIER)
    account = public_id(db, world)
    key = hidden_key(visitor.text(f"/counter/{account}"))
    visitor.post(f"/counter/{account}", {"key": key, "channel": "cash", "amount": "50"})
    answer = visitor.post(f"/counter/{account}", {"key": key, "channel": "cash", "amount": "500"})
    assert answer.status_code == 409
    assert payments(db, world) == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"amount": ""}, 422),
        ({"amount": "fifty"}, 422),
        ({"amount": "-5"}, 422),
        ({"amount": "1.234"}, 422),
        ({"amount": "0"}, 422),
        ({"amount": "99999999999"}, 422),
        ({"channel": "wechat"}, 422),
        ({"channel": ""}, 422),
        ({"key": ""}, 422),
        ({"key": "x" * 65}, 422),
    ],
)
def test_what_cannot_be_taken_is_refused_and_what_was_typed_is_kept(
    visit: Visit, world: World, db: Database, fields: dict[str, str], status: int
) -> None:
    visitor = visit(world, Role.CASHIER)
    answer = top_up(visitor, public_id(db, world), **fields)
    page = answer.get_data(as_text=True)  # type: ignore[attr-defined]
    assert answer.status_code == status  # type: ignore[attr-defined]
    assert "没有收款" in page
    assert f'value="{fields.get("amount", "50")}"' in page
    assert payments(db, world) == 0


def test_the_second_print_says_copy_and_keeps_the_number(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world, Role.CASHIER)
    address = f"/receipts/{pay(db, world)}"
    first = visitor.post(f"{address}/print", token_from=address).get_data(as_text=True)
    second = visitor.post(f"{address}/print", token_from=address).get_data(as_text=True)
    assert "COPY" not in first
    assert "COPY" in second
    assert "T1-000001" in first
    assert "T1-000001" in second


def test_looking_at_a_receipt_prints_nothing(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world, Role.CASHIER)
    address = f"/receipts/{pay(db, world)}"
    for _look in range(3):
        assert "COPY" not in visitor.text(address)


def test_the_pdf_follows_and_is_counted_like_a_print(visit: Visit, world: World, db: Database, app: Flask) -> None:
    visitor = visit(world, Role.CASHIER)
    public = pay(db, world)
    address = f"/receipts/{public}"
    early = visitor.post(f"{address}/pdf", token_from=address)
    assert early.status_code == 303
    assert "PDF 正在生成" in visitor.text(address)
    folder: Path = app.config["SETTINGS"].var_path
    with unit_of_work(world.tenant_id, db=db) as session:
        write_receipt(session.scalars(select(Receipt).where(Receipt.public_id == public)).one(), folder)
    first = visitor.post(f"{address}/pdf", token_from=address)
    second = visitor.post(f"{address}/pdf", token_from=address)
    assert first.data.startswith(b"%PDF-")
    assert first.data == receipt_path(folder, world.tenant_id, public, is_copy=False).read_bytes()
    assert second.data == receipt_path(folder, world.tenant_id, public, is_copy=True).read_bytes()
    first.close()
    second.close()


def test_search_understands_room_name_number_meter_and_phone(visit: Visit, world: World, db: Database) -> None:
    from app.tenants.parties import register_party

    with unit_of_work(world.tenant_id, db=db) as session:
        from app.billing.models import SupplyAccount

        party = register_party(session, property_id=world.property_id, name="欧阳静怡", phone="13812345678")
        session.flush()
        session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[2])).party_id = party.id
    visitor = visit(world, Role.CASHIER)
    here = public_id(db, world, 2)
    for words in (
        "A-0103",
        "a0103",
        "0103",
        "103",
        "00000003",
        "000000000003",
        "欧阳",
        "13812345678",
        "138 1234 5678",
        "5678",
    ):
        page = visitor.get(f"/search?q={words}&to=counter", headers={"HX-Request": "true"}).get_data(as_text=True)
        assert f"/counter/{here}" in page, words
    assert "13812345678" not in visitor.text("/search?q=A-01")
    assert visitor.get("/search?q=00000003&to=counter").location == f"/counter/{here}"


@pytest.mark.parametrize("words", ["", "%", "_", "'", '"><script>', "\\", "不存在的人", "x" * 200, "99999"])
def test_search_survives_what_people_type(visit: Visit, world: World, words: str) -> None:
    visitor = visit(world, Role.CASHIER)
    answer = visitor.client.get("/search", query_string={"q": words}, headers={"HX-Request": "true"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "<script>" not in page
    assert "answer-title" not in page


def test_money_for_a_stopped_supply_shows_the_way_back_to_light(visit: Visit, world: World, db: Database) -> None:
    bring_online(db, world)
    stop_in_force(db, world)
    visitor = visit(world, Role.CASHIER)
    assert "已停供" in visitor.text(f"/counter/{public_id(db, world)}")
    answer = top_up(visitor, public_id(db, world), amount="100")
    page = visitor.text(answer.location)  # type: ignore[attr-defined]
    assert "已收款" in page
    assert "正在送电" in page
    assert "已恢复" in page


def test_the_queue_asks_for_what_a_restore_waits_for(visit: Visit, world: World, db: Database) -> None:
    bring_online(db, world)
    stop_in_force(db, world, paid=True)
    visitor = visit(world, Role.CASHIER)
    queue = visitor.text("/deliveries")
    assert "A-0101" in queue
    assert "电器已关，送电" in queue
    answer = visitor.post(f"/accounts/{public_id(db, world)}/appliances-off", token_from="/deliveries")
    assert answer.status_code == 303
    assert "已请求送电" in visitor.text("/deliveries")


def test_presets_follow_the_pace_of_the_account(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    from tests.factories.history import read_hourly

    since = business_clock.now() - timedelta(hours=82)
    read_hourly(db, world, since=since, hours=80)
    page = visit(world, Role.CASHIER).text(f"/counter/{public_id(db, world)}")
    assert "约一周 ¥" in page
    assert "约一月 ¥" in page
