"""The residents' page: one's own balance at eleven at night, and nothing of anybody else."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from app.billing.models import Receipt, SupplyAccount
from app.demo.people import phone_of
from app.demo.street import first_number
from app.demo.town import HEFENG
from app.kernel.clock import business_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Meter
from app.permissions.policy import Role
from app.tenants.models import AuditRecord, PartyRole
from tests.conftest import MovableClock
from tests.factories.history import bring_online, close_days, pay, public_id, read_hourly, stop_in_force
from tests.factories.residents import (
    PHONE,
    deliver_codes,
    end_roles,
    give_phone,
    open_residents,
    phones,
    resident_client,
)
from tests.factories.world import World, build_sibling
from tests.web.conftest import Visitor

NIGHT = datetime(2026, 7, 15, 15, 0, tzinfo=UTC)  # 23:00 in Shanghai
NOBODYS = uuid.UUID("00000000-0000-7000-8000-000000000000")
#: What a cookie, a code, a place may be made of by somebody who tries.
MALFORMED = ("x", "0" * 3000, "null", "../../etc/passwd", "' or 1=1--", "%00", "<script>", "eyJhbGciOiJub25lIn0.e30.")


def post(client: FlaskClient, address: str, data: dict[str, str], *, token_from: str) -> TestResponse:
    page = client.get(token_from).get_data(as_text=True)
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, token_from
    return client.post(address, data={"csrf_token": found[1], **data})


def text(client: FlaskClient, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, f"{address}: {answer.status}"
    return answer.get_data(as_text=True)


def live_in(db: Database, world: World, clock: MovableClock) -> None:
    """Money, two days of readings, a stop of the first home at eleven."""
    bring_online(db, world)
    for index in range(2):
        pay(db, world, index, fen=500)
    read_hourly(db, world, since=business_now() - timedelta(hours=30), hours=29, step_wh=4_000)
    close_days(db, world)
    clock.set(NIGHT)
    stop_in_force(db, world, 0)


def test_a_resident_looks_at_their_own_balance_at_23_00_and_sees_why_it_is_dark(
    app: Flask, db: Database, world: World, business_clock: MovableClock
) -> None:
    live_in(db, world, business_clock)
    give_phone(db, world)
    base = f"/r/{open_residents(db, world)}"
    phone = app.test_client()
    assert phone.get(base).location == f"{base}/sign-in"
    asked = post(phone, f"{base}/sign-in", {"phone": "138 0013 8000"}, token_from=f"{base}/sign-in")
    assert (asked.status_code, asked.location) == (303, f"{base}/sign-in/code")
    with phones() as arrived:
        deliver_codes(world)
    assert "和风苑" in arrived.sent[0].text
    entered = post(phone, f"{base}/sign-in/code", {"code": arrived.digits}, token_from=f"{base}/sign-in/code")
    assert (entered.status_code, entered.location) == (303, base)
    page = text(phone, base)
    for said in ("A-0101", "00000001", "已停供", "2026-07-15 23:00", "再充值", "应急供电", "138****8000", "最近示数"):
        assert said in page, said
    assert "¥-" in page or "-¥" in page or "−" in page
    assert "住户1" not in page  # names are masked here as everywhere
    receipt = re.search(r'href="(/r/[^"]+/receipts/[^"]+)"', page)
    assert receipt
    assert "¥5.00" in text(phone, receipt[1])
    statement = re.search(r'href="(/r/[^"]+/statement)"', page)
    assert statement
    assert "用量日结" in text(phone, statement[1])
    assert "计算过程" in text(phone, statement[1])
    english = phone.get(base, headers={"Cookie": "locale=en"})
    assert english.status_code in (200, 303)


def test_the_page_speaks_english_and_knows_day_and_night(app: Flask, db: Database, world: World) -> None:
    phone = resident_client(app, db, world)
    base = f"/r/{open_residents(db, world)}"
    phone.set_cookie("locale", "en")
    phone.set_cookie("theme", "dark")
    page = text(phone, base)
    assert 'lang="en"' in page
    assert 'data-bs-theme="dark"' in page
    assert "Available" in page
    assert not re.search(r"[\u4e00-\u9fff]", re.sub(r"和风苑|A座|住\*+|中：切换到中文|中", "", page))


def test_nothing_of_the_console_is_on_a_residents_page(app: Flask, db: Database, world: World) -> None:
    phone = resident_client(app, db, world)
    page = text(phone, f"/r/{open_residents(db, world)}")
    assert "rail" not in page
    assert set(re.findall(r'(?:href|action)="(/[^"?]*)', page)) - {"/preferences"} == {
        found for found in re.findall(r'(?:href|action)="(/[^"?]*)', page) if found.startswith(("/r/", "/static/"))
    }
    for address in ("/rooms", "/accounts", "/search", "/security", "/today"):
        assert phone.get(address).status_code in (302, 404), address


def test_an_operator_is_nobody_on_the_residents_page(
    visit: Callable[..., Visitor], make_world: Callable[..., World], db: Database
) -> None:
    world, other = make_world(), make_world()
    visitor = visit(world, Role.GROUP_ADMINISTRATOR)
    for place in (open_residents(db, world), open_residents(db, other)):
        assert visitor.get(f"/r/{place}").location == f"/r/{place}/sign-in"
        assert visitor.get(f"/r/{place}/sign-in").status_code == 200
    assert visitor.get("/rooms").status_code == 200


def addresses(db: Database, world: World, number: int) -> list[str]:
    """Everything of one home, below the property's address."""
    account = public_id(db, world, number)
    with unit_of_work(world.tenant_id, db=db) as session:
        receipt = session.scalars(select(Receipt.public_id).order_by(Receipt.id.desc())).first()
    return [f"/accounts/{account}", f"/accounts/{account}/statement", f"/receipts/{receipt}"]


