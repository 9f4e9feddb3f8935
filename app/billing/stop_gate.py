"""The facts of the gate, gathered under lock: property row, then wallet, then everything read beside them.

The property's row is locked so that mass-trip counts are exact and the kill switch waits for nobody longer than one
decision. What cannot be known is said to be unknown, and the gate refuses on it.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import exists, func, or_, select, text
from sqlalchemy.orm import Session

from app.billing.alarms import alarm_policy
from app.billing.emergency_given import held_until
from app.billing.low_balance import notices_of, proofs_of
from app.billing.models import Agreement, PlanAssignment, PriceVersion, StopFreeze, SupplyAccount
from app.billing.plans import counts
from app.billing.stop_calendar import window_rule
from app.billing.stop_policy import Basis, DataQuality, DebtKind, StopFacts, TripCounts, Weather
from app.billing.stop_windows import UsageClass, WindowRule
from app.billing.wallets import Wallet
from app.kernel.clock import local_day
from app.kernel.db import current_tenant_id
from app.meters.models import Gateway, Meter, Mount, ReadingCase
from app.meters.readings import FOR_A_PERSON
from app.tenants.models import Party, Property, Tenant

#: A stop is explained by usage only if no price change took effect this recently.
PLAN_SETTLED_AFTER = timedelta(hours=24)
#: The counter takes money at any hour the console is up; a channel that can fail brings its own probe.
PAYMENT_UP = True


@dataclass(frozen=True, slots=True)
class Asked:
    """Who wants what stopped, and why."""

    basis: Basis
    actor: str
    reason: str = ""
    emergency: bool = False
    debts: frozenset[DebtKind] = frozenset()


@dataclass(frozen=True, slots=True)
class Switch:
    """A meter that could be tripped, its mount, and whether it hangs on the simulated street."""

    meter: Meter
    mount: Mount
    simulated: bool


def lock_property(session: Session, *, property_id: int) -> Property:
    """The property's row under lock, as it stands now: one stop decision per property at a time."""
    query = select(Property).where(Property.id == property_id).with_for_update(key_share=True)
    return session.scalars(query, execution_options={"populate_existing": True}).one()


def switches_of(session: Session, *, supply_account_id: int) -> list[Switch]:
    """The meters that serve the account now, in id order."""
    rows = session.execute(
        select(Meter, Mount, func.coalesce(Gateway.simulated, False))
        .join(Mount, (Mount.tenant_id == Meter.tenant_id) & (Mount.meter_id == Meter.id))
        .outerjoin(Gateway, (Gateway.tenant_id == Meter.tenant_id) & (Gateway.id == Meter.gateway_id))
        .where(Mount.supply_account_id == supply_account_id, Mount.ended_at.is_(None))
        .order_by(Meter.id)
    )
    return [Switch(meter, mount, simulated) for meter, mount, simulated in rows]


def rule_of(session: Session, account: SupplyAccount) -> WindowRule:
    """When the account may be stopped at all."""
    zone = session.scalars(select(Property.time_zone).where(Property.id == account.property_id)).one()
    return window_rule(UsageClass(account.usage_class), ZoneInfo(zone))


