"""The mass-trip freeze: when far more wallets cross zero at once than usual, the error is ours until a person has looked.

A wrong price or a bad import empties many wallets in one hour; nobody may sit in the dark for it.
"""

from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.models import StopFreeze, StopJudgement, SupplyAccount, ZeroCrossings
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.db import current_tenant_id
from app.tenants.audit import record

#: So few crossings are an evening, not an error, however small the tenant.
CROSSINGS_LEAST = 10
SHARE_PERCENT = 2
TIMES_USUAL = 3
WEEKS_BACK = 4
_HOUR = timedelta(hours=1)


def is_unusual(*, crossings: int, before: int, supply_accounts: int) -> bool:
    """More than 2 % of the accounts in an hour, and more than three times the mean of the same hour, four weeks back.

    `before` is the sum over those four hours.
    """
    many = crossings > CROSSINGS_LEAST and crossings * 100 > supply_accounts * SHARE_PERCENT
    return many and crossings * WEEKS_BACK > before * TIMES_USUAL


def freeze_if_unusual(session: Session, *, at: datetime) -> bool:
    """Freeze the tenant's automatic stops if this hour's crossings are unusual. Returns whether it froze now."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    crossings = _crossings(session, [hour])
    if crossings <= CROSSINGS_LEAST:
        return False
    before = _crossings(session, [hour - timedelta(weeks=week) for week in range(1, WEEKS_BACK + 1)])
    accounts = session.scalars(
        select(func.count()).select_from(SupplyAccount).where(SupplyAccount.state == "open")
    ).one()
    if not is_unusual(crossings=crossings, before=before, supply_accounts=accounts):
        return False
    facts = {"hour": hour.isoformat(), "crossings": crossings, "before": before, "supply_accounts": accounts}
    row = insert(StopFreeze).values(tenant_id=current_tenant_id(), facts=facts, frozen_at=at)
    frozen = session.scalar(row.on_conflict_do_nothing().returning(StopFreeze.id)) is not None
    if frozen:
        record(session, deed="supply:stop:freeze", subject="tenants:self", actor=Actor.system("worker"), facts=facts)
    return frozen


def open_freeze(session: Session) -> StopFreeze | None:
    """The freeze in force, if any: a human is called by it standing on the overview."""
    return session.scalar(select(StopFreeze).where(StopFreeze.lifted_at.is_(None)))


def lift_freeze(session: Session, *, by: Actor) -> None:
    """A person has looked: automatic stops are judged again from now on."""
    now = business_now()
    session.execute(
        update(StopFreeze).where(StopFreeze.lifted_at.is_(None)).values(lifted_at=now, lifted_by=str(by)),
        execution_options={"synchronize_session": False},
    )
    session.execute(
        update(StopJudgement).where(StopJudgement.verdict == "frozen").values(next_at=now),
        execution_options={"synchronize_session": False},
    )
    record(session, deed="supply:stop:unfreeze", subject="tenants:self", actor=by)


def _crossings(session: Session, hours: list[datetime]) -> int:
    total = select(func.coalesce(func.sum(ZeroCrossings.crossings), 0)).where(ZeroCrossings.hour.in_(hours))
    return int(session.scalars(total).one())
