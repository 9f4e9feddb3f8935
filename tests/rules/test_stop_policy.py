"""The gate before a stop: each refusal alone, their order, and what no combination of facts may allow."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.arrears import Notice, NoticeProof, NoticeState
from app.billing.stop_evidence import evidence
from app.billing.stop_policy import (
    Basis,
    DataQuality,
    DebtKind,
    StopFacts,
    TripCounts,
    Weather,
    explain,
    judge_stop,
    mass_limits,
)
from app.billing.stop_refusals import SENTENCES, Refusal, sentence
from app.billing.stop_windows import WINDOWS, DayKind, StopCalendar, UsageClass, WindowRule

SHANGHAI = ZoneInfo("Asia/Shanghai")


def day_kind(day: date) -> DayKind:
    """A calendar with one holiday, 1 October, that knows nothing of 2027."""
    if day.year != 2026:
        return DayKind.UNKNOWN
    return DayKind.HOLIDAY if day == date(2026, 10, 1) else DayKind.ORDINARY


def t(text: str) -> datetime:
    """An instant of 2026 in Shanghai: "07-01 12:00"."""
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI)


def window_of(usage_class: UsageClass) -> WindowRule:
    return WindowRule(WINDOWS[usage_class], StopCalendar(day_kind), SHANGHAI)


def ago(minutes: int, notice: Notice, state: NoticeState = NoticeState.DELIVERED) -> NoticeProof:
    return NoticeProof(notice, state, NOON - timedelta(minutes=minutes))


NOON = t("07-01 12:00")
ALARM_1, ALARM_2, ZERO, WARNING = (
    ago(4_000, Notice.ALARM_1), ago(1_000, Notice.ALARM_2), ago(60, Notice.ZERO), ago(31, Notice.LAST_WARNING)
)  # fmt: skip

#: A home out of credit since the morning, warned four times: the gate lets this one pass.
FACTS = StopFacts(
    now=NOON,
    basis=Basis.ZERO_STOP,
    usage_class=UsageClass.RESIDENTIAL,
    kill_switch=False,
    agreement_on_file=True,
    guaranteed=False,
    protected=False,
    bypassed=False,
    on_supply_account=True,
    phone_payment_up=True,
    window=window_of(UsageClass.RESIDENTIAL),
    weather=Weather.CLEAR,
    notices=(ALARM_1, ALARM_2, ZERO, WARNING),
    available_fen=-2_001,
    overdraft_fen=2_000,
    read_at=NOON - timedelta(minutes=15),
    data_quality=DataQuality.GOOD,
    trips=TripCounts(last_hour=0, last_day=0, supply_accounts=100),
    explained=True,
    live=True,
)
COMMERCIAL = {"usage_class": UsageClass.COMMERCIAL, "window": window_of(UsageClass.COMMERCIAL)}
MANUAL = {"basis": Basis.MANUAL, "reason": "检修"}
SAFETY = {"basis": Basis.SAFETY}
NIGHT = {"emergency_until": NOON + timedelta(hours=1)}


def only(kind: DebtKind) -> dict[str, Any]:
    return {"debts": frozenset({kind})}


def moved(now: datetime) -> dict[str, Any]:
    """The same situation at another instant: readings and notices move along."""
    shift = now - NOON
    notices = tuple(replace(proof, at=proof.at + shift) for proof in FACTS.notices if proof.at)
    return {"now": now, "read_at": now - timedelta(minutes=15), "notices": notices}


def without(*left_out: Notice) -> dict[str, Any]:
    return {"notices": tuple(proof for proof in FACTS.notices if proof.notice not in left_out)}


def with_proof(proof: NoticeProof) -> dict[str, Any]:
    return {"notices": (*without(proof.notice)["notices"], proof)}


def trips(last_hour: int, last_day: int, supply_accounts: int) -> dict[str, Any]:
    return {"trips": TripCounts(last_hour, last_day, supply_accounts)}


R = Refusal
OVERTAKEN = NoticeState.OVERTAKEN
CASES: list[tuple[str, dict[str, Any], Refusal | None]] = [
    ("a_home_past_its_overdraft", {}, None),
    ("own_utility_debt_named", only(DebtKind.OWN_UTILITY), None),
    ("kill_switch", {"kill_switch": True}, R.KILL_SWITCH),
    ("kill_switch_stops_safety_too", SAFETY | {"kill_switch": True}, R.KILL_SWITCH),
    ("property_fee", only(DebtKind.PROPERTY_FEE), R.PROPERTY_FEE_DEBT),
    ("parking", only(DebtKind.PARKING), R.PROPERTY_FEE_DEBT),
    ("property_fee_in_a_shop", COMMERCIAL | only(DebtKind.PROPERTY_FEE), R.PROPERTY_FEE_DEBT),
    ("property_fee_by_hand", MANUAL | only(DebtKind.PROPERTY_FEE), R.PROPERTY_FEE_DEBT),
    ("rent_of_a_home", only(DebtKind.RENT), R.RESIDENTIAL_OTHER_DEBT),
    ("other_utility_of_a_home", only(DebtKind.OTHER_UTILITY), R.RESIDENTIAL_OTHER_DEBT),
    ("rent_of_a_shop", COMMERCIAL | only(DebtKind.RENT), R.OTHER_DEBT),
    ("management_fee_of_a_shop", COMMERCIAL | only(DebtKind.MANAGEMENT_FEE), R.OTHER_DEBT),
    ("debt_by_hand", MANUAL | only(DebtKind.OWN_UTILITY), R.OTHER_DEBT),
    ("debt_as_danger", SAFETY | only(DebtKind.OWN_UTILITY), R.OTHER_DEBT),
    ("arrears", {"basis": Basis.ARREARS}, R.ARREARS_NOT_AVAILABLE),
    ("by_hand_without_a_word", {"basis": Basis.MANUAL, "reason": "  "}, R.MANUAL_REASON_MISSING),
    ("no_agreement", {"agreement_on_file": False}, R.NO_AGREEMENT),
    ("works_need_no_agreement", MANUAL | {"agreement_on_file": False}, None),
    ("guaranteed", {"guaranteed": True}, R.GUARANTEED),
    ("guaranteed_in_danger", SAFETY | {"guaranteed": True}, R.GUARANTEED),
    ("common_parts", {"usage_class": UsageClass.COMMON}, R.GUARANTEED),
    ("protected", {"protected": True}, R.PROTECTED),
    ("protected_by_hand", MANUAL | {"protected": True, "emergency": True}, R.PROTECTED),
    ("bypassed", {"bypassed": True}, R.BYPASSED),
    ("not_on_a_supply_account", {"on_supply_account": False}, R.NOT_ON_SUPPLY_ACCOUNT),
    ("shared_riser", {"shared_riser": True}, R.SHARED_RISER),
    ("emergency_supply", NIGHT, R.EMERGENCY_SUPPLY),
    ("emergency_supply_over", {"emergency_until": NOON}, None),
    ("works_during_an_emergency_supply", MANUAL | NIGHT, R.EMERGENCY_SUPPLY),
    ("danger_during_an_emergency_supply", SAFETY | NIGHT, None),
    ("fire_during_an_emergency_supply", MANUAL | NIGHT | {"emergency": True}, None),
    ("payment_down", {"phone_payment_up": False}, R.PAYMENT_DOWN),
    ("works_while_payment_is_down", MANUAL | {"phone_payment_up": False}, None),
    ("before_eight", moved(t("07-02 07:59")), R.BEFORE_HOURS),
    ("at_eight", moved(t("07-02 08:00")), None),
    ("at_six", moved(t("07-01 18:00")), R.AFTER_HOURS),
    ("shop_at_seven_in_the_evening", COMMERCIAL | moved(t("07-01 19:00")), None),
    ("holiday", moved(t("10-01 12:00")), R.QUIET_DAY),
    ("eve", moved(t("09-30 12:00")), R.QUIET_DAY),
    ("unpublished_year", moved(datetime(2027, 3, 1, 12, tzinfo=SHANGHAI)), R.CALENDAR_UNKNOWN),
    ("works_at_night", MANUAL | moved(t("07-01 22:00")), R.AFTER_HOURS),
    ("emergency_at_night", MANUAL | moved(t("07-01 22:00")) | {"emergency": True}, None),
    ("danger_at_night", SAFETY | moved(t("07-01 22:00")), None),
    ("heat", {"weather": Weather.ALERT}, R.WEATHER_ALERT),
    ("weather_source_dead", {"weather": Weather.UNKNOWN}, R.WEATHER_UNKNOWN),
    ("heat_in_a_shop", COMMERCIAL | {"weather": Weather.ALERT}, None),
    ("no_alarm_1", without(Notice.ALARM_1), R.NOTICE_ALARM_1),
    ("no_alarm_2", without(Notice.ALARM_2), R.NOTICE_ALARM_2),
    ("no_notice_at_zero", without(Notice.ZERO), R.NOTICE_ZERO),
    ("no_last_warning", without(Notice.LAST_WARNING), R.NOTICE_LAST_WARNING),
    ("alarm_1_failed", with_proof(ago(60, Notice.ALARM_1, NoticeState.FAILED)), R.NOTICE_ALARM_1),
    ("alarm_1_overtaken", with_proof(NoticeProof(Notice.ALARM_1, OVERTAKEN)), None),
    ("zero_overtaken", with_proof(NoticeProof(Notice.ZERO, OVERTAKEN)), R.NOTICE_ZERO),
    ("zero_waiting", with_proof(NoticeProof(Notice.ZERO, NoticeState.WAITING)), R.NOTICE_ZERO),
    ("delivered_without_a_time", with_proof(NoticeProof(Notice.ZERO, NoticeState.DELIVERED)), R.NOTICE_ZERO),
    ("warning_overtaken", with_proof(NoticeProof(Notice.LAST_WARNING, OVERTAKEN)), R.NOTICE_LAST_WARNING),
    ("warning_29_minutes", with_proof(ago(29, Notice.LAST_WARNING)), R.LAST_WARNING_TOO_RECENT),
    ("warning_30_minutes", with_proof(ago(30, Notice.LAST_WARNING)), None),
    ("warning_a_day_old", with_proof(ago(1_440, Notice.LAST_WARNING)), None),
    ("warning_from_last_week", with_proof(ago(1_441, Notice.LAST_WARNING)), R.LAST_WARNING_TOO_OLD),
    ("works_need_no_notice", MANUAL | {"notices": ()}, None),
    ("exactly_the_overdraft", {"available_fen": -2_000}, R.BALANCE_ABOVE_FLOOR),
    ("paid_meanwhile", {"available_fen": 5_000}, R.BALANCE_ABOVE_FLOOR),
    ("works_whatever_the_balance", MANUAL | {"available_fen": 5_000}, None),
    ("never_read", {"read_at": None}, R.DATA_MISSING),
    ("read_a_day_ago", {"read_at": NOON - timedelta(hours=24)}, None),
    ("read_longer_ago", {"read_at": NOON - timedelta(hours=24, seconds=1)}, R.DATA_STALE),
    ("estimated", {"data_quality": DataQuality.ESTIMATED}, R.DATA_SUSPECT),
    ("suspect", {"data_quality": DataQuality.SUSPECT}, R.DATA_SUSPECT),
    ("danger_without_readings", SAFETY | {"read_at": None, "data_quality": DataQuality.SUSPECT}, None),
    ("frozen", {"frozen": True}, R.FROZEN),
    ("works_while_frozen", MANUAL | {"frozen": True}, None),
    ("the_20th_of_an_hour", trips(19, 19, 100), None),
    ("the_21st_of_an_hour", trips(20, 20, 400), R.HOUR_LIMIT),
    ("the_21st_of_a_day", trips(0, 20, 100), R.DAY_LIMIT),
    ("a_large_property_full", trips(50, 50, 1_000), R.HOUR_LIMIT),
    ("a_large_property_full_day", trips(0, 150, 1_000), R.DAY_LIMIT),
    ("unexplained", trips(4, 4, 100) | {"explained": False}, None),
    ("unexplained_sixth", trips(5, 5, 100) | {"explained": False}, R.HOUR_LIMIT),
]


@pytest.mark.parametrize(("change", "refusal"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_the_gate_answers_as_the_table_says(change: dict[str, Any], refusal: Refusal | None) -> None:
    verdict = judge_stop(replace(FACTS, **change))
    assert verdict.first_refusal is refusal
    assert verdict.allowed is (refusal is None)
    assert (verdict.valid_until is None) is (refusal is not None)


def test_the_table_shows_every_refusal_and_each_has_words_in_both_languages() -> None:
    assert {row[2] for row in CASES} - {None} == set(Refusal) == set(SENTENCES)
    for refusal in Refusal:
        for locale in ("zh", "en"):
            text = sentence(refusal, now=NOON, zone=SHANGHAI, locale=locale)
            assert text.endswith((".", "。"))
            assert "{" not in text


#: Everything wrong at once, then mended one by one from the top: the next refusal is always the next of the gate.
MENDING: list[tuple[Refusal, dict[str, Any]]] = [
    (R.KILL_SWITCH, {"kill_switch": False}),
    (R.PROPERTY_FEE_DEBT, only(DebtKind.RENT)),
    (R.RESIDENTIAL_OTHER_DEBT, {"debts": frozenset()}),
    (R.ARREARS_NOT_AVAILABLE, {"basis": Basis.ZERO_STOP}),
    (R.NO_AGREEMENT, {"agreement_on_file": True}),
    (R.GUARANTEED, {"guaranteed": False}),
    (R.PROTECTED, {"protected": False}),
    (R.BYPASSED, {"bypassed": False}),
    (R.NOT_ON_SUPPLY_ACCOUNT, {"on_supply_account": True}),
    (R.SHARED_RISER, {"shared_riser": False}),
    (R.EMERGENCY_SUPPLY, {"emergency_until": None}),
    (R.PAYMENT_DOWN, {"phone_payment_up": True}),
    (R.AFTER_HOURS, {"now": NOON}),
    (R.WEATHER_UNKNOWN, {"weather": Weather.CLEAR}),
    (R.NOTICE_ALARM_1, {"notices": (ALARM_1,)}),
    (R.NOTICE_ALARM_2, {"notices": (ALARM_1, ALARM_2)}),
    (R.NOTICE_ZERO, {"notices": (ALARM_1, ALARM_2, ZERO)}),
    (R.NOTICE_LAST_WARNING, {"notices": FACTS.notices}),
    (R.BALANCE_ABOVE_FLOOR, {"available_fen": -2_001}),
    (R.DATA_MISSING, {"read_at": FACTS.read_at}),
    (R.DATA_SUSPECT, {"data_quality": DataQuality.GOOD}),
    (R.FROZEN, {"frozen": False}),
    (R.HOUR_LIMIT, trips(0, 99, 100)),
    (R.DAY_LIMIT, trips(0, 0, 100)),
]
ALL_WRONG = replace(
    FACTS,
    now=t("07-01 23:00"),
    basis=Basis.ARREARS,
    debts=frozenset({DebtKind.PROPERTY_FEE}),
    kill_switch=True,
    agreement_on_file=False,
    guaranteed=True,
    protected=True,
    bypassed=True,
    on_supply_account=False,
    shared_riser=True,
    emergency_until=t("07-02 11:00"),
    phone_payment_up=False,
    weather=Weather.UNKNOWN,
    notices=(),
    available_fen=0,
    read_at=None,
    data_quality=DataQuality.SUSPECT,
    trips=TripCounts(99, 99, 100),
    frozen=True,
)


def test_refusals_come_in_the_order_of_the_gate() -> None:
    facts = ALL_WRONG
    for refusal, mend in MENDING:
        verdict = judge_stop(facts)
        assert verdict.first_refusal is refusal
        assert list(verdict.reasons) == sorted(verdict.reasons, key=list(Refusal).index)
        facts = replace(facts, **mend)
    assert judge_stop(facts).allowed


# now, what the Chinese sentence says, what the English one says
SENTENCE_TABLE = [
    ("07-01 20:00", "今晚 18:00 后不停供（免打扰时段），系统将于明日 08:00 再次判断。", "after 18:00 today"),
    ("07-02 06:00", "今日 08:00 前不停供（免打扰时段），系统将于今日 08:00 再次判断。", "before 08:00 today"),
    ("09-30 12:00", "系统将于10月2日 08:00 再次判断", "Judged again at 08:00 on 2 Oct"),
    ("10-01 12:00", "系统将于明日 08:00 再次判断", "Judged again at 08:00 tomorrow"),
]


@pytest.mark.parametrize(("now", "chinese", "english"), SENTENCE_TABLE)
def test_a_refusal_says_when_it_is_judged_again(now: str, chinese: str, english: str) -> None:
    facts = replace(FACTS, **moved(t(now)))
    verdict = judge_stop(facts)
    assert chinese in explain(facts, verdict)
    assert english in explain(facts, verdict, "en")
    assert verdict.again_at == verdict.next_window_at


def test_nothing_is_explained_where_nothing_is_refused() -> None:
    assert explain(FACTS, judge_stop(FACTS)) == ""


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (with_proof(ago(10, Notice.LAST_WARNING)), t("07-01 12:20")),
        (moved(t("07-01 17:50")) | {"notices": (ALARM_1, ALARM_2, ZERO, replace(WARNING, at=t("07-01 17:45")))},
         t("07-02 08:00")),
        (trips(20, 20, 400), t("07-01 13:00")),
        ({"protected": True}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_time_alone_mends_some_refusals(change: dict[str, Any], again: datetime | None) -> None:
    assert judge_stop(replace(FACTS, **change)).again_at == again


@pytest.mark.parametrize(
    ("change", "valid_until"),
    [
        ({}, t("07-01 12:05")),
        (moved(t("07-01 17:58")), t("07-01 18:00")),
        (SAFETY | moved(t("07-01 17:58")), t("07-01 18:03")),
        ({"valid_for": timedelta(hours=1)}, t("07-01 13:00")),
    ],
)
def test_a_permit_never_outlives_its_facts_or_its_window(change: dict[str, Any], valid_until: datetime) -> None:
    assert judge_stop(replace(FACTS, **change)).valid_until == valid_until


def test_a_tenant_that_only_rehearses_gets_a_dry_run() -> None:
    verdict = judge_stop(replace(FACTS, live=False))
    assert (verdict.allowed, verdict.dry_run) == (True, True)
    assert judge_stop(FACTS).dry_run is False


@pytest.mark.parametrize(
    ("supply_accounts", "explained", "limits"),
    [
        (10, True, (20, 20)),
        (400, True, (20, 60)),
        (1_000, True, (50, 150)),
        (10, False, (5, 5)),
        (500, False, (5, 15)),
        (1_000, False, (10, 30)),
    ],
)
def test_how_many_stops_a_property_bears(supply_accounts: int, explained: bool, limits: tuple[int, int]) -> None:
    assert mass_limits(supply_accounts, explained=explained) == limits


def test_the_evidence_is_plain_data_and_says_everything() -> None:
    facts = replace(FACTS, debts=frozenset({DebtKind.OWN_UTILITY}))
    kept = json.loads(json.dumps(evidence(facts, judge_stop(facts))))
    assert set(kept["facts"]) == set(StopFacts.__dataclass_fields__)
    assert kept["facts"]["available_fen"] == -2_001
    assert kept["facts"]["debts"] == ["own_utility"]
    assert kept["facts"]["window"]["opens"] == "08:00:00"
    assert kept["facts"]["notices"][3] == {
        "notice": "last_warning",
        "state": "delivered",
        "at": "2026-07-01T11:29:00+08:00",
    }
    assert kept["facts"]["valid_for"] == 300
    assert kept["verdict"]["allowed"] is True


BASES = st.sampled_from([*Basis])
DEBTS = st.frozensets(st.sampled_from([*DebtKind]))
BOOLS = st.booleans()
MINUTES = st.integers(0, 363 * 24 * 60)


@st.composite
def any_facts(draw: Callable[..., Any]) -> StopFacts:
    """Facts where most things are right, so that what must never pass has every chance to."""
    usage_class = draw(st.sampled_from([UsageClass.RESIDENTIAL, UsageClass.COMMERCIAL, UsageClass.DORMITORY]))
    now = t("01-01 00:00") + timedelta(minutes=draw(MINUTES))
    rare = st.integers(0, 9).map(lambda n: n == 0)
    facts = replace(FACTS, **moved(now), usage_class=usage_class, window=window_of(usage_class))
    return replace(
        facts,
        basis=draw(BASES),
        debts=draw(DEBTS) if draw(rare) else frozenset(),
        reason="检修" if draw(BOOLS) else "",
        emergency=draw(BOOLS),
        guaranteed=draw(rare),
        protected=draw(rare),
        weather=draw(st.sampled_from([*Weather])),
        available_fen=draw(st.integers(-3_000, 0)),
        notices=facts.notices if draw(BOOLS) else facts.notices[: draw(st.integers(0, 3))],
    )


@given(any_facts())
def test_whatever_the_facts_an_allowed_stop_broke_none_of_the_great_rules(facts: StopFacts) -> None:
    verdict = judge_stop(facts)
    if not verdict.allowed:
        assert verdict.first_refusal is not None
        return
    assert not facts.debts - {DebtKind.OWN_UTILITY}
    assert not facts.protected
    assert not facts.guaranteed
    assert facts.basis is not Basis.ARREARS
    if facts.basis is Basis.ZERO_STOP:
        assert facts.available_fen < -facts.overdraft_fen
        assert len(facts.notices) == 4
    if facts.may_wait:
        assert facts.window.is_open(facts.now)
        assert verdict.valid_until is not None
        assert facts.window.is_open(verdict.valid_until - timedelta(microseconds=1))


@given(any_facts(), st.sampled_from([DebtKind.PROPERTY_FEE, DebtKind.PARKING]))
def test_no_property_fee_ever_leads_to_a_stop(facts: StopFacts, debt: DebtKind) -> None:
    verdict = judge_stop(replace(facts, debts=facts.debts | {debt}))
    assert verdict.first_refusal is Refusal.PROPERTY_FEE_DEBT
