"""Sends the six digits that residents asked for, when there is anybody to send them to.

A message that was sent twice for one row is one message with the same digits, so a lost answer costs nothing.
"""

import logging
from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.kernel.outbox import Delivery
from app.notify.render import Place, render_resident_code
from app.notify.sender import NoPhone, open_provider
from app.notify.sms import Sms, SmsUnavailable
from app.permissions.resident_codes import take_code
from app.tenants.parties import phone_of

log = logging.getLogger(__name__)


def send_codes(session: Session, deliveries: Sequence[Delivery]) -> None:
    """One message for each number that is known where it was typed. Raises SmsUnavailable."""
    for delivery in deliveries:
        _send(session, int(delivery.payload["code_id"]))


def _send(session: Session, code_id: int) -> None:
    taken = take_code(session, code_id=code_id)
    if taken is None:
        return
    party, place, digits = taken
    try:
        phone = phone_of(session, party=party)
        if phone is None:
            raise NoPhone()
        text = render_resident_code(digits, place=Place(place.name, place.time_zone))
        tenant_id = current_tenant_id()
        open_provider().send(Sms(phone, text, f"{tenant_id}:resident_code:{code_id}", f"{tenant_id}.0"))
    except SmsUnavailable:
        raise
    except AppError as unsent:
        log.warning("code %s of a resident was not sent: %s", code_id, unsent.code)
