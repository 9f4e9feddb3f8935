"""Low balance: how long the money lasts, how far down it is, and which notices are due.

The ladder of one low-balance episode: alarm 1 → alarm 2 → zero → last warning → stop. A jump past a rung
restarts nothing: the rung is recorded as overtaken and the present one is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

#: Full days looked at for a forecast; the newest count.
FORECAST_DAYS = 7
HOURS_PER_DAY = 24


class Level(IntEnum):
    """How low a wallet is. STOP_DUE is past the overdraft; the gate decides whether a stop follows."""

    NONE = 0
    ALARM_1 = 1
    ALARM_2 = 2
    ZERO = 3
    STOP_DUE = 4


class Notice(StrEnum):
    """The rungs of the ladder, in order."""

    ALARM_1 = "alarm_1"
    ALARM_2 = "alarm_2"
    ZERO = "zero"
    LAST_WARNING = "last_warning"


class NoticeState(StrEnum):
    """What is known about a notice of this episode."""

    #: Queued or sent, no word yet.
    WAITING = "waiting"
    #: The channel proved it: delivery receipt, meter alarm read back, photo of the door.
    DELIVERED = "delivered"
    FAILED = "failed"
    #: Never sent, because the balance jumped past it.
    OVERTAKEN = "overtaken"


@dataclass(frozen=True, slots=True)
class NoticeProof:
    """One notice of this episode and what is known about it."""

    notice: Notice
    state: NoticeState
    #: When it was delivered or failed; None while waiting or overtaken.
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Threshold:
    """An alarm threshold: days of forecast, or a fixed amount, or whichever comes first. Inclusive."""

    days: int | None = None
    fen: int | None = None

    def reached(self, available_fen: int, hours_left: int | None) -> bool:
        """Is the wallet at or below it? Without a forecast only the amount counts."""
        by_fen = self.fen is not None and available_fen <= self.fen
        by_days = self.days is not None and hours_left is not None and hours_left <= self.days * HOURS_PER_DAY
        return by_fen or by_days


@dataclass(frozen=True, slots=True)
class AlarmPolicy:
    """When to warn. The defaults are those of zero stops: three days, one day, thirty minutes."""

    alarm_1: Threshold = Threshold(days=3)
    alarm_2: Threshold = Threshold(days=1)
    #: The last warning stands at least this long before the stop.
    warning_lead: timedelta = timedelta(minutes=30)
    #: A last warning older than this warned of another stop; it is given anew.
    warning_age_max: timedelta = timedelta(hours=24)
    #: A failed notice is tried again after this long.
    retry_after: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DueNotices:
    """What to send now, and which rungs to record as overtaken."""

    send: tuple[Notice, ...]
    overtaken: tuple[Notice, ...]


DEFAULT_POLICY = AlarmPolicy()
_LADDER = ((Level.ALARM_1, Notice.ALARM_1), (Level.ALARM_2, Notice.ALARM_2), (Level.ZERO, Notice.ZERO))


def forecast_hours(available_fen: int, day_costs_fen: Sequence[int]) -> int | None:
    """Hours until the wallet is empty at the median cost of the last seven full days; None if nothing used.

    `day_costs_fen` is oldest first, full days only. Of two middle days the dearer counts, so that a
    forecast errs towards warning early; one odd day moves nothing.
    """
    recent = sorted(day_costs_fen[-FORECAST_DAYS:])
    if available_fen <= 0:
        return 0
    if not recent or recent[len(recent) // 2] <= 0:
        return None
    return available_fen * HOURS_PER_DAY // recent[len(recent) // 2]


def level_of(
    *, available_fen: int, overdraft_fen: int, hours_left: int | None, policy: AlarmPolicy = DEFAULT_POLICY
) -> Level:
    """How low the wallet is now. Exactly the overdraft is still allowed; one fen further is past it."""
    if available_fen < -overdraft_fen:
        return Level.STOP_DUE
    if available_fen <= 0:
        return Level.ZERO
    if policy.alarm_2.reached(available_fen, hours_left):
        return Level.ALARM_2
    if policy.alarm_1.reached(available_fen, hours_left):
        return Level.ALARM_1
    return Level.NONE


def due_notices(
    level: Level,
    proofs: Sequence[NoticeProof],
    *,
    now: datetime,
    stop_from: datetime | None,
    policy: AlarmPolicy = DEFAULT_POLICY,
) -> DueNotices:
    """Which notices of this episode to send at `now`, given the latest proof of each rung.

    `stop_from` is the first instant at which a stop would be possible (None: not in sight): the last warning
    goes out when that is near, not in the middle of a night in which nothing can happen. Notices that failed,
    and a last warning that has aged, come again.
    """
    known = {proof.notice: proof for proof in proofs}
    reached = [notice for rung, notice in _LADDER if level >= rung]
    unsent = [notice for notice in reached if notice not in known]
    overtaken = tuple(notice for notice in unsent if notice is not reached[-1])
    send = [n for n in reached if n not in overtaken and (n in unsent or _try_again(known[n], now, policy))]
    if level is Level.STOP_DUE and _warning_due(known.get(Notice.LAST_WARNING), now, stop_from, policy):
        send.append(Notice.LAST_WARNING)
    return DueNotices(tuple(send), overtaken)


def episode_over(level: Level, *, credited: bool) -> bool:
    """Does the episode end? Only money ends it: a forecast that brightens may darken again tomorrow."""
    return level is Level.NONE and credited


def _try_again(proof: NoticeProof, now: datetime, policy: AlarmPolicy) -> bool:
    failed = proof.state is NoticeState.FAILED
    return failed and (proof.at is None or now - proof.at >= policy.retry_after)


def _warning_due(proof: NoticeProof | None, now: datetime, stop_from: datetime | None, policy: AlarmPolicy) -> bool:
    if stop_from is None or stop_from - now > policy.warning_lead:
        return False
    if proof is None or _try_again(proof, now, policy):
        return True
    aged = proof.at is not None and now - proof.at > policy.warning_age_max
    return proof.state is NoticeState.DELIVERED and aged
