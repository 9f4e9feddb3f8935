"""Notices: queued once per message key, sent between two transactions, proved by the provider's delivery report."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.clock import business_now
from app.kernel.db import current_tenant_id
from app.kernel.errors import NotFound
from app.kernel.outbox import tell
from app.notify.models import Notice


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What a provider says about a message: delivered, or why not. `at` is the provider's own instant, as text."""

    notice_id: int
    provider_id: str
    delivered: bool
    at: str
    detail: str = ""


def queue_notice(
    session: Session,
    *,
    kind: str,
    property_id: int,
    party_id: int,
    subject: str,
    params: dict[str, Any],
    message_key: str,
) -> Notice | None:
    """Queue a message to a party, once per key; None when the key is known. `kind` names its template.

    `params` hold figures and numbers, no phone and no name: the phone is read when the message is sent.
    """
    notice = _insert(session, kind, property_id, party_id, subject, params, message_key, state="queued")
    if notice is not None:
        tell(session, kind="notices.queued", payload={"notice_id": notice.id}, order_key=subject)
    return notice


def record_unsent(
    session: Session,
    *,
    kind: str,
    property_id: int,
    party_id: int,
    subject: str,
    params: dict[str, Any],
    message_key: str,
    why: str,
) -> Notice | None:
    """Write down that a message was not sent and why, so that nobody looks for its proof."""
    return _insert(
        session, kind, property_id, party_id, subject, params, message_key, state="cancelled", proof={"unsent": why}
    )


def record_report(session: Session, *, report: DeliveryReport) -> bool:
    """Note a delivery report and tell of it; a repeated or late one changes nothing. Returns whether it did.

    A message once delivered stays delivered. Raises NotFound.
    """
    notice = session.scalar(
        select(Notice).where(Notice.id == report.notice_id).with_for_update().execution_options(populate_existing=True)
    )
    if notice is None or notice.provider_id not in (None, report.provider_id):
        raise NotFound(thing="notice")
    if notice.state not in ("queued", "sent"):
        return False
    now = business_now()
    notice.state = "delivered" if report.delivered else "failed"
    notice.provider_id = report.provider_id
    notice.sent_at = notice.sent_at or now
    notice.delivered_at = now if report.delivered else None
    notice.proof = {"provider_at": report.at, "detail": report.detail, "provider_id": report.provider_id}
    tell_outcome(session, notice)
    return True


def tell_outcome(session: Session, notice: Notice) -> None:
    """Tell that a message was delivered or will not be: who waits for its proof decides anew."""
    kind = "notices.delivered" if notice.state == "delivered" else "notices.failed"
    tell(session, kind=kind, payload={"notice_id": notice.id, "subject": notice.subject}, order_key=notice.subject)


def _insert(
    session: Session,
    kind: str,
    property_id: int,
    party_id: int,
    subject: str,
    params: dict[str, Any],
    message_key: str,
    *,
    state: str,
    proof: dict[str, Any] | None = None,
) -> Notice | None:
    row = insert(Notice).values(
        tenant_id=current_tenant_id(),
        property_id=property_id,
        party_id=party_id,
        subject=subject,
        kind=kind,
        message_key=message_key,
        params=params,
        state=state,
        queued_at=business_now(),
        proof=proof,
    )
    return session.scalar(row.on_conflict_do_nothing().returning(Notice))
