"""Is everything done that could be done at this business instant? The story moves its clock only when it is.

Quiet means: no delivery waits, no job waits or runs, no command is under way to a meter that can be reached, every
meter that can be reached was read for the present period, no notice is on its way, and what the clock says is due was
started and has ended. Asked twice in a row, because the last act of one process may be the first of another.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.jobs.schedule import due
from app.jobs.transport import Transport
from app.kernel.clock import business_now
from app.kernel.db import Database
from app.kernel.outbox import OutboxDelivery
from app.kernel.schedule import ScheduleRun
from app.kernel.unit_of_work import unit_of_work
from app.meters.headend.quiet import pending_work
from app.notify.models import Notice

LOOK_EVERY_S, LOOK_AGAIN_S = 0.005, 0.001
#: On a paused clock a report comes at the instant of its message; an older one without report has been lost.
REPORT_WITHIN = timedelta(hours=1)


class NotQuiet(Exception):
    """Something was still under way when patience ended; the message names it."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched: a tenant of a database, the queues, how often its meters are polled."""

    db: Database
    tenant_id: int
    transport: Transport
    poll_s: int


def wait_until_quiet(watch: Watch, *, patience_s: int = 30) -> int:
    """Wait until nothing is pending. Returns how many looks it took. Raises NotQuiet naming what is pending."""
    deadline = time.monotonic() + patience_s
    quiet_looks = looks = 0
    while quiet_looks < 2:
        looks += 1
        is_late = time.monotonic() > deadline
        # One pending thing is enough to go on waiting; all of them are only looked for to be named.
        pending = list(islice(pending_things(watch), None if is_late else 1))
        quiet_looks = 0 if pending else quiet_looks + 1
        if pending and is_late:
            raise NotQuiet(
                f"still pending after {patience_s} s at {business_now():%Y-%m-%d %H:%M}Z: {'; '.join(pending)}"
            )
        if quiet_looks < 2:
            time.sleep(LOOK_AGAIN_S if quiet_looks else LOOK_EVERY_S)
    return looks


def pending_things(watch: Watch) -> Iterator[str]:
    """What is under way, in words. The queues are asked first and last: work hops from table to queue and back."""
    if not watch.transport.idle():
        yield "jobs in the queues"
        return
    with unit_of_work(watch.tenant_id, db=watch.db) as session:
        yield from _in_database(session, watch)
    if not watch.transport.idle():
        yield "jobs in the queues"


def _in_database(session: Session, watch: Watch) -> Iterator[str]:
    waiting = session.execute(
        select(OutboxDelivery.consumer, func.count(), func.max(OutboxDelivery.last_error))
        .where(OutboxDelivery.state == "waiting")
        .group_by(OutboxDelivery.consumer)
    )
    yield from (f"{count} deliveries for {name} {error or ''}" for name, count, error in waiting)
    work = pending_work(session, poll_s=watch.poll_s, now=business_now())
    if work.commands:
        yield f"{work.commands} commands"
    if work.polls:
        yield f"{work.polls} meters not yet read for this period"
    if work.unheard:
        yield f"{work.unheard} meters never heard"
    yield from _notices(session)
    yield from _schedules(session)


def _notices(session: Session) -> Iterator[str]:
    asked = business_now() - REPORT_WITHIN
    states = session.execute(
        select(Notice.state, func.count())
        .where(Notice.state.in_(("queued", "sent")), Notice.queued_at > asked)
        .group_by(Notice.state)
    )
    yield from (f"{count} notices {state}" for state, count in states)


def _schedules(session: Session) -> Iterator[str]:
    wanted = {(deed.kind, period) for deed, period in due(business_now())}
    rows = session.execute(
        select(ScheduleRun.kind, ScheduleRun.period).where(ScheduleRun.period.in_({period for _, period in wanted}))
    )
    ran = {(kind, period) for kind, period in rows}
    missing = sorted(f"{kind} of {period}" for kind, period in wanted - ran)
    if missing:
        yield f"not yet run: {', '.join(missing)}"
