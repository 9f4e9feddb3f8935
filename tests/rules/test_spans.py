"""Usage cut at civil midnights and price changes: every watt-hour has one day, none is lost."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import AppError
from app.meters import spans
from app.meters.spans import Quality, UsageSpan, day_bounds, local_day, midnights, pro_rata, split_usage

SHANGHAI = ZoneInfo("Asia/Shanghai")
ACTUAL, SPREAD, ESTIMATED = Quality.ACTUAL, Quality.SPREAD, Quality.ESTIMATED


def t(text: str) -> datetime:
    """An instant of 2026 in Shanghai: "07-01 12:00"."""
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI)


# from, to, usage, price changes; then each part: until, usage, day, quality
TABLE = """
    07-01 12:00  07-01 13:00  1500   -            | 07-01 13:00 1500  1 actual
    07-01 12:00  07-01 13:00  0      -            | 07-01 13:00 0     1 actual
    07-01 23:00  07-02 00:00  600    -            | 07-02 00:00 600   1 actual
    07-02 00:00  07-02 01:00  600    -            | 07-02 01:00 600   2 actual
    07-01 23:00  07-02 01:00  600    -            | 07-02 00:00 300   1 actual, 07-02 01:00 300  2 actual
    07-01 23:00  07-02 01:00  601    -            | 07-02 00:00 300   1 actual, 07-02 01:00 301  2 actual
    07-01 23:00  07-02 02:00  1      -            | 07-02 00:00 0     1 actual, 07-02 02:00 1    2 actual
    07-01 12:00  07-01 14:00  1000   07-01_13:00  | 07-01 13:00 500   1 actual, 07-01 14:00 500  1 actual
    07-01 12:00  07-01 14:00  1000   07-01_12:00  | 07-01 14:00 1000  1 actual
    07-01 12:00  07-01 14:00  1000   07-01_14:00  | 07-01 14:00 1000  1 actual
    07-01 12:00  07-01 14:00  1000   07-02_12:00  | 07-01 14:00 1000  1 actual
    07-01 23:00  07-02 01:00  600    07-02_00:00  | 07-02 00:00 300   1 actual, 07-02 01:00 300  2 actual
    07-01 12:00  07-01 18:00  600    -            | 07-01 18:00 600   1 actual
    07-01 12:00  07-01 18:01  600    -            | 07-01 18:01 600   1 spread
    07-01 12:00  07-03 12:00  4800   -            | 07-02 00:00 1200  1 spread, 07-03 00:00 2400 2 spread, 07-03 12:00 1200 3 spread
