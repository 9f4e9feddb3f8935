"""Emergency supply: over by time or by usage, whichever comes first; once a day; and the duty officer's hands are tied."""

from datetime import UTC, datetime, timedelta

import pytest

from app.billing.emergency_rules import EVERY, Allowance, Given
from app.permissions.policy import GIVING, ROLES, SELLING, Permission, Role

P = Permission
NIGHT = datetime(2026, 7, 15, 14, tzinfo=UTC)
FEN = 1_000_000

#: minutes since it was given, fen used since, whether it still holds
HOLDS = [
    (0, 0, True),
    (719, 0, True),
    (720, 0, False),
    (10, 2_999, True),
    (10, 3_000, False),
    (10, 9_999, False),
    (800, 0, False),
    (10, -50, True),  # a correction of earlier usage takes nothing away
]


def given(used_fen: int = 0) -> Given:
    return Given(NIGHT, Allowance().until(NIGHT), Allowance().fen_max, used_fen * FEN)


@pytest.mark.parametrize(("minutes", "used_fen", "holds"), HOLDS)
def test_it_holds_until_its_time_or_its_usage_is_over(minutes: int, used_fen: int, holds: bool) -> None:
    assert given(used_fen).holds(NIGHT + timedelta(minutes=minutes)) is holds


def test_a_fen_counts_when_it_is_whole_and_never_below_nothing() -> None:
    assert Given(NIGHT, NIGHT, 1, 999_999).used_fen == 0
    assert Given(NIGHT, NIGHT, 1, -1).used_fen == 0


@pytest.mark.parametrize(("hours", "bars"), [(0, True), (23, True), (24, False)])
def test_the_next_one_is_a_day_later(hours: int, bars: bool) -> None:
    assert given(9_999).bars_next(NIGHT + timedelta(hours=hours)) is bars
    assert timedelta(hours=24) == EVERY


def test_a_night_is_twelve_hours_and_thirty_yuan_unless_set_otherwise() -> None:
    assert (Allowance().hours, Allowance().fen_max) == (12, 3_000)
    assert Allowance(8, 500).until(NIGHT) == NIGHT + timedelta(hours=8)


def test_the_duty_officer_gives_light_and_neither_trips_nor_touches_money() -> None:
    held = ROLES[Role.DUTY_OFFICER]
    assert P.SUPPLY_EMERGENCY_GIVE in held
    money = {p for p in Permission if p.value.startswith(("money:", "ledger:", "plan:", "approval:", "onboarding:"))}
    assert not held & (money | GIVING | SELLING | {P.METER_COMMAND_ORDER, P.METER_COMMAND_MASS, P.METER_METER_EDIT})


def test_the_steward_sees_the_call_list_and_moves_nothing() -> None:
    assert ROLES[Role.BUILDING_STEWARD] == {P.COLLECTION_CALL_READ, P.PERSON_PHONE_UNMASK}
