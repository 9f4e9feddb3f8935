"""When a meter is asked, and what for: pure bookkeeping on two clocks.

Polls are due at whole multiples of the polling period of the business clock, the same instants for every meter, so a
clock that jumps makes everything due at once and once. What did not answer is tried again by the wall clock.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.kernel.clock import EPOCH
from app.meters.headend.roster import RosterMeter

#: So many polls without an answer, and a meter counts as offline.
FAILURES_MAX = 3
RETRY_S = (0.2, 0.5, 2.0, 5.0, 15.0, 30.0)
RELAY_READ_EVERY = timedelta(hours=24)
CLOCK_READ_EVERY = timedelta(hours=24)
#: After a permit to close, somebody is about to press a button: look again every few seconds for a while.
WATCH_EVERY_S = 3.0
WATCH_FOR_S = 900.0


def due_instant(now: datetime, poll_s: int) -> datetime:
    """The last instant at or before `now` at which every meter was due."""
    seconds = int((now - EPOCH).total_seconds())
    return EPOCH + timedelta(seconds=seconds - seconds % poll_s)


@dataclass(slots=True)
class PollState:
    """What the head-end remembers of a meter while it is on the line."""

    meter: RosterMeter
    answered_at: datetime | None
    relay_open: bool | None
    relay_read_at: datetime | None
    clock_read_at: datetime | None = None
    failures: int = 0
    retry_at_s: float = 0.0
    watch_until_s: float = 0.0
    watched_at_s: float = field(default=0.0)

    @classmethod
    def of(cls, meter: RosterMeter) -> "PollState":
        """What is known when the meter comes on the line; it is asked at once, which shows whether it is there."""
        relay_open = {"open": True, "closed": False}.get(meter.relay_state)
        return cls(meter, None, relay_open, meter.relay_read_at)

    def is_due(self, due_at: datetime, monotonic_s: float) -> bool:
        """Must it be asked for its register?"""
        return (self.answered_at is None or self.answered_at < due_at) and monotonic_s >= self.retry_at_s

    def is_settled(self, due_at: datetime, monotonic_s: float) -> bool:
        """Has it answered since it was due, with nobody expected at its button?"""
        answered = self.answered_at is not None and self.answered_at >= due_at
        return answered and monotonic_s >= self.watch_until_s

    def wants_relay(self, now: datetime) -> bool:
        """Must its relay be read with this poll? An open one always, so that a hand-closed relay is noticed."""
        if self.relay_read_at is None or self.relay_open is None or self.relay_open:
            return True
        return now - self.relay_read_at >= RELAY_READ_EVERY

    def wants_clock(self, now: datetime) -> bool:
        """Must its clock be compared with this poll?"""
        return self.clock_read_at is None or now - self.clock_read_at >= CLOCK_READ_EVERY

    def wants_watching(self, monotonic_s: float) -> bool:
        """Is somebody expected to press its button just now?"""
        return monotonic_s < self.watch_until_s and monotonic_s >= self.watched_at_s + WATCH_EVERY_S

    def watch(self, monotonic_s: float) -> None:
        """Look at the relay often from now on, for a while."""
        self.watch_until_s, self.watched_at_s = monotonic_s + WATCH_FOR_S, monotonic_s

    def answered(self, at: datetime) -> None:
        """It answered a question put at this business instant."""
        self.answered_at, self.failures, self.retry_at_s = at, 0, 0.0

    def saw_relay(self, is_open: bool, at: datetime) -> None:
        """Its relay was read."""
        self.relay_open, self.relay_read_at = is_open, at
        if not is_open:
            self.watch_until_s = 0.0

    def failed(self, monotonic_s: float) -> bool:
        """It did not answer. True when this makes it count as offline."""
        self.failures += 1
        self.retry_at_s = monotonic_s + RETRY_S[min(self.failures, len(RETRY_S)) - 1]
        return self.failures == FAILURES_MAX
