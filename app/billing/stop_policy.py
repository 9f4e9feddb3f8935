"""The one gate before any stop of supply: pure checks in a fixed order over facts gathered under lock.

    kill switch → legal basis → agreement → never tripped → emergency supply → window → weather → notice proof → balance
    → data → mass thresholds → live or dry run → valid until

Nothing else may decide a stop: screens, API, imports and jobs all bring their facts here. Sources: Civil Code
art. 944 and 654; the editable defaults are those of the property. Approvals by a second person join the gate with
the full policy; until then what exceeds a threshold is refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app.billing.arrears import DEFAULT_POLICY, AlarmPolicy, Notice, NoticeProof, NoticeState
from app.billing.stop_refusals import Refusal, sentence
from app.billing.stop_windows import DayKind, UsageClass, WindowRule

#: A command to stop is worth nothing after this long: the facts behind it have aged.
VALID_FOR = timedelta(minutes=5)
#: Mains meters; battery meters bring two reporting intervals and two hours.
DATA_AGE_MAX = timedelta(hours=24)


class Basis(StrEnum):
    """On what ground a supply is stopped."""

    ZERO_STOP = "zero_stop"
    ARREARS = "arrears"
    SAFETY = "safety"
    MANUAL = "manual"


class DebtKind(StrEnum):
    """What kind of debt stands behind a stop."""

    OWN_UTILITY = "own_utility"
    OTHER_UTILITY = "other_utility"
    RENT = "rent"
    MANAGEMENT_FEE = "management_fee"
    PROPERTY_FEE = "property_fee"
    PARKING = "parking"
    OTHER = "other"


class Weather(StrEnum):
    """The weather guard: CLEAR only when a live source says so."""

    CLEAR = "clear"
    ALERT = "alert"
    UNKNOWN = "unknown"


class DataQuality(StrEnum):
    """How far the newest reading can be trusted."""

    GOOD = "good"
    ESTIMATED = "estimated"
    SUSPECT = "suspect"


@dataclass(frozen=True, slots=True)
class TripCounts:
    """Stops already ordered in the property, for the same sort of cause."""

    last_hour: int
    last_day: int
    #: Supply accounts of the property.
    supply_accounts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFacts:
    """Everything the gate looks at. Money and flags are read under the wallet's lock, at `now`."""

    now: datetime
    basis: Basis
    #: The debts the request names; a zero stop needs none beside the balance itself.
    debts: frozenset[DebtKind] = frozenset()
    usage_class: UsageClass
    #: Tenant's or global.
    kill_switch: bool
    agreement_on_file: bool
    guaranteed: bool
    protected: bool
    bypassed: bool
    on_supply_account: bool
    shared_riser: bool = False
    #: Until when an emergency supply keeps stops away, unless its usage is over sooner; None when none does.
    emergency_until: datetime | None = None
    phone_payment_up: bool
    window: WindowRule
    weather: Weather
    #: Latest proof per rung of this low-balance episode.
    notices: tuple[NoticeProof, ...]
    available_fen: int
    overdraft_fen: int
    #: When the newest trusted reading was taken; None if there is none.
    read_at: datetime | None
    data_quality: DataQuality
    data_age_max: timedelta = DATA_AGE_MAX
    trips: TripCounts
    #: Explained by measured usage on an unchanged plan, and paced.
    explained: bool
    #: Automatic stops of the tenant are frozen because too many wallets crossed zero at once.
    frozen: bool = False
    #: Manual stops: why, in words, and whether life or property is in danger right now.
    reason: str = ""
    emergency: bool = False
    #: False for every tenant that may only rehearse.
    live: bool
    alarms: AlarmPolicy = DEFAULT_POLICY
    valid_for: timedelta = VALID_FOR

    @property
    def automatic(self) -> bool:
        """Was it a rule, not a person or a danger, that asked?"""
        return self.basis in {Basis.ZERO_STOP, Basis.ARREARS}

    @property
    def may_wait(self) -> bool:
        """Can it wait for the window and the weather? Danger cannot."""
        return self.basis is not Basis.SAFETY and not (self.basis is Basis.MANUAL and self.emergency)


@dataclass(frozen=True, slots=True)
class StopVerdict:
    """The gate's answer. `reasons` are all refusals in the gate's order; the first is the one to show."""

    allowed: bool
    reasons: tuple[Refusal, ...]
    #: When a stop is possible by the window, from now on; None if never or not bound to one.
    next_window_at: datetime | None
    #: When judging again can give another answer by the mere passing of time; None if only an event can.
    again_at: datetime | None
    #: The nearer end of today's hours, for the sentence.
    edge_at: datetime | None
    #: Allowed, but only to be written down as a rehearsal.
    dry_run: bool
    #: Until when the trip may be sent; None when refused.
    valid_until: datetime | None

    @property
    def first_refusal(self) -> Refusal | None:
        """The refusal of the highest precedence."""
        return self.reasons[0] if self.reasons else None


