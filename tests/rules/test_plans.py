"""Plans: which prices may be said, and which of them holds when."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from app.billing.tariffs import plans
from app.billing.tariffs.plans import FlatPrice, PlanTimeline, flat, parse_price
from app.kernel.errors import AppError

SHANGHAI = ZoneInfo("Asia/Shanghai")
JULY, AUGUST, SEPTEMBER = (datetime(2026, month, 1, tzinfo=SHANGHAI) for month in (7, 8, 9))
INSTANT = timedelta(microseconds=1)
TIMELINE = PlanTimeline.of([flat(3, SEPTEMBER, "0.7"), flat(1, JULY, "0.6083"), flat(2, AUGUST, "0.65")])


@pytest.mark.parametrize(
    ("text", "microfen_per_wh"),
    [
        ("1", 100_000),
        ("0.6083", 60_830),
        ("0.60830", 60_830),
        ("0.608300", 60_830),
        ("0.00001", 1),
        ("0", 0),
        ("1E+1", 1_000_000),
        (" 0.5 ", 50_000),
        ("999.99999", 99_999_999),
    ],
)
def test_a_price_is_whole_microfen_per_watt_hour(text: str, microfen_per_wh: int) -> None:
    assert FlatPrice(parse_price(text)).microfen == microfen_per_wh


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", plans.PriceUnreadable),
        ("free", plans.PriceUnreadable),
        ("NaN", plans.PriceUnreadable),
        ("-Infinity", plans.PriceUnreadable),
        ("1000", plans.PriceUnreadable),
        ("-1001", plans.PriceUnreadable),
        ("-0.5", plans.PriceNegative),
        ("-0.0000001", plans.PriceNegative),
        ("0.000001", plans.PriceTooFine),
        ("0.608301", plans.PriceTooFine),
    ],
)
def test_what_is_no_price_is_refused_by_name(text: str, refusal: type[AppError]) -> None:
    with pytest.raises(refusal) as caught:
        parse_price(text)
    assert caught.value.message("zh")
    assert caught.value.message("en")


def test_a_price_is_never_a_float() -> None:
    with pytest.raises(TypeError):
        FlatPrice(0.6)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("instant", "version"),
    [
        (JULY, 1),
        (AUGUST - INSTANT, 1),
        (AUGUST, 2),
        (AUGUST.astimezone(UTC), 2),
        (SEPTEMBER - INSTANT, 2),
        (SEPTEMBER, 3),
        (SEPTEMBER + timedelta(days=1_000), 3),
    ],
)
def test_a_version_holds_from_its_first_moment_until_the_next(instant: datetime, version: int) -> None:
    assert TIMELINE.at(instant).id == version


@pytest.mark.parametrize(
    ("from_at", "to_at", "cuts", "only"),
    [
        (JULY, AUGUST, [], 1),
        (JULY, AUGUST + INSTANT, [AUGUST], None),
        (AUGUST - INSTANT, AUGUST, [], 1),
        (AUGUST, SEPTEMBER, [], 2),
        (JULY, SEPTEMBER + INSTANT, [AUGUST, SEPTEMBER], None),
        (SEPTEMBER, SEPTEMBER + timedelta(days=9), [], 3),
    ],
)
def test_a_span_is_cut_where_the_price_changes_inside_it(
    from_at: datetime, to_at: datetime, cuts: list[datetime], only: int | None
) -> None:
    assert TIMELINE.cuts(from_at, to_at) == cuts
    version = TIMELINE.only_over(from_at, to_at)
    assert (version and version.id) == only


def test_what_a_timeline_cannot_be() -> None:
    with pytest.raises(plans.PlanEmpty):
        PlanTimeline.of([])
    with pytest.raises(plans.PlanVersionsClash) as clash:
        PlanTimeline.of([flat(1, JULY, "0.6"), flat(2, JULY.astimezone(UTC), "0.7")])
    assert "2026-0" in clash.value.message("en")


def test_before_the_first_version_there_is_no_price() -> None:
    with pytest.raises(plans.PlanNotYetEffective) as early:
        TIMELINE.at(JULY - INSTANT)
    assert JULY.isoformat() in early.value.message("zh")
    with pytest.raises(plans.PlanNotYetEffective):
        TIMELINE.only_over(JULY - INSTANT, AUGUST)


def test_a_price_prints_as_it_was_published() -> None:
    assert str(TIMELINE.at(JULY).price.yuan) == "0.6083"
    for stored, shown in [("0.60830000", "0.6083"), ("10.00000000", "10"), ("0E-8", "0"), ("1E+1", "10")]:
        assert str(FlatPrice(Decimal(stored)).yuan) == shown
