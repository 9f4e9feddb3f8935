"""The life of a command to a meter: queued → sent → acknowledged → confirmed, and every other way it ends.

Done means read back. A command that may have reached the meter and was never confirmed is *unconfirmed*,
which raises an alarm; only one that surely never left may *expire*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.kernel.errors import AppError

#: Sendings of one command until the read-back agrees.
ATTEMPTS_MAX = 3


class IllegalMove(AppError):
    """A command cannot go from this state to that one."""

    code, status = "command_illegal_move", 409
    message_zh = "控制命令当前为“{now}”，不能变为“{wanted}”。请刷新后查看最新状态。"
    message_en = "The command is {now} and cannot become {wanted}. Reload to see its present state."


class Kind(StrEnum):
    """What is asked of the meter."""

    TRIP = "trip"
    CLOSE = "close"
    PERMIT_CLOSE = "permit_close"
    READ_STATUS = "read_status"
    READ_TOTAL = "read_total"
    GUARANTEE_ON = "guarantee_on"
    GUARANTEE_OFF = "guarantee_off"


class State(StrEnum):
    """Where a command is in its life."""

    QUEUED = "queued"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    EXPIRED = "expired"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    DRY_RUN = "dry_run"


#: A state not on the left is final. Back to QUEUED is a retry; SENT → CONFIRMED is a lost acknowledgement.
MOVES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.QUEUED: frozenset(
            {State.SENT, State.EXPIRED, State.REFUSED, State.CANCELLED, State.DRY_RUN, State.UNCONFIRMED}
        ),
        State.SENT: frozenset({State.ACKNOWLEDGED, State.CONFIRMED, State.UNCONFIRMED, State.REFUSED, State.QUEUED}),
        State.ACKNOWLEDGED: frozenset({State.CONFIRMED, State.UNCONFIRMED, State.QUEUED}),
    }
)

#: Kinds that let current flow again.
CLOSING_KINDS = frozenset({Kind.CLOSE, Kind.PERMIT_CLOSE})

#: What a new command of the kind on the left makes pointless.
OVERRULES: Mapping[Kind, frozenset[Kind]] = MappingProxyType(
    {
        Kind.TRIP: CLOSING_KINDS,
        Kind.CLOSE: frozenset({Kind.TRIP}),
        Kind.PERMIT_CLOSE: frozenset({Kind.TRIP}),
        Kind.GUARANTEE_ON: frozenset({Kind.GUARANTEE_OFF, Kind.TRIP}),
        Kind.GUARANTEE_OFF: frozenset({Kind.GUARANTEE_ON}),
    }
)


def is_final(state: State) -> bool:
    """Has the command ended?"""
    return state not in MOVES


def check_move(now: State, wanted: State) -> None:
    """May a command go from `now` to `wanted`? Raises IllegalMove."""
    if wanted not in MOVES.get(now, frozenset()):
        raise IllegalMove(now=now.value, wanted=wanted.value)


def after_read_back(*, attempts: int, agrees: bool) -> State:
    """The state once the meter's own status was read: confirmed, tried again, or given up."""
    return State.CONFIRMED if agrees else after_silence(attempts=attempts)


def after_silence(*, attempts: int) -> State:
    """The state when neither an answer nor a read-back came after `attempts` sendings."""
    return State.QUEUED if attempts < ATTEMPTS_MAX else State.UNCONFIRMED


def after_valid_until(*, attempts: int) -> State:
    """The state of an unfinished command past its time: only one never sent has surely done nothing."""
    return State.UNCONFIRMED if attempts else State.EXPIRED


@dataclass(frozen=True, slots=True)
class Pending:
    """An unfinished command of one meter. `seq` rises per meter: the higher one is the later word."""

    id: int
    kind: Kind
    state: State
    seq: int
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Coalesced:
    """What a new command does to the queue: ids to cancel, and whether the new one is appended at all."""

    cancel: tuple[int, ...]
    append: bool


def coalesce(pending: Sequence[Pending], new_kind: Kind, *, relay_closed: bool | None = None) -> Coalesced:
    """Fit a new command into a meter's unfinished ones; the latest decision wins.

    What it overrules and is still queued is cancelled, so that no further frame of it leaves; what is on the
    wire stays, and the new command follows with a higher seq. The same kind still queued is not doubled.
    `relay_closed` is the last read-back, None when unknown: a close that only undoes trips which were never
    sent is not sent to a relay known to be closed.
    """
    live = sorted((command for command in pending if not is_final(command.state)), key=lambda c: c.seq)
    undone = [c for c in live if c.state is State.QUEUED and c.kind in OVERRULES.get(new_kind, ())]
    stays = [c for c in live if c not in undone and _same_matter(c.kind, new_kind)]
    doubled = bool(stays) and stays[-1].kind is new_kind and stays[-1].state is State.QUEUED
    reached = bool(stays) or any(command.attempts for command in undone)
    needless = new_kind in CLOSING_KINDS and bool(undone) and not reached and relay_closed is True
    return Coalesced(tuple(command.id for command in undone), append=not doubled and not needless)


def _same_matter(kind: Kind, new_kind: Kind) -> bool:
    """Do both speak about the same thing: the relay, the guarantee, or one and the same read?"""
    return kind is new_kind or kind in OVERRULES.get(new_kind, ()) or {kind, new_kind} == CLOSING_KINDS
