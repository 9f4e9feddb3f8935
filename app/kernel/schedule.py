"""Schedules are rows (kind, period, tenant), due by the business clock and claimed once."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, String, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel.clock import business_now
from app.kernel.db import Base, TenantScoped, current_tenant_id


class ScheduleRun(TenantScoped, Base):
    """One run of a scheduled deed for one period."""

    __tablename__ = "schedule_runs"
    #: Name of the deed in the table of `jobs`.
    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    #: The period it covers: `2026-11-23`, `2026-11-23T14`.
    period: Mapped[str] = mapped_column(String(20), primary_key=True)
    #: Business instant of the claim.
    claimed_at: Mapped[datetime]


def claim(session: Session, *, kind: str, period: str) -> bool:
    """Claim a period for this transaction; False when it was run before. A rolled-back run can be claimed again."""
    row = insert(ScheduleRun).values(tenant_id=current_tenant_id(), kind=kind, period=period, claimed_at=business_now())
    return session.scalar(row.on_conflict_do_nothing().returning(ScheduleRun.kind)) is not None


def claimed(session: Session, *, periods: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these (kind, period) were run."""
    runs = select(ScheduleRun.kind, ScheduleRun.period)
    return {(kind, period) for kind, period in session.execute(runs.where(_named(periods)))}


def _named(periods: Collection[tuple[str, str]]) -> ColumnElement[bool]:
    return tuple_(ScheduleRun.kind, ScheduleRun.period).in_(list(periods))


def forget_runs(session: Session, *, before: datetime) -> None:
    """Delete claims older than a business instant: nobody asks for their periods any more."""
    session.execute(
        delete(ScheduleRun).where(ScheduleRun.claimed_at < before),
        execution_options={"synchronize_session": False},
    )
