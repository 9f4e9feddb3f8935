"""A worker process: one queue, one database, deeds run in the process itself (no fork per job)."""

import logging

from rq import SimpleWorker
from rq.serializers import JSONSerializer

from app.jobs import handlers, table
from app.jobs.transport import Transport
from app.kernel.db import open_database
from app.kernel.outbox import send_hints_to
from app.meters import wake
from app.settings import Settings

log = logging.getLogger(__name__)


def run_worker(settings: Settings, queue: str) -> None:
    """Work on one queue, and on those it also looks after, until SIGTERM; the job under way is finished first."""
    open_database(settings.database_url, pool_max=4, pooler=settings.database_pooler)
    table.install()
    transport = Transport(settings.redis_url)
    send_hints_to(transport.hint)
    wake.use_redis(settings.redis_url)
    handlers.attach(transport)
    worker = SimpleWorker(
        [transport.queues[name] for name in (queue, *table.ALSO.get(queue, ()))],
        connection=transport.redis,
        serializer=JSONSerializer,
        log_job_description=False,
        worker_ttl=60,
    )
    worker.work(logging_level=settings.log_level)
