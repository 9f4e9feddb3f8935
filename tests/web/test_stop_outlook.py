"""Rooms at zero: when a stop is to be expected, or what holds it, on the work list and on the account's page alike."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from app.billing.cutoff import order_stop
from app.billing.models import SupplyAccount
from app.billing.stop_policy import Basis
from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Mount
from app.web.console.stop_outlook import stop_outlook
from tests.conftest import MovableClock
from tests.factories.history import bring_online, pay, public_id, read_hourly
from tests.factories.world import World
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]

NOON = datetime(2026, 7, 15, 4, 0, tzinfo=UTC)
EVENING = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)
MORNING = datetime(2026, 7, 16, 0, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=20)
PAST_OVERDRAFT = {
    "verdict": None, "next_at": None, "judged_at": None, "judged_basis": None, "edge_at": None,
    "usage_class": "residential", "overdraft_fen_max": 2_000, "guaranteed_supply": False, "control": "auto",
    "reading_at": NOON, "time_zone": "Asia/Shanghai", "stops_halted": False, "protected": False, "agreed": True,
    "frozen": False, "live": True, "available_fen": -2_001,
}  # fmt: skip
JUDGED = {"judged_basis": "zero_stop", "judged_at": NOON}


@pytest.mark.parametrize(
    ("facts", "now", "verdict", "held", "stop_at"),
    [
        ({}, NOON, "notice_last_warning", False, None),
        ({}, EVENING, "after_hours", False, MORNING),
        ({"usage_class": "dormitory"}, EVENING, "notice_last_warning", False, None),
        ({"available_fen": -2_000}, EVENING, "balance_above_floor", True, None),
        ({"agreed": False}, EVENING, "no_agreement", True, None),
        ({"guaranteed_supply": True}, EVENING, "guaranteed", True, None),
        ({"protected": True}, EVENING, "protected", True, None),
        ({"control": "bypassed"}, EVENING, "bypassed", True, None),
        ({"stops_halted": True}, EVENING, "kill_switch", True, None),
        ({"frozen": True}, EVENING, "frozen", True, None),
        ({"reading_at": None}, EVENING, "data_missing", True, None),
        ({"reading_at": EVENING - timedelta(hours=25)}, EVENING, "data_stale", True, None),
        ({"live": False}, NOON, "dry_run", True, None),
        ({"verdict": "after_hours", "next_at": MORNING, **JUDGED}, EVENING, "after_hours", False, MORNING),
        ({"verdict": "last_warning_too_recent", "next_at": LATER, **JUDGED}, NOON, "last_warning_too_recent", False, LATER),
        ({"verdict": "hour_limit", "next_at": LATER, **JUDGED}, NOON, "hour_limit", False, LATER),
        ({"verdict": "notice_zero", **JUDGED}, EVENING, "notice_zero", True, None),
        ({"verdict": "meter_refused", "next_at": MORNING, **JUDGED}, EVENING, "meter_refused", True, None),
        ({"verdict": "after_hours", "live": False, **JUDGED}, EVENING, "after_hours", True, None),
        # A refusal of what a person asked for says nothing about the stop at zero.
        ({"verdict": "manual_reason_missing", "judged_basis": "manual"}, EVENING, "after_hours", False, MORNING),
    ],
)  # fmt: skip
def test_the_outlook_follows_the_gate(
    facts: dict[str, Any], now: datetime, verdict: str, held: bool, stop_at: datetime | None
) -> None:
    row: Any = SimpleNamespace(**{**PAST_OVERDRAFT, **facts})
    outlook = stop_outlook(row, now)
    assert (outlook.verdict, outlook.held, outlook.stop_at) == (verdict, held, stop_at)


@pytest.fixture
def low(world: World, db: Database, business_clock: MovableClock) -> World:
    """In the evening: A-0101 within its overdraft, A-0102 past it and judged, A-0103 past it and guaranteed."""
    bring_online(db, world)
    business_clock.set(EVENING)
    read_hourly(db, world, since=EVENING - timedelta(hours=80), hours=80)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Mount).where(Mount.id == world.mount_ids[2]).values(guaranteed_supply=True))
        account = SupplyAccount.id == world.supply_account_ids[3]
        session.execute(update(SupplyAccount).where(account).values(state="suspended"))
        asked = {"supply_account_id": world.supply_account_ids[1], "basis": Basis.ZERO_STOP}
        order_stop(session, **asked, actor=Actor.system("tests"))
    return world


def work_rows(page: str) -> dict[str, tuple[str, str]]:
    """Room → (state of its mark, words) of the rows about rooms at zero."""
    rows = re.findall(r'<li class="work-row"><span class="mark mark-(\w+)".*?</span>(.*?)</li>', page, re.S)
    said = [(state, " ".join(re.sub(r"<[^>]+>", " ", words).split())) for state, words in rows]
    return {words.split()[0]: (state, words) for state, words in said}


AFTER_HOURS = "今晚 18:00 后不停供（免打扰时段），系统将于明日"


def test_today_lists_every_room_at_zero_with_its_state_and_its_hour(visit: Visit, low: World) -> None:
    rows = work_rows(visit(low).text("/"))
    assert list(rows) == ["A-0102", "A-0103", "A-0101"]
    assert {room: state for room, (state, _words) in rows.items()} == {
        "A-0101": "zero", "A-0102": "zero", "A-0103": "guaranteed",
    }  # fmt: skip
    assert "余额用尽但不停供" in rows["A-0101"][1]
    assert "复核余额未超过透支额度" in rows["A-0101"][1]
    assert "即将停供" in rows["A-0102"][1]
    assert AFTER_HOURS in rows["A-0102"][1]
    assert "预计停供 2026-07-16 08:00" in rows["A-0102"][1]
    assert "保电对象" in rows["A-0103"][1]


@pytest.mark.parametrize(
    ("index", "said"),
    [(0, "复核余额未超过透支额度"), (1, AFTER_HOURS), (2, "保电对象")],
)
def test_the_account_says_in_the_gates_words_why_nothing_was_stopped(
    visit: Visit, low: World, db: Database, index: int, said: str
) -> None:
    address = f"/accounts/{public_id(db, low, index)}"
    for page in (visit(low).text(address), visit(low).text(f"{address}/live")):
        assert "停供判定" in page
        assert said in page
    assert ("预计停供 <time" in visit(low).text(address)) is (index == 1)


def test_nobody_wonders_about_an_account_that_is_well(visit: Visit, world: World, db: Database) -> None:
    pay(db, world)
    assert "停供判定" not in visit(world).text(f"/accounts/{public_id(db, world)}")
