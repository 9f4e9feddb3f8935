"""Low balance: the forecast, the levels, and which notice is due, as tables."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.arrears import (
    AlarmPolicy,
    DueNotices,
    Level,
    Notice,
    NoticeProof,
    NoticeState,
    Threshold,
    due_notices,
    episode_over,
    forecast_hours,
    level_of,
)

NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("available_fen", "day_costs_fen", "hours"),
    [
        (3_000, [1_000] * 7, 72),
        (2_999, [1_000] * 7, 71),
        (3_000, [1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 9_000], 72),
        (3_000, [0, 0, 0, 1_000, 1_000, 1_000, 1_000], 72),
        (3_000, [9_000] * 30 + [1_000] * 7, 72),
        (3_000, [500, 1_000], 72),
        (3_000, [1_000], 72),
        (3_000, [], None),
        (3_000, [0] * 7, None),
        (3_000, [0, 0, 0, 0, 5_000, 5_000, 5_000], None),
        (0, [1_000] * 7, 0),
        (-500, [], 0),
    ],
)
def test_a_forecast_is_the_median_day(available_fen: int, day_costs_fen: list[int], hours: int | None) -> None:
    assert forecast_hours(available_fen, day_costs_fen) == hours


DAYS = AlarmPolicy()
AMOUNTS = AlarmPolicy(alarm_1=Threshold(fen=3_000), alarm_2=Threshold(fen=1_000))
BOTH = AlarmPolicy(alarm_1=Threshold(days=3, fen=3_000), alarm_2=Threshold(days=1, fen=1_000))


@pytest.mark.parametrize(
    ("policy", "available_fen", "overdraft_fen", "hours_left", "level"),
    [
        (DAYS, 5_000, 2_000, 73, Level.NONE),
        (DAYS, 5_000, 2_000, 72, Level.ALARM_1),
        (DAYS, 5_000, 2_000, 25, Level.ALARM_1),
        (DAYS, 5_000, 2_000, 24, Level.ALARM_2),
        (DAYS, 1, 2_000, 1, Level.ALARM_2),
        (DAYS, 1, 2_000, None, Level.NONE),
        (DAYS, 0, 2_000, 0, Level.ZERO),
        (DAYS, -1, 2_000, 0, Level.ZERO),
        (DAYS, -2_000, 2_000, 0, Level.ZERO),
        (DAYS, -2_001, 2_000, 0, Level.STOP_DUE),
        (DAYS, 0, 0, 0, Level.ZERO),
        (DAYS, -1, 0, 0, Level.STOP_DUE),
        (AMOUNTS, 3_001, 0, 1, Level.NONE),
        (AMOUNTS, 3_000, 0, None, Level.ALARM_1),
        (AMOUNTS, 1_000, 0, None, Level.ALARM_2),
        (BOTH, 3_001, 0, 73, Level.NONE),
        (BOTH, 3_001, 0, 72, Level.ALARM_1),
        (BOTH, 3_000, 0, 500, Level.ALARM_1),
        (BOTH, 1_001, 0, 24, Level.ALARM_2),
        (BOTH, 1_000, 0, None, Level.ALARM_2),
    ],
)
def test_how_low_a_wallet_is(
    policy: AlarmPolicy, available_fen: int, overdraft_fen: int, hours_left: int | None, level: Level
) -> None:
    found = level_of(available_fen=available_fen, overdraft_fen=overdraft_fen, hours_left=hours_left, policy=policy)
    assert found is level


# level, minutes until a stop is possible (- never) | rung:state:minutes ago … | send | record as overtaken
LADDER = """
    NONE      0    | -                                                        | -                  | -
    ALARM_1   0    | -                                                        | alarm_1            | -
    ALARM_1   0    | alarm_1:waiting                                          | -                  | -
    ALARM_1   0    | alarm_1:delivered:10                                     | -                  | -
    ALARM_1   0    | alarm_1:failed:59                                        | -                  | -
    ALARM_1   0    | alarm_1:failed:60                                        | alarm_1            | -
    ALARM_2   0    | alarm_1:delivered:10                                     | alarm_2            | -
    ALARM_2   0    | -                                                        | alarm_2            | alarm_1
    ALARM_2   0    | alarm_1:failed:90                                        | alarm_1,alarm_2    | -
    ALARM_1   0    | alarm_1:overtaken alarm_2:delivered:10                   | -                  | -
    ZERO      0    | alarm_1:delivered:10 alarm_2:delivered:5                 | zero               | -
    ZERO      0    | -                                                        | zero               | alarm_1,alarm_2
    ZERO      0    | alarm_1:delivered:10                                     | zero               | alarm_2
    ZERO      0    | alarm_1:overtaken alarm_2:overtaken zero:delivered:9     | -                  | -
    STOP_DUE  0    | -                                                        | zero,last_warning  | alarm_1,alarm_2
    STOP_DUE  -    | -                                                        | zero               | alarm_1,alarm_2
    STOP_DUE  31   | alarm_1:overtaken alarm_2:overtaken zero:delivered:9     | -                  | -
    STOP_DUE  30   | alarm_1:overtaken alarm_2:overtaken zero:delivered:9     | last_warning       | -
    STOP_DUE  0    | alarm_1:overtaken alarm_2:overtaken zero:failed:61       | zero,last_warning  | -
    STOP_DUE  0    | alarm_1:delivered:9 alarm_2:delivered:9 zero:delivered:9 last_warning:waiting        | -            | -
    STOP_DUE  0    | alarm_1:delivered:9 alarm_2:delivered:9 zero:delivered:9 last_warning:delivered:40   | -            | -
    STOP_DUE  0    | alarm_1:delivered:9 alarm_2:delivered:9 zero:delivered:9 last_warning:failed:60      | last_warning | -
    STOP_DUE  0    | alarm_1:delivered:9 alarm_2:delivered:9 zero:delivered:9 last_warning:delivered:1440 | -            | -
    STOP_DUE  0    | alarm_1:delivered:9 alarm_2:delivered:9 zero:delivered:9 last_warning:delivered:1441 | last_warning | -
    ZERO      0    | alarm_1:delivered:9 alarm_2:delivered:9 zero:delivered:9 last_warning:failed:90      | -            | -
