"""The statement opens each posting to the amounts it was made of, also when the day went on afterwards."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from app.billing.day_close import post_accrual_now
from app.billing.day_memo import DayMemo
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.web.console.posting_working import posting_working
from tests.conftest import MovableClock
from tests.factories.history import pay, public_id, read_hourly
from tests.factories.world import World
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
LINES = [{"price": "0.56"}]
MEMO = DayMemo(date(2026, 7, 15), "3.00 kWh", 168_000_000, 112_000_000, 0, 0)


def post_the_day_so_far(db: Database, world: World) -> None:
    """Post what is rated of the first account, as a refund or a closing does."""
    with unit_of_work(world.tenant_id, db=db) as session:
        account, wallet = world.supply_account_ids[0], world.wallet_ids[0]
        post_accrual_now(session, supply_account_id=account, wallet_id=wallet, today=date(2026, 7, 15))


@pytest.fixture
def posted_twice(world: World, db: Database, business_clock: MovableClock) -> World:
    """2.8 kWh of the day were posted, 1.568 yuan with 0.008 carried on; then 1.2 kWh more, with which the day is even."""
    midnight = business_clock.now().replace(hour=16, minute=0) - timedelta(days=1)
    for hours in (8, 11):
        business_clock.set(midnight + timedelta(hours=hours))
        read_hourly(db, world, since=midnight, hours=hours)
        post_the_day_so_far(db, world)
    return world


def workings(page: str) -> list[str]:
    """The opened workings of the statement's postings, newest first, as text."""
    table = page[page.index('class="table statement"') :].partition("</table>")[0]
    parts = re.findall(r"<details>(.*?)</details>", table, re.S)
    return [" ".join(re.sub(r"<[^>]+>", " ", part).split()) for part in parts]


def test_an_older_posting_shows_the_day_as_it_knew_it(visit: Visit, posted_twice: World, db: Database) -> None:
    newer, older = workings(visit(posted_twice).text(f"/accounts/{public_id(db, posted_twice)}/statement"))
    assert older == ("计算过程 本日合计 2.80 kWh · ¥1.568 尾差结转 + ¥0.00 − ¥0.008 本笔金额 = ¥1.56")
    assert "4.00 kWh × 0.56 元/kWh = ¥2.2400" in newer
    assert newer.endswith(
        "本日合计 4.00 kWh · ¥2.24 已结 − ¥1.568 补结 = ¥0.672 尾差结转 + ¥0.008 − ¥0.00 本笔金额 = ¥0.68"
    )


def test_the_account_page_opens_its_postings_the_same_way(visit: Visit, posted_twice: World, db: Database) -> None:
    pay(db, posted_twice)
    account = public_id(db, posted_twice)
    visitor = visit(posted_twice)
    assert workings(visitor.text(f"/accounts/{account}")) == workings(visitor.text(f"/accounts/{account}/statement"))


@pytest.mark.parametrize(
    ("memo", "day", "lines"),
    [
        (MEMO, {"usage_wh": 3_000, "rated_microfen": 168_000_000}, LINES),
        (MEMO, {"usage_wh": 3_000, "rated_microfen": 168_000_001}, ()),
        (MEMO, {"usage_wh": 4_000, "rated_microfen": 168_000_000}, ()),
        (MEMO, None, ()),
        (None, {"revision": 1, "rated_microfen": 5, "posted_microfen": 5}, LINES),
        (None, {"revision": 2, "rated_microfen": 5, "posted_microfen": 5}, ()),
        (None, {"revision": 1, "rated_microfen": 6, "posted_microfen": 5}, ()),
    ],
)
def test_lines_are_shown_only_where_they_were_the_postings_own(
    memo: DayMemo | None, day: dict[str, Any] | None, lines: object
) -> None:
    row: Any = SimpleNamespace(**day, lines=LINES) if day else None
    assert posting_working(memo, row).lines == lines
