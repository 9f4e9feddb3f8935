"""Price plans in the database: published as versions, assigned to supply accounts, loaded as timelines in bulk."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby

from sqlalchemy import ARRAY, BigInteger, ColumnElement, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.models import PlanAssignment, PricePlan, PriceVersion, PriceWithdrawal
from app.billing.tariffs.plans import FlatPrice, PlanTimeline, PlanVersion
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError, NotFound
from app.kernel.outbox import tell
from app.meters.intervals import mark_dirty
from app.tenants.audit import record

NAME_LENGTH_MAX = 60
#: How far ahead a price may be published: beyond that a year was mistyped.
PRICE_AHEAD_MAX = timedelta(days=5 * 366)
#: How many accounts one event about a changed plan names.
ACCOUNTS_PER_EVENT = 500


class PlanNameTaken(AppError):
    """A plan of this name exists in the property."""

    code, status = "plan_name_taken", 409
    message_zh = "本项目已有名为“{name}”的电价方案。请换一个名称，或在该方案下发布新价格。"
    message_en = "This property already has a plan named “{name}”. Choose another name, or publish a new price on it."


class PlanNameUnfit(AppError):
    """No name, or more than the column holds."""

    code, status = "plan_name_unfit", 422
    message_zh = "请填写电价方案名称，最多 {length_max} 个字。"
    message_en = "Give the plan a name of at most {length_max} characters."


class PriceTooFarAhead(AppError):
    """A new price would take effect in a year that was probably mistyped."""

    code, status = "price_too_far_ahead", 422
    message_zh = "生效时间超过五年以后。请核对年份。"
    message_en = "The price would take effect more than five years from now. Check the year."


class PriceBackdated(AppError):
    """A new price would take effect before now: usage already priced would change behind people's backs."""

    code, status = "price_backdated", 422
    message_zh = "新价格的生效时间不能早于现在。请选择今后的时间。"
    message_en = "A new price cannot take effect in the past. Choose a later time."


class PriceTimeTaken(AppError):
    """The plan already has a price from this very instant; published prices are never replaced."""

    code, status = "price_time_taken", 409
    message_zh = "该方案在此生效时间已有价格，已发布的价格不能改写。请选择其他时间。"
    message_en = (
        "The plan already has a price from this time, and a published price is never replaced. Choose another time."
    )


class PriceAlreadyInForce(AppError):
    """Somebody would withdraw a price that counts already: usage was or will be priced by it."""

    code, status = "price_already_in_force", 409
    message_zh = "该价格已经生效，不能撤回。请发布新的价格，从今后的时间起生效。"
    message_en = "This price is in force already and cannot be withdrawn. Publish a new price from a later time."


def create_plan(session: Session, *, property_id: int, name: str, utility: str = "electricity") -> PricePlan:
    """Make a price plan without prices yet. Raises PlanNameUnfit, PlanNameTaken."""
    name = name.strip()
    if not 0 < len(name) <= NAME_LENGTH_MAX:
        raise PlanNameUnfit(length_max=NAME_LENGTH_MAX)
    taken = select(PricePlan.id).where(PricePlan.property_id == property_id, PricePlan.name == name)
    if session.scalar(taken) is not None:
        raise PlanNameTaken(name=name)
    plan = PricePlan(property_id=property_id, name=name, utility=utility)
    session.add(plan)
    session.flush()  # allow: flush - versions and assignments need the plan's id
    return plan


