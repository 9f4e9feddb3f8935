"""The delivery log of webhooks: what each endpoint is to hear, written in one transaction with the event's end."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.kernel.db import current_tenant_id, uuid7
from app.notify.webhook_models import WebhookDelivery, WebhookEndpoint
from app.notify.webhook_rules import body_of
from app.tenants.access import or_not_found, within
from app.tenants.models import Node
from app.tenants.tree import Tree

PAGE = 50


@dataclass(frozen=True, slots=True)
class Told:
    """An event in words for the outside: ids and figures only."""

    event_id: int
    kind: str
    property_id: int
    at: datetime
    data: Mapping[str, Any]


def write_down(session: Session, *, told: Sequence[Told]) -> int:
    """One delivery for each endpoint that hears this kind and whose node covers the event's property; an event told
    twice is written down once. Returns how many.
    """
    endpoints = session.scalars(select(WebhookEndpoint).where(WebhookEndpoint.disabled_at.is_(None))).all()
    if not endpoints or not told:
        return 0
    tree = Tree.of([(id_, above) for id_, above in session.execute(select(Node.id, Node.parent_id))])
    covers = {endpoint.id: tree.subtree(endpoint.node_id) for endpoint in endpoints}
    rows = [
        _row(endpoint, event)
        for event in told
        for endpoint in endpoints
        if event.kind in endpoint.kinds and event.property_id in covers[endpoint.id]
    ]
    if rows:
        session.execute(insert(WebhookDelivery).on_conflict_do_nothing(), rows)
    return len(rows)


def _row(endpoint: WebhookEndpoint, event: Told) -> dict[str, Any]:
    now = wall_now()
    return {
        "tenant_id": current_tenant_id(),
        "public_id": uuid7(),
        "endpoint_id": endpoint.id,
        "event_id": event.event_id,
        "kind": event.kind,
        "body": body_of(event.kind, event.at, event.data),
        "created_at": now,
        "not_before": now,
    }


def list_deliveries(
    session: Session, *, endpoint_id: int, state: str | None = None, before_id: int | None = None
) -> Sequence[WebhookDelivery]:
    """The newest deliveries of an endpoint, a page of them and one more, which tells that there is a next page."""
    query = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    if state:
        query = query.where(WebhookDelivery.state == state)
    if before_id:
        query = query.where(WebhookDelivery.id < before_id)
    return session.scalars(query.order_by(WebhookDelivery.id.desc()).limit(PAGE + 1)).all()


def access_delivery(session: Session, *, public_id: uuid.UUID, allowed: Collection[int]) -> WebhookDelivery:
    """One delivery of an endpoint at these nodes, locked. Raises NotFound."""
    theirs = select(WebhookEndpoint.id).where(within(WebhookEndpoint.node_id, allowed))
    query = select(WebhookDelivery).where(
        WebhookDelivery.public_id == public_id, WebhookDelivery.endpoint_id.in_(theirs)
    )
    return or_not_found(session.scalar(query.with_for_update()))


def prune_deliveries(session: Session, *, ended_before: datetime) -> None:
    """Delete what ended long ago."""
    session.execute(
        delete(WebhookDelivery).where(WebhookDelivery.ended_at < ended_before),
        execution_options={"synchronize_session": False},
    )
