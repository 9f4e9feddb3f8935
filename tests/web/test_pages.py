"""Every page answers, empty and full, in both languages, and asks the database few questions."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event, select, update

from app.billing.models import SupplyAccount
from app.kernel.db import Database, database
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Gateway, Meter, Mount, ReadingCase
from app.permissions.policy import Role
from app.tenants.models import AuditRecord, Party
from app.web.console.demo import StreetAbsent, switch
from tests.conftest import MovableClock
from tests.factories.history import bring_online, close_days, pay, public_id, read_hourly, stop_in_force
from tests.factories.people import person
from tests.factories.world import World, add_property
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]

PAGES = (
    "/", "/rooms", "/rooms?state=zero", "/accounts", "/accounts?state=normal", "/payments", "/deliveries",
    "/emergency", "/emergency?q=A", "/collection", "/rooms/mass", "/residents",
    "/customers", "/customers?q=1234", "/unmaskings",
    "/meters", "/meters?online=0", "/readings/import", "/entries", "/entries?kind=top_up&day=2026-07-15", "/energy",
    "/energy?days=7", "/audit", "/audit?result=refused&words=x", "/people", "/roles", "/permissions",
    "/permissions/money:topup:sell", "/plans", "/onboarding", "/security", "/tokens",
    "/search", "/properties", "/today/live", "/deliveries/live", "/healthz", "/approvals",
    "/approvals?part=mine", "/approvals?part=ended",
)  # fmt: skip
CHINESE = re.compile(r"[一-鿿]")


@pytest.fixture
def lived_in(world: World, db: Database, business_clock: MovableClock) -> World:
    """A world with money, three days of readings, a stop that is paid for, a case and a lost gateway."""
    bring_online(db, world)
    now = business_clock.now()
    business_clock.set(now - timedelta(days=4))
    for index in range(4):
        pay(db, world, index, fen=3_000 * (index + 1), channel=("cash", "bank", "pos", "cash")[index])
    business_clock.set(now)
    read_hourly(db, world, since=now - timedelta(hours=82), hours=80)
    close_days(db, world)
    stop_in_force(db, world, 3, paid=True)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.add(Gateway(property_id=world.property_id, number=f"LOST{world.tenant_id}", mode="dial_in"))
        session.add(
            ReadingCase(
                property_id=world.property_id, meter_id=world.meter_ids[0], register="total", read_at=now,
                register_wh=1, flag="negative", source="headend", facts={}, received_at=now,
            )
        )  # fmt: skip
    return world


def every_page(visit: Visit, db: Database, world: World, *, locale: str = "zh") -> Iterator[tuple[str, str]]:
    """(address, page) of lists and of one thing each: the counter as a cashier, all others as headquarters."""
    for role, addresses in ((Role.GROUP_ADMINISTRATOR, addresses_of), (Role.CASHIER, counter_addresses)):
        visitor = visit(world, role)
        visitor.client.set_cookie("locale", locale)
        for address in addresses(db, world, visitor):
            yield address, visitor.text(address)


def counter_addresses(db: Database, world: World, _visitor: Visitor) -> Iterator[str]:
    """What only a cashier opens."""
    yield from ("/counter", f"/counter/{public_id(db, world)}", f"/receipts/{pay(db, world)}")


def addresses_of(db: Database, world: World, visitor: Visitor) -> Iterator[str]:
    """The addresses of lists and of one thing each."""
    yield from PAGES
    yield from ("/limits", "/limits/price_change/property_manager")
    yield from ("/people/new", "/roles/new?from=cashier", "/security-policy", "/webhooks")
    account, receipt = public_id(db, world), pay(db, world)
    yield from (f"/accounts/{account}", f"/accounts/{account}/live", f"/accounts/{account}/statement")
    yield from (f"/receipts/{receipt}", f"/receipts/{receipt}/progress")
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = session.scalars(select(Meter.public_id).where(Meter.id == world.meter_ids[0])).one()
        gateway = session.scalars(select(Gateway.public_id).where(Gateway.id == world.gateway_id)).one()
    yield from (f"/meters/{meter}", f"/gateways/{gateway}")
    for listed, pattern in (("/entries", "/entries/[0-9a-f-]{36}"), ("/plans", "/plans/[0-9a-f-]{36}"),
                            ("/rooms", "/rooms/[0-9a-f-]{36}/panel")):  # fmt: skip
        found = re.search(pattern, visitor.text(listed))
        assert found, listed
        yield found[0]


def test_every_page_answers_when_much_has_happened(visit: Visit, lived_in: World, db: Database) -> None:
    for address, page in every_page(visit, db, lived_in):
        assert "UndefinedError" not in page, address


def test_every_page_answers_when_nothing_has_happened(
    visit: Visit, make_world: Callable[..., World], db: Database
) -> None:
    world = make_world(spaces=1)
    with unit_of_work(world.tenant_id, db=db) as session:
        elsewhere = add_property(session, world, name="翠湖天地")
    visitor = visit(world, Role.PROPERTY_MANAGER, at=elsewhere)
    for address in PAGES:
        visitor.text(address)


def test_no_chinese_is_left_on_an_english_page(visit: Visit, lived_in: World, db: Database) -> None:
    names = (
        "切换到中文", "中文", "集团总部", "远景物业集团", "远景物业服务有限公司", "和风苑", "居民合表", "陈静怡", "李雯",
        "余额用尽停供", "副本", "住", "座", "中", "账",
    )  # fmt: skip
    capital = re.compile("[零壹贰叁肆伍陆柒捌玖拾佰仟万亿元角分整]+")
    for address, page in every_page(visit, db, lived_in, locale="en"):
        for name in names:
            page = page.replace(name, "")
        left = CHINESE.search(capital.sub("", page))
        assert left is None, f"{address}: …{page[left.start() - 60 : left.end() + 60]}…"


def test_what_people_are_called_is_masked_and_escaped(visit: Visit, lived_in: World, db: Database) -> None:
    with unit_of_work(lived_in.tenant_id, db=db) as session:
        session.execute(update(Party).where(Party.id == lived_in.party_ids[0]).values(name="<b>王</b>小明"))
        session.execute(update(Party).where(Party.id == lived_in.party_ids[1]).values(name="王小明"))
    visitor = visit(lived_in)
    for address in ("/accounts", f"/accounts/{public_id(db, lived_in)}", "/search?q=A-01"):
        page = visitor.text(address)
        assert "<b>王" not in page
        assert "王小明" not in page
    assert "王*" in visitor.text("/accounts")


class Questions:
    """Statements sent to the database of the web process, transaction control left out."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __enter__(self) -> "Questions":
        event.listen(database().engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        event.remove(database().engine, "before_cursor_execute", self._note)

    def _note(self, _c: object, _k: object, statement: str, *_rest: object) -> None:
        self.said.append(statement)


@pytest.mark.parametrize(
    ("address", "most"), [("/rooms", 12), ("/", 16), ("/accounts", 8), ("/meters", 10), ("/entries", 8)]
)
def test_a_page_asks_few_questions_however_much_there_is(
    visit: Visit, lived_in: World, address: str, most: int
) -> None:
    visitor = visit(lived_in)
    with Questions() as asked:
        visitor.text(address)
    assert len(asked.said) <= most, "\n".join(asked.said)


def test_the_wall_shows_each_room_in_its_state(visit: Visit, lived_in: World, db: Database) -> None:
    with unit_of_work(lived_in.tenant_id, db=db) as session:
        session.execute(
            update(SupplyAccount).where(SupplyAccount.id == lived_in.supply_account_ids[0]).values(state="suspended")
        )
        session.execute(update(Mount).where(Mount.meter_id == lived_in.meter_ids[1]).values(guaranteed_supply=True))
        session.execute(
            update(SupplyAccount).where(SupplyAccount.id == lived_in.supply_account_ids[2]).values(state="closed")
        )
    wall = visit(lived_in).text("/rooms")
    states = dict(re.findall(r'class="tile tile-(\w+)" id="tile-(\d+)"', wall))
    found = {state: int(space) for state, space in states.items()}
    assert found == {
        "suspended": lived_in.space_ids[0],
        "guaranteed": lived_in.space_ids[1],
        "vacant": lived_in.space_ids[2],
        "cut_off": lived_in.space_ids[3],
    }


def test_the_filter_of_the_wall_is_in_the_address(visit: Visit, lived_in: World) -> None:
    wall = visit(lived_in).text("/rooms?state=cut_off")
    assert len(re.findall('class="tile ', wall)) == 1
    assert 'aria-pressed="true"' in wall


def floors(page: str) -> str:
    """What a page's script says it shows."""
    return ",".join(f"{f}:{d}" for f, d in re.findall(r'data-floor="(\d+)" data-digest="(\w+)"', page))


def test_the_wall_sends_only_floors_that_changed(visit: Visit, lived_in: World, db: Database) -> None:
    visitor = visit(lived_in)
    shown = floors(visitor.text("/rooms"))
    assert visitor.get(f"/rooms/live?floors={shown}").status_code == 204
    pay(db, lived_in, 0, fen=777)
    changed = visitor.get(f"/rooms/live?floors={shown}")
    assert changed.status_code == 200
    assert 'hx-swap-oob="true"' in changed.get_data(as_text=True)
    whole = visitor.get("/rooms/live?floors=1:abc")
    assert whole.headers["HX-Retarget"] == "#wall"


@pytest.mark.parametrize("address", ["/today/live", "/deliveries/live"])
def test_a_live_part_is_silent_until_it_has_something_to_say(
    visit: Visit, lived_in: World, db: Database, address: str
) -> None:
    visitor = visit(lived_in)
    seen = visitor.get(address).headers["X-Seen"]
    assert visitor.get(f"{address}?seen={seen}").status_code == 204
    with unit_of_work(lived_in.tenant_id, db=db) as session:
        session.execute(update(Meter).values(number=Meter.number + "Z"))
    stop_in_force(db, lived_in, 1, paid=True)
    assert visitor.get(f"{address}?seen={seen}").status_code == 200


def test_the_account_page_opens_every_figure_to_its_evidence(visit: Visit, lived_in: World, db: Database) -> None:
    page = visit(lived_in).text(f"/accounts/{public_id(db, lived_in, 3)}")
    for words in (
        "计算过程",
        "0.56 元/kWh",
        "68 01 00 00 00 00 00 68 1C",
        "** ** **",
        "余额用尽停供",
        "送达证据",
        "XY-0004",
    ):
        assert words in page, words


def test_a_statement_downloads_as_what_it_shows(visit: Visit, lived_in: World, db: Database) -> None:
    visitor = visit(lived_in)
    answer = visitor.get(f"/accounts/{public_id(db, lived_in)}/statement?format=csv")
    assert answer.mimetype == "text/csv"
    text = answer.get_data(as_text=True)
    assert text.startswith("﻿时间,类别,说明,金额（元）,余额（元）,凭证号")
    assert ",30.00,30.00," in text


def test_lists_page_by_key(visit: Visit, make_world: Callable[..., World]) -> None:
    visitor = visit(make_world(spaces=60))
    first = visitor.text("/accounts")
    following = re.search(r'href="(/accounts\?after=\d+)"', first)
    assert following
    second = visitor.text(following[1])
    names = [set(re.findall(r"A座 (A-\d+)", page)) for page in (first, second)]
    assert len(names[0]) == 50
    assert len(names[1]) == 10
    assert not names[0] & names[1]


def test_the_demo_panel_moves_the_clock_only_in_a_demo(
    visit: Visit, lived_in: World, business_clock: MovableClock, make_world: Callable[..., World]
) -> None:
    visitor = visit(lived_in)
    before = business_clock.now()
    page = visitor.text("/rooms")
    answer = visitor.post("/demo/clock", {"deed": "day", "back": "/rooms"})
    shown = "演示时钟" in page
    moved = business_clock.now() - before
    assert (answer.status_code, moved) == ((303, timedelta(days=1)) if shown else (404, timedelta()))


def test_a_real_group_has_no_demo_panel(
    visit: Visit, make_world: Callable[..., World], business_clock: MovableClock
) -> None:
    visitor = visit(make_world(kind="real"))
    assert "演示时钟" not in visitor.text("/rooms")
    before = business_clock.now()
    assert visitor.post("/demo/clock", {"deed": "day"}).status_code == 404
    assert business_clock.now() == before


def test_prices_are_published_forward_and_kept_when_refused(visit: Visit, lived_in: World) -> None:
    visitor = visit(lived_in)
    plan = re.search("/plans/[0-9a-f-]{36}", visitor.text("/plans"))
    assert plan
    form = {"price": "0.6083", "effective_from": "2026-08-01T00:00", "deed": "publish"}
    assert visitor.post(f"{plan[0]}/versions", form, token_from=plan[0]).status_code == 303
    page = visitor.text(plan[0])
    assert "0.6083" in page
    assert "待生效" in page
    for wrong in ({"price": "abc"}, {"price": "0.1234567"}, {"price": "NaN"}, {"effective_from": "soon"}, form):
        answer = visitor.post(f"{plan[0]}/versions", {**form, **wrong}, token_from=plan[0])
        assert 400 <= answer.status_code < 500, wrong
        assert "没有发布" in answer.get_data(as_text=True)


def test_a_price_shows_what_it_changes_and_a_slip_of_the_unit_needs_a_tick_and_another_person(
    visit: Visit, lived_in: World, db: Database
) -> None:
    visitor = visit(lived_in)
    plan = re.search("/plans/[0-9a-f-]{36}", visitor.text("/plans"))
    assert plan
    slip = {"price": "56", "effective_from": "2026-08-01T00:00"}
    for form in ({**slip, "deed": "check"}, {**slip, "deed": "publish"}):
        page = visitor.post(f"{plan[0]}/versions", form, token_from=plan[0]).get_data(as_text=True)
        assert "0.56 → 56.00 元/kWh（+9900%） · 自 2026-08-01 00:00 起 · 4 户" in page
        assert 'name="large"' in page
        assert "待生效" not in page
    ticked = {**slip, "deed": "publish", "large": "1"}
    asked = visitor.post(f"{plan[0]}/versions", ticked, token_from=plan[0])
    assert (asked.status_code, "提交审批" in asked.get_data(as_text=True)) == (422, True)
    person(db, lived_in, Role.GROUP_FINANCE, at=lived_in.headquarters_id)
    filed = visitor.post(f"{plan[0]}/versions", {**ticked, "reason": "按新文件调价"}, token_from=plan[0])
    assert filed.location.startswith("/approvals/")
    assert "0.56" in visitor.text(filed.location)
    assert "待生效" not in visitor.text(plan[0])


def test_a_doubtful_reading_is_settled_with_a_reason_and_by_the_property_only(
    visit: Visit, lived_in: World, db: Database
) -> None:
    with unit_of_work(lived_in.tenant_id, db=db) as session:
        case_id = session.scalars(select(ReadingCase.id).where(ReadingCase.settled_at.is_(None))).one()
    address = f"/cases/{case_id}/settle"  # without a reason: CaseReasonMissing
    assert visit(lived_in, Role.CASHIER).post(address, {"reason": "看过了"}).status_code in {403, 404}
    visitor = visit(lived_in, Role.PROPERTY_MANAGER)
    assert "核对完毕" in visitor.text("/meters")
    answers = [visitor.post(address, {"reason": reason}).status_code for reason in (" ", "现场核对，示数正常", "再来")]
    assert answers == [422, 303, 404]
    with unit_of_work(lived_in.tenant_id, db=db) as session:
        assert session.scalars(select(ReadingCase.id).where(ReadingCase.settled_at.is_(None))).all() == []
        told = session.scalars(select(AuditRecord.facts).where(AuditRecord.deed == "reading:case:settle")).one()
    assert (told["reason"], told["flag"]) == ("现场核对，示数正常", "negative")


def test_a_property_manager_stops_by_hand_and_hears_why_not(visit: Visit, lived_in: World, db: Database) -> None:
    visitor = visit(lived_in, Role.PROPERTY_MANAGER)
    account = public_id(db, lived_in)
    answer = visitor.post(
        f"/accounts/{account}/supply", {"deed": "stop", "reason": ""}, token_from=f"/accounts/{account}"
    )
    assert answer.status_code == 303
    assert "没有停供：" in visitor.text(f"/accounts/{account}")
    answer = visitor.post(f"/accounts/{account}/supply", {"deed": "dance"}, token_from=f"/accounts/{account}")
    assert answer.status_code == 422


def test_static_files_may_be_kept_by_the_browser(app: Flask) -> None:
    answer = app.test_client().get("/static/app.css?v=1")
    answer.close()
    assert "max-age=31536000" in answer.headers["Cache-Control"]


def test_a_gateway_is_not_switched_where_no_street_runs(app: Flask) -> None:
    with app.test_request_context("/"), pytest.raises(StreetAbsent) as refused:
        switch("GW-1", offline=True)
    assert refused.value.status == 503
    assert "make run" in refused.value.message("en")
