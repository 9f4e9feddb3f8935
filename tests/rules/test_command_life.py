"""The life of a command as a table, its retries, and how a new command meets those still under way."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.meters import command_life
from app.meters.actuators import CLOSING, Actuator
from app.meters.command_life import (
    MOVES,
    Coalesced,
    Kind,
    Pending,
    State,
    after_read_back,
    after_silence,
    after_valid_until,
    check_move,
    coalesce,
    is_final,
)

LIFE = """
    queued        sent expired refused cancelled dry_run unconfirmed
    sent          acknowledged confirmed unconfirmed refused queued
    acknowledged  confirmed unconfirmed queued
    confirmed
    unconfirmed
    expired
    refused
    cancelled
    dry_run
"""
ALLOWED = {State(row.split()[0]): {State(word) for word in row.split()[1:]} for row in LIFE.strip().splitlines()}


def test_the_table_speaks_of_every_state() -> None:
    assert set(ALLOWED) == set(State)


@pytest.mark.parametrize(("now", "wanted"), list(product(State, State)))
def test_a_command_moves_as_the_table_says_and_no_other_way(now: State, wanted: State) -> None:
    if wanted in ALLOWED[now]:
        check_move(now, wanted)
        return
    with pytest.raises(command_life.IllegalMove) as caught:
        check_move(now, wanted)
    assert now.value in caught.value.message("zh")
    assert wanted.value in caught.value.message("en")


@pytest.mark.parametrize("state", list(State))
def test_a_state_without_a_way_on_is_final(state: State) -> None:
    assert is_final(state) is (not ALLOWED[state])


@pytest.mark.parametrize(
    ("attempts", "agrees", "state"),
    [
        (1, True, State.CONFIRMED),
        (3, True, State.CONFIRMED),
        (1, False, State.QUEUED),
        (2, False, State.QUEUED),
        (3, False, State.UNCONFIRMED),
    ],
)
def test_only_the_read_back_confirms_and_three_sendings_are_enough(attempts: int, agrees: bool, state: State) -> None:
    assert after_read_back(attempts=attempts, agrees=agrees) is state
    if not agrees:
        assert after_silence(attempts=attempts) is state


def test_what_may_have_reached_the_meter_does_not_expire() -> None:
    assert after_valid_until(attempts=0) is State.EXPIRED
    assert after_valid_until(attempts=1) is State.UNCONFIRMED


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_every_life_with_retries_ends_within_three_sendings(answers: list[bool]) -> None:
    state = State.QUEUED
    for attempts, agrees in enumerate(answers, start=1):
        if is_final(state):
            break
        check_move(state, State.SENT)
        after = after_read_back(attempts=attempts, agrees=agrees)
        check_move(State.SENT, after)
        state = after
    assert state is (State.CONFIRMED if any(answers) else State.UNCONFIRMED)


# id kind state attempts, by seq | the new kind, the relay as last read | what is cancelled, is it appended
COALESCING = """
    -                                                  | close         closed   | -    yes
    1 trip queued 0                                    | close         closed   | 1    no
    1 trip queued 0                                    | close         open     | 1    yes
    1 trip queued 0                                    | close         unknown  | 1    yes
    1 trip queued 0                                    | permit_close  closed   | 1    no
    1 trip queued 1                                    | close         closed   | 1    yes
    1 trip sent 1                                      | close         closed   | -    yes
    1 trip acknowledged 1                              | close         closed   | -    yes
    1 trip confirmed 1                                 | close         open     | -    yes
    1 trip sent 1, 2 trip queued 0                     | close         closed   | 2    yes
    1 trip queued 0, 2 trip queued 0                   | close         closed   | 1,2  no
    1 trip queued 0                                    | trip          closed   | -    no
    1 trip sent 1                                      | trip          closed   | -    yes
    1 close queued 0                                   | trip          open     | 1    yes
    1 permit_close queued 0                            | trip          open     | 1    yes
    1 close sent 1                                     | trip          open     | -    yes
    1 close queued 0                                   | close         open     | -    no
    1 permit_close queued 0                            | close         open     | -    yes
    1 trip queued 0                                    | read_status   closed   | -    yes
    1 read_status queued 0                             | read_status   closed   | -    no
    1 read_status queued 0                             | read_total    closed   | -    yes
    1 read_status queued 0                             | close         closed   | -    yes
    1 trip queued 0, 2 read_total queued 0             | close         closed   | 1    no
    1 trip queued 0                                    | guarantee_on  closed   | 1    yes
    1 guarantee_on queued 0                            | guarantee_off closed   | 1    yes
    1 guarantee_off queued 0                           | guarantee_on  closed   | 1    yes
"""
RELAY = {"closed": True, "open": False, "unknown": None}


def pending_from(text: str) -> list[Pending]:
    rows = [] if text.strip() == "-" else [row.split() for row in text.split(",")]
    return [
        Pending(int(id_), Kind(kind), State(state), seq, int(attempts))
        for seq, (id_, kind, state, attempts) in enumerate(rows)
    ]


@pytest.mark.parametrize("row", COALESCING.strip().splitlines(), ids=lambda row: " ".join(row.split()))
def test_the_latest_decision_about_a_relay_wins(row: str) -> None:
    queue, new, outcome = row.split("|")
    kind, relay = new.split()
    cancelled, appended = outcome.split()
    ids = () if cancelled == "-" else tuple(int(id_) for id_ in cancelled.split(","))
    expected = Coalesced(ids, append=appended == "yes")
    assert coalesce(pending_from(queue), Kind(kind), relay_closed=RELAY[relay]) == expected


KINDS = st.sampled_from([Kind.TRIP, Kind.CLOSE, Kind.PERMIT_CLOSE])
QUEUES = st.lists(st.tuples(KINDS, st.sampled_from(list(MOVES)), st.integers(0, 2)), max_size=6)


@given(QUEUES, KINDS)
def test_whatever_was_under_way_the_last_word_is_the_new_one(
    queue: list[tuple[Kind, State, int]], new_kind: Kind
) -> None:
    pending = [Pending(i, kind, state, i, attempts) for i, (kind, state, attempts) in enumerate(queue)]
    outcome = coalesce(pending, new_kind)
    left = [command for command in pending if command.id not in outcome.cancel]
    last = new_kind if outcome.append else left[-1].kind
    assert (last is Kind.TRIP) is (new_kind is Kind.TRIP)
    assert all(pending[id_].state is State.QUEUED for id_ in outcome.cancel)


@pytest.mark.parametrize(
    ("actuator", "direct", "permit"),
    [
        (Actuator.INTERNAL_RELAY, True, True),
        (Actuator.MOTOR_BREAKER, True, False),
        (Actuator.SHUNT_TRIP, False, False),
        (Actuator.HV_SWITCH, False, False),
    ],
)
def test_what_may_be_closed_from_afar(actuator: Actuator, direct: bool, permit: bool) -> None:
    closing = CLOSING[actuator]
    assert (closing.direct, closing.permit, closing.remote) == (direct, permit, direct or permit)
