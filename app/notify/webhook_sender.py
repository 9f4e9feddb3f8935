"""Telling endpoints: claim in one transaction, call in none, write what came of it in another.

At least once: if the process dies after the receiver answered, it is told again under the same id. An endpoint that
does not answer is left alone for the rest of the run, so that it keeps none of the others waiting for long.
"""

import time
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import EPOCH, wall_now
from app.kernel.errors import AppError
from app.kernel.outbound import AddressForbidden, Answer, NoAnswer, Outbound
from app.kernel.unit_of_work import unit_of_work
from app.notify import webhooks
from app.notify.webhook_models import WebhookDelivery, WebhookEndpoint
from app.notify.webhook_rules import DEAD_MAX, next_try, signed_headers, written
from app.settings import Settings

#: A run makes room for other tenants after so long.
RUN_S_MAX = 20
#: Who claimed a delivery and died is followed by another after this.
CLAIM_LASTS = timedelta(minutes=2)
GONE = 410
SENDER = Actor.system("webhooks")


@dataclass(frozen=True, slots=True)
class _Letter:
    delivery_id: int
    endpoint_id: int
    url: str
    message_id: str
    body: bytes
    secrets: list[str]
    door: Outbound


@dataclass(frozen=True, slots=True)
class _Outcome:
    answer: Answer | None
    failure: AppError | None

    @property
    def delivered(self) -> bool:
        return self.answer is not None and 200 <= self.answer.status < 300


def send_webhooks(tenant_id: int) -> int:
    """Tell what is due until nothing is, or the run has lasted long enough. Opens its own units of work.

    Returns how many attempts were made.
    """
    silent: set[int] = set()
    until, tried = time.monotonic() + RUN_S_MAX, 0
    while time.monotonic() < until and (letter := _claim(tenant_id, silent)) is not None:
        outcome = _call(letter)
        if not outcome.delivered:
            silent.add(letter.endpoint_id)
        with unit_of_work(tenant_id) as session:
            _write(session, letter, outcome)
        tried += 1
    return tried


def _claim(tenant_id: int, silent: set[int]) -> _Letter | None:
    now = wall_now()
    with unit_of_work(tenant_id) as session:
        found = session.execute(
            select(WebhookDelivery, WebhookEndpoint)
            .join(
                WebhookEndpoint,
                (WebhookEndpoint.tenant_id == WebhookDelivery.tenant_id)
                & (WebhookEndpoint.id == WebhookDelivery.endpoint_id),
            )
            .where(
                WebhookDelivery.state == "waiting",
                WebhookDelivery.not_before <= now,
                WebhookEndpoint.disabled_at.is_(None),
                WebhookEndpoint.id.not_in(silent),
            )
            .order_by(WebhookDelivery.not_before, WebhookDelivery.id)
            .limit(1)
            .with_for_update(of=WebhookDelivery, skip_locked=True)
        ).first()
        if found is None:
            return None
        delivery, endpoint = found
        delivery.not_before = now + CLAIM_LASTS
        return _Letter(
            delivery.id, endpoint.id, endpoint.url, str(delivery.public_id), written(delivery.body),
            webhooks.good_secrets(session, endpoint), webhooks.door(session, Settings.from_env()),
        )  # fmt: skip


def _call(letter: _Letter) -> _Outcome:
    timestamp = int((wall_now() - EPOCH).total_seconds())
    headers = signed_headers(letter.secrets, message_id=letter.message_id, timestamp=timestamp, body=letter.body)
    try:
        return _Outcome(letter.door.post(letter.url, body=letter.body, headers=headers), None)
    except (AddressForbidden, NoAnswer) as failure:
        return _Outcome(None, failure)


def _write(session: Session, letter: _Letter, outcome: _Outcome) -> None:
    # The endpoint first, as everybody who sends again or switches it does.
    endpoint = session.scalar(select(WebhookEndpoint).where(WebhookEndpoint.id == letter.endpoint_id).with_for_update())
    delivery = session.scalar(select(WebhookDelivery).where(WebhookDelivery.id == letter.delivery_id).with_for_update())
    if endpoint is None or delivery is None or delivery.state != "waiting":
        return
    now = wall_now()
    delivery.attempts += 1
    delivery.last_at = now
    delivery.last_status = outcome.answer.status if outcome.answer else None
    delivery.last_took_ms = outcome.answer.took_ms if outcome.answer else None
    delivery.last_error = None if outcome.delivered else _why(outcome)
    if outcome.delivered:
        delivery.state, delivery.ended_at, endpoint.dead_in_a_row = "delivered", now, 0
        return
    again = next_try(delivery.attempts, now)
    gone = outcome.answer is not None and outcome.answer.status == GONE
    if again is not None and not gone:
        delivery.not_before = again
        return
    delivery.state, delivery.ended_at = "dead", now
    endpoint.dead_in_a_row += 1
    if gone or endpoint.dead_in_a_row >= DEAD_MAX:
        webhooks.switch_off(session, endpoint=endpoint, why="gone" if gone else "dead", by=SENDER)


def _why(outcome: _Outcome) -> str:
    if outcome.failure is None:
        return f"http_{outcome.answer.status}" if outcome.answer else "unknown"
    return f"{outcome.failure.code}: {outcome.failure.details.get('reason', '')}"[:200]
