"""The last look at a command before its frame leaves. Meters never learn why; they only learn whether they may.

In order of precedence: epoch fence, valid-until, permit, kill switch, guaranteed supply, bypass, no account, dry run.
"""

from dataclasses import dataclass
from datetime import datetime

from app.meters.command_life import Kind, State, after_valid_until


@dataclass(frozen=True, slots=True, kw_only=True)
class SendFacts:
    """What is true under lock, just before sending. Instants are aware, on the business clock."""

    kind: Kind
    now: datetime
    valid_until: datetime
    #: Sendings so far.
    attempts: int
    #: Epoch the command was written under, and the one in force.
    epoch: int
    epoch_now: int
    #: The permit is there, not revoked, not past its end. Only trips need one.
    permit_alive: bool
    stops_halted: bool
    guaranteed_supply: bool
    bypassed: bool
    #: The meter is mounted on a supply account; one that serves none is never tripped.
    on_account: bool
    #: A demo tenant on a simulated gateway: nobody else may trip before the full policy exists.
    may_trip: bool


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why the frame does not leave, and the state the command ends in."""

    state: State
    failure: str


def withhold(facts: SendFacts) -> Withheld | None:
    """None: send it. Otherwise the end of the command."""
    if facts.epoch < facts.epoch_now:
        return Withheld(after_valid_until(attempts=facts.attempts), "epoch_fence")
    if facts.now > facts.valid_until:
        return Withheld(after_valid_until(attempts=facts.attempts), "too_late")
    return _withhold_trip(facts) if facts.kind is Kind.TRIP else None


def _withhold_trip(facts: SendFacts) -> Withheld | None:
    # A trip sent before may have opened the relay: withdrawing the retry does not make that untrue.
    withdrawn = State.UNCONFIRMED if facts.attempts else State.CANCELLED
    refused = State.UNCONFIRMED if facts.attempts else State.REFUSED
    checks = (
        (not facts.permit_alive, withdrawn, "permit_revoked"),
        (facts.stops_halted, withdrawn, "stops_halted"),
        (facts.guaranteed_supply, refused, "guaranteed"),
        (facts.bypassed, refused, "bypassed"),
        (not facts.on_account, refused, "no_account"),
        (not facts.may_trip, State.DRY_RUN, "dry_run"),
    )
    return next((Withheld(state, failure) for holds, state, failure in checks if holds), None)
