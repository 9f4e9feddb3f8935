"""Sending queued notices: read in one transaction, call the provider in none, write what came of it in another.

If the process dies in between, the message is sent again with the same key, and the provider makes it one. A message
whose provider stays away is tried a few times and then counted as failed: the ladder sends it anew as another message.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.clock import business_now, wall_now
from app.kernel.crypto import CipherBroken
from app.kernel.errors import AppError
from app.kernel.outbox import ATTEMPTS_MAX, Delivery, finish, put_back, take
from app.kernel.unit_of_work import unit_of_work
from app.notify.models import Notice
from app.notify.render import Place, render_notice
from app.notify.service import tell_outcome
from app.notify.sms import HttpSms, Sms, SmsRefused, SmsUnavailable
from app.settings import Settings
from app.tenants.kek import KeyStoreAway
from app.tenants.models import Node, Party, Property
from app.tenants.parties import phone_of

log = logging.getLogger(__name__)
BATCH = 50


class NoPhone(AppError):
    """The party has no phone number on file."""

    code, status = "no_phone", 422
    message_zh = "客户未登记手机号，无法发送短信。请补登手机号。"
    message_en = "The customer has no phone number on file. Add one."


class NoProvider(AppError):
    """No SMS provider is set up."""

    code, status = "no_sms_provider", 503
    message_zh = "未配置短信服务（SMS_URL），通知无法发出。"
    message_en = "No SMS provider is set up (SMS_URL); notices cannot be sent."


@dataclass(frozen=True, slots=True)
class _Draft:
    delivery: Delivery
    notice_id: int
    sms: Sms | None


@dataclass(frozen=True, slots=True)
class _Result:
    draft: _Draft
    provider_id: str | None
    failure: AppError | None


_provider: HttpSms | None = None


def use_provider(provider: HttpSms | None) -> None:
    """Send through this provider from now on; None goes back to the one in the settings."""
    global _provider
    _provider = provider


def send_waiting(tenant_id: int, *, limit: int = BATCH) -> int:
    """Send what waits for one tenant until nothing is due. Opens its own units of work. Returns how many it handled."""
    handled = 0
    while drafts := _load_or_wait(tenant_id, limit):
        results = [_send(draft) for draft in drafts]
        with unit_of_work(tenant_id) as session:
            for result in results:
                _write(session, result)
        handled += len(results)
    return handled


def _load_or_wait(tenant_id: int, limit: int) -> list[_Draft]:
    """Nothing while the key store is away: messages wait untouched, and the sweep asks again."""
    try:
        return _load(tenant_id, limit)
    except KeyStoreAway as away:
        log.error("messages of tenant %s wait: %s", tenant_id, away)
        return []


def _load(tenant_id: int, limit: int) -> list[_Draft]:
    with unit_of_work(tenant_id) as session:
        deliveries = take(session, consumer="notices", limit=limit)
        notices = _notices(session, deliveries)
        places = _places(session, {notice.property_id for notice in notices.values()})
        return [_draft(session, tenant_id, d, notices.get(d.payload["notice_id"]), places) for d in deliveries]


def _notices(session: Session, deliveries: Sequence[Delivery]) -> dict[int, Notice]:
    ids = [delivery.payload["notice_id"] for delivery in deliveries]
    return {notice.id: notice for notice in session.scalars(select(Notice).where(Notice.id.in_(ids)))}


def _places(session: Session, property_ids: set[int]) -> dict[int, Place]:
    rows = session.execute(
        select(Property.id, Node.name, Property.time_zone)
        .join(Node, (Node.tenant_id == Property.tenant_id) & (Node.id == Property.id))
        .where(Property.id.in_(property_ids))
    )
    return {id_: Place(name, zone) for id_, name, zone in rows}


def _draft(
    session: Session, tenant_id: int, delivery: Delivery, notice: Notice | None, places: dict[int, Place]
) -> _Draft:
    if notice is None or notice.state != "queued":
        return _Draft(delivery, delivery.payload["notice_id"], None)
    party = session.scalars(select(Party).where(Party.id == notice.party_id)).one()
    text = render_notice(kind=notice.kind, params=notice.params, place=places[notice.property_id])
    phone = _phone(session, party)
    key, reference = f"{tenant_id}:{notice.message_key}", f"{tenant_id}.{notice.id}"
    return _Draft(delivery, notice.id, Sms(phone, text, key, reference))


def _phone(session: Session, party: Party) -> str:
    """'' when there is none, or when what is kept does not open: one such number holds up nobody else's message."""
    try:
        return phone_of(session, party=party) or ""
    except CipherBroken:
        log.exception("the phone number of party %s does not open", party.id)
        return ""


def _send(draft: _Draft) -> _Result:
    if draft.sms is None:
        return _Result(draft, None, None)
    try:
        if not draft.sms.to:
            raise NoPhone()
        return _Result(draft, open_provider().send(draft.sms), None)
    except (NoPhone, NoProvider, SmsRefused, SmsUnavailable) as failure:
        return _Result(draft, None, failure)


def open_provider() -> HttpSms:
    """The provider of this process, for messages that are no notices. Raises NoProvider."""
    global _provider
    if _provider is None:
        settings = Settings.from_env()
        if not settings.sms_url:
            raise NoProvider()
        _provider = HttpSms(settings.sms_url, settings.sms_secret)
    return _provider


def _write(session: Session, result: _Result) -> None:
    delivery = result.draft.delivery
    query = select(Notice).where(Notice.id == result.draft.notice_id).with_for_update()
    notice = session.scalar(query, execution_options={"populate_existing": True})
    if notice is None or notice.state != "queued":
        # Sent before a crash, or its report overtook us: the message is one, and so is its row.
        finish(session, ids=[delivery.id])
        return
    notice.attempts += 1
    match result.failure:
        case None:
            notice.state, notice.provider_id, notice.sent_at = "sent", result.provider_id, business_now()
        case SmsUnavailable() if delivery.attempts + 1 < ATTEMPTS_MAX:
            put_back(session, delivery=delivery, error=result.failure.code, not_before=_next_try(delivery))
            return
        case failure:
            notice.state = "failed" if isinstance(failure, SmsUnavailable) else "undeliverable"
            notice.proof = {"unsent": failure.code}
            tell_outcome(session, notice)
    finish(session, ids=[delivery.id])


def _next_try(delivery: Delivery) -> datetime:
    return wall_now() + timedelta(seconds=2 ** (delivery.attempts + 1))
