"""What emergency supply an account has: read by the gate and by restores, written by `billing.emergency`."""

from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.billing.emergency_models import EmergencyPolicy, EmergencySupply
from app.billing.emergency_rules import Allowance, Given
from app.billing.models import AccountDay


def allowance_of(session: Session, *, property_id: int) -> Allowance:
    """What the property's duty officer may give."""
    found = session.scalar(select(EmergencyPolicy).where(EmergencyPolicy.property_id == property_id))
    return Allowance(found.hours, found.fen_max) if found is not None else Allowance()


def last_given(session: Session, *, supply_account_id: int) -> Given | None:
    """The account's newest emergency supply with what was used since; None when there never was one."""
    query = select(EmergencySupply).where(EmergencySupply.supply_account_id == supply_account_id)
    row = session.scalar(query.order_by(EmergencySupply.given_at.desc(), EmergencySupply.id.desc()).limit(1))
    if row is None:
        return None
    used = rated_since(session, supply_account_id=supply_account_id, day=row.day_from) - row.rated_from_microfen
    return Given(row.given_at, row.until_at, row.fen_max, used)


def held_until(session: Session, *, supply_account_id: int, now: datetime) -> datetime | None:
    """Until when an emergency supply keeps stops of the account away; None when none does."""
    given = last_given(session, supply_account_id=supply_account_id)
    return given.until_at if given is not None and given.holds(now) else None


def rated_since(session: Session, *, supply_account_id: int, day: date) -> int:
    """What the account used from a civil day on, in 10⁻⁶ fen."""
    rated = select(func.coalesce(func.sum(AccountDay.rated_microfen), 0)).where(
        AccountDay.supply_account_id == supply_account_id, AccountDay.day >= day
    )
    return int(session.scalars(rated).one())
