"""Closing a month of a book. Every posting holds the month's row FOR SHARE, so closing waits for those under way."""

from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.ledger.books import open_period
from app.billing.ledger.models import Book, Period
from app.billing.ledger.service import PeriodClosed
from app.kernel.db import current_tenant_id
from app.kernel.partitions import months, shift_month


def open_ahead(session: Session, *, today: date, months_ahead: int = 2) -> None:
    """Make the month rows of every book from this month on, before anybody posts into them.

    The first posting of a month would otherwise make the row itself, and all others would wait for its transaction.
    """
    rows = [
        {"tenant_id": current_tenant_id(), "book_id": book_id, "month": month}
        for book_id in session.scalars(select(Book.id))
        for month in months(today, shift_month(today, months_ahead))
    ]
    if rows:
        session.execute(insert(Period).on_conflict_do_nothing(), rows)


def close_period(session: Session, *, book_id: int, month: date, at: datetime) -> None:
    """No posting into that month for that book any more. Raises PeriodClosed when it was closed before."""
    open_period(session, book_id=book_id, month=month)
    period = session.get_one(
        Period, (current_tenant_id(), book_id, month), with_for_update=True, populate_existing=True
    )
    if period.state == "closed":
        raise PeriodClosed(month=f"{month:%Y-%m}")
    period.state, period.closed_at = "closed", at
