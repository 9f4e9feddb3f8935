"""Sends the links that people asked for because they forgot their password.

The link is made here and not when it was asked for: whoever asks waits for nothing, and the token is written down nowhere.
The message leaves within the transaction that makes the link; if that is lost afterwards, the link is no good and the
event is handled anew.
"""

import logging
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.kernel.outbox import Delivery
from app.notify.sender import NoPhone, open_provider
from app.notify.sms import Sms, SmsUnavailable
from app.permissions.models import User
from app.permissions.password_links import make_link, phone_of_user
from app.settings import Settings
from app.tenants import audit

log = logging.getLogger(__name__)
ASKED_BY_THEMSELVES = Actor.system("web")
TEXTS = {
    "zh": "【账房】您申请了重设密码，30 分钟内打开有效，只能用一次：{link} 如非本人操作请忽略。",
    "en": "[Tallyhouse] Choose a new password here, once and within 30 minutes: {link} Ignore this if you did not ask.",
}


def send_links(session: Session, deliveries: Sequence[Delivery]) -> None:
    """One message per person, however often they asked; nothing for names that nobody has. Raises SmsUnavailable."""
    asked = {delivery.payload["user_id"]: delivery.id for delivery in deliveries}
    for user in session.scalars(
        select(User).where(User.id.in_([id_ for id_ in asked if id_ is not None]), User.disabled_at.is_(None))
    ):
        _send(session, user, key=f"{user.tenant_id}:password_link:{asked[user.id]}")


def _send(session: Session, user: User, *, key: str) -> None:
    try:
        phone = phone_of_user(session, user=user)
        if phone is None:
            raise NoPhone()
        provider = open_provider()
        link = f"{Settings.from_env().public_address}/password/{make_link(session, user=user, by=ASKED_BY_THEMSELVES)}"
        text = TEXTS["en" if user.locale == "en" else "zh"].format(link=link)
        provider.send(Sms(phone, text, key, f"{user.tenant_id}.0"))
    except SmsUnavailable:
        raise
    except AppError as unsent:
        log.warning("no password link for user %s: %s", user.id, unsent.code)
        facts = {"why": unsent.code}
        audit.record(
            session, deed="user:password_link:send", subject=f"users:{user.id}", actor=ASKED_BY_THEMSELVES, facts=facts,
            result="refused",
        )  # fmt: skip
