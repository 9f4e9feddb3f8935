"""Judging readings: one table of everything a register can do to us (I04, I05 of the safety catalogue)."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.quantity import ONE, Ratio, parse_ratio
from app.meters.readings import Flag, RegisterFacts, RegisterReading, Verdict, judge, judge_series

NOON = datetime.fromisoformat("2026-07-01T12:00:00+08:00")
#: Six digits before the point, 10 kW: one hour at 1.2 × rated is 12,000 Wh.
FACTS = RegisterFacts(modulus_wh=1_000_000_000, rated_w=10_000)


def at(minutes: int, wh: int, *, late_s: int = 0, clock_off_s: int | None = None) -> RegisterReading:
    """A reading so many minutes after noon, received `late_s` later."""
    read_at = NOON + timedelta(minutes=minutes)
    return RegisterReading(read_at, wh, read_at + timedelta(seconds=late_s), clock_off_s)


# minutes and Wh of both readings; ratio; how late it arrives (s); the meter's clock (s off); flag; usage (Wh)
TABLE = """
    name                     last          next            ratio  late    clock  flag             usage
    first_reading            -             0 5000          1      0       -      first            -
    first_at_zero            -             0 0             1      0       -      first            -
    new_meter_after_change   -             60 12           1      0       -      first            -
    plain_hour               0 5000        60 6500         1      0       -      ok               1500
    nothing_used             0 5000        60 5000         1      0       -      ok               0
    with_ratio               0 5000        60 5100         30     0       -      ok               3000
    with_ct_pair             0 5000        60 5100         150/5  0       -      ok               3000
    exactly_1_2_rated        0 5000        60 17000        1      0       -      ok               12000
    just_above_1_2           0 5000        60 17001        1      0       -      impossible_jump  -
    spike                    0 5000        60 905000       1      0       -      impossible_jump  -
    rated_is_before_ratio    0 5000        60 17000        30     0       -      ok               360000
    jump_before_ratio        0 5000        60 17010        30     0       -      impossible_jump  -
    grain_of_the_register    0 5000        0.1 5010        1      0       -      ok               10
    two_steps_in_a_moment    0 5000        0.05 5020       1      0       -      impossible_jump  -
    duplicate                0 5000        0 5000          1      0       -      duplicate        -
    duplicate_late           0 5000        0 5000          1      86400   -      duplicate        -
    conflicting              0 5000        0 5010          1      0       -      conflict         -
    out_of_order             60 6500       30 6000         1      7200    -      out_of_order     -
    out_of_order_same_value  60 6500       30 6500         1      7200    -      out_of_order     -
    rollover                 0 999999000   60 500          1      0       -      rollover         1500
    rollover_to_zero         0 999999990   60 0            1      0       -      rollover         10
    rollover_with_ratio      0 999999000   60 500          30     0       -      rollover         45000
    rollover_at_the_limit    0 999990000   60 2000         1      0       -      rollover         12000
    rollover_too_much        0 999990000   60 2001         1      0       -      negative         -
    reset_to_zero            0 500000000   60 0            1      0       -      negative         -
    replaced_unannounced     0 123456780   60 1200         1      0       -      negative         -
    one_step_back            0 5000        60 4990         1      0       -      negative         -
    reversed_wiring          0 5000        60 4000         1      0       -      negative         -
    gap_of_six_hours         0 5000        360 6500        1      0       -      ok               1500
    gap_above_six_hours      0 5000        361 6500        1      0       -      gap              1500
    gap_of_three_days        0 5000        4320 65000      1      0       -      gap              60000
    gap_then_impossible      0 5000        4320 905000     1      0       -      impossible_jump  -
    rollover_over_a_gap      0 999990000   4320 40000      1      0       -      rollover         50000
    register_above_modulus   0 5000        60 1000000000   1      0       -      out_of_range     -
    register_below_zero      0 5000        60 -10          1      0       -      out_of_range     -
    seven_days_late          0 5000        60 6500         1      604800  -      ok               1500
    clock_4_min_ahead        0 5000        60 6500         1      -240    240    ok               1500
    clock_5_min_ahead        0 5000        60 6500         1      -300    300    ok               1500
    stamp_6_min_ahead        0 5000        60 6500         1      -360    -      future           -
    clock_6_min_ahead        0 5000        60 6500         1      0       360    future           -
    stamp_a_day_ahead        0 5000        1500 6500       1      -86400  -      future           -
    clock_4_min_behind       0 5000        60 6500         1      0       -240   ok               1500
    clock_6_min_behind       0 5000        60 6500         1      0       -360   stale_clock      1500
    first_in_the_future      -             60 6500         1      -360    -      future           -
    stamp_of_1970            0 5000        -29700000 6500  1      0       -      stale_clock      -
    first_of_1970            -             -29700000 6500  1      0       -      stale_clock      -
    future_beats_duplicate   0 5000        0 5000          1      -360    -      future           -
    range_beats_future       0 5000        60 -10          1      -360    -      out_of_range     -