def judge_stop(facts: StopFacts) -> StopVerdict:
    """Ask every check in the gate's order. Allowed only if none refuses."""
    reasons = tuple(refusal for check in GATE for refusal in check(facts))
    window_at = facts.window.next_opening(facts.now) if facts.may_wait else None
    return StopVerdict(
        allowed=not reasons,
        reasons=reasons,
        next_window_at=window_at,
        again_at=_again_at(facts, reasons, window_at),
        edge_at=_edge_at(facts, reasons),
        dry_run=not facts.live,
        valid_until=None if reasons else _valid_until(facts),
    )


def explain(facts: StopFacts, verdict: StopVerdict, locale: str = "zh") -> str:
    """The first refusal as a sentence with the way out; empty when allowed."""
    if verdict.first_refusal is None:
        return ""
    return sentence(
        verdict.first_refusal,
        now=facts.now,
        zone=facts.window.zone,
        edge=verdict.edge_at,
        again=verdict.again_at,
        lead=facts.alarms.warning_lead,
        locale=locale,
    )


def mass_limits(supply_accounts: int, *, explained: bool) -> tuple[int, int]:
    """How many stops an hour and a day a property bears before a second person must release the rest.

    Explained by measured usage on an unchanged plan: max(20, 5 %) and max(20, 15 %); others max(5, 1 %), max(5, 3 %).
    """
    least, per_hour, per_day = (20, 5, 15) if explained else (5, 1, 3)
    return max(least, supply_accounts * per_hour // 100), max(least, supply_accounts * per_day // 100)


def _kill_switch(facts: StopFacts) -> Iterator[Refusal]:
    if facts.kill_switch:
        yield Refusal.KILL_SWITCH


def _legal_basis(facts: StopFacts) -> Iterator[Refusal]:
    # These two hold in any space, for any basis and any role: naming the debt is enough.
    if facts.debts & {DebtKind.PROPERTY_FEE, DebtKind.PARKING}:
        yield Refusal.PROPERTY_FEE_DEBT
    foreign = facts.debts - {DebtKind.OWN_UTILITY}
    if foreign and facts.usage_class is UsageClass.RESIDENTIAL:
        yield Refusal.RESIDENTIAL_OTHER_DEBT
    # Works and dangers are no way to collect: a manual or safety stop carries no debt at all.
    if foreign or (facts.debts and not facts.automatic):
        yield Refusal.OTHER_DEBT
    if facts.basis is Basis.ARREARS:
        yield Refusal.ARREARS_NOT_AVAILABLE
    if facts.basis is Basis.MANUAL and not facts.reason.strip():
        yield Refusal.MANUAL_REASON_MISSING


def _agreement(facts: StopFacts) -> Iterator[Refusal]:
    if facts.basis is Basis.ZERO_STOP and not facts.agreement_on_file:
        yield Refusal.NO_AGREEMENT


def _never_tripped(facts: StopFacts) -> Iterator[Refusal]:
    if facts.guaranteed or facts.usage_class is UsageClass.COMMON:
        yield Refusal.GUARANTEED
    if facts.protected:
        yield Refusal.PROTECTED
    if facts.bypassed:
        yield Refusal.BYPASSED
    if not facts.on_supply_account:
        yield Refusal.NOT_ON_SUPPLY_ACCOUNT
    if facts.shared_riser and facts.automatic:
        yield Refusal.SHARED_RISER


def _emergency_supply(facts: StopFacts) -> Iterator[Refusal]:
    # Danger does not wait for a night's grace; works and debts do.
    if facts.emergency_until is not None and facts.now < facts.emergency_until and facts.may_wait:
        yield Refusal.EMERGENCY_SUPPLY


def _window(facts: StopFacts) -> Iterator[Refusal]:
    if facts.automatic and not facts.phone_payment_up:
        yield Refusal.PAYMENT_DOWN
    if not facts.may_wait or facts.window.is_open(facts.now):
        return
    local = facts.now.astimezone(facts.window.zone)
    if facts.window.calendar.day_kind(local.date()) is DayKind.UNKNOWN:
        yield Refusal.CALENDAR_UNKNOWN
    elif not facts.window.day_allows(local.date()):
        yield Refusal.QUIET_DAY
    elif local.time() < facts.window.window.opens:
        yield Refusal.BEFORE_HOURS
    else:
        yield Refusal.AFTER_HOURS


def _weather(facts: StopFacts) -> Iterator[Refusal]:
    if not facts.may_wait or facts.usage_class is not UsageClass.RESIDENTIAL:
        return
    if facts.weather is Weather.UNKNOWN:
        yield Refusal.WEATHER_UNKNOWN
    if facts.weather is Weather.ALERT:
        yield Refusal.WEATHER_ALERT


def _notice_proof(facts: StopFacts) -> Iterator[Refusal]:
    if not facts.automatic:
        return
    proofs = {proof.notice: proof for proof in facts.notices}
    for notice, refusal, may_be_overtaken in _LADDER:
        if not _proven(proofs.get(notice), may_be_overtaken):
            yield refusal
    warning = proofs.get(Notice.LAST_WARNING)
    if warning is None or warning.state is not NoticeState.DELIVERED or warning.at is None:
        yield Refusal.NOTICE_LAST_WARNING
    elif facts.now - warning.at < facts.alarms.warning_lead:
        yield Refusal.LAST_WARNING_TOO_RECENT
    elif facts.now - warning.at > facts.alarms.warning_age_max:
        yield Refusal.LAST_WARNING_TOO_OLD


#: The rungs below the last warning; the balance may have jumped past the alarms, never past the notice at zero.
_LADDER = (
    (Notice.ALARM_1, Refusal.NOTICE_ALARM_1, True),
    (Notice.ALARM_2, Refusal.NOTICE_ALARM_2, True),
    (Notice.ZERO, Refusal.NOTICE_ZERO, False),
)


def _proven(proof: NoticeProof | None, may_be_overtaken: bool) -> bool:
    if proof is None:
        return False
    if proof.state is NoticeState.OVERTAKEN:
        return may_be_overtaken
    return proof.state is NoticeState.DELIVERED and proof.at is not None


def _balance(facts: StopFacts) -> Iterator[Refusal]:
    if facts.automatic and facts.available_fen >= -facts.overdraft_fen:
        yield Refusal.BALANCE_ABOVE_FLOOR


def _data(facts: StopFacts) -> Iterator[Refusal]:
    if not facts.automatic:
        return
    if facts.read_at is None:
        yield Refusal.DATA_MISSING
    elif facts.now - facts.read_at > facts.data_age_max:
        yield Refusal.DATA_STALE
    if facts.data_quality is not DataQuality.GOOD:
        yield Refusal.DATA_SUSPECT


def _thresholds(facts: StopFacts) -> Iterator[Refusal]:
    if facts.frozen and facts.automatic:
        yield Refusal.FROZEN
    hour_max, day_max = mass_limits(facts.trips.supply_accounts, explained=facts.explained)
    if facts.trips.last_hour >= hour_max:
        yield Refusal.HOUR_LIMIT
    if facts.trips.last_day >= day_max:
        yield Refusal.DAY_LIMIT


#: The order of the gate. Whoever reorders it changes what people are told first.
GATE: tuple[Callable[[StopFacts], Iterator[Refusal]], ...] = (
    _kill_switch,
    _legal_basis,
    _agreement,
    _never_tripped,
    _emergency_supply,
    _window,
    _weather,
    _notice_proof,
    _balance,
    _data,
    _thresholds,
)


def _again_at(facts: StopFacts, reasons: tuple[Refusal, ...], window_at: datetime | None) -> datetime | None:
    """When time alone may change the first refusal; a warning's half hour that ends at night waits for the window."""
    match reasons[0] if reasons else None:
        case Refusal.QUIET_DAY | Refusal.BEFORE_HOURS | Refusal.AFTER_HOURS:
            return window_at
        case Refusal.LAST_WARNING_TOO_RECENT:
            given = next(p.at for p in facts.notices if p.notice is Notice.LAST_WARNING)
            ripe = None if given is None else given + facts.alarms.warning_lead
            return None if ripe is None else facts.window.next_opening(ripe)
        case Refusal.HOUR_LIMIT:
            return facts.now + timedelta(hours=1)
        case _:
            return None


def _edge_at(facts: StopFacts, reasons: tuple[Refusal, ...]) -> datetime | None:
    """The end of the window that the present hour lies beyond."""
    local = facts.now.astimezone(facts.window.zone)
    if Refusal.AFTER_HOURS in reasons:
        return datetime.combine(local.date(), facts.window.window.closes, tzinfo=local.tzinfo)
    if Refusal.BEFORE_HOURS in reasons:
        return datetime.combine(local.date(), facts.window.window.opens, tzinfo=local.tzinfo)
    return None


def _valid_until(facts: StopFacts) -> datetime:
    """Never past the window: a trip sent late must not fall into quiet hours."""
    latest = facts.now + facts.valid_for
    closes = facts.window.last_moment_today(facts.now) if facts.may_wait else None
    return latest if closes is None else min(latest, closes)
