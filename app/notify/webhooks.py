"""Webhooks: addresses of the tenant's own systems that hear of events at a node and below (adr 0019).

The secret is shown once and kept as ciphertext. Every change stands in the audit log without it.
"""

import base64
import secrets
import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import uuid7
from app.kernel.errors import AppError
from app.kernel.outbound import Outbound
from app.kernel.outbox import tell
from app.notify.webhook_models import WebhookDelivery, WebhookEndpoint
from app.notify.webhook_rules import KINDS, OLD_SECRET_LASTS, PING, SECRET_BYTES, SECRET_PREFIX, body_of
from app.settings import Settings
from app.tenants import audit
from app.tenants.access import or_not_found, within
from app.tenants.keys import data_key, place
from app.tenants.models import Tenant

ENDPOINTS_MAX = 20
NAME_MAX = 60
TABLE = "webhook_endpoints"
#: Wakes the sender: somebody asked for an attempt now.
ASKED = "webhooks.asked"


class WebhookKindsUnknown(AppError):
    """No event was chosen, or one that is not told outside."""

    code, status = "webhook_kinds_unknown", 422
    message_zh = "请至少选择一种可以推送的事件（{kinds}）。"
    message_en = "Choose at least one of the events that are told outside ({kinds})."


class WebhookNameMissing(AppError):
    """Nobody would know whose address it is."""

    code, status = "webhook_name_missing", 422
    message_zh = "请填写接收系统的名称（1–{length_max} 个字）。"
    message_en = "Name the receiving system in 1–{length_max} characters."


class WebhooksTooMany(AppError):
    """More endpoints than a group may have."""

    code, status = "webhooks_too_many", 422
    message_zh = "推送地址最多 {count_max} 个。请先删除不用的地址。"
    message_en = "There are {count_max} endpoints at most. Remove one that is not used."


class WebhookDisabled(AppError):
    """The endpoint is switched off."""

    code, status = "webhook_disabled", 409
    message_zh = "该推送地址已停用。请先启用，再发送。"
    message_en = "This endpoint is switched off. Switch it on before sending."


def to_loopback(session: Session, settings: Settings) -> bool:
    """Whether webhooks may go to this machine itself: a demo's or a test's wish, and only among demo groups alone."""
    if settings.webhooks_to_loopback != "1":
        return False
    return session.scalar(select(Tenant.id).where(Tenant.kind != "demo").limit(1)) is None


def door(session: Session, settings: Settings) -> Outbound:
    """The way out for this tenant's webhooks."""
    return Outbound(loopback=to_loopback(session, settings))


def add_endpoint(
    session: Session, *, node_id: int, name: str, url: str, kinds: Collection[str], by: Actor, settings: Settings
) -> tuple[WebhookEndpoint, str]:
    """Register an endpoint and return it with its secret, the only time that is seen; `node_id` is known to be good.

    Raises WebhookNameMissing, WebhookKindsUnknown, WebhooksTooMany, AddressForbidden.
    """
    chosen = _checked(session, name, url, kinds, settings)
    if (session.scalar(select(func.count()).select_from(WebhookEndpoint)) or 0) >= ENDPOINTS_MAX:
        raise WebhooksTooMany(count_max=ENDPOINTS_MAX)
    public_id, secret = uuid7(), _new_secret()
    endpoint = WebhookEndpoint(
        public_id=public_id, node_id=node_id, name=name.strip(), url=url.strip(), kinds=chosen,
        secret_cipher=_seal(session, public_id, "secret_cipher", secret), created_at=wall_now(), dead_in_a_row=0,
    )  # fmt: skip
    session.add(endpoint)
    session.flush()  # allow: flush - the audit log names the endpoint by its id
    _note(session, endpoint, "api:webhook:add", by, before=None)
    return endpoint, secret


def change_endpoint(
    session: Session, *, endpoint: WebhookEndpoint, name: str, url: str, kinds: Collection[str], by: Actor,
    settings: Settings,
) -> None:  # fmt: skip
    """Change name, address and events. Raises WebhookNameMissing, WebhookKindsUnknown, AddressForbidden."""
    chosen, before = _checked(session, name, url, kinds, settings), _facts(endpoint)
    endpoint.name, endpoint.url, endpoint.kinds = name.strip(), url.strip(), chosen
    _note(session, endpoint, "api:webhook:change", by, before=before)


def rotate_secret(session: Session, *, endpoint: WebhookEndpoint, by: Actor) -> str:
    """A new secret, shown once; what is sent carries signatures of both for a day."""
    now, before, secret = wall_now(), _facts(endpoint), _new_secret()
    old = _open(session, endpoint, "secret_cipher", endpoint.secret_cipher)
    endpoint.secret_old_cipher = _seal(session, endpoint.public_id, "secret_old_cipher", old)
    endpoint.secret_old_until = now + OLD_SECRET_LASTS
    endpoint.secret_cipher = _seal(session, endpoint.public_id, "secret_cipher", secret)
    _note(session, endpoint, "api:webhook:rotate", by, before=before)
    return secret


def switch_off(session: Session, *, endpoint: WebhookEndpoint, why: str, by: Actor) -> None:
    """Tell this endpoint nothing more and write nothing down for it; what waits already waits until it is switched on."""
    if endpoint.disabled_at is None:
        before = _facts(endpoint)
        endpoint.disabled_at, endpoint.disabled_why = wall_now(), why
        _note(session, endpoint, "api:webhook:disable", by, before=before)