def test_a_neighbours_a_siblings_another_groups_and_nobodys_things_answer_alike(
    app: Flask, db: Database, make_world: Callable[..., World]
) -> None:
    world, foreign = make_world(), make_world()
    sibling = build_sibling(db, world, name="翠湖天地")
    wanted = []
    for place, number in ((world, 1), (sibling, 0), (foreign, 0)):
        pay(db, place, number)
        wanted += addresses(db, place, number)
    wanted += [f"/accounts/{NOBODYS}", f"/accounts/{NOBODYS}/statement", f"/receipts/{NOBODYS}"]
    phone = resident_client(app, db, world)
    base = f"/r/{open_residents(db, world)}"
    said = set()
    for path in wanted:
        answer = phone.get(base + path)
        assert answer.status_code == 404, path
        body = re.sub(
            r'<span class="hex">\w+</span>|nonce="[^"]*"|name="csrf_token"[^>]*', "", answer.get_data(as_text=True)
        )
        said.add(body.replace(path, ""))
    assert len(said) == 1
    for path in addresses(db, world, 0)[:2]:
        assert phone.get(base + path).status_code == 200


def test_a_session_of_one_property_is_none_at_another(
    app: Flask, db: Database, make_world: Callable[..., World]
) -> None:
    world, foreign = make_world(), make_world()
    sibling = build_sibling(db, world, name="翠湖天地")
    phone = resident_client(app, db, world)
    for place in (sibling, foreign):
        give_phone(db, place)
        base = f"/r/{open_residents(db, place)}"
        assert phone.get(base).location == f"{base}/sign-in"
        assert phone.get(f"{base}/accounts/{public_id(db, place)}").location == f"{base}/sign-in"


def test_who_moves_out_is_asked_for_a_number_with_the_next_request(
    app: Flask, db: Database, world: World, business_clock: MovableClock
) -> None:
    pay(db, world)
    phone = resident_client(app, db, world)
    base = f"/r/{open_residents(db, world)}"
    assert [phone.get(base + path).status_code for path in ("", *addresses(db, world, 0))] == [200] * 4
    end_roles(db, world, on=date(2026, 7, 15))
    for path in ("", *addresses(db, world, 0)):
        assert phone.get(base + path).location == f"{base}/sign-in", path


def test_who_moves_in_sees_nothing_of_who_lived_there_before(
    app: Flask, db: Database, world: World, business_clock: MovableClock
) -> None:
    live_in(db, world, business_clock)
    business_clock.set(NIGHT + timedelta(days=2))
    phone = resident_client(app, db, world)
    base = f"/r/{open_residents(db, world)}"
    before = addresses(db, world, 0)
    assert "用量日结" in text(phone, base + before[1])
    assert "/receipts/" in text(phone, base)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(PartyRole).values(began_on=date(2026, 7, 17)))
    assert "用量日结" not in text(phone, base + before[1])
    page = text(phone, base)
    assert "/receipts/" not in page
    assert "余额用尽短信" not in page
    with unit_of_work(world.tenant_id, db=db) as session:
        first = session.scalars(select(Receipt.public_id).order_by(Receipt.id).limit(1)).one()
    assert phone.get(f"{base}/receipts/{first}").status_code == 404


def test_several_rooms_are_a_list_and_a_closed_account_is_on_none(app: Flask, db: Database, world: World) -> None:
    phone = resident_client(app, db, world)
    give_phone(db, world, 2)
    give_phone(db, world, 3)
    with unit_of_work(world.tenant_id, db=db) as session:
        closed = SupplyAccount.id == world.supply_account_ids[3]
        session.execute(update(SupplyAccount).where(closed).values(state="closed"))
    page = text(phone, f"/r/{open_residents(db, world)}")
    assert re.findall(r"A-01\d\d", page) == ["A-0101", "A-0103"]