def publish_price(
    session: Session,
    *,
    plan: PricePlan,
    price: Decimal,
    effective_from: datetime,
    by: Actor,
    approval_id: int | None = None,
) -> PriceVersion:
    """Publish what the plan charges from an instant on, in yuan per kWh (m³). The first price may date back.

    People come through `approved`.

    Raises PriceTooFine, PriceNegative (tariffs.plans), then PriceBackdated, PriceTooFarAhead, PriceTimeTaken.
    """
    FlatPrice(price)
    now = business_now()
    of_plan = select(PriceVersion.effective_from).where(PriceVersion.plan_id == plan.id)
    times = set(session.scalars(of_plan.where(counts())))
    if times and effective_from < now:
        raise PriceBackdated()
    if effective_from > now + PRICE_AHEAD_MAX:
        raise PriceTooFarAhead()
    if effective_from in times:
        raise PriceTimeTaken()
    before = session.scalars(of_plan.where(PriceVersion.effective_from == effective_from)).all()
    version = PriceVersion(
        plan_id=plan.id,
        effective_from=effective_from,
        price=price,
        issue=len(before),
        published_by=str(by),
        published_at=now,
    )
    session.add(version)
    session.flush()  # allow: flush - the caller shows the version's id
    record(
        session,
        deed="plan:price:publish",
        subject=f"price_versions:{version.id}",
        actor=by,
        property_id=plan.property_id,
        approval_id=approval_id,
        facts={"plan_id": plan.id, "price": str(price), "effective_from": effective_from.isoformat()},
    )
    _price_anew(session, _assigned_to(session, plan), effective_from)
    return version


def withdraw_price(session: Session, *, plan: PricePlan, price_version_id: int, by: Actor) -> None:
    """Take back a published price before its instant comes; it then never counts. Repeating it changes nothing.

    Raises NotFound, PriceAlreadyInForce.
    """
    version = session.scalar(
        select(PriceVersion).where(PriceVersion.id == price_version_id, PriceVersion.plan_id == plan.id)
    )
    if version is None:
        raise NotFound(thing="price_version")
    now = business_now()
    if version.effective_from <= now:
        raise PriceAlreadyInForce()
    row = {
        "tenant_id": current_tenant_id(),
        "price_version_id": version.id,
        "withdrawn_by": str(by),
        "withdrawn_at": now,
    }
    taken = insert(PriceWithdrawal).values(row).on_conflict_do_nothing().returning(PriceWithdrawal.price_version_id)
    if session.scalar(taken) is None:
        return
    record(
        session,
        deed="plan:price:withdraw",
        subject=f"price_versions:{version.id}",
        actor=by,
        property_id=plan.property_id,
        facts={
            "plan_id": plan.id,
            "price": str(version.price),
            "effective_from": version.effective_from.isoformat(),
        },
    )


def counts() -> ColumnElement[bool]:
    """Of price versions, those nobody has withdrawn."""
    taken_back = select(PriceWithdrawal.price_version_id).where(
        PriceWithdrawal.tenant_id == PriceVersion.tenant_id, PriceWithdrawal.price_version_id == PriceVersion.id
    )
    return ~taken_back.exists()


def assign_plan(
    session: Session, *, supply_account_ids: Sequence[int], plan: PricePlan, effective_from: datetime
) -> None:
    """Price these supply accounts by the plan from an instant on. Repeating the same assignment changes nothing."""
    if not supply_account_ids:
        return
    rows = [
        {
            "tenant_id": current_tenant_id(),
            "supply_account_id": id_,
            "plan_id": plan.id,
            "effective_from": effective_from,
        }
        for id_ in supply_account_ids
    ]
    session.execute(insert(PlanAssignment).on_conflict_do_nothing(), rows)
    _price_anew(session, supply_account_ids, effective_from)


def _assigned_to(session: Session, plan: PricePlan) -> Sequence[int]:
    assigned = select(PlanAssignment.supply_account_id).where(PlanAssignment.plan_id == plan.id).distinct()
    return session.scalars(assigned).all()


def _price_anew(session: Session, supply_account_ids: Sequence[int], since: datetime) -> None:
    """Usage that waited for this price is priced with the next run."""
    if not supply_account_ids or since >= business_now():
        return
    mark_dirty(session, supply_account_ids=supply_account_ids, from_at=since)
    # A day of margin: the civil day of the property may have begun before the UTC day of the instant.
    since_day = (since - timedelta(days=1)).date().isoformat()
    for first in range(0, len(supply_account_ids), ACCOUNTS_PER_EVENT):
        part = list(supply_account_ids[first : first + ACCOUNTS_PER_EVENT])
        tell(session, kind="plans.changed", payload={"supply_account_ids": part, "since": since_day})


