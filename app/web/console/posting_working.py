"""How the amount of one posting of a day close came about: the day as that posting knew it, not as it stands now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from flask import g
from sqlalchemy.engine import Row

from app.billing.day_memo import DayMemo, read_memo
from app.reports.accounts import account_days

DAY_LETTERS = 10
#: A page of the statement seldom reaches further back; what lies beyond is explained by its memo alone.
STATEMENT_DAYS_MAX = 400


@dataclass(frozen=True, slots=True)
class PostingWorking:
    """The exact amounts of the posting's memo (None for an old one without), and the priced lines where they were its own.

    Lines are kept as they stand now. Once late usage changed the day, those an earlier posting knew are gone, and its
    memo explains it alone.
    """

    memo: DayMemo | None
    lines: Sequence[Mapping[str, Any]]

    def __bool__(self) -> bool:
        return self.memo is not None or bool(self.lines)


def posting_working(memo: DayMemo | None, day: Row[Any] | None) -> PostingWorking:
    """The working of a posting from its memo and the account-day as it stands now (None when there is none)."""
    if day is None:
        return PostingWorking(memo, ())
    if memo is None:
        # It does not say what it knew: only a day that was posted once, and whole, can speak for it.
        untouched = day.revision <= 1 and day.rated_microfen == day.posted_microfen
        return PostingWorking(None, day.lines if untouched else ())
    same = memo.knows(usage_wh=day.usage_wh, rated_microfen=day.rated_microfen)
    return PostingWorking(memo, day.lines if same else ())


def workings_of(account_id: int, rows: Any) -> dict[int, PostingWorking]:
    """Version of a day close's posting → how its amount came about, as that posting knew the day."""
    memos = {row.version: (_day_of(row.memo), read_memo(row.memo)) for row in rows if row.kind == "usage_day"}
    days = [day for day, _memo in memos.values() if day is not None]
    if not days:
        return {}
    found = account_days(
        g.session, tenant_id=g.tenant_id, account_id=account_id, since=min(days), before=max(days) + timedelta(days=1),
        most=STATEMENT_DAYS_MAX,
    )  # fmt: skip
    by_day = {row.day: row for row in found}
    return {version: posting_working(memo, by_day.get(day)) for version, (day, memo) in memos.items() if day}


def _day_of(memo: str) -> date | None:
    try:
        return date.fromisoformat(memo[:DAY_LETTERS])
    except ValueError:
        return None
