"""The day on which things are killed."""

from datetime import UTC, datetime

import pytest

from tests.conftest import MovableClock


@pytest.fixture
def same_day(business_clock: MovableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A September morning, here and in every process that is started to be killed: the run's own day is no part of it."""
    business_clock.set(datetime(2026, 9, 15, 2, 0, tzinfo=UTC))
    monkeypatch.setenv("CLOCK_FILE", str(business_clock.path))