"""


def proofs_from(text: str) -> list[NoticeProof]:
    proofs = []
    for word in text.replace("-", "").split():
        notice, state, *ago = word.split(":")
        at = NOW - timedelta(minutes=int(ago[0])) if ago else None
        proofs.append(NoticeProof(Notice(notice), NoticeState(state), at))
    return proofs


def notices_from(text: str) -> tuple[Notice, ...]:
    return tuple(Notice(word) for word in text.strip().split(",") if word != "-")


@pytest.mark.parametrize("row", LADDER.strip().splitlines(), ids=lambda row: " ".join(row.split()))
def test_which_notice_is_due(row: str) -> None:
    situation, sent, send, overtaken = row.split("|")
    level, minutes = situation.split()
    stop_from = None if minutes == "-" else NOW + timedelta(minutes=int(minutes))
    due = due_notices(Level[level], proofs_from(sent), now=NOW, stop_from=stop_from)
    assert due == DueNotices(notices_from(send), notices_from(overtaken))


@given(st.lists(st.sampled_from(list(Level)), min_size=1, max_size=30))
def test_in_one_episode_each_rung_is_sent_at_most_once_and_never_after_a_higher_one(
    levels: list[Level],
) -> None:
    known: dict[Notice, NoticeProof] = {}
    sent: list[Notice] = []
    for level in levels:
        due = due_notices(level, list(known.values()), now=NOW, stop_from=NOW)
        sent.extend(due.send)
        known |= {notice: NoticeProof(notice, NoticeState.DELIVERED, NOW) for notice in due.send}
        known |= {notice: NoticeProof(notice, NoticeState.OVERTAKEN) for notice in due.overtaken}
    assert sent == sorted(set(sent), key=list(Notice).index)


@pytest.mark.parametrize(
    ("level", "credited", "over"),
    [
        (Level.NONE, True, True),
        (Level.NONE, False, False),
        (Level.ALARM_1, True, False),
        (Level.STOP_DUE, True, False),
    ],
)
def test_only_money_ends_an_episode(level: Level, credited: bool, over: bool) -> None:
    assert episode_over(level, credited=credited) is over
