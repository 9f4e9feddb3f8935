"""The last look before a frame leaves: one reason, the first in order, for every command that may not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.meters.command_life import MOVES, Kind, State
from app.meters.sending import SendFacts, Withheld, withhold

NOW = datetime(2026, 7, 15, 4, 0, tzinfo=UTC)
GOOD = SendFacts(
    kind=Kind.TRIP,
    now=NOW,
    valid_until=NOW,
    attempts=0,
    epoch=3,
    epoch_now=3,
    permit_alive=True,
    stops_halted=False,
    guaranteed_supply=False,
    bypassed=False,
    on_account=True,
    may_trip=True,
)
#: Every reason that holds, in order of precedence, and how a command ends for it: never sent, sent before.
REASONS: list[tuple[dict[str, Any], str, State, State]] = [
    ({"epoch": 2}, "epoch_fence", State.EXPIRED, State.UNCONFIRMED),
    ({"valid_until": NOW - timedelta(microseconds=1)}, "too_late", State.EXPIRED, State.UNCONFIRMED),
    ({"permit_alive": False}, "permit_revoked", State.CANCELLED, State.UNCONFIRMED),
    ({"stops_halted": True}, "stops_halted", State.CANCELLED, State.UNCONFIRMED),
    ({"guaranteed_supply": True}, "guaranteed", State.REFUSED, State.UNCONFIRMED),
    ({"bypassed": True}, "bypassed", State.REFUSED, State.UNCONFIRMED),
    ({"on_account": False}, "no_account", State.REFUSED, State.UNCONFIRMED),
    ({"may_trip": False}, "dry_run", State.DRY_RUN, State.DRY_RUN),
]


def test_a_trip_with_every_ground_is_sent() -> None:
    assert withhold(GOOD) is None


@pytest.mark.parametrize(("change", "failure", "unsent", "sent"), REASONS)
def test_each_missing_ground_ends_a_trip(change: dict[str, Any], failure: str, unsent: State, sent: State) -> None:
    assert withhold(replace(GOOD, **change)) == Withheld(unsent, failure)
    assert withhold(replace(GOOD, **change, attempts=1)) == Withheld(sent, failure)


@pytest.mark.parametrize("place", range(len(REASONS) - 1))
def test_the_earlier_reason_is_the_one_that_is_named(place: int) -> None:
    everything_later: dict[str, Any] = {}
    for change, *_ in REASONS[place:]:
        everything_later |= change
    found = withhold(replace(GOOD, **everything_later))
    assert found is not None
    assert found.failure == REASONS[place][1]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.TRIP])
def test_only_trips_need_a_ground_everything_else_only_its_time_and_epoch(kind: Kind) -> None:
    bare = replace(GOOD, kind=kind, permit_alive=False, stops_halted=True, guaranteed_supply=True, may_trip=False)
    assert withhold(bare) is None
    assert withhold(replace(bare, epoch=1)) == Withheld(State.EXPIRED, "epoch_fence")


@pytest.mark.parametrize("end", [state for _, _, unsent, sent in REASONS for state in (unsent, sent)])
def test_every_end_is_a_legal_move_from_the_queue(end: State) -> None:
    assert end in MOVES[State.QUEUED]