def access_plan(session: Session, *, public_id: uuid.UUID, allowed: Collection[int]) -> PricePlan:
    """The plan when its property is among `allowed`. Raises NotFound for "not yours" and "not there" alike."""
    found = session.scalar(
        select(PricePlan).where(PricePlan.public_id == public_id, PricePlan.property_id.in_(allowed))
    )
    if found is None:
        raise NotFound(thing="price_plan")
    return found


def load_timelines(session: Session, *, supply_account_ids: Iterable[int]) -> dict[int, PlanTimeline]:
    """The timeline of every supply account that has a plan; accounts with equal assignments share one object."""
    assigned = _assignments(session, list(supply_account_ids))
    versions = _versions(session, {plan_id for pairs in assigned.values() for plan_id, _ in pairs})
    made: dict[tuple[tuple[int, datetime], ...], PlanTimeline | None] = {}
    timelines = {}
    for account_id, pairs in assigned.items():
        if pairs not in made:
            made[pairs] = timeline_of(pairs, versions)
        if (timeline := made[pairs]) is not None:
            timelines[account_id] = timeline
    return timelines


def timeline_of(
    assignments: Sequence[tuple[int, datetime]], versions: Mapping[int, Sequence[PlanVersion]]
) -> PlanTimeline | None:
    """One timeline from assignments (plan id, from), in order of time, and the versions of each plan.

    None without prices. A plan's price that is already running when the assignment begins counts from that beginning.
    """
    parts: list[PlanVersion] = []
    ends = [begins for _, begins in assignments[1:]]
    for (plan_id, begins), until in zip(assignments, [*ends, None], strict=True):
        parts.extend(_within(versions.get(plan_id, ()), begins, until))
    return PlanTimeline.of(parts) if parts else None


def _within(versions: Sequence[PlanVersion], begins: datetime, until: datetime | None) -> list[PlanVersion]:
    running = [v for v in versions if v.effective_from <= begins][-1:]
    later = [v for v in versions if v.effective_from > begins and (until is None or v.effective_from < until)]
    return [PlanVersion(v.id, begins, v.price) for v in running] + later


def _assignments(session: Session, ids: list[int]) -> dict[int, tuple[tuple[int, datetime], ...]]:
    wanted = bindparam("ids", ids, type_=ARRAY(BigInteger))
    rows = session.execute(
        select(PlanAssignment.supply_account_id, PlanAssignment.plan_id, PlanAssignment.effective_from)
        .where(PlanAssignment.supply_account_id == func.any(wanted))
        .order_by(PlanAssignment.supply_account_id, PlanAssignment.effective_from)
    ).all()
    return {
        account_id: tuple((row.plan_id, row.effective_from) for row in group)
        for account_id, group in groupby(rows, key=lambda row: row.supply_account_id)
    }


def _versions(session: Session, plan_ids: Collection[int]) -> dict[int, list[PlanVersion]]:
    rows = session.execute(
        select(PriceVersion.plan_id, PriceVersion.id, PriceVersion.effective_from, PriceVersion.price)
        .where(PriceVersion.plan_id.in_(plan_ids), counts())
        .order_by(PriceVersion.plan_id, PriceVersion.effective_from)
    ).all()
    return {
        plan_id: [PlanVersion(row.id, row.effective_from, FlatPrice(_plain(row.price))) for row in group]
        for plan_id, group in groupby(rows, key=lambda row: row.plan_id)
    }


def _plain(price: Decimal) -> Decimal:
    """The price without the column's padding: 0.60830000 is 0.6083."""
    return price.quantize(Decimal("0.00001"))
