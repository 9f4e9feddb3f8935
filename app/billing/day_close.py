"""Day close 日结: rated usage becomes ledger entries, one per book, utility, day and revision, with a posting per wallet.

rated − posted, in microfen, is settled once: whole fen are posted, the rest is carried on the wallet. Nothing is posted
twice, because what was posted is written beside what was rated in the same transaction. Usage that arrives late is
the next revision: its difference is posted, in either direction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.day_memo import DayMemo, write_memo
from app.billing.ledger import EntryDraft, Posting
from app.billing.ledger.balances import KeptBalance, apply_accrual, lock_balances
from app.billing.ledger.books import account_ids
from app.billing.ledger.service import post_entry
from app.billing.models import AccountDay
from app.billing.periods import month_is_open
from app.billing.prepaid import BATCH_MAX, zone_of
from app.billing.runs import finish_run, lock_run
from app.kernel.clock import business_now
from app.kernel.db import current_tenant_id
from app.kernel.money import CNY, MICROFEN_PER_FEN, settle
from app.kernel.quantity import format_kwh, format_m3
from app.kernel.unit_of_work import unit_of_work
from app.tenants.models import Property

KIND = "usage_day"
ACTOR = "system:day_close"
_UNITS = {"electricity": (format_kwh, "kWh"), "water": (format_m3, "m³")}


@dataclass(frozen=True, slots=True)
class DayClosed:
    """What one batch posted; `finished` when the day has nothing left to post."""

    accounts: int
    posted_fen: int
    finished: bool


@dataclass(frozen=True, slots=True)
class _Due:
    """An account-day with a difference to post, and what it comes to."""

    supply_account_id: int
    wallet_id: int
    day: date
    revision: int
    book_id: int
    utility: str
    usage_wh: int
    rated_microfen: int
    posted_microfen: int
    carry_before_microfen: int
    fen: int
    carry_microfen: int


_UNPOSTED = text(
    """
    SELECT a.supply_account_id, w.id AS wallet_id
      FROM account_days AS a
     CROSS JOIN LATERAL (
           SELECT k.id FROM ledger_accounts AS k
            WHERE k.tenant_id = :tenant AND k.supply_account_id = a.supply_account_id AND k.code = 'wallet'
           OFFSET 0) AS w
     WHERE a.tenant_id = :tenant AND a.property_id = :property AND a.day = :day
       AND a.rated_microfen <> a.posted_microfen
     ORDER BY a.supply_account_id
     LIMIT :limit
    """
)

_DIFFERENCES = text(
    """
    SELECT a.supply_account_id, w.id AS wallet_id, a.day, a.revision, s.book_id, s.utility, a.usage_wh,
           a.rated_microfen, a.posted_microfen
      FROM unnest(CAST(:ids AS bigint[]), CAST(:wallets AS bigint[])) AS w(supply_account_id, id)
     CROSS JOIN LATERAL (
           SELECT d.* FROM account_days AS d
            WHERE d.tenant_id = :tenant AND d.supply_account_id = w.supply_account_id
              AND d.day >= :first AND d.day <= :last AND d.rated_microfen <> d.posted_microfen
           OFFSET 0) AS a
     CROSS JOIN LATERAL (
           SELECT c.book_id, c.utility FROM supply_accounts AS c
            WHERE c.tenant_id = :tenant AND c.id = w.supply_account_id
           OFFSET 0) AS s
     ORDER BY s.book_id, s.utility, a.day, a.revision, a.supply_account_id
    """
)

_MARK_POSTED = text(
    """
    UPDATE account_days AS a SET posted_microfen = a.rated_microfen, revision = a.revision + 1
      FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS d(id, day)
     WHERE a.tenant_id = :tenant AND a.supply_account_id = d.id AND a.day = d.day
    """
)


def days_to_close(session: Session, *, property_id: int, upto: date) -> list[date]:
    """The days up to and including `upto` with anything rated and not posted, oldest first: late data included."""
    unposted = select(AccountDay.day).where(
        AccountDay.property_id == property_id,
        AccountDay.day <= upto,
        AccountDay.rated_microfen != AccountDay.posted_microfen,
    )
    return list(session.scalars(unposted.distinct().order_by(AccountDay.day)))


def close_day(session: Session, *, property_id: int, day: date, limit: int = BATCH_MAX) -> DayClosed:
    """Post one batch of a day's usage. Call again in a new unit of work until `.finished`; repeating changes nothing."""
    cursor = lock_run(session, property_id=property_id, kind="day_close", period=day)
    given = {"tenant": current_tenant_id(), "property": property_id, "day": day, "limit": limit}
    batch = session.execute(_UNPOSTED, given).all()
    today = business_now().astimezone(zone_of(session, property_id)).date()
    posted_fen = _post(session, wallets=dict(_pairs(batch)), first=day, last=day, today=today)
    finished = len(batch) < limit
    if finished:
        finish_run(session, cursor=cursor, at=business_now())
    return DayClosed(len(batch), posted_fen, finished)


