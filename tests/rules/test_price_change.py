"""A price far from the old one is looked at twice; a chart's table names days as people do."""

from decimal import Decimal

import pytest

from app.billing.tariffs.plans import change_share, is_large_change
from app.reports.charts import Chart, Series


@pytest.mark.parametrize(
    ("old", "new", "share", "large"),
    [
        (None, "60", None, False),
        ("0", "60", None, False),
        ("0.50", "0.50", "0", False),
        ("0.50", "0.75", "0.5", False),
        ("0.50", "0.76", "0.52", True),
        ("0.50", "0.24", "-0.52", True),
        ("0.50", "50", "99", True),
    ],
)
def test_a_change_of_more_than_half_is_large(old: str | None, new: str, share: str | None, large: bool) -> None:
    before = None if old is None else Decimal(old)
    assert change_share(before, Decimal(new)) == (None if share is None else Decimal(share))
    assert is_large_change(before, Decimal(new)) is large


@pytest.mark.parametrize(
    ("kind", "label", "told"),
    [
        ("steps", "2026-06-19T00:00:00", "06-19"),
        ("steps", "2026-06-19T08:30:05", "06-19 08:30"),
        ("bars", "06-19", "06-19"),
        ("bars", "Tower T", "Tower T"),
    ],
)
def test_a_table_names_an_instant_shortly(kind: str, label: str, told: str) -> None:
    assert Chart(kind, "kWh", 1000, "时间", [label], [Series("x", [1000])]).rows() == [[told, "1.00"]]
