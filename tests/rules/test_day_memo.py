"""The memo of a day close: what is written can be read and recomputed."""

from datetime import date

import pytest

from app.billing.day_memo import DayMemo, exact_yuan, read_memo, write_memo

DAY = date(2026, 7, 1)


@pytest.mark.parametrize(
    ("memo", "text"),
    [
        (DayMemo(DAY, "2.00 kWh", 112_000_000, 0, 0, 0), "2026-07-01 2.00 kWh ¥1.12 − ¥0.00 + ¥0.00 − ¥0.00"),
        (
            DayMemo(DAY, "3.00 kWh", 168_400_001, 112_000_000, 600_000, 1),
            "2026-07-01 3.00 kWh ¥1.68400001 − ¥1.12 + ¥0.006 − ¥0.00000001",
        ),
        (
            DayMemo(DAY, "1.00 m³", -5, 112_000_000, 0, 5),
            "2026-07-01 1.00 m³ -¥0.00000005 − ¥1.12 + ¥0.00 − ¥0.00000005",
        ),
    ],
)
def test_a_memo_reads_back_as_it_was_written(memo: DayMemo, text: str) -> None:
    assert write_memo(memo) == text
    assert read_memo(text) == memo


@pytest.mark.parametrize("text", ["", "2026-07-01 3.00 kWh", "期初余额", "2026-07-01 3.00 kWh ¥1 − ¥2"])
def test_a_memo_without_amounts_is_not_guessed_at(text: str) -> None:
    assert read_memo(text) is None


@pytest.mark.parametrize(("microfen", "said"), [(0, "¥0.00"), (-1, "-¥0.00000001"), (123_456_000_000, "¥1234.56")])
def test_amounts_are_exact(microfen: int, said: str) -> None:
    assert exact_yuan(microfen) == said


def test_the_longest_memo_fits_into_the_ledger() -> None:
    widest = DayMemo(DAY, "999,999,999.99 kWh", -(10**15 - 1), -(10**15 - 1), 999_999, 999_999)
    assert len(write_memo(widest)) <= 120
