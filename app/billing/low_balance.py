"""The notices of a low-balance episode: what was sent with which proof, and what is due now."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.alarms import Standing, alarm_policy
from app.billing.arrears import Notice, NoticeProof, NoticeState, due_notices
from app.billing.models import SupplyAccount
from app.notify.models import Notice as NoticeRow
from app.notify.service import queue_notice, record_unsent

#: Rows looked at per account; an episode has a handful.
NOTICES_MAX = 40

_STATES = {
    "queued": NoticeState.WAITING,
    "sent": NoticeState.WAITING,
    "delivered": NoticeState.DELIVERED,
    "failed": NoticeState.FAILED,
    "undeliverable": NoticeState.FAILED,
    "cancelled": NoticeState.OVERTAKEN,
}
_RUNGS = {notice.value for notice in Notice}


def subject_of(supply_account_id: int) -> str:
    """How notices name the supply account they are about."""
    return f"supply_account:{supply_account_id}"


def notices_of(session: Session, *, account: SupplyAccount) -> list[NoticeRow]:
    """The ladder's notices of the account's present episode, oldest first."""
    rows = session.scalars(
        select(NoticeRow)
        .where(NoticeRow.subject == subject_of(account.id))
        .order_by(NoticeRow.id.desc())
        .limit(NOTICES_MAX)
    ).all()
    return [row for row in reversed(rows) if row.kind in _RUNGS and row.params.get("episode") == account.episode]


def proofs_of(rows: Sequence[NoticeRow]) -> tuple[NoticeProof, ...]:
    """The latest proof of each rung."""
    latest = {row.kind: row for row in rows}
    return tuple(NoticeProof(Notice(kind), _STATES[row.state], _proved_at(row)) for kind, row in latest.items())


def queue_due_notices(
    session: Session,
    *,
    account: SupplyAccount,
    standing: Standing,
    available_fen: int,
    now: datetime,
    stop_from: datetime | None,
) -> tuple[Notice, ...]:
    """Queue what the ladder asks for at this level and record the rungs it jumped past. Returns what was queued."""
    rows = notices_of(session, account=account)
    policy = alarm_policy(account.alarm_1_fen, account.alarm_2_fen)
    due = due_notices(standing.now, proofs_of(rows), now=now, stop_from=stop_from, policy=policy)
    if stop_from is not None:
        # Nothing happens sooner than the last warning promises.
        stop_from = max(stop_from, now + policy.warning_lead)
    place: dict[str, Any] = {
        "property_id": account.property_id,
        "party_id": account.party_id,
        "subject": subject_of(account.id),
        "params": _params(account, standing, available_fen, stop_from),
    }
    for notice in due.overtaken:
        record_unsent(session, kind=notice, message_key=_key(account, notice, rows), why="overtaken", **place)
    for notice in due.send:
        queue_notice(session, kind=notice, message_key=_key(account, notice, rows), **place)
    return due.send


def tell_customer(session: Session, *, account: SupplyAccount, kind: str, message_key: str, **figures: Any) -> None:
    """Queue a notice outside the ladder: stopped, restored."""
    params = {"episode": account.episode, "account_number": account.number, **figures}
    queue_notice(
        session,
        kind=kind,
        property_id=account.property_id,
        party_id=account.party_id,
        subject=subject_of(account.id),
        params=params,
        message_key=message_key,
    )


def _proved_at(row: NoticeRow) -> datetime | None:
    return row.delivered_at if row.state == "delivered" else row.sent_at or row.queued_at


def _key(account: SupplyAccount, notice: Notice, rows: Sequence[NoticeRow]) -> str:
    """One message per rung, episode and attempt."""
    attempt = 1 + sum(row.kind == notice for row in rows)
    return f"{subject_of(account.id)}:e{account.episode}:{notice.value}:{attempt}"


def _params(
    account: SupplyAccount, standing: Standing, available_fen: int, stop_from: datetime | None
) -> dict[str, Any]:
    return {
        "episode": account.episode,
        "account_number": account.number,
        "available_fen": available_fen,
        "hours_left": standing.hours_left,
        "overdraft_fen": account.overdraft_fen_max,
        "stop_from": stop_from.isoformat() if stop_from else None,
    }
