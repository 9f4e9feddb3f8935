"""A consumer of the outbox for tests: every delivery it handles leaves one line in the audit log, in the same unit of
work. A lost delivery leaves none, a repeated one two, an overtaken one the wrong order.
"""

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.jobs import handlers, table
from app.kernel import outbox
from app.kernel.actor import Actor
from app.kernel.outbox import Delivery
from app.kernel.unit_of_work import unit_of_work
from app.tenants.audit import record
from app.tenants.models import AuditRecord

KIND, CONSUMER, QUEUE = "tests.said", "notebook", "money"
WRITER = Actor.system("tests")


class Poison(Exception):
    """What a delivery nobody can handle raises."""


def write_down(session: Session, deliveries: Sequence[Delivery]) -> None:
    """The consumer. `{"poison": true}` cannot be handled; `{"pause_ms": n}` takes a while."""
    for delivery in deliveries:
        if delivery.payload.get("poison"):
            raise Poison(delivery.payload["no"])
        session.execute(text("SELECT pg_sleep(:s)"), {"s": delivery.payload.get("pause_ms", 0) / 1000})
        record(session, deed="tests:note:write", subject=f"event:{delivery.payload['no']}", actor=WRITER)


def install(monkeypatch: Any = None) -> None:
    """Let this process tell `tests.said` and, in a worker, handle it. Undone by `monkeypatch` where there is one."""
    outbox.register_consumers(table.EVENTS | {KIND: (CONSUMER,)})
    put = monkeypatch.setitem if monkeypatch is not None else dict.__setitem__
    put(table.QUEUES, CONSUMER, QUEUE)
    put(handlers.HANDLERS, CONSUMER, write_down)


def say(tenant_id: int, numbers: Sequence[int], *, order_key: str = "", **payload: object) -> None:
    """Tell one event per number, in one unit of work."""
    with unit_of_work(tenant_id) as session:
        events: list[tuple[dict[str, Any], str]] = [({"no": no} | payload, order_key) for no in numbers]
        outbox.tell_many(session, kind=KIND, events=events)


def written(tenant_id: int) -> list[int]:
    """The numbers written down, in that order."""
    with unit_of_work(tenant_id) as session:
        notes = select(AuditRecord.subject).where(AuditRecord.deed == "tests:note:write").order_by(AuditRecord.id)
        return [int(subject.removeprefix("event:")) for subject in session.scalars(notes)]


def states(tenant_id: int) -> dict[int, tuple[str, int]]:
    """Event number → (state, attempts) of its delivery."""
    query = """SELECT (e.payload ->> 'no')::int, d.state, d.attempts FROM outbox_deliveries d
                 JOIN outbox_events e ON e.tenant_id = d.tenant_id AND e.id = d.event_id
                WHERE d.tenant_id = :tenant AND d.consumer = :consumer"""
    with unit_of_work(tenant_id) as session:
        rows = session.execute(text(query), {"tenant": tenant_id, "consumer": CONSUMER})
        return {no: (state, attempts) for no, state, attempts in rows}


def make_due(tenant_id: int) -> None:
    """Let the pause after a failure be over."""
    with unit_of_work(tenant_id) as session:
        session.execute(text("UPDATE outbox_deliveries SET not_before = '2026-01-01Z' WHERE state = 'waiting'"))


def own_redis_url() -> str:
    """A numbered database of the run's Redis that no other test process flushes."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    parts = urlsplit(os.environ["REDIS_URL"])
    number = str(4 + int(worker) % 12)
    if parts.scheme == "unix":
        query = dict(parse_qsl(parts.query)) | {"db": number}
        return urlunsplit(parts._replace(query=urlencode(query)))
    return urlunsplit(parts._replace(path=f"/{number}"))
