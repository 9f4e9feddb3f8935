"""Where set-based runs stand: one cursor row per property, kind and period, locked while a batch of the run works."""

from datetime import date, datetime

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.models import RunCursor
from app.kernel.db import current_tenant_id

#: The period of a run that has none: it goes on as long as the property does.
ALWAYS = date(2000, 1, 1)


def lock_run(session: Session, *, property_id: int, kind: str, period: date = ALWAYS) -> RunCursor:
    """Take the run's cursor until the unit of work ends: a second worker on the same run waits its turn.

    The unit of work is planned for tenants in general: a tenant that came after the last ANALYZE looks empty to a plan
    of its own, and each batch would read all of it.
    """
    session.execute(text("SET LOCAL plan_cache_mode TO force_generic_plan"))
    key = {"property_id": property_id, "kind": kind, "period": period}
    session.execute(insert(RunCursor).values(tenant_id=current_tenant_id(), **key).on_conflict_do_nothing())
    query = select(RunCursor).filter_by(**key).with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).one()


def finish_run(session: Session, *, cursor: RunCursor, at: datetime) -> None:
    """Note when the run had nothing left to do."""
    session.execute(
        update(RunCursor)
        .where(
            RunCursor.property_id == cursor.property_id,
            RunCursor.kind == cursor.kind,
            RunCursor.period == cursor.period,
        )
        .values(finished_at=at),
        execution_options={"synchronize_session": False},
    )
