"""The one door to money: write an entry, reverse an entry.

Order of refusals: the period is closed → an account is unknown → the key was used for another request → a draw falls
below its floor. Nothing is written when one is raised and the unit of work rolls back.

Locks are always taken in this order: the month's period row FOR SHARE, the entry's key, kept balances in id order.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.errors import UniqueViolation
from sqlalchemy import insert as plain_insert
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.ledger.balances import KeptBalance, lock_balances
from app.billing.ledger.books import open_period
from app.billing.ledger.models import Entry, EntryPosting
from app.billing.ledger.postings import HASH_VERSION, EntryDraft, Posting, fingerprint, reverse, row_hash
from app.kernel.db import current_tenant_id, run_sql, uuid7
from app.kernel.errors import AppError
from app.kernel.idempotency import KeyReused
from app.kernel.money import format_yuan


class PeriodClosed(AppError):
    """The month is closed for this book; only reversing entries in the open month remain."""

    code = "period_closed"
    status = 409
    message_zh = "{month} 已关账，不能再记入该月。请在当前未关账的月份冲正或补记。"
    message_en = "{month} is closed. Post a reversal or a correction into the open month instead."


class AccountUnknown(AppError):
    """A posting names a ledger account that this book does not have."""

    code = "ledger_account_unknown"
    status = 422
    message_zh = "会计科目不存在或不属于该账套，未记账。请核对核算主体与项目。"
    message_en = (
        "The ledger account does not exist in this book; nothing was posted. Check the legal entity and property."
    )


class WalletTooLow(AppError):
    """A draw that can be refused would take the account below its floor."""

    code = "wallet_too_low"
    status = 402
    message_zh = "可用余额 {available} 不足以支付 {amount}。请减少金额或先充值。"
    message_en = "The available {available} does not cover {amount}. Enter less, or top up first."


class EntryUnknown(AppError):
    """There is no such entry."""

    code = "entry_unknown"
    status = 404
    message_zh = "找不到该凭证。请返回列表重新选择。"
    message_en = "No such entry. Go back to the list and choose again."


class AlreadyReversed(AppError):
    """An entry can be reversed once."""

    code = "already_reversed"
    status = 409
    message_zh = "该凭证已冲正过，不能重复冲正。"
    message_en = "This entry was reversed already and cannot be reversed again."


class EntryIsReversal(AppError):
    """A reversal is not reversed; the original deed is done again instead."""

    code = "entry_is_reversal"
    status = 409
    message_zh = "冲正凭证不能再冲正；如属误冲，请重新办理原业务。"
    message_en = "A reversal is not reversed. If it was a mistake, carry out the original deed again."


@dataclass(frozen=True, slots=True)
class Posted:
    """What `post_entry` did. `balances` holds the kept balances it moved; empty for a replay."""

    entry_id: int
    public_id: uuid.UUID
    replayed: bool
    balances: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Account:
    id: int
    side: str
    keeps_balance: bool


# Accounts one at a time by their key: as a list, PostgreSQL may compare every account of the tenant with every id.
_ACCOUNTS_AND_PERIOD = """
    SELECT a.id, a.side, a.keeps_balance, p.state
      FROM ledger_periods AS p
     CROSS JOIN unnest(%(ids)s::bigint[]) AS d(id)
     CROSS JOIN LATERAL (
           SELECT k.id, k.side, k.keeps_balance FROM ledger_accounts AS k
            WHERE k.tenant_id = %(tenant)s AND k.id = d.id AND k.book_id = p.book_id AND k.currency = %(currency)s
           OFFSET 0) AS a
     WHERE p.tenant_id = %(tenant)s AND p.book_id = %(book)s AND p.month = %(month)s
       FOR SHARE OF p
