"""Kept balances: read, locked in id order, as of a day, and the statement of an account."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Select, bindparam, case, func, or_, select, text
from sqlalchemy.orm import Session

from app.billing.ledger.models import Balance, DayFold, Entry, EntryPosting, LedgerAccount
from app.kernel.db import current_tenant_id
from app.kernel.money import floor_fen


@dataclass(frozen=True, slots=True)
class KeptBalance:
    """A kept balance; amounts on the account's normal side."""

    balance_fen: int
    held_fen: int
    accrued_microfen: int
    carry_microfen: int
    version: int

    @property
    def available_fen(self) -> int:
        """balance − holds − accrued usage. Below a whole fen usage is carried, not owed: as day close rounds it."""
        return self.balance_fen - self.held_fen - floor_fen(self.accrued_microfen)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One posting as the account's owner reads it: signed on the normal side, with the balance after it."""

    entry_id: int
    line_no: int
    public_id: uuid.UUID
    booked_on: date
    event_at: datetime
    kind: str
    memo: str
    amount_fen: int
    balance_fen: int | None
    document: str | None
    version: int | None


_COLUMNS = (
    Balance.account_id,
    Balance.balance_fen,
    Balance.held_fen,
    Balance.accrued_microfen,
    Balance.carry_microfen,
    Balance.version,
)


def _query(account_ids: Iterable[int]) -> Select[int, int, int, int, int, int]:
    wanted = bindparam("ids", list(account_ids), type_=ARRAY(BigInteger))
    return select(*_COLUMNS).where(Balance.account_id == func.any(wanted)).order_by(Balance.account_id)


def lock_balances(session: Session, account_ids: Iterable[int]) -> dict[int, KeptBalance]:
    """Lock kept balances FOR UPDATE in id order, so that two runs never deadlock. Accounts without one are absent."""
    rows = session.execute(_query(account_ids).with_for_update())
    return {account_id: KeptBalance(*kept) for account_id, *kept in rows}


def read_balances(session: Session, account_ids: Iterable[int]) -> dict[int, KeptBalance]:
    """Kept balances without a lock."""
    return {account_id: KeptBalance(*kept) for account_id, *kept in session.execute(_query(account_ids))}


def read_balance(session: Session, account_id: int) -> KeptBalance:
    """One kept balance without a lock. Raises KeyError for an account that keeps none."""
    return read_balances(session, [account_id])[account_id]


_APPLY = text(
    """
    UPDATE ledger_balances AS b
       SET accrued_microfen = b.accrued_microfen + d.accrued,
           carry_microfen = coalesce(d.carry, b.carry_microfen)
      FROM unnest(CAST(:ids AS bigint[]), CAST(:accrued AS bigint[]), CAST(:carry AS bigint[]))
           AS d(id, accrued, carry)
     WHERE b.tenant_id = :tenant AND b.account_id = d.id
    """
)


def apply_accrual(session: Session, *, rows: Sequence[tuple[int, int, int | None]]) -> None:
    """Add to the accrual of many accounts: (account id, difference in microfen, new carry or None to keep it).

    The caller holds the rows' locks (`lock_balances`).
    """
    if rows:
        ids, accrued, carry = (list(column) for column in zip(*rows, strict=True))
        session.execute(_APPLY, {"tenant": current_tenant_id(), "ids": ids, "accrued": accrued, "carry": carry})


def balance_as_of(session: Session, *, account_id: int, at_end_of: date) -> int:
    """The account's balance on its normal side when that civil day ended, from its postings."""
    account = session.get_one(LedgerAccount, (current_tenant_id(), account_id))
    signed = func.coalesce(
        func.sum(case((EntryPosting.credit_account_id == account_id, 1), else_=-1) * EntryPosting.amount_fen),
        0,
    )
    query = (
        select(signed)
        .join(Entry, (Entry.tenant_id == EntryPosting.tenant_id) & (Entry.id == EntryPosting.entry_id))
        .where(_touches(account_id), Entry.booked_on <= at_end_of)
    )
    credit_side = int(session.scalar(query) or 0)
    return credit_side if account.side == "credit" else -credit_side


def _touches(account_id: int) -> ColumnElement[bool]:
    return or_(EntryPosting.debit_account_id == account_id, EntryPosting.credit_account_id == account_id)


def statement(
    session: Session,
    *,
    account_id: int,
    first: date,
    last: date,
    before: tuple[int, int] | None = None,
    limit: int = 200,
) -> list[StatementLine]:
    """Postings of an account booked from `first` to `last`, newest first; `before` = (entry id, line) pages on."""
    account = session.get_one(LedgerAccount, (current_tenant_id(), account_id))
    query = (
        select(Entry, EntryPosting)
        .join(Entry, (Entry.tenant_id == EntryPosting.tenant_id) & (Entry.id == EntryPosting.entry_id))
        .where(_touches(account_id), Entry.booked_on >= first, Entry.booked_on <= last)
        .order_by(EntryPosting.entry_id.desc(), EntryPosting.line_no.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(
            or_(
                EntryPosting.entry_id < before[0],
                (EntryPosting.entry_id == before[0]) & (EntryPosting.line_no < before[1]),
            )
        )
    return [_line(account, entry, posting) for entry, posting in session.execute(query)]


def _line(account: LedgerAccount, entry: Entry, posting: EntryPosting) -> StatementLine:
    on_debit = posting.debit_account_id == account.id
    sign = 1 if on_debit == (account.side == "debit") else -1
    return StatementLine(
        entry_id=entry.id,
        line_no=posting.line_no,
        public_id=entry.public_id,
        booked_on=entry.booked_on,
        event_at=entry.event_at,
        kind=entry.kind,
        memo=posting.memo,
        amount_fen=sign * posting.amount_fen,
        balance_fen=posting.debit_balance_fen if on_debit else posting.credit_balance_fen,
        document=entry.document,
        version=posting.debit_version if on_debit else posting.credit_version,
    )


def hot_balance(session: Session, *, account_id: int) -> int:
    """Balance of a hot account on its normal side, from its day folds. Exact up to the last fold."""
    account = session.get_one(LedgerAccount, (current_tenant_id(), account_id))
    query = select(func.coalesce(func.sum(DayFold.credit_fen - DayFold.debit_fen), 0)).where(
        DayFold.account_id == account_id
    )
    credit_side = int(session.scalar(query) or 0)
    return credit_side if account.side == "credit" else -credit_side
