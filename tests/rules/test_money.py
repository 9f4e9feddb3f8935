"""Money: what may be typed, how it is shown, and that no rounding loses a fen."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel import money
from app.kernel.errors import AppError
from app.kernel.money import Money, fen, format_yuan, parse_yuan, settle, share, split, yuan

TYPED = [
    ("50", 5_000),
    ("50.", 5_000),
    ("50.5", 5_050),
    ("50.00", 5_000),
    ("50.000", 5_000),
    ("0.01", 1),
    ("0", 0),
    ("+50", 5_000),
    ("¥1,284.50", 128_450),
    ("1284.50元", 128_450),
    (" 50 ", 5_000),
    ("\uff15\uff10\uff0e\uff15", 5_050),
    ("\uffe51,284.50", 128_450),
    ("50.05", 5_005),
    ("100,000,000", 10_000_000_000),
]

REFUSED = [
    ("", money.AmountMissing),
    ("  ", money.AmountMissing),
    ("¥", money.AmountMissing),
    ("abc", money.AmountUnreadable),
    ("NaN", money.AmountUnreadable),
    ("Infinity", money.AmountUnreadable),
    ("1e3", money.AmountUnreadable),
    ("1,28.50", money.AmountUnreadable),
    (".5", money.AmountUnreadable),
    ("5 0", money.AmountUnreadable),
    ("1_000", money.AmountUnreadable),
    ("٥٠", money.AmountUnreadable),
    ("五十", money.AmountUnreadable),
    ("$50", money.AmountUnreadable),
    ("-50", money.AmountNegative),
    ("-¥50", money.AmountNegative),
    ("-50.001", money.AmountNegative),
    ("50.001", money.AmountTooFine),
    ("0." + "1" * 5_000, money.AmountTooFine),
    ("999999999.999", money.AmountTooFine),
    ("100000000.01", money.AmountTooLarge),
    ("9" * 5_000, money.AmountTooLarge),
]


@pytest.mark.parametrize(("text", "amount_fen"), TYPED)
def test_what_a_cashier_types_is_read_to_the_fen(text: str, amount_fen: int) -> None:
    assert parse_yuan(text) == amount_fen


@pytest.mark.parametrize(("text", "refusal"), REFUSED)
def test_what_cannot_be_an_amount_is_refused_by_name(text: str, refusal: type[AppError]) -> None:
    with pytest.raises(refusal) as caught:
        parse_yuan(text)
    assert caught.value.message("zh")
    assert caught.value.message("en")


@pytest.mark.parametrize(
    ("amount_fen", "shown"),
    [
        (0, "¥0.00"),
        (1, "¥0.01"),
        (5_000, "¥50.00"),
        (128_430_650, "¥1,284,306.50"),
        (-320, "-¥3.20"),
        (-1, "-¥0.01"),
    ],
)
def test_money_is_shown_with_two_decimals_and_its_sign_first(amount_fen: int, shown: str) -> None:
    assert format_yuan(amount_fen) == shown


@given(st.integers(0, money.INPUT_FEN_MAX))
def test_what_is_shown_reads_back_as_itself(amount_fen: int) -> None:
    assert parse_yuan(format_yuan(amount_fen)) == amount_fen


@pytest.mark.parametrize(
    ("given_as", "amount_fen"),
    [
        (10, 1_000),
        ("10.01", 1_001),
        (Decimal("0.1"), 10),
        (Decimal("-3.20"), -320),
        (Decimal("1E+3"), 100_000),
        ("9" * 19, int("9" * 19) * 100),
        (Decimal("0E+999999"), 0),
        (Decimal("0E-999999"), 0),
    ],
)
def test_yuan_is_exact_whatever_it_is_given(given_as: Decimal | str | int, amount_fen: int) -> None:
    assert yuan(given_as) == fen(amount_fen)


def test_yuan_takes_no_float_and_nothing_below_a_fen() -> None:
    with pytest.raises(TypeError):
        yuan(0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Money(0.5, "CNY")  # type: ignore[arg-type]
    with pytest.raises(money.AmountTooFine):
        yuan(Decimal("0.001"))
    with pytest.raises(money.AmountUnreadable):
        yuan(Decimal("NaN"))
    with pytest.raises(money.AmountUnreadable):
        yuan("ten")
    with pytest.raises(money.AmountTooLarge):
        yuan(Decimal("1E+999999999"))
    with pytest.raises(money.AmountTooFine):
        yuan(Decimal("1E-999999999"))


def test_sums_of_one_currency_add_and_compare() -> None:
    assert yuan(10) + fen(1) - yuan("0.01") == yuan(10)
    assert -fen(5) * 2 == fen(-10)
    assert fen(1) < fen(2) <= fen(2)
    assert fen(3) > fen(2) >= fen(2)


@pytest.mark.parametrize(
    "deed",
    [Money.__add__, Money.__sub__, Money.__lt__, Money.__le__, Money.__gt__, Money.__ge__],
    ids=lambda deed: deed.__name__,
)
def test_two_currencies_never_meet(deed: Callable[[Money, Money], object]) -> None:
    with pytest.raises(money.CurrencyMismatch):
        deed(fen(1), Money(1, "HKD"))


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (1_000, [1, 1, 1], [334, 333, 333]),
        (1, [1, 1], [1, 0]),
        (2, [1, 1, 1], [1, 1, 0]),
        (100, [0, 1], [0, 100]),
        (100, [3, 1], [75, 25]),
        (0, [5, 5], [0, 0]),
        (-1_000, [1, 1, 1], [-334, -333, -333]),
        (10, [1, 2, 4], [1, 3, 6]),
    ],
)
def test_the_largest_remainder_gets_the_odd_coin(total: int, weights: list[int], parts: list[int]) -> None:
    assert share(total, weights) == parts
    assert split(fen(total), weights) == [fen(part) for part in parts]


@pytest.mark.parametrize("weights", [[], [0, 0], [2, -1]])
def test_a_share_needs_somebody_to_share_with(weights: list[int]) -> None:
    with pytest.raises(ValueError):
        share(100, weights)


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**9), min_size=1).filter(any))
def test_shares_add_up_and_none_is_a_coin_off(total: int, weights: list[int]) -> None:
    parts = share(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - total * weight) < sum(weights)


@pytest.mark.parametrize(
    ("carry", "delta", "posted_fen", "left"),
    [
        (0, 0, 0, 0),
        (0, 999_999, 0, 999_999),
        (999_999, 1, 1, 0),
        (500_000, 2_600_000, 3, 100_000),
        (0, -1, -1, 999_999),
        (400_000, -400_000, 0, 0),
        (0, -2_000_000, -2, 0),
    ],
)
def test_a_day_posts_whole_fen_and_carries_the_rest(carry: int, delta: int, posted_fen: int, left: int) -> None:
    assert settle(carry, delta) == (posted_fen, left)


@given(st.lists(st.integers(-(10**12), 10**12)))
def test_over_a_year_the_debits_are_the_usage_to_the_fen(deltas: list[int]) -> None:
    carry, posted_fen = 0, 0
    for delta in deltas:
        day_fen, carry = settle(carry, delta)
        posted_fen += day_fen
        assert 0 <= carry < money.MICROFEN_PER_FEN
    assert posted_fen * money.MICROFEN_PER_FEN + carry == sum(deltas)
    assert posted_fen == money.floor_fen(sum(deltas))
