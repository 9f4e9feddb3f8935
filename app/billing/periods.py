"""Months of a book as billing meets them: held open while a run posts, closed only when their days are posted."""

from datetime import date

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.billing.ledger.books import open_period
from app.billing.ledger.models import Book, Period
from app.billing.ledger.periods import close_period
from app.billing.models import AccountDay
from app.kernel.clock import business_now
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.kernel.partitions import shift_month


class MonthNotOver(AppError):
    """The month still runs in the property's time zone."""

    code, status = "month_not_over", 409
    message_zh = "{month} 尚未结束，不能关账。请在下月再操作。"
    message_en = "{month} is not over yet and cannot be closed. Do it next month."


class DaysNotPosted(AppError):
    """Usage of the month is rated and not yet in the ledger: the day close comes first."""

    code, status = "days_not_posted", 409
    message_zh = "{month} 还有 {days} 个用能户日未日结，不能关账。请先完成日结。"
    message_en = "{month} still has {days} account-days that the day close has not posted. Run the day close first."


def month_is_open(session: Session, *, book_id: int, month: date) -> bool:
    """Whether entries may be booked in the month; its row is held FOR SHARE until the unit of work ends."""
    open_period(session, book_id=book_id, month=month)
    query = select(Period.state).where(Period.book_id == book_id, Period.month == month).with_for_update(read=True)
    return session.scalars(query).one() == "open"


def close_month(session: Session, *, book_id: int, month: date, today: date) -> None:
    """Close a month of a book. Raises MonthNotOver, DaysNotPosted, then PeriodClosed when it was closed before."""
    if today < shift_month(month, 1):
        raise MonthNotOver(month=f"{month:%Y-%m}")
    waiting = _unposted_days(session, book_id=book_id, month=month)
    if waiting:
        raise DaysNotPosted(month=f"{month:%Y-%m}", days=waiting)
    close_period(session, book_id=book_id, month=month, at=business_now())


def _unposted_days(session: Session, *, book_id: int, month: date) -> int:
    book = session.get_one(Book, (current_tenant_id(), book_id))
    unposted = select(func.count()).where(
        AccountDay.property_id == book.property_id,
        AccountDay.day >= month,
        AccountDay.day < shift_month(month, 1),
        AccountDay.rated_microfen != AccountDay.posted_microfen,
    )
    return session.scalars(unposted.select_from(AccountDay)).one()