"""
_INSERT_ENTRY = """
    INSERT INTO ledger_entries (tenant_id, public_id, book_id, currency, booked_on, month, event_at, kind, actor,
                                document, reverses_id, idempotency_key, fingerprint, hash_version, row_hash)
    VALUES (%(tenant)s, %(public_id)s, %(book)s, %(currency)s, %(booked_on)s, %(month)s, %(event_at)s, %(kind)s,
            %(actor)s, %(document)s, %(reverses)s, %(key)s, %(mark)s, %(hash_version)s, %(row_hash)s)
    ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING id
"""
# One line that moves one kept account by a credit nobody can refuse: the counter's case, in one statement.
_POST_ONE_LINE = """
    WITH b AS (
        UPDATE ledger_balances SET balance_fen = balance_fen + %(change)s, version = version + 1
         WHERE tenant_id = %(tenant)s AND account_id = %(kept)s RETURNING balance_fen, version)
    INSERT INTO ledger_postings (tenant_id, entry_id, line_no, book_id, currency, debit_account_id, credit_account_id,
                                 amount_fen, memo, debit_version, debit_balance_fen, credit_version, credit_balance_fen)
    SELECT %(tenant)s, %(entry)s, 1, %(book)s, %(currency)s, %(debit)s, %(credit)s, %(amount)s, %(memo)s,
           CASE WHEN %(kept)s = %(debit)s THEN b.version END, CASE WHEN %(kept)s = %(debit)s THEN b.balance_fen END,
           CASE WHEN %(kept)s = %(credit)s THEN b.version END, CASE WHEN %(kept)s = %(credit)s THEN b.balance_fen END
      FROM b RETURNING coalesce(debit_balance_fen, credit_balance_fen)
"""
_ADD_TO_BALANCES = """
    UPDATE ledger_balances AS b SET balance_fen = d.balance, version = d.version
      FROM unnest(%(ids)s::bigint[], %(balances)s::bigint[], %(versions)s::bigint[]) AS d(id, balance, version)
     WHERE b.tenant_id = %(tenant)s AND b.account_id = d.id
"""


def post_entry(session: Session, draft: EntryDraft, *, floors: Mapping[int, int] | None = None) -> Posted:
    """Write a balanced entry once per idempotency key.

    `floors` names the accounts whose draw can be refused, with the available fen that must remain; metered usage names
    none. Raises PeriodClosed, AccountUnknown, KeyReused, WalletTooLow.
    """
    month = draft.booked_on.replace(day=1)
    accounts = _share_period(session, draft, month)
    mark = bytes.fromhex(fingerprint(draft))
    public_id = uuid7()
    entry_id = _insert_entry(session, draft, month=month, mark=mark, public_id=public_id)
    if entry_id is None:
        return _replay(session, draft, mark)
    kept_ids = sorted(id_ for id_, account in accounts.items() if account.keeps_balance)
    if len(draft.postings) == len(kept_ids) == 1 and not floors:
        balances = _post_one_line(session, draft, entry_id, accounts[kept_ids[0]])
    else:
        balances = _post_lines(session, draft, entry_id, accounts, lock_balances(session, kept_ids), floors or {})
    return Posted(entry_id, public_id, False, balances)


def _share_period(session: Session, draft: EntryDraft, month: date) -> dict[int, _Account]:
    """Hold the month's row FOR SHARE and read the accounts' facts, in one round trip once the month exists."""
    ids = sorted({id_ for p in draft.postings for id_ in (p.debit, p.credit)})
    facts = {
        "tenant": current_tenant_id(),
        "book": draft.book_id,
        "month": month,
        "ids": ids,
        "currency": draft.currency,
    }
    rows = run_sql(session, _ACCOUNTS_AND_PERIOD, facts)
    if not rows:
        open_period(session, book_id=draft.book_id, month=month)
        rows = run_sql(session, _ACCOUNTS_AND_PERIOD, facts)
    if any(row[3] == "closed" for row in rows):
        raise PeriodClosed(month=f"{month:%Y-%m}")
    if len(rows) != len(ids):
        raise AccountUnknown
    return {row[0]: _Account(row[0], row[1], row[2]) for row in rows}


def _insert_entry(session: Session, draft: EntryDraft, *, month: date, mark: bytes, public_id: uuid.UUID) -> int | None:
    """The new entry's id, or None when the key is there already (waits for a concurrent twin to end)."""
    facts = {
        "tenant": current_tenant_id(),
        "public_id": public_id,
        "book": draft.book_id,
        "currency": draft.currency,
        "booked_on": draft.booked_on,
        "month": month,
        "event_at": draft.event_at,
        "kind": draft.kind,
        "actor": draft.actor,
        "document": draft.document,
        "reverses": draft.reverses,
        "key": draft.idempotency_key,
        "mark": mark,
        "hash_version": HASH_VERSION,
        "row_hash": row_hash(current_tenant_id(), draft),
    }
    made = run_sql(session, _INSERT_ENTRY, facts)
    return made[0][0] if made else None


