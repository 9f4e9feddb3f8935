"""The pricing run: what readings changed is priced and added to the wallets' accrual, thousands of accounts at a time.

One batch: dirty meters → usage spans → lines → (wallets locked in id order) account-days, accrual, alarm levels. The
wallets are locked last and for the writes only, so that a top-up at the counter never waits for the arithmetic.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing import accrual
from app.billing.accrual import DayKey, RatedDay
from app.billing.alarms import raise_levels
from app.billing.ledger.balances import KeptBalance, apply_accrual, lock_balances
from app.billing.ledger.books import wallet_ids
from app.billing.plans import load_timelines
from app.billing.runs import lock_run
from app.billing.tariffs.plans import PlanNotYetEffective, PlanTimeline
from app.billing.tariffs.rating import Line, rate_many
from app.kernel.clock import business_now
from app.meters.intervals import recompute
from app.meters.spans import UsageSpan
from app.tenants.models import Property

#: Accounts per transaction: what keeps a batch's locks short.
BATCH_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Priced:
    """What a batch did. `unpriced` account-days have usage and no price yet; `more` meters are still waiting."""

    accounts: int
    crossings: int
    unpriced: int = 0
    more: bool = False


def price_dirty(session: Session, *, property_id: int, limit: int = BATCH_MAX) -> Priced:
    """Price one batch of what new readings changed in a property. Call again in a new unit of work while `.more`."""
    lock_run(session, property_id=property_id, kind="pricing")
    timelines: dict[int, PlanTimeline] = {}

    def cuts_for(supply_account_ids: Sequence[int]) -> Mapping[int, Sequence[datetime]]:
        timelines.update(load_timelines(session, supply_account_ids=supply_account_ids))
        return {id_: [v.effective_from for v in timeline.versions] for id_, timeline in timelines.items()}

    found = recompute(
        session, property_id=property_id, zone=zone_of(session, property_id), cuts_for=cuts_for, limit=limit
    )
    days = [(id_, day) for id_, touched in found.days.items() for day in touched]
    done = price_days(session, property_id=property_id, days=days, timelines=timelines)
    return Priced(done.accounts, done.crossings, done.unpriced, found.more)


def price_days(
    session: Session,
    *,
    property_id: int,
    days: Sequence[DayKey],
    timelines: Mapping[int, PlanTimeline] | None = None,
) -> Priced:
    """Price whole account-days anew: the difference against what was rated before goes to the wallets' accrual.

    Days without a price stay as they are and are counted in `unpriced`.
    """
    if timelines is None:
        timelines = load_timelines(session, supply_account_ids={id_ for id_, _ in days})
    rated = rate_days(accrual.load_spans(session, days=days), days, timelines)
    if not rated:
        return Priced(0, 0, len(days))
    wallets = wallet_ids(session, supply_account_ids=sorted({day.supply_account_id for day in rated}))
    kept = lock_balances(session, wallets.values())
    moved = _store(session, property_id, rated, wallets)
    left = {id_: _left(kept[wallet_id], moved.get(id_, 0)) for id_, wallet_id in wallets.items()}
    crossings = raise_levels(session, property_id=property_id, available_fen=left)
    return Priced(len(wallets), crossings, len(days) - len(rated))


def rate_days(
    spans: Mapping[DayKey, Sequence[UsageSpan]], days: Iterable[DayKey], timelines: Mapping[int, PlanTimeline]
) -> list[RatedDay]:
    """Price account-days from their spans; days whose account has no price over all of the day's usage are left out."""
    rated = []
    for key in days:
        lines = _priced(spans.get(key, ()), timelines.get(key[0]))
        if lines is not None:
            rated.append(accrual.rated_day(key, lines))
    return rated


def zone_of(session: Session, property_id: int) -> ZoneInfo:
    """The time zone of a property's civil days."""
    return ZoneInfo(session.scalars(select(Property.time_zone).where(Property.id == property_id)).one())


def _priced(spans: Sequence[UsageSpan], timeline: PlanTimeline | None) -> list[Line] | None:
    if not spans:
        return []
    if timeline is None:
        return None
    try:
        return [line for lines in rate_many(spans, timeline) for line in lines]
    except PlanNotYetEffective:
        return None


def _store(session: Session, property_id: int, rated: Sequence[RatedDay], wallets: Mapping[int, int]) -> dict[int, int]:
    """Write what changed; returns supply account → microfen added to its accrual."""
    before = accrual.load_rated(session, days=[day.key for day in rated])
    changed = [day for day in rated if before.get(day.key) != (day.usage_wh, day.rated_microfen)]
    accrual.store_days(session, property_id=property_id, days=changed, at=business_now())
    moved = accrual.changes(changed, before)
    apply_accrual(session, rows=[(wallets[id_], microfen, None) for id_, microfen in moved.items() if microfen])
    return moved


def _left(kept: KeptBalance, moved_microfen: int) -> int:
    return replace(kept, accrued_microfen=kept.accrued_microfen + moved_microfen).available_fen