"""
ROWS = TABLE.strip().splitlines()[1:]


def parse(row: str) -> tuple[RegisterReading | None, RegisterReading, Ratio, Verdict]:
    words = row.split()
    last = None if words[1] == "-" else at(int(words[1]), int(words[2]))
    minutes, wh, ratio, late, clock, flag, usage = words[2 if last is None else 3 :]
    off = None if clock == "-" else int(clock)
    seconds = int(float(minutes) * 60)
    new = RegisterReading(
        NOON + timedelta(seconds=seconds), int(wh), NOON + timedelta(seconds=seconds + int(late)), off
    )
    used = None if usage == "-" else int(usage)
    return last, new, parse_ratio(ratio), Verdict(Flag(flag), used, billable=used is not None)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split()[0])
def test_a_reading_is_judged_as_the_table_says(row: str) -> None:
    last, new, ratio, verdict = parse(row)
    assert judge(last, new, FACTS, ratio) == verdict


def test_the_table_shows_every_flag() -> None:
    assert {parse(row)[3].flag for row in ROWS} == set(Flag)


@pytest.mark.parametrize(
    ("flag", "billable", "baseline", "person"),
    [
        (Flag.OK, True, True, False),
        (Flag.GAP, True, True, False),
        (Flag.ROLLOVER, True, True, False),
        (Flag.STALE_CLOCK, True, True, False),
        (Flag.STALE_CLOCK, False, False, False),
        (Flag.FIRST, False, True, False),
        (Flag.DUPLICATE, False, False, False),
        (Flag.OUT_OF_ORDER, False, False, False),
        (Flag.CONFLICT, False, False, True),
        (Flag.OUT_OF_RANGE, False, False, True),
        (Flag.NEGATIVE, False, False, True),
        (Flag.IMPOSSIBLE_JUMP, False, False, True),
        (Flag.FUTURE, False, False, True),
    ],
)
def test_what_a_verdict_means(flag: Flag, billable: bool, baseline: bool, person: bool) -> None:
    verdict = Verdict(flag, 0 if billable else None, billable)
    assert (verdict.is_baseline, verdict.needs_person) == (baseline, person)


def test_a_spike_does_not_become_the_measure_of_what_follows() -> None:
    series = [at(0, 5_000), at(15, 900_000), at(30, 6_000), at(30, 6_000), at(20, 5_500), at(45, 6_500)]
    verdicts = judge_series(None, series, FACTS)
    assert [verdict.flag for verdict in verdicts] == [
        Flag.FIRST,
        Flag.IMPOSSIBLE_JUMP,
        Flag.OK,
        Flag.DUPLICATE,
        Flag.OUT_OF_ORDER,
        Flag.OK,
    ]
    assert sum(verdict.usage_wh or 0 for verdict in verdicts) == 1_500


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(0, 1_000)), min_size=1))
def test_over_any_series_the_bill_is_the_register_difference_even_across_a_rollover(
    steps: list[tuple[int, int]],
) -> None:
    minutes, total = 0, FACTS.modulus_wh - 5_000
    start = at(minutes, total)
    series = []
    for wait, used in steps:
        minutes, total = minutes + wait, total + min(used, wait * 200)
        series.append(at(minutes, total % FACTS.modulus_wh))
    verdicts = judge_series(start, series, FACTS)
    assert sum(verdict.usage_wh or 0 for verdict in verdicts) == total - start.register_wh
    assert all(verdict.billable for verdict in verdicts)


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1), st.integers(1, 100_000))
def test_no_verdict_bills_more_than_the_meter_could_carry(last: int, following: int, minutes: int) -> None:
    verdict = judge(at(0, last), at(minutes, following), FACTS, ONE)
    limit_wh = FACTS.rated_w * 12 * minutes // 600
    assert (verdict.usage_wh or 0) <= limit_wh