def _replay(session: Session, draft: EntryDraft, mark: bytes) -> Posted:
    query = select(Entry.id, Entry.public_id, Entry.fingerprint).where(Entry.idempotency_key == draft.idempotency_key)
    entry_id, public_id, known = session.execute(query).one()
    if known != mark:
        raise KeyReused
    return Posted(entry_id, public_id, True, {})


def _post_one_line(session: Session, draft: EntryDraft, entry_id: int, kept: _Account) -> dict[int, int]:
    line = draft.postings[0]
    increases = (kept.side == "debit") == (kept.id == line.debit)
    facts = {
        "tenant": current_tenant_id(),
        "entry": entry_id,
        "book": draft.book_id,
        "currency": draft.currency,
        "kept": kept.id,
        "debit": line.debit,
        "credit": line.credit,
        "amount": line.amount_fen,
        "change": line.amount_fen if increases else -line.amount_fen,
        "memo": line.memo,
    }
    return {kept.id: run_sql(session, _POST_ONE_LINE, facts)[0][0]}


def _post_lines(
    session: Session,
    draft: EntryDraft,
    entry_id: int,
    accounts: Mapping[int, _Account],
    kept: Mapping[int, KeptBalance],
    floors: Mapping[int, int],
) -> dict[int, int]:
    lines, after = _lay_out(draft.postings, accounts, kept)
    _check_floors(floors, kept, after)
    _insert_postings(session, draft, entry_id, lines)
    _store_balances(session, after)
    return {id_: balance for id_, (balance, _) in after.items()}


@dataclass(frozen=True, slots=True)
class _LaidOut:
    posting: Posting
    debit: tuple[int | None, int | None]
    credit: tuple[int | None, int | None]


def _lay_out(
    postings: Sequence[Posting], accounts: Mapping[int, _Account], kept: Mapping[int, KeptBalance]
) -> tuple[list[_LaidOut], dict[int, tuple[int, int]]]:
    """Give every leg on a kept account its version and the balance after it; return also the last of each account."""
    after = {id_: (balance.balance_fen, balance.version) for id_, balance in kept.items()}

    def leg(account_id: int, side: str, amount_fen: int) -> tuple[int | None, int | None]:
        if account_id not in after:
            return None, None
        balance, version = after[account_id]
        sign = 1 if accounts[account_id].side == side else -1
        after[account_id] = (balance + sign * amount_fen, version + 1)
        return version + 1, balance + sign * amount_fen

    lines = [_LaidOut(p, leg(p.debit, "debit", p.amount_fen), leg(p.credit, "credit", p.amount_fen)) for p in postings]
    return lines, after


def _check_floors(
    floors: Mapping[int, int], kept: Mapping[int, KeptBalance], after: Mapping[int, tuple[int, int]]
) -> None:
    for account_id, floor_fen in floors.items():
        before = kept[account_id]
        change_fen = after[account_id][0] - before.balance_fen
        if change_fen < 0 and before.available_fen + change_fen < floor_fen:
            raise WalletTooLow(available=format_yuan(before.available_fen), amount=format_yuan(-change_fen))