def test_the_answer_to_a_number_is_the_same_for_everybody(app: Flask, db: Database, world: World) -> None:
    give_phone(db, world)
    base = f"/r/{open_residents(db, world)}"
    said = []
    for number in (PHONE, "13999999999"):
        phone = app.test_client()
        asked = post(phone, f"{base}/sign-in", {"phone": number}, token_from=f"{base}/sign-in")
        page = phone.get(asked.location).get_data(as_text=True)
        wrong = post(phone, asked.location, {"code": "abc"}, token_from=asked.location)
        bodies = [re.sub(r'nonce="[^"]*"|name="csrf_token"[^>]*', "", b) for b in (page, wrong.get_data(as_text=True))]
        said.append((asked.status_code, asked.location, wrong.status_code, *bodies))
    assert said[0] == said[1]
    assert said[0][2] == 401


def test_guessing_a_code_is_over_after_five(app: Flask, db: Database, world: World) -> None:
    give_phone(db, world)
    base = f"/r/{open_residents(db, world)}"
    phone = app.test_client()
    post(phone, f"{base}/sign-in", {"phone": PHONE}, token_from=f"{base}/sign-in")
    with phones() as arrived:
        deliver_codes(world)
    right = arrived.digits
    guesses = [f"{(int(right) + step) % 1_000_000:06d}" for step in range(1, 30)]
    said = [
        post(phone, f"{base}/sign-in/code", {"code": guess}, token_from=f"{base}/sign-in").get_data(as_text=True)
        for guess in [*guesses, right]
    ]
    assert ["验证码不正确" in page for page in said] == [True] * 4 + [False] * 26
    assert ["验证码已失效" in page for page in said] == [False] * 4 + [True] * 26
    assert phone.get(base).location == f"{base}/sign-in"
    with unit_of_work(world.tenant_id, db=db) as session:
        refused = session.scalars(select(AuditRecord).where(AuditRecord.deed == "resident:session:refuse")).all()
    assert len(refused) == 5
    assert all(PHONE not in str((r.facts, r.subject, r.actor, r.after)) for r in refused)


@pytest.mark.parametrize("cookie", MALFORMED)
def test_a_malformed_cookie_is_no_session_and_no_code(app: Flask, db: Database, world: World, cookie: str) -> None:
    base = f"/r/{open_residents(db, world)}"
    phone = app.test_client()
    phone.set_cookie("resident", cookie)
    phone.set_cookie("resident-code", cookie)
    assert phone.get(base).location == f"{base}/sign-in"
    answer = post(phone, f"{base}/sign-in/code", {"code": "123456"}, token_from=f"{base}/sign-in")
    assert answer.status_code == 401


@pytest.mark.parametrize("code", [*MALFORMED, "", "１２３４５６", "\x00123456", "-1", "1e5"])
def test_a_malformed_code_opens_nothing(app: Flask, db: Database, world: World, code: str) -> None:
    base = f"/r/{open_residents(db, world)}"
    phone = app.test_client()
    post(phone, f"{base}/sign-in", {"phone": PHONE}, token_from=f"{base}/sign-in")
    answer = post(phone, f"{base}/sign-in/code", {"code": code}, token_from=f"{base}/sign-in/code")
    assert answer.status_code in (401, 422)
    assert phone.get(base).status_code == 303


@pytest.mark.parametrize("place", [str(NOBODYS), "x", "1", "..", "%2e%2e"])
def test_a_place_that_is_none_is_not_found_without_the_consoles_links(app: Flask, world: World, place: str) -> None:
    for path in ("", "/sign-in", "/sign-in/code", f"/accounts/{NOBODYS}"):
        answer = app.test_client().get(f"/r/{place}{path}")
        assert answer.status_code == 404
        assert b'href="/home"' not in answer.data


def test_a_page_that_was_never_opened_answers_like_no_place(app: Flask, world: World, db: Database) -> None:
    from_world = public_id(db, world)
    assert app.test_client().get(f"/r/{from_world}").status_code == 404


def test_a_form_without_its_token_does_nothing(app: Flask, db: Database, world: World) -> None:
    base = f"/r/{open_residents(db, world)}"
    phone = resident_client(app, db, world)
    for path in ("/sign-in", "/sign-in/code", "/sign-out"):
        assert phone.post(base + path, data={"phone": PHONE, "everywhere": "1"}).status_code == 403, path
    assert phone.get(base).status_code == 200