def switch_on(session: Session, *, endpoint: WebhookEndpoint, by: Actor) -> None:
    """Tell it again; what waited meanwhile goes out first."""
    if endpoint.disabled_at is not None:
        before = _facts(endpoint)
        endpoint.disabled_at = endpoint.disabled_why = None
        endpoint.dead_in_a_row = 0
        _note(session, endpoint, "api:webhook:enable", by, before=before)


def remove_endpoint(session: Session, *, endpoint: WebhookEndpoint, by: Actor) -> None:
    """Forget an endpoint with its deliveries; the audit log keeps what it was."""
    audit.record(
        session, deed="api:webhook:remove", subject=f"webhook_endpoints:{endpoint.id}", actor=by,
        before=_facts(endpoint),
    )  # fmt: skip
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id))
    session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint.id))


def ping(session: Session, *, endpoint: WebhookEndpoint, by: Actor) -> WebhookDelivery:
    """Queue a test message. Raises WebhookDisabled."""
    if endpoint.disabled_at is not None:
        raise WebhookDisabled()
    now = wall_now()
    sent = WebhookDelivery(
        endpoint_id=endpoint.id, event_id=None, kind=PING, body=body_of(PING, now, {"endpoint": str(endpoint.public_id)}),
        created_at=now, not_before=now,
    )  # fmt: skip
    session.add(sent)
    tell(session, kind=ASKED, payload={"endpoint_id": endpoint.id})
    audit.record(session, deed="api:webhook:ping", subject=f"webhook_endpoints:{endpoint.id}", actor=by)
    return sent


def send_again(session: Session, *, delivery: WebhookDelivery, by: Actor) -> None:
    """Try a delivery anew under its old id, so that a receiver that has it already does nothing twice.

    Raises WebhookDisabled.
    """
    if session.scalars(select(WebhookEndpoint.disabled_at).where(WebhookEndpoint.id == delivery.endpoint_id)).one():
        raise WebhookDisabled()
    delivery.state, delivery.attempts = "waiting", 0
    delivery.not_before, delivery.ended_at = wall_now(), None
    tell(session, kind=ASKED, payload={"endpoint_id": delivery.endpoint_id})
    audit.record(
        session, deed="api:webhook:resend", subject=f"webhook_deliveries:{delivery.id}", actor=by,
        facts={"endpoint_id": delivery.endpoint_id, "kind": delivery.kind},
    )  # fmt: skip


def list_endpoints(session: Session, *, allowed: Collection[int]) -> Sequence[WebhookEndpoint]:
    """Endpoints of these nodes, oldest first."""
    query = select(WebhookEndpoint).where(within(WebhookEndpoint.node_id, allowed))
    return session.scalars(query.order_by(WebhookEndpoint.id)).all()


def count_given_up(session: Session, *, allowed: Collection[int]) -> int:
    """How many endpoints of these nodes were switched off by themselves and wait for a person."""
    given_up = WebhookEndpoint.disabled_why.in_(("dead", "gone"))
    query = select(func.count()).select_from(WebhookEndpoint).where(given_up, within(WebhookEndpoint.node_id, allowed))
    return session.scalar(query) or 0


def access_endpoint(session: Session, *, public_id: uuid.UUID, allowed: Collection[int]) -> WebhookEndpoint:
    """One endpoint, locked. Raises NotFound for "not there" and "not yours" alike."""
    query = select(WebhookEndpoint).where(
        WebhookEndpoint.public_id == public_id, within(WebhookEndpoint.node_id, allowed)
    )
    return or_not_found(session.scalar(query.with_for_update()))


def good_secrets(session: Session, endpoint: WebhookEndpoint) -> list[str]:
    """The secrets a message is signed with now, the present one first."""
    found = [_open(session, endpoint, "secret_cipher", endpoint.secret_cipher)]
    if endpoint.secret_old_cipher and endpoint.secret_old_until and endpoint.secret_old_until > wall_now():
        found.append(_open(session, endpoint, "secret_old_cipher", endpoint.secret_old_cipher))
    return found


def forget_old_secrets(session: Session) -> None:
    """Delete old secrets whose day is over."""
    over = WebhookEndpoint.secret_old_until <= wall_now()
    session.execute(update(WebhookEndpoint).where(over).values(secret_old_cipher=None, secret_old_until=None))


def _checked(session: Session, name: str, url: str, kinds: Collection[str], settings: Settings) -> list[str]:
    if not 0 < len(name.strip()) <= NAME_MAX:
        raise WebhookNameMissing(length_max=NAME_MAX)
    if not kinds or not set(KINDS).issuperset(kinds):
        raise WebhookKindsUnknown(kinds="、".join(KINDS))
    door(session, settings).check_url(url.strip())
    return sorted(set(kinds))


def _new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _seal(session: Session, public_id: uuid.UUID, column: str, secret: str) -> bytes:
    return data_key(session).encrypt(secret, place(table=TABLE, column=column, row=public_id))


def _open(session: Session, endpoint: WebhookEndpoint, column: str, cipher: bytes) -> str:
    return data_key(session).decrypt(cipher, place(table=TABLE, column=column, row=endpoint.public_id))


def _facts(endpoint: WebhookEndpoint) -> dict[str, object]:
    return {
        "node_id": endpoint.node_id,
        "url": endpoint.url,
        "kinds": endpoint.kinds,
        "disabled": endpoint.disabled_why,
        "old_secret_until": endpoint.secret_old_until.isoformat() if endpoint.secret_old_until else None,
    }


def _note(
    session: Session, endpoint: WebhookEndpoint, deed: str, by: Actor, *, before: dict[str, object] | None
) -> None:
    audit.record(
        session, deed=deed, subject=f"webhook_endpoints:{endpoint.id}", actor=by,
        before=before, after=_facts(endpoint),
    )  # fmt: skip
