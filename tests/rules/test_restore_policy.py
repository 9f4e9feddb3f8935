"""Giving supply back: by what the actuator can do, at any hour, for nothing but this utility's own money."""

from dataclasses import replace
from typing import Any

import pytest

from app.billing.restore_policy import (
    RESTORE_SENTENCES,
    RestoreFacts,
    RestoreHow,
    RestoreRefusal,
    RestoreVerdict,
    explain_restore,
    judge_restore,
    pay_for_light_fen,
)
from app.billing.stop_policy import Basis
from app.meters.actuators import Actuator

#: A home whose resident has just paid, standing before the meter.
FACTS = RestoreFacts(
    basis=Basis.ZERO_STOP,
    actuator=Actuator.INTERNAL_RELAY,
    available_fen=3_000,
    restore_fen_min=0,
    button_reachable=True,
    appliances_off=False,
)
OUT_OF_REACH = {"button_reachable": False}
CONFIRMED = OUT_OF_REACH | {"appliances_off": True}
MOTOR, SHUNT, HV = ({"actuator": a} for a in (Actuator.MOTOR_BREAKER, Actuator.SHUNT_TRIP, Actuator.HV_SWITCH))
MANUAL, SAFETY, ARREARS = ({"basis": b} for b in (Basis.MANUAL, Basis.SAFETY, Basis.ARREARS))
BY_PERSON = {"by_person": True}
PERMIT, DIRECT, TASK, NOTHING = (
    RestoreHow.PERMIT_CLOSE, RestoreHow.DIRECT_CLOSE, RestoreHow.DUTY_TASK, RestoreHow.NOTHING
)  # fmt: skip
R = RestoreRefusal

CASES: list[tuple[str, dict[str, Any], RestoreHow, RestoreRefusal | None, int]] = [
    ("at_the_button", {}, PERMIT, None, 0),
    ("at_the_button_and_confirmed", {"appliances_off": True}, PERMIT, None, 0),
    ("out_of_reach_and_confirmed", CONFIRMED, DIRECT, None, 0),
    ("out_of_reach", OUT_OF_REACH, NOTHING, R.APPLIANCES_UNCONFIRMED, 0),
    ("motor_breaker_has_no_button", MOTOR | {"appliances_off": True}, DIRECT, None, 0),
    ("motor_breaker_unconfirmed", MOTOR, NOTHING, R.APPLIANCES_UNCONFIRMED, 0),
    ("shunt_trip", SHUNT, TASK, None, 0),
    ("shunt_trip_confirmed", SHUNT | CONFIRMED, TASK, None, 0),
    ("high_voltage", HV | CONFIRMED, TASK, None, 0),
    ("exactly_enough", {"available_fen": 0}, PERMIT, None, 0),
    ("a_fen_short", {"available_fen": -1}, NOTHING, R.BELOW_RESTORE, 1),
    ("threshold_above_zero", {"available_fen": 200, "restore_fen_min": 1_000}, NOTHING, R.BELOW_RESTORE, 800),
    ("short_and_shunt_trip", SHUNT | {"available_fen": -500}, NOTHING, R.BELOW_RESTORE, 500),
    ("arrears_a_fen_short", ARREARS | {"available_fen": -1}, NOTHING, R.BELOW_RESTORE, 1),
    ("staff_may_give_light_on_credit", BY_PERSON | {"available_fen": -500}, PERMIT, None, 0),
    ("the_duty_officer_gives_light_on_credit", {"emergency": True, "available_fen": -500}, PERMIT, None, 0),
    ("the_duty_officer_and_works", MANUAL | {"emergency": True}, NOTHING, R.PERSON_STOPPED, 0),
    ("stopped_by_hand_and_paid", MANUAL, NOTHING, R.PERSON_STOPPED, 0),
    ("stopped_by_hand_and_given_back", MANUAL | BY_PERSON, PERMIT, None, 0),
    ("stopped_by_hand_whatever_the_money", MANUAL | BY_PERSON | {"available_fen": -500}, PERMIT, None, 0),
    ("third_safety_restore", SAFETY | {"safety_restores": 2}, PERMIT, None, 0),
    ("fourth_safety_restore", SAFETY | {"safety_restores": 3}, NOTHING, R.SAFETY_TOO_OFTEN, 0),
    ("fourth_safety_restore_by_staff", SAFETY | BY_PERSON | {"safety_restores": 3}, PERMIT, None, 0),
    ("safety_asks_for_no_money", SAFETY | {"available_fen": -500}, PERMIT, None, 0),
]


@pytest.mark.parametrize(
    ("change", "how", "refusal", "pay_fen"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_how_supply_is_given_back(
    change: dict[str, Any], how: RestoreHow, refusal: RestoreRefusal | None, pay_fen: int
) -> None:
    assert judge_restore(replace(FACTS, **change)) == RestoreVerdict(how, refusal, pay_fen)


def test_the_table_shows_every_refusal_and_each_has_words_in_both_languages() -> None:
    assert {row[3] for row in CASES} - {None} == set(RestoreRefusal) == set(RESTORE_SENTENCES)
    for refusal in RestoreRefusal:
        verdict = RestoreVerdict(RestoreHow.NOTHING, refusal, 800)
        assert explain_restore(verdict).endswith("。")
        assert explain_restore(verdict, "en").endswith(".")


def test_the_resident_is_told_what_light_costs() -> None:
    verdict = judge_restore(replace(FACTS, available_fen=200, restore_fen_min=1_000))
    assert explain_restore(verdict) == "再充值至少 ¥8.00 即可复供。"
    assert explain_restore(judge_restore(FACTS)) == ""
    assert pay_for_light_fen(FACTS) == 0