def test_signing_out_and_signing_out_everywhere(app: Flask, db: Database, world: World) -> None:
    base = f"/r/{open_residents(db, world)}"
    first, second, third = (resident_client(app, db, world) for _ in range(3))
    assert post(first, f"{base}/sign-out", {}, token_from=base).location == f"{base}/sign-in"
    assert first.get(base).status_code == 303
    assert second.get(base).status_code == 200
    post(second, f"{base}/sign-out", {"everywhere": "1"}, token_from=base)
    assert third.get(base).status_code == 303


@pytest.mark.parametrize("tls", ["0", "1"])
def test_the_cookie_is_the_hosts_own_behind_tls(
    make_app: Callable[..., Flask], db: Database, world: World, tls: str
) -> None:
    app = make_app(TLS=tls)
    give_phone(db, world)
    base = f"/r/{open_residents(db, world)}"
    phone, where = app.test_client(), {"base_url": "https://localhost", "headers": {"Referer": "https://localhost/"}}
    page = phone.get(f"{base}/sign-in", **where).get_data(as_text=True)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token
    asked = phone.post(f"{base}/sign-in", data={"csrf_token": token[1], "phone": PHONE}, **where)
    said = next(line for line in asked.headers.getlist("Set-Cookie") if "resident-code" in line)
    assert ("__Host-resident-code=" in said, "Secure" in said) == (tls == "1", tls == "1")
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= {part.strip() for part in said.split(";")}
    assert "Domain" not in said


def test_every_answer_carries_the_strict_policy_and_is_kept_nowhere(app: Flask, db: Database, world: World) -> None:
    base = f"/r/{open_residents(db, world)}"
    phone = resident_client(app, db, world)
    for path in ("", "/sign-in", f"/accounts/{NOBODYS}"):
        answer = phone.get(base + path)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<style|style=|onclick=|<script(?![^>]*src=)", answer.get_data(as_text=True))


DARK = (
    ({"basis": "manual"}, "工作人员于"),
    ({"basis": "safety"}, "因用电安全"),
    ({"basis": "zero_stop", "paid_at": NIGHT}, "正在恢复供电"),
    ({"basis": "zero_stop", "state": "ordered"}, "即将停供"),
    ({"basis": "manual", "state": "ordered"}, "工作人员已安排停供"),
)


@pytest.mark.parametrize(("values", "said"), DARK)
def test_each_reason_for_the_dark_has_its_words(
    app: Flask, db: Database, world: World, business_clock: MovableClock, values: dict[str, object], said: str
) -> None:
    live_in(db, world, business_clock)
    with unit_of_work(world.tenant_id, db=db) as session:
        from_stops = update(Receipt.metadata.tables["stops"]).values(**values)
        session.execute(from_stops.where(Receipt.metadata.tables["stops"].c.tenant_id == world.tenant_id))
    page = text(resident_client(app, db, world), f"/r/{open_residents(db, world)}")
    assert said in page


def test_a_switch_that_is_open_without_a_stop_is_said_to_be(app: Flask, db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Meter).values(relay_state="open", relay_read_at=NIGHT))
    assert "没有停供记录" in text(resident_client(app, db, world), f"/r/{open_residents(db, world)}")


def test_the_reason_a_person_typed_for_a_stop_stays_with_the_staff(
    app: Flask, db: Database, world: World, business_clock: MovableClock
) -> None:
    bring_online(db, world)
    stop_in_force(db, world, 0, by_hand="与邻居纠纷")
    assert "与邻居纠纷" not in text(resident_client(app, db, world), f"/r/{open_residents(db, world)}")


def test_the_number_that_the_readme_names_is_a_demo_homes() -> None:
    order = [supply.space for supply in HEFENG.supplies].index("A-0202")
    number = phone_of(first_number(0) + order)
    assert f"{number[:3]} {number[3:7]} {number[7:]}" in Path("README.md").read_text(encoding="utf-8")


def test_a_manager_opens_the_page_prints_its_address_and_closes_it(
    visit: Callable[..., Visitor], db: Database, world: World, app: Flask
) -> None:
    manager, cashier = visit(world, Role.PROPERTY_MANAGER), visit(world, Role.CASHIER)
    assert "没有开放" in manager.text("/residents")
    assert cashier.post("/residents/open", token_from="/residents").status_code == 403
    assert manager.post("/residents/open", token_from="/residents").status_code == 303
    page = cashier.text("/residents")
    assert "data:image/svg+xml" in page
    address = re.search(r"https?://[^<\s]+/r/([0-9a-f-]{36})", page)
    assert address
    assert app.test_client().get(f"/r/{address[1]}/sign-in").status_code == 200
    phone = resident_client(app, db, world)
    assert manager.post("/residents/close", token_from="/residents").status_code == 303
    for client in (phone, app.test_client()):
        assert client.get(f"/r/{address[1]}").status_code == 404
