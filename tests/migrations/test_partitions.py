"""Months are made ahead by the owner, once, each with its own policy."""

from collections.abc import Iterator
from datetime import date

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from app.kernel.partitions import (
    MONTHS_AHEAD,
    MONTHS_BEHIND,
    PARTITIONED,
    ensure_ahead,
    ensure_partitions,
    months,
    shift_month,
)


@pytest.fixture
def owner(owner_url: str) -> Iterator[Connection]:
    """The owner in a transaction that is rolled back."""
    engine = create_engine(make_url(owner_url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    ("day", "by", "then"),
    [
        (date(2026, 11, 23), 0, date(2026, 11, 1)),
        (date(2026, 11, 23), 2, date(2027, 1, 1)),
        (date(2026, 1, 31), -1, date(2025, 12, 1)),
        (date(2026, 3, 1), -24, date(2024, 3, 1)),
    ],
)
def test_months_are_counted_over_years(day: date, by: int, then: date) -> None:
    assert shift_month(day, by) == then


def test_a_span_of_months_holds_both_ends() -> None:
    assert list(months(date(2026, 11, 5), date(2027, 1, 1))) == [date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)]


def test_two_years_ahead_and_two_months_behind_are_made_once(owner: Connection) -> None:
    made = ensure_ahead(owner, today=date(2031, 5, 17))
    assert len(made) == len(PARTITIONED) * (MONTHS_AHEAD + MONTHS_BEHIND + 1)
    assert {"readings_p203103", "readings_p203305", "usage_spans_p203105"} <= set(made)
    assert ensure_ahead(owner, today=date(2031, 5, 17)) == []


def test_an_import_may_ask_for_older_months(owner: Connection) -> None:
    assert ensure_partitions(owner, first=date(2019, 1, 1), last=date(2019, 2, 1)) == [
        f"{table}_p2019{month}" for table in PARTITIONED for month in ("01", "02")
    ]


def test_a_new_month_is_bound_to_its_tenant_and_granted_to_nobody(owner: Connection) -> None:
    ensure_partitions(owner, first=date(2019, 1, 1), last=date(2019, 1, 1))
    rls, forced, policies, grants = owner.execute(
        text(
            "SELECT relrowsecurity, relforcerowsecurity,"
            " (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid), relacl::text"
            " FROM pg_class c WHERE relname = 'readings_p201901'"
        )
    ).one()
    assert (rls, forced, policies, grants) == (True, True, 1, None)