def post_accrual_now(session: Session, *, supply_account_id: int, wallet_id: int, today: date) -> int:
    """Post everything rated so far of one account, today included: before a refund, transfer or closing.

    Returns the fen posted.
    """
    return _post(session, wallets={supply_account_id: wallet_id}, first=date.min, last=date.max, today=today)


def _pairs(rows: Iterable[Row[Any]]) -> list[tuple[int, int]]:
    return [(row.supply_account_id, row.wallet_id) for row in rows]


def _post(session: Session, *, wallets: Mapping[int, int], first: date, last: date, today: date) -> int:
    if not wallets:
        return 0
    # Period rows before balances, as every posting does: otherwise a closing month could deadlock with this run.
    booked = _Booking(session, today)
    booked.share(_books_and_days(session, wallets, first, last))
    kept = lock_balances(session, wallets.values())
    due = _settle(_differences(session, wallets, first, last), kept)
    for (book_id, utility, day, revision), group in groupby(due, key=_entry_of):
        _post_entry(session, list(group), book_id, utility, day, revision, booked.on(book_id, day, revision))
    _mark(session, due)
    return sum(line.fen for line in due)


def _entry_of(line: _Due) -> tuple[int, str, date, int]:
    return line.book_id, line.utility, line.day, line.revision


def _differences(session: Session, wallets: Mapping[int, int], first: date, last: date) -> Sequence[Row[Any]]:
    ids = {"ids": list(wallets), "wallets": list(wallets.values())}
    given = {"tenant": current_tenant_id(), **ids, "first": first, "last": last}
    return session.execute(_DIFFERENCES, given).all()


def _books_and_days(session: Session, wallets: Mapping[int, int], first: date, last: date) -> set[tuple[int, date]]:
    return {(row.book_id, row.day) for row in _differences(session, wallets, first, last)}


def _settle(rows: Iterable[Row[Any]], kept: Mapping[int, KeptBalance]) -> list[_Due]:
    """Whole fen of each difference; the rest goes on from day to day on the same wallet."""
    carry = {wallet_id: balance.carry_microfen for wallet_id, balance in kept.items()}
    due = []
    for row in rows:
        before = carry[row.wallet_id]
        fen, carry[row.wallet_id] = settle(before, row.rated_microfen - row.posted_microfen)
        due.append(
            _Due(
                row.supply_account_id, row.wallet_id, row.day, row.revision, row.book_id, row.utility, row.usage_wh,
                row.rated_microfen, row.posted_microfen, before, fen, carry[row.wallet_id],
            )
        )  # fmt: skip
    return due


