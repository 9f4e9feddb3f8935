"""An account at zero: when it will be stopped, or what holds the stop, in the gate's own words.

Nothing is decided here. The gate's last answer speaks where there is one; the gate itself is asked for the rest, with
the facts that a page has at hand.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Row

from app.billing.arrears import Notice, NoticeProof, NoticeState
from app.billing.cutoff import ALLOWED, DRY_RUN
from app.billing.stop_calendar import window_rule
from app.billing.stop_gate import PAYMENT_UP
from app.billing.stop_policy import Basis, DataQuality, StopFacts, TripCounts, Weather, judge_stop
from app.billing.stop_refusals import Refusal
from app.billing.stop_windows import UsageClass

#: What passes by itself: the hours, and the half hour after a last warning, which is given before the hours begin.
PASSING = frozenset(
    {
        Refusal.QUIET_DAY,
        Refusal.BEFORE_HOURS,
        Refusal.AFTER_HOURS,
        Refusal.NOTICE_LAST_WARNING,
        Refusal.LAST_WARNING_TOO_RECENT,
        Refusal.LAST_WARNING_TOO_OLD,
        Refusal.HOUR_LIMIT,
        ALLOWED,
        "expired",
    }
)


@dataclass(frozen=True, slots=True)
class StopOutlook:
    """`verdict` with the instants of its sentence."""

    verdict: str
    again_at: datetime | None = None
    edge_at: datetime | None = None
    #: True while only a person or an event can let the stop happen; otherwise it comes by itself.
    held: bool = True
    #: When a stop is to be expected by the hours; None while it is held, or waits for a warning to arrive.
    stop_at: datetime | None = None
    #: When the gate gave this answer; None when it was asked for this page.
    judged_at: datetime | None = None


def stop_outlook(a: Row[Any], now: datetime) -> StopOutlook:
    """The outlook of an account with an open balance at or below zero, from the columns of `reports.stop_outlook`."""
    facts = _facts(a, now)
    asked = judge_stop(facts)
    lasting = next((refusal for refusal in asked.reasons if refusal not in PASSING), None)
    if lasting is not None:
        return StopOutlook(lasting)
    if a.verdict is not None and a.judged_basis != Basis.MANUAL:
        held = not a.live or a.verdict not in PASSING
        stop_at = None if held else _opening(facts, _ripe_at(a, now))
        return StopOutlook(a.verdict, a.next_at, a.edge_at, held, stop_at, a.judged_at)
    if not a.live:
        return StopOutlook(DRY_RUN)
    first = asked.first_refusal or ALLOWED
    return StopOutlook(first, asked.again_at, asked.edge_at, False, _opening(facts, now))


def _ripe_at(a: Row[Any], now: datetime) -> datetime:
    """From when on the hours alone decide: what the gate waits out in them ends at its next look."""
    waits = a.verdict in {Refusal.LAST_WARNING_TOO_RECENT, Refusal.HOUR_LIMIT} and a.next_at is not None
    return max(a.next_at, now) if waits else now


def _opening(facts: StopFacts, since: datetime) -> datetime | None:
    """The first instant from `since` on at which the hours allow a stop; None where only an event is waited for."""
    opens = facts.window.next_opening(since)
    return opens if opens is not None and opens > facts.now else None


def _facts(a: Row[Any], now: datetime) -> StopFacts:
    """What the page knows; the notices before the last warning are left to the gate, which keeps their proof."""
    usage_class = UsageClass(a.usage_class)
    return StopFacts(
        now=now,
        basis=Basis.ZERO_STOP,
        usage_class=usage_class,
        kill_switch=a.stops_halted,
        agreement_on_file=a.agreed,
        guaranteed=bool(a.guaranteed_supply),
        protected=a.protected,
        bypassed=a.control == "bypassed",
        on_supply_account=True,
        phone_payment_up=PAYMENT_UP,
        window=window_rule(usage_class, ZoneInfo(a.time_zone)),
        weather=Weather.CLEAR,
        notices=tuple(NoticeProof(n, NoticeState.DELIVERED, now) for n in Notice if n is not Notice.LAST_WARNING),
        available_fen=a.available_fen,
        overdraft_fen=a.overdraft_fen_max,
        read_at=a.reading_at,
        data_quality=DataQuality.GOOD,
        trips=TripCounts(0, 0, 1),
        explained=True,
        frozen=a.frozen,
        live=a.live,
    )
