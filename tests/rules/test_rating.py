"""Rating: bills a person can work out by hand, and the promise that cutting never changes the total."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.tariffs.plans import PlanNotYetEffective, PlanTimeline, flat
from app.billing.tariffs.rating import FLAT_LABEL, Line, rate, rate_many, total_microfen
from app.kernel.money import settle
from app.meters.spans import Quality, UsageSpan, split_usage

SHANGHAI = ZoneInfo("Asia/Shanghai")
CHANGE = datetime(2026, 7, 2, tzinfo=SHANGHAI)
TIMELINE = PlanTimeline.of([flat(1, CHANGE - timedelta(days=30), "0.6083"), flat(2, CHANGE, "0.65")])


def span(from_hours: int, to_hours: int, usage_wh: int) -> UsageSpan:
    """Usage between so many hours before or after the price change."""
    from_at, to_at = CHANGE + timedelta(hours=from_hours), CHANGE + timedelta(hours=to_hours)
    return UsageSpan(from_at, to_at, usage_wh, Quality.ACTUAL, date(2026, 7, 1))


# hours before and after the change, Wh; then each line: Wh × price = microfen (a fen is a million), version
TABLE = """
    -2 -1  1500   | 1500 0.6083 91245000  1
    -1  0  1      | 1    0.6083 60830     1
     0  1  1500   | 1500 0.65   97500000  2
    -1  1  1000   | 500  0.6083 30415000  1, 500 0.65 32500000 2
    -1  2  1000   | 333  0.6083 20256390  1, 667 0.65 43355000 2
    -1  1  1      | 0    0.6083 0         1, 1   0.65 65000    2
    -1  1  0      | 0    0.6083 0         1, 0   0.65 0        2
"""


@pytest.mark.parametrize("row", TABLE.strip().splitlines(), ids=lambda row: " ".join(row.split()))
def test_a_bill_is_usage_times_price(row: str) -> None:
    given_as, expected = row.split("|")
    usage = span(*(int(word) for word in given_as.split()))
    lines = rate(usage, TIMELINE)
    shown = [(line.quantity_wh, line.price, line.amount_microfen, line.plan_version_id) for line in lines]
    assert shown == [
        (int(wh), Decimal(price), int(microfen), int(version))
        for wh, price, microfen, version in (line.split() for line in expected.split(","))
    ]
    assert (lines[0].from_at, lines[-1].to_at) == (usage.from_at, usage.to_at)
    assert all(one.to_at == other.from_at for one, other in pairwise(lines))


def test_a_line_shows_its_whole_working() -> None:
    usage = span(-2, -1, 42_000)
    (line,) = rate(usage, TIMELINE)
    expected = Line(FLAT_LABEL, 42_000, Decimal("0.6083"), 42_000 * 60_830, 1, usage.from_at, usage.to_at)
    assert line == expected
    assert settle(0, total_microfen([line])) == (2_554, 860_000)


def test_usage_before_the_plan_has_no_price() -> None:
    with pytest.raises(PlanNotYetEffective):
        rate(span(-24 * 30 - 1, 0, 100), TIMELINE)


def test_many_spans_are_rated_each_by_itself() -> None:
    spans = [span(-2, -1, 1_500), span(-1, 1, 1_000), span(0, 1, 1_500)]
    assert rate_many(spans, TIMELINE) == [rate(one, TIMELINE) for one in spans]


PRICES = st.decimals(0, 5, places=5)


@given(
    usage_wh=st.integers(0, 10**9),
    hours=st.integers(1, 24 * 40),
    prices=st.lists(PRICES, min_size=1, max_size=5),
)
def test_lines_add_up_to_the_usage_and_each_is_exact(usage_wh: int, hours: int, prices: list[Decimal]) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    timeline = PlanTimeline.of(flat(i, start + timedelta(days=7 * i), price) for i, price in enumerate(prices))
    usage = UsageSpan(start, start + timedelta(hours=hours), usage_wh, Quality.SPREAD, start.date())
    lines = rate(usage, timeline)
    assert sum(line.quantity_wh for line in lines) == usage_wh
    for line in lines:
        exact_fen = Decimal(line.quantity_wh) / 1_000 * line.price * 100
        assert exact_fen * 1_000_000 == line.amount_microfen


@given(usage_wh=st.integers(0, 10**8), hours=st.integers(1, 24 * 40))
def test_on_one_price_cutting_into_days_changes_nothing(usage_wh: int, hours: int) -> None:
    start = datetime(2026, 8, 1, 3, 17, tzinfo=UTC)
    days = split_usage(from_at=start, to_at=start + timedelta(hours=hours), usage_wh=usage_wh, zone=SHANGHAI)
    rated = sum(total_microfen(lines) for lines in rate_many(days, TIMELINE))
    assert rated == usage_wh * 65_000
    carry, posted_fen = 0, 0
    for lines in rate_many(days, TIMELINE):
        day_fen, carry = settle(carry, total_microfen(lines))
        posted_fen += day_fen
    assert posted_fen == usage_wh * 65_000 // 1_000_000