def _post_entry(
    session: Session, group: Sequence[_Due], book_id: int, utility: str, day: date, revision: int, booked_on: date
) -> None:
    revenue = f"revenue:{utility}"
    credit = account_ids(session, book_id=book_id, codes=[revenue])[revenue]
    postings = tuple(_posting(line, credit) for line in group if line.fen)
    if not postings:
        return
    draft = EntryDraft(
        book_id=book_id,
        kind=KIND,
        booked_on=booked_on,
        event_at=business_now(),
        currency=CNY,
        postings=postings,
        idempotency_key=f"{KIND}:{book_id}:{utility}:{day}:{revision}:{group[0].supply_account_id}",
        actor=ACTOR,
        document=f"{KIND}:{day}",
    )
    post_entry(session, draft)


def _posting(line: _Due, revenue_id: int) -> Posting:
    memo = write_memo(_memo(line))
    if line.fen > 0:
        return Posting(debit=line.wallet_id, credit=revenue_id, amount_fen=line.fen, memo=memo)
    return Posting(debit=revenue_id, credit=line.wallet_id, amount_fen=-line.fen, memo=memo)


def _memo(line: _Due) -> DayMemo:
    write, unit = _UNITS[line.utility]
    return DayMemo(
        line.day,
        f"{write(line.usage_wh)} {unit}",
        line.rated_microfen,
        line.posted_microfen,
        line.carry_before_microfen,
        line.carry_microfen,
    )


def _mark(session: Session, due: Sequence[_Due]) -> None:
    given = {"ids": [line.supply_account_id for line in due], "days": [line.day for line in due]}
    session.execute(_MARK_POSTED, {"tenant": current_tenant_id(), **given})
    taken: dict[int, tuple[int, int]] = {}
    for line in due:
        taken[line.wallet_id] = (taken.get(line.wallet_id, (0, 0))[0] + line.fen, line.carry_microfen)
    rows = [(wallet_id, -fen * MICROFEN_PER_FEN, carry) for wallet_id, (fen, carry) in taken.items()]
    apply_accrual(session, rows=rows)


class _Booking:
    """On which day an entry counts: on its own while that month is open, on today for what comes late."""

    def __init__(self, session: Session, today: date) -> None:
        self.session = session
        self.today = today
        self._open: dict[tuple[int, date], bool] = {}

    def share(self, books_and_days: Iterable[tuple[int, date]]) -> None:
        """Hold the months of these days, and of today, so that none closes meanwhile."""
        months = {(book_id, day.replace(day=1)) for book_id, day in books_and_days}
        months |= {(book_id, self.today.replace(day=1)) for book_id, _ in books_and_days}
        for book_id, month in sorted(months):
            self._open[book_id, month] = month_is_open(self.session, book_id=book_id, month=month)

    def on(self, book_id: int, day: date, revision: int) -> date:
        """The booking day: a first closing on the day itself, a later difference or a closed month on today."""
        late = revision > 0 or not self._open.get((book_id, day.replace(day=1)), False)
        return self.today if late else day


def last_full_day(session: Session, *, property_id: int) -> date:
    """The latest civil day that has ended in the property: a scheduled close runs up to it."""
    return business_now().astimezone(zone_of(session, property_id)).date() - timedelta(days=1)


def close_days_due(tenant_id: int) -> int:
    """Close every ended day of every property, batch after batch, each in a unit of work of its own.

    Returns how many account-days were posted. A killed run goes on where it was: what is posted is marked as posted.
    """
    with unit_of_work(tenant_id) as session:
        properties = session.scalars(select(Property.id).order_by(Property.id)).all()
    return sum(_close_property(tenant_id, property_id) for property_id in properties)


def _close_property(tenant_id: int, property_id: int) -> int:
    with unit_of_work(tenant_id) as session:
        upto = last_full_day(session, property_id=property_id)
        days = days_to_close(session, property_id=property_id, upto=upto)
    done = 0
    for day in days:
        finished = False
        while not finished:
            with unit_of_work(tenant_id) as session:
                batch = close_day(session, property_id=property_id, day=day)
            done, finished = done + batch.accounts, batch.finished
    return done