"""  # noqa: E501 - a row of the table is one line


@pytest.mark.parametrize("row", TABLE.strip().splitlines(), ids=lambda row: " ".join(row.split()))
def test_usage_is_cut_as_the_table_says(row: str) -> None:
    given_as, expected = row.split("|")
    words = given_as.split()
    from_at, to_at, usage_wh = t(" ".join(words[:2])), t(" ".join(words[2:4])), int(words[4])
    cuts = [] if words[5] == "-" else [t(words[5].replace("_", " "))]
    parts, start = [], from_at
    for part in expected.split(","):
        day, clock, wh, civil, quality = part.split()
        end = t(f"{day} {clock}")
        parts.append(UsageSpan(start, end, int(wh), Quality(quality), date(2026, 7, int(civil))))
        start = end
    assert split_usage(from_at=from_at, to_at=to_at, usage_wh=usage_wh, zone=SHANGHAI, cuts=cuts) == tuple(parts)


def test_an_estimate_stays_an_estimate_however_long() -> None:
    parts = split_usage(from_at=t("07-01 12:00"), to_at=t("07-03 12:00"), usage_wh=10, zone=SHANGHAI, quality=ESTIMATED)
    assert {part.quality for part in parts} == {ESTIMATED}


def test_how_long_a_gap_is_may_be_said() -> None:
    parts = split_usage(
        from_at=t("07-01 01:00"),
        to_at=t("07-01 13:00"),
        usage_wh=10,
        zone=SHANGHAI,
        spread_after=timedelta(hours=24),
    )
    assert [part.quality for part in parts] == [ACTUAL]


def test_nothing_used_in_no_time_is_no_span() -> None:
    assert split_usage(from_at=t("07-01 12:00"), to_at=t("07-01 12:00"), usage_wh=0, zone=SHANGHAI) == ()


@pytest.mark.parametrize(
    ("to_at", "usage_wh", "refusal"),
    [
        ("07-01 13:00", -1, spans.UsageNegative),
        ("07-01 11:00", -1, spans.UsageNegative),
        ("07-01 11:00", 5, spans.SpanBackwards),
        ("07-01 11:00", 0, spans.SpanBackwards),
        ("07-01 12:00", 5, spans.SpanBackwards),
    ],
)
def test_what_cannot_be_usage_is_refused_by_name(to_at: str, usage_wh: int, refusal: type[AppError]) -> None:
    with pytest.raises(refusal) as caught:
        split_usage(from_at=t("07-01 12:00"), to_at=t(to_at), usage_wh=usage_wh, zone=SHANGHAI)
    assert caught.value.message("zh")
    assert caught.value.message("en")


def test_a_day_is_the_propertys_own_not_greenwichs() -> None:
    assert local_day(datetime(2026, 6, 30, 16, tzinfo=UTC), SHANGHAI) == date(2026, 7, 1)
    assert local_day(datetime(2026, 6, 30, 15, 59, tzinfo=UTC), SHANGHAI) == date(2026, 6, 30)
    start, end = day_bounds(date(2026, 7, 1), SHANGHAI)
    assert (start, end) == (datetime(2026, 6, 30, 16, tzinfo=UTC), datetime(2026, 7, 1, 16, tzinfo=UTC))
    assert start.tzinfo is UTC


@pytest.mark.parametrize(
    ("from_at", "to_at", "found"),
    [
        ("07-01 00:00", "07-02 00:00", []),
        ("07-01 00:00", "07-02 00:01", ["07-02 00:00"]),
        ("06-30 23:59", "07-02 00:01", ["07-01 00:00", "07-02 00:00"]),
    ],
)
def test_midnights_lie_strictly_inside(from_at: str, to_at: str, found: list[str]) -> None:
    assert midnights(t(from_at), t(to_at), SHANGHAI) == [t(text) for text in found]


def test_a_day_that_loses_an_hour_is_still_one_day() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start, end = day_bounds(date(2026, 3, 29), berlin)
    assert end - start == timedelta(hours=23)
    parts = split_usage(from_at=start, to_at=end + timedelta(hours=1), usage_wh=24, zone=berlin)
    assert [(part.usage_wh, part.day.day) for part in parts] == [(23, 29), (1, 30)]


@given(
    start=st.integers(0, 366 * 24 * 3600),
    seconds=st.integers(1, 10 * 24 * 3600),
    usage_wh=st.integers(0, 10**9),
    cut_offsets=st.lists(st.integers(-1_000, 10 * 24 * 3600), max_size=5),
)
def test_parts_are_seamless_and_add_up(start: int, seconds: int, usage_wh: int, cut_offsets: list[int]) -> None:
    from_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=start)
    to_at = from_at + timedelta(seconds=seconds)
    cuts = [from_at + timedelta(seconds=offset) for offset in cut_offsets]
    parts = split_usage(from_at=from_at, to_at=to_at, usage_wh=usage_wh, zone=SHANGHAI, cuts=cuts)
    assert sum(part.usage_wh for part in parts) == usage_wh
    assert (parts[0].from_at, parts[-1].to_at) == (from_at, to_at)
    assert all(one.to_at == other.from_at for one, other in pairwise(parts))
    for part in parts:
        first, beyond = day_bounds(part.day, SHANGHAI)
        assert first <= part.from_at < part.to_at <= beyond
        assert not any(part.from_at < cut < part.to_at for cut in cuts)
        own, whole = (part.to_at - part.from_at).total_seconds(), (to_at - from_at).total_seconds()
        assert abs(part.usage_wh * int(whole) - usage_wh * int(own)) < int(whole)


@given(st.lists(st.integers(1, 10_000), min_size=1), st.integers(0, 10**9))
def test_laying_out_never_gives_a_negative_part(waits: list[int], usage_wh: int) -> None:
    instants = [datetime(2026, 1, 1, tzinfo=UTC)]
    for wait in waits:
        instants.append(instants[-1] + timedelta(seconds=wait))
    parts = pro_rata(instants, usage_wh)
    assert min(parts) >= 0
    assert sum(parts) == usage_wh
