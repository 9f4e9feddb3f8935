"""Money reserved on a kept balance: pending → posted | voided | expired. Each hold ends once."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.ledger.balances import lock_balances
from app.billing.ledger.models import Balance, Hold
from app.billing.ledger.postings import EntryDraft, nets
from app.billing.ledger.service import Posted, WalletTooLow, post_entry
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError, NotFound
from app.kernel.idempotency import KeyReused, fingerprint
from app.kernel.money import format_yuan

PENDING, POSTED, VOIDED, EXPIRED = "pending", "posted", "voided", "expired"
#: A state not on the left is final.
MOVES: Mapping[str, frozenset[str]] = {PENDING: frozenset({POSTED, VOIDED, EXPIRED})}


class HoldResolved(AppError):
    """The hold has ended already."""

    code = "hold_resolved"
    status = 409
    message_zh = "该笔预留已结束（{state}），不能再次处理。"
    message_en = "This hold has ended already ({state}) and cannot be resolved again."


class HoldExceeded(AppError):
    """The entry draws more than was reserved for it."""

    code = "hold_exceeded"
    status = 409
    message_zh = "入账金额超出预留的 {held}，未记账。请按预留金额以内入账，或重新预留。"
    message_en = "The entry is not within the reserved {held}; nothing was posted. Post at most that, or reserve anew."


def place_hold(
    session: Session,
    *,
    account_id: int,
    amount_fen: int,
    expires_at: datetime,
    idempotency_key: str,
    floor_fen: int = 0,
) -> int:
    """Reserve money once per key; available after it is at least `floor_fen`. Raises KeyReused, WalletTooLow."""
    mark = fingerprint(account=account_id, amount=amount_fen, floor=floor_fen)
    row = insert(Hold).values(
        tenant_id=current_tenant_id(),
        account_id=account_id,
        amount_fen=amount_fen,
        expires_at=expires_at,
        idempotency_key=idempotency_key,
        fingerprint=mark,
    )
    guard = row.on_conflict_do_nothing(index_elements=["tenant_id", "idempotency_key"])
    hold_id: int | None = session.scalar(guard.returning(Hold.id))
    if hold_id is None:
        return _earlier(session, idempotency_key, mark)
    kept = lock_balances(session, [account_id])[account_id]
    if kept.available_fen < amount_fen + floor_fen:
        raise WalletTooLow(available=format_yuan(kept.available_fen), amount=format_yuan(amount_fen))
    _add_held(session, account_id, amount_fen)
    return hold_id


def _earlier(session: Session, idempotency_key: str, mark: bytes) -> int:
    hold = session.scalars(select(Hold).where(Hold.idempotency_key == idempotency_key)).one()
    if hold.fingerprint != mark:
        raise KeyReused
    return hold.id


def _add_held(session: Session, account_id: int, amount_fen: int) -> None:
    session.execute(
        update(Balance).where(Balance.account_id == account_id).values(held_fen=Balance.held_fen + amount_fen),
        execution_options={"synchronize_session": False},
    )


def _lock_hold(session: Session, hold_id: int) -> Hold:
    """The hold, locked before any balance, so that post, void and expire queue up instead of deadlocking."""
    hold = session.get(Hold, (current_tenant_id(), hold_id), with_for_update=True, populate_existing=True)
    if hold is None:
        raise NotFound(thing="hold")
    return hold


def _end(session: Session, hold: Hold, to: str, entry_id: int | None = None) -> None:
    """Move a locked hold to its end and give the money back to the balance. Raises HoldResolved."""
    if to not in MOVES.get(hold.state, frozenset()):
        raise HoldResolved(state=hold.state)
    hold.state, hold.entry_id = to, entry_id
    _add_held(session, hold.account_id, -hold.amount_fen)


def post_hold(session: Session, *, hold_id: int, draft: EntryDraft) -> Posted:
    """Turn a hold into its entry, in one transaction; the same draft again gets the first answer.

    The entry draws at most what was held. Raises NotFound, HoldResolved, HoldExceeded, KeyReused when the entry was
    there without this hold, and what `post_entry` raises.
    """
    hold = _lock_hold(session, hold_id)
    if hold.state not in (PENDING, POSTED):
        raise HoldResolved(state=hold.state)
    if not 0 < abs(nets(draft.postings).get(hold.account_id, 0)) <= hold.amount_fen:
        raise HoldExceeded(held=format_yuan(hold.amount_fen))
    posted = post_entry(session, draft)
    if posted.replayed:
        if hold.entry_id != posted.entry_id:
            raise HoldResolved(state=hold.state) if hold.state == POSTED else KeyReused
        return posted
    _end(session, hold, POSTED, posted.entry_id)
    return posted


def void_hold(session: Session, *, hold_id: int) -> None:
    """Give a hold back. Raises NotFound, HoldResolved."""
    _end(session, _lock_hold(session, hold_id), VOIDED)


def expire_holds(session: Session, *, now: datetime, limit: int = 500) -> int:
    """End holds past their time, skipping those another worker resolves. Returns how many."""
    overdue = session.scalars(
        select(Hold.id)
        .where(Hold.state == PENDING, Hold.expires_at <= now)
        .order_by(Hold.account_id, Hold.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    count = 0
    for hold_id in overdue:
        _end(session, _lock_hold(session, hold_id), EXPIRED)
        count += 1
    return count
