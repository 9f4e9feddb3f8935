"""Numbers people read: consecutive per book × till, taken last in the transaction so that none is lost."""

from sqlalchemy.orm import Session

from app.kernel.db import current_tenant_id, run_sql

_NEXT = """
    INSERT INTO number_series (tenant_id, book_id, till, last_no) VALUES (%(tenant)s, %(book)s, %(till)s, 1)
    ON CONFLICT (tenant_id, book_id, till) DO UPDATE SET last_no = number_series.last_no + 1 RETURNING last_no
"""


def next_number(session: Session, *, book_id: int, till: str) -> int:
    """The next number of the series, from 1. The row stays locked until commit: take it last."""
    facts = {"tenant": current_tenant_id(), "book": book_id, "till": till}
    ((number,),) = run_sql(session, _NEXT, facts)
    return int(number)