def gather(
    session: Session,
    *,
    asked: Asked,
    account: SupplyAccount,
    place: Property,
    wallet: Wallet,
    switch: Switch,
    now: datetime,
) -> StopFacts:
    """Everything the gate looks at, for one meter of the account. The caller holds property and wallet."""
    demo = session.scalars(select(Tenant.kind).where(Tenant.id == current_tenant_id())).one() == "demo"
    zone = ZoneInfo(place.time_zone)
    explained = asked.basis is Basis.ZERO_STOP and _plan_is_settled(session, account.id, now)
    return StopFacts(
        now=now,
        basis=asked.basis,
        debts=asked.debts,
        usage_class=UsageClass(account.usage_class),
        kill_switch=place.stops_halted,
        agreement_on_file=_agreed(session, account, local_day(now, place.time_zone)),
        guaranteed=switch.mount.guaranteed_supply,
        protected=_protected(session, account, now, place.time_zone),
        bypassed=switch.mount.control == "bypassed",
        on_supply_account=switch.mount.supply_account_id is not None,
        emergency_until=held_until(session, supply_account_id=account.id, now=now),
        phone_payment_up=PAYMENT_UP,
        window=window_rule(UsageClass(account.usage_class), zone),
        # No live weather source yet: fair in the demo's world, unknown and therefore refused in the real one.
        weather=Weather.CLEAR if demo else Weather.UNKNOWN,
        notices=proofs_of(notices_of(session, account=account)),
        available_fen=wallet.available_fen,
        overdraft_fen=account.overdraft_fen_max,
        read_at=switch.meter.reading_at,
        data_quality=_quality(session, switch.meter.id),
        trips=_trips(session, place.id, now, explained=explained),
        explained=explained,
        frozen=_frozen(session),
        reason=asked.reason,
        emergency=asked.emergency,
        live=demo and switch.simulated,
        alarms=alarm_policy(account.alarm_1_fen, account.alarm_2_fen),
    )


def _agreed(session: Session, account: SupplyAccount, today: date) -> bool:
    signed = select(Agreement.id).where(
        Agreement.supply_account_id == account.id,
        Agreement.kind == "zero_stop",
        Agreement.signed_on <= today,
        or_(Agreement.ended_on.is_(None), Agreement.ended_on > today),
    )
    return session.scalar(signed.limit(1)) is not None


def _protected(session: Session, account: SupplyAccount, now: datetime, zone: str) -> bool:
    until = session.scalar(select(Party.protected_until).where(Party.id == account.party_id))
    return until is not None and until >= local_day(now, zone)


def _plan_is_settled(session: Session, supply_account_id: int, now: datetime) -> bool:
    since = now - PLAN_SETTLED_AFTER
    assigned = PlanAssignment.supply_account_id == supply_account_id
    new_plan = exists().where(assigned, PlanAssignment.effective_from > since, PlanAssignment.effective_from <= now)
    new_price = exists().where(
        assigned,
        PriceVersion.tenant_id == PlanAssignment.tenant_id,
        PriceVersion.plan_id == PlanAssignment.plan_id,
        PriceVersion.effective_from > since,
        PriceVersion.effective_from <= now,
        counts(),
    )
    return not session.scalars(select(or_(new_plan, new_price))).one()


def _quality(session: Session, meter_id: int) -> DataQuality:
    """Suspect while a person has yet to look at one of the meter's readings."""
    case = select(ReadingCase.id).where(
        ReadingCase.meter_id == meter_id, ReadingCase.settled_at.is_(None), ReadingCase.flag.in_(FOR_A_PERSON)
    )
    return DataQuality.SUSPECT if session.scalar(case.limit(1)) is not None else DataQuality.GOOD


_TRIPS = text(
    """
    SELECT count(*) FILTER (WHERE t.ordered_at > :hour) AS last_hour, count(*) AS last_day,
           (SELECT count(*) FROM supply_accounts AS s WHERE s.tenant_id = :tenant AND s.property_id = :property
               AND s.state = 'open') AS supply_accounts
      FROM stops AS t
     WHERE t.tenant_id = :tenant AND t.property_id = :property AND t.ordered_at > :day
       AND coalesce(t.evidence -> 'facts' ->> 'explained', 'false') = :explained
    """
)


def _trips(session: Session, property_id: int, now: datetime, *, explained: bool) -> TripCounts:
    given = {
        "tenant": current_tenant_id(), "property": property_id, "hour": now - timedelta(hours=1),
        "day": now - timedelta(days=1), "explained": "true" if explained else "false",
    }  # fmt: skip
    row = session.execute(_TRIPS, given).one()
    return TripCounts(row.last_hour, row.last_day, row.supply_accounts)


def _frozen(session: Session) -> bool:
    return session.scalar(select(StopFreeze.id).where(StopFreeze.lifted_at.is_(None))) is not None
