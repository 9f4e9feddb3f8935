"""Judging the readings of one register: what is usage, what is only a start, and what a person must look at.

A reading is compared with the last one that could be trusted. Whatever is odd gets a name; nothing odd is
billed silently, and no verdict bills more than 1.2 × the rated power of the meter could have drawn.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from app.kernel.quantity import ONE, Ratio

CLOCK_OFF_MAX = timedelta(minutes=5)
#: No meter of ours was read before this: an earlier stamp is a clock that lost its battery (1970, 2000).
CLOCK_EPOCH = datetime(2001, 1, 1, tzinfo=UTC)
GAP_AFTER = timedelta(hours=6)
STEP_WH = 10
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS_PER_HOUR = 3_600_000_000


class Flag(StrEnum):
    """What a reading turned out to be."""

    OK = "ok"
    FIRST = "first"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    OUT_OF_RANGE = "out_of_range"
    OUT_OF_ORDER = "out_of_order"
    ROLLOVER = "rollover"
    NEGATIVE = "negative"
    IMPOSSIBLE_JUMP = "impossible_jump"
    FUTURE = "future"
    STALE_CLOCK = "stale_clock"
    GAP = "gap"


#: Somebody has to look: nothing is billed until then.
FOR_A_PERSON = frozenset({Flag.CONFLICT, Flag.OUT_OF_RANGE, Flag.NEGATIVE, Flag.IMPOSSIBLE_JUMP, Flag.FUTURE})


@dataclass(frozen=True, slots=True)
class RegisterFacts:
    """What the meter's model says about one register, all on the register's side of the ratio."""

    #: One more than the highest value shown: 1,000,000 kWh for six digits before the point.
    modulus_wh: int
    #: Rated power of the meter itself, in watts.
    rated_w: int
    #: Smallest step the register shows: 10 Wh for two decimals.
    step_wh: int = STEP_WH
    #: Silence longer than this is a gap, and its usage is spread.
    gap_after: timedelta = GAP_AFTER


@dataclass(frozen=True, slots=True)
class RegisterReading:
    """A register's value at an instant. Instants are aware; energy is in watt-hours, before the ratio."""

    read_at: datetime
    register_wh: int
    #: When it reached us.
    received_at: datetime
    #: The meter's own clock minus ours, in seconds; None when nobody asked the meter.
    clock_off_s: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement: `usage_wh` is real energy after the ratio, None where there is none to speak of."""

    flag: Flag
    usage_wh: int | None
    billable: bool

    @property
    def is_baseline(self) -> bool:
        """May the next reading be compared with this one?"""
        return self.billable or self.flag is Flag.FIRST

    @property
    def needs_person(self) -> bool:
        """Must somebody decide before this reading counts?"""
        return self.flag in FOR_A_PERSON


def judge(previous: RegisterReading | None, new: RegisterReading, facts: RegisterFacts, ratio: Ratio = ONE) -> Verdict:
    """Judge a reading against the last trusted one (None at the start of a mount: a start value, not usage).

    In order of precedence: out of range, future, lost clock, first, duplicate or conflict, out of order,
    negative or rollover, impossible jump, clock behind, gap, ok.
    """
    refusal = _by_itself(new, facts)
    if refusal is not None:
        return Verdict(refusal, None, billable=False)
    if previous is None:
        return Verdict(Flag.FIRST, None, billable=False)
    if new.read_at <= previous.read_at:
        return Verdict(_not_newer(previous, new), None, billable=False)
    rise_wh = new.register_wh - previous.register_wh
    rolled = rise_wh < 0
    if rolled:
        rise_wh += facts.modulus_wh
    if not _possible(rise_wh, new.read_at - previous.read_at, facts):
        return Verdict(Flag.NEGATIVE if rolled else Flag.IMPOSSIBLE_JUMP, None, billable=False)
    usage_wh = ratio.between(previous.register_wh, previous.register_wh + rise_wh)
    return Verdict(_billed_as(previous, new, facts, rolled), usage_wh, billable=True)


def judge_series(
    previous: RegisterReading | None,
    readings: Iterable[RegisterReading],
    facts: RegisterFacts,
    ratio: Ratio = ONE,
) -> list[Verdict]:
    """Judge readings in the order they came, each against the last trusted one before it."""
    verdicts = []
    for reading in readings:
        verdict = judge(previous, reading, facts, ratio)
        if verdict.is_baseline:
            previous = reading
        verdicts.append(verdict)
    return verdicts


def _by_itself(new: RegisterReading, facts: RegisterFacts) -> Flag | None:
    """What is wrong with a reading whatever came before it."""
    if not 0 <= new.register_wh < facts.modulus_wh:
        return Flag.OUT_OF_RANGE
    if new.read_at - new.received_at > CLOCK_OFF_MAX or _clock_off(new) > CLOCK_OFF_MAX:
        return Flag.FUTURE
    if new.read_at < CLOCK_EPOCH:
        return Flag.STALE_CLOCK
    return None


def _clock_off(reading: RegisterReading) -> timedelta:
    return timedelta(seconds=reading.clock_off_s or 0)


def _not_newer(previous: RegisterReading, new: RegisterReading) -> Flag:
    if new.read_at < previous.read_at:
        return Flag.OUT_OF_ORDER
    return Flag.DUPLICATE if new.register_wh == previous.register_wh else Flag.CONFLICT


def _possible(rise_wh: int, elapsed: timedelta, facts: RegisterFacts) -> bool:
    """Could 1.2 × the rated power have drawn this in that time?"""
    # The register moves in steps: between two quick polls a single one says nothing about power.
    if rise_wh <= facts.step_wh:
        return True
    return rise_wh * _MICROSECONDS_PER_HOUR * 10 <= facts.rated_w * (elapsed // _MICROSECOND) * 12


def _billed_as(previous: RegisterReading, new: RegisterReading, facts: RegisterFacts, rolled: bool) -> Flag:
    if rolled:
        return Flag.ROLLOVER
    if -_clock_off(new) > CLOCK_OFF_MAX:
        return Flag.STALE_CLOCK
    if new.read_at - previous.read_at > facts.gap_after:
        return Flag.GAP
    return Flag.OK
