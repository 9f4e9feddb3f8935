"""The scheduler process: turns hints into queued jobs, sweeps for what hints lost, and starts what the clock says.

It decides nothing and writes nothing: losing it delays work, it never loses any.
"""

import logging
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import redis
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.jobs.schedule import due
from app.jobs.transport import Transport
from app.kernel.clock import business_now
from app.kernel.db import Database
from app.kernel.outbox import Hint, waiting_consumers
from app.kernel.schedule import claimed
from app.kernel.unit_of_work import unit_of_work
from app.tenants.models import Tenant

SWEEP_S = 5.0
log = logging.getLogger(__name__)


class Relay:
    """The loop of the scheduler process. `tick_s` is how often the clock is looked at."""

    def __init__(self, db: Database, transport: Transport, *, tick_s: float = 1.0) -> None:
        self.db, self.transport, self.tick_s = db, transport, tick_s
        self.stopping = False
        self._swept_at = 0.0
        self._started: dict[tuple[int, str], str] = {}
        #: Deeds that were started and not claimed when the sweep looked: (tenant, kind).
        self._unclaimed: set[tuple[int, str]] = set()

    def stop(self, *_: object) -> None:
        """End after the present round."""
        self.stopping = True

    def run(self) -> None:
        """Loop until SIGTERM or SIGINT."""
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        while not self.stopping:
            try:
                self.round()
            except (redis.RedisError, OperationalError) as lost:
                log.warning("Redis or the database is away, waiting: %s", lost)
                time.sleep(1)

    def round(self) -> None:
        """Pass hints on, sweep when it is time, start what is due."""
        self._pass_on(self.transport.next_hints(self.tick_s))
        tenants = self._tenants()
        if time.monotonic() - self._swept_at >= SWEEP_S:
            self.sweep(tenants)
        self.start_due(tenants)

    def sweep(self, tenants: Iterable[int]) -> None:
        """Find consumers with waiting deliveries, tenant by tenant; dirty meters count as work for pricing."""
        self._swept_at = time.monotonic()
        for tenant_id in tenants:
            with unit_of_work(tenant_id, db=self.db) as session:
                hints = {(tenant_id, consumer) for consumer in waiting_consumers(session)}
                if session.execute(
                    text("SELECT 1 FROM dirty_ranges WHERE tenant_id = :t LIMIT 1"), {"t": tenant_id}
                ).first():
                    hints.add((tenant_id, "pricing"))
                self._look_after_deeds(session, tenant_id)
            self._pass_on(hints)

    def _look_after_deeds(self, session: Session, tenant_id: int) -> None:
        """Forget having started what no worker has claimed: its job was lost, or failed."""
        periods = [(deed.kind, period) for deed, period in due(business_now())]
        done = claimed(session, periods=periods)
        for kind, period in periods:
            if (kind, period) in done:
                self._unclaimed.discard((tenant_id, kind))
            elif self._started.pop((tenant_id, kind), None) == period:
                self._unclaimed.add((tenant_id, kind))

    def start_due(self, tenants: Iterable[int]) -> None:
        """Queue every deed whose period has begun, those of a tenant and a queue as one job.

        The worker claims each period by itself, so a second start does nothing.
        """
        now = business_now()
        for tenant_id in tenants:
            for queue, deeds in self._to_start(tenant_id, now):
                self.transport.enqueue_deeds(queue, tenant_id, deeds)
                self._started |= {(tenant_id, kind): period for kind, period in deeds}

    def _to_start(self, tenant_id: int, now: datetime) -> list[tuple[str, Sequence[tuple[str, str]]]]:
        """Queue and deeds of each job. What went unclaimed goes alone: one that ends its worker drags nobody along."""
        jobs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for deed, period in due(now):
            if self._started.get((tenant_id, deed.kind)) != period:
                alone = deed.kind if (tenant_id, deed.kind) in self._unclaimed else ""
                jobs[deed.queue, alone].append((deed.kind, period))
        return [(queue, deeds) for (queue, _), deeds in jobs.items()]

    def _pass_on(self, hints: Iterable[Hint]) -> None:
        for hint in hints:
            self.transport.enqueue_drain(hint)

    def _tenants(self) -> list[int]:
        with self.db.without_tenant() as connection:
            return list(connection.scalars(select(Tenant.id).order_by(Tenant.id)))