def _insert_postings(session: Session, draft: EntryDraft, entry_id: int, lines: Sequence[_LaidOut]) -> None:
    tenant_id = current_tenant_id()
    rows: list[dict[str, Any]] = [
        {
            "tenant_id": tenant_id,
            "entry_id": entry_id,
            "line_no": line_no,
            "book_id": draft.book_id,
            "currency": draft.currency,
            "debit_account_id": line.posting.debit,
            "credit_account_id": line.posting.credit,
            "amount_fen": line.posting.amount_fen,
            "memo": line.posting.memo,
            "debit_version": line.debit[0],
            "debit_balance_fen": line.debit[1],
            "credit_version": line.credit[0],
            "credit_balance_fen": line.credit[1],
        }
        for line_no, line in enumerate(lines, 1)
    ]
    session.execute(plain_insert(EntryPosting.__table__), rows)  # type: ignore[arg-type]


def _store_balances(session: Session, after: Mapping[int, tuple[int, int]]) -> None:
    if after:
        ids = list(after)
        columns = {"balances": [after[i][0] for i in ids], "versions": [after[i][1] for i in ids]}
        run_sql(session, _ADD_TO_BALANCES, {"tenant": current_tenant_id(), "ids": ids, **columns})


def load_draft(session: Session, entry_id: int) -> EntryDraft:
    """An entry as the draft it was written from. Raises EntryUnknown."""
    entry = session.get(Entry, (current_tenant_id(), entry_id))
    if entry is None:
        raise EntryUnknown
    lines = session.scalars(
        select(EntryPosting).where(EntryPosting.entry_id == entry_id).order_by(EntryPosting.line_no)
    )
    return draft_of(entry, lines)


def draft_of(entry: Entry, lines: Iterable[EntryPosting]) -> EntryDraft:
    """A stored entry and its postings in line order, as the draft they were written from."""
    postings = tuple(
        Posting(debit=p.debit_account_id, credit=p.credit_account_id, amount_fen=p.amount_fen, memo=p.memo)
        for p in lines
    )
    return EntryDraft(
        book_id=entry.book_id,
        kind=entry.kind,
        booked_on=entry.booked_on,
        event_at=entry.event_at,
        currency=entry.currency,
        postings=postings,
        idempotency_key=entry.idempotency_key,
        actor=entry.actor,
        document=entry.document,
        reverses=entry.reverses_id,
    )


def reverse_entry(
    session: Session,
    *,
    entry_id: int,
    idempotency_key: str,
    booked_on: date,
    event_at: datetime,
    actor: str,
    document: str | None = None,
    floors: Mapping[int, int] | None = None,
) -> Posted:
    """Undo an entry by its mirror image, in the open month, once.

    Raises EntryUnknown, EntryIsReversal, AlreadyReversed, and what `post_entry` raises.
    """
    original = load_draft(session, entry_id)
    if original.reverses is not None:
        raise EntryIsReversal
    mirror = reverse(
        original,
        entry_id=entry_id,
        idempotency_key=idempotency_key,
        booked_on=booked_on,
        event_at=event_at,
        actor=actor,
        document=document,
    )
    _refuse_second_reversal(session, entry_id, idempotency_key)
    try:
        with session.begin_nested():
            return post_entry(session, mirror, floors=floors)
    except UniqueViolation as twice:
        # Two reversals at the same time: the unique index on `reverses_id` lets one through.
        if "one_reversal" in str(twice):
            raise AlreadyReversed from twice
        raise


def _refuse_second_reversal(session: Session, entry_id: int, idempotency_key: str) -> None:
    earlier = session.scalar(select(Entry.idempotency_key).where(Entry.reverses_id == entry_id))
    if earlier is not None and earlier != idempotency_key:
        raise AlreadyReversed
