"""Monthly partitions of the tables that grow: made ahead of the business clock by the owner, never by the
runtime.

Row-level security is not inherited by partitions, so each carries the policy itself, and the runtime role has
no grant on them: it reaches rows only through the parent.
"""

from collections.abc import Iterator
from datetime import date

from sqlalchemy import Connection, text

#: Partitioned table → the timestamp column it is split by.
PARTITIONED = {"readings": "read_at", "usage_spans": "from_at"}
MONTHS_AHEAD = 24
MONTHS_BEHIND = 2
_TENANT = "nullif(current_setting('app.tenant_id', true), '')::int"
# Two processes that make the same month would collide; the number only has to be ours.
_LOCK = "SELECT pg_advisory_xact_lock(6458645)"


def months(first: date, last: date) -> Iterator[date]:
    """First days of the months from `first` to `last`, both included."""
    year, month = first.year, first.month
    while (year, month) <= (last.year, last.month):
        yield date(year, month, 1)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)


def shift_month(day: date, by: int) -> date:
    """The first day of the month `by` months later."""
    index = day.year * 12 + day.month - 1 + by
    return date(index // 12, index % 12 + 1, 1)


def ensure_ahead(owner: Connection, *, today: date) -> list[str]:
    """Make the months from two behind to 24 ahead of the business day. Returns the names made."""
    return ensure_partitions(owner, first=shift_month(today, -MONTHS_BEHIND), last=shift_month(today, MONTHS_AHEAD))


def ensure_partitions(owner: Connection, *, first: date, last: date) -> list[str]:
    """Make the missing monthly partitions (UTC months) of every partitioned table. Returns the names made.

    Each needs a short exclusive lock on its parent: under a long-running reader it gives up after four
    seconds with LockNotAvailable, and the next run of the schedule goes on.
    """
    owner.execute(text("SET LOCAL lock_timeout = '4s'"))
    owner.execute(text(_LOCK))
    have = set(owner.scalars(text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")))
    made = []
    for table in PARTITIONED:
        for month in months(first, last):
            name = f"{table}_p{month:%Y%m}"
            if name not in have:
                _create(owner, table=table, name=name, month=month)
                made.append(name)
    return made


def _create(owner: Connection, *, table: str, name: str, month: date) -> None:
    span = f"FROM ('{month} 00:00+00') TO ('{shift_month(month, 1)} 00:00+00')"
    for statement in (
        f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES {span}",
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {name} USING (tenant_id = {_TENANT}) WITH CHECK (tenant_id = {_TENANT})",
    ):
        owner.execute(text(statement))
