"""Redis as transport: hints in, RQ jobs out, and the flag that keeps one job per (tenant, consumer) in the queue."""

import logging
from collections.abc import Sequence

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from app.jobs.table import QUEUES
from app.kernel.outbox import Hint

HINTS = "tallyhouse:hints"
#: What wakes the relay without naming work.
NOTHING = ""
RUN_SECONDS_MAX = 600
#: What a job of scheduled deeds has beyond the time of its deeds, so that a deed is broken off before its job is.
SPARE_S = 60
#: A drain whose job was lost is queued again after this; a deed likewise.
DRAIN_AGAIN_S, DEED_AGAIN_S = 30, 60
log = logging.getLogger(__name__)


class Transport:
    """One process's way to the queues. Losing Redis loses hints, never work."""

    def __init__(self, redis_url: str) -> None:
        self.redis: redis.Redis = redis.Redis.from_url(redis_url)
        # A request that has committed must not wait for a Redis that hangs.
        self._hasty: redis.Redis = redis.Redis.from_url(redis_url, socket_timeout=1, socket_connect_timeout=1)
        names = set(QUEUES.values())
        self.queues = {n: Queue(n, connection=self.redis, serializer=JSONSerializer) for n in names}

    def hint(self, hints: set[Hint]) -> None:
        """Wake the relay after a commit."""
        try:
            self._hasty.lpush(HINTS, *(f"{tenant_id}:{consumer}" for tenant_id, consumer in hints))
        except redis.RedisError as lost:
            log.warning("hint lost, the sweep will find it: %s", lost)

    def wake(self) -> None:
        """Have the relay look at the clock now: it was moved."""
        self.redis.lpush(HINTS, NOTHING)

    def next_hints(self, timeout_s: float) -> set[Hint]:
        """Wait for hints; everything that is there at once is returned together. Empty after the timeout."""
        first = self.redis.brpop([HINTS], timeout=timeout_s)
        if first is None:
            return set()
        more = self.redis.rpop(HINTS, 500) or []
        return {hint for raw in (first[1], *more) if (hint := _parse(raw)) is not None}

    def enqueue_drain(self, hint: Hint) -> None:
        """Queue one drain of a consumer unless one is queued already. The flag falls when the drain starts."""
        tenant_id, consumer = hint
        if self.redis.set(_flag(hint), 1, nx=True, ex=DRAIN_AGAIN_S):
            self._enqueue(QUEUES[consumer], "app.jobs.handlers.drain", tenant_id, consumer)

    def started(self, hint: Hint) -> None:
        """Events written from now on need a job of their own."""
        self.redis.delete(_flag(hint))

    def enqueue_deeds(self, queue: str, tenant_id: int, deeds: Sequence[tuple[str, str]]) -> None:
        """Queue scheduled deeds (kind, period) of a tenant as one job, each deed at most once in DEED_AGAIN_S."""
        with self.redis.pipeline(transaction=False) as flags:
            for kind, period in deeds:
                flags.set(f"tallyhouse:due:{kind}:{tenant_id}:{period}", 1, nx=True, ex=DEED_AGAIN_S)
            fresh = [deed for deed, raised in zip(deeds, flags.execute(), strict=True) if raised]
        if fresh:
            seconds = RUN_SECONDS_MAX * len(fresh) + SPARE_S
            self._enqueue(queue, "app.jobs.handlers.run_due", tenant_id, fresh, seconds=seconds)

    def _enqueue(self, queue: str, function: str, *args: object, seconds: int = RUN_SECONDS_MAX) -> None:
        self.queues[queue].enqueue_call(function, args=args, timeout=seconds, result_ttl=0, failure_ttl=3600)

    def idle(self) -> bool:
        """No hint and no job waits, none is being handed over, none runs. One round trip; nothing is cleaned up."""
        with self.redis.pipeline() as counts:
            counts.llen(HINTS)
            for queue in self.queues.values():
                counts.llen(queue.key)
                counts.llen(queue.intermediate_queue_key)
                counts.zcard(queue.started_job_registry.key)
            return not any(counts.execute())


def _flag(hint: Hint) -> str:
    return f"tallyhouse:queued:{hint[0]}:{hint[1]}"


def _parse(raw: bytes) -> Hint | None:
    """None for what nobody of ours wrote."""
    tenant_id, _, consumer = raw.decode(errors="replace").partition(":")
    return (int(tenant_id), consumer) if tenant_id.isdecimal() and consumer in QUEUES else None
