"""Registers as people type them, ratios as plates show them, energy never lost between readings."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel import quantity
from app.kernel.errors import AppError
from app.kernel.quantity import Energy, Ratio, Volume, format_kwh, format_m3, parse_ratio, parse_register


@pytest.mark.parametrize(
    ("text", "wh"),
    [
        ("0", 0),
        ("1234.56", 1_234_560),
        ("1234.560", 1_234_560),
        ("1234.", 1_234_000),
        ("1,234.5", 1_234_500),
        ("0.001", 1),
        ("0.0010", 1),
        ("00012.30", 12_300),
        ("999999.99", 999_999_990),
        (" 12.3 ", 12_300),
        ("\uff11\uff12.\uff13", 12_300),
    ],
)
def test_a_register_is_read_to_the_watt_hour(text: str, wh: int) -> None:
    assert parse_register(text) == wh


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", quantity.RegisterUnreadable),
        ("-1", quantity.RegisterUnreadable),
        ("1e3", quantity.RegisterUnreadable),
        ("NaN", quantity.RegisterUnreadable),
        (".5", quantity.RegisterUnreadable),
        ("12 kWh", quantity.RegisterUnreadable),
        ("٣", quantity.RegisterUnreadable),
        ("12345678901", quantity.RegisterUnreadable),
        ("0.0001", quantity.RegisterTooFine),
    ],
)
def test_what_is_no_register_is_refused_by_name(text: str, refusal: type[AppError]) -> None:
    with pytest.raises(refusal) as caught:
        parse_register(text)
    assert text in caught.value.message("zh")
    assert text in caught.value.message("en")


@pytest.mark.parametrize(
    ("text", "ratio"),
    [("1", Ratio(1)), ("30", Ratio(30)), ("150/5", Ratio(150, 5)), ("150:5", Ratio(150, 5))],
)
def test_a_ratio_is_a_number_or_the_pair_on_the_plate(text: str, ratio: Ratio) -> None:
    assert parse_ratio(text) == ratio


@pytest.mark.parametrize("text", ["", "0", "30/0", "1.5", "-3", "a/b", "30/5/2"])
def test_a_ratio_that_multiplies_by_nothing_is_refused(text: str) -> None:
    with pytest.raises(quantity.RatioUnreadable) as caught:
        parse_ratio(text)
    assert caught.value.message("zh")
    assert caught.value.message("en")


@pytest.mark.parametrize(
    ("ratio", "last", "following", "usage"),
    [
        (Ratio(1), 100, 164, 64),
        (Ratio(30), 100, 110, 300),
        (Ratio(150, 5), 100, 110, 300),
        (Ratio(1, 3), 1, 3, 1),
        (Ratio(1, 3), 0, 2, 0),
    ],
)
def test_usage_is_the_difference_times_the_ratio(ratio: Ratio, last: int, following: int, usage: int) -> None:
    assert ratio.between(last, following) == usage


@given(
    st.integers(1, 10_000),
    st.integers(1, 10_000),
    st.lists(st.integers(0, 10**9), min_size=2).map(sorted),
)
def test_readings_in_between_change_nothing(numerator: int, denominator: int, registers: list[int]) -> None:
    ratio = Ratio(numerator, denominator)
    parts = sum(ratio.between(last, following) for last, following in pairwise(registers))
    assert parts == ratio.between(registers[0], registers[-1])


@pytest.mark.parametrize(
    ("small", "shown"),
    [
        (0, "0.00"),
        (4, "0.00"),
        (5, "0.01"),
        (1_234_560, "1,234.56"),
        (-4, "0.00"),
        (-5, "-0.01"),
        (-1_500, "-1.50"),
    ],
)
def test_two_decimals_on_a_screen(small: int, shown: str) -> None:
    assert format_kwh(small) == format_m3(small) == shown


def test_energies_and_volumes_add_within_their_kind() -> None:
    assert Energy(1_500) + Energy(500) - Energy(1_000) == Energy(1_000)
    assert Volume(1_500) + Volume(500) - Volume(1_000) == Volume(1_000)
    assert (str(Energy(1_500)), str(Volume(20))) == ("1.50 kWh", "0.02 m³")
    assert Energy(1) < Energy(2)
