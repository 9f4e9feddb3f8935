"""What a worker runs: drain a consumer, run a scheduled deed. Only workers import this module.

A batch of deliveries and its effect commit together. If a batch fails it is rolled back and tried one by one, so that
one poisoned event neither blocks nor undoes its neighbours; after a few failures it is a dead letter.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from app.billing import consumers
from app.billing.day_close import close_days_due
from app.billing.ledger.folds import fold_days
from app.billing.ledger.holds import expire_holds
from app.billing.ledger.periods import open_ahead
from app.billing.ledger.seals import LEDGER
from app.billing.supply import judge_again
from app.jobs import transport
from app.jobs.password_links import send_links
from app.jobs.resident_codes import send_codes
from app.jobs.timebox import at_most
from app.jobs.transport import RUN_SECONDS_MAX
from app.kernel import outbox
from app.kernel.actor import Actor
from app.kernel.clock import business_now, wall_now
from app.kernel.outbox import Delivery
from app.kernel.schedule import claim, claimed, forget_runs
from app.kernel.unit_of_work import unit_of_work
from app.meters.commands import expire_commands
from app.notify.sender import send_waiting
from app.notify.webhook_log import prune_deliveries, write_down
from app.notify.webhook_sender import send_webhooks
from app.notify.webhooks import forget_old_secrets
from app.permissions.approvals import expire_approvals
from app.permissions.password_links import prune_links
from app.permissions.resident_codes import prune_codes
from app.permissions.residents import prune_sessions
from app.permissions.sign_in import prune_sign_ins
from app.reports.documents import render_receipts
from app.reports.told import describe
from app.settings import Settings
from app.tenants.anchors import anchor_heads
from app.tenants.kept_files import sweep_files
from app.tenants.rotation import continue_rotation
from app.tenants.seals import AUDIT, seal_chain

log = logging.getLogger(__name__)
BATCH = 200
#: After so many seconds a drain, a batch, a single delivery makes room for others.
DRAIN_S_MAX, BATCH_S_MAX, ONE_S_MAX = 240, 120, 60
KEEP_DONE = timedelta(days=7)
KEEP_WEBHOOKS = timedelta(days=30)
FOLD_BACK = timedelta(days=40)
ROTATE_FOR = timedelta(seconds=20)

Handler = Callable[[Session, Sequence[Delivery]], None]


def _write_down(session: Session, deliveries: Sequence[Delivery]) -> None:
    """What each endpoint outside is to hear of these events; the calls themselves are made in `_tell_outside`."""
    write_down(session, told=describe(session, deliveries))


#: Consumer → use-case. `notices` talks to a provider between two transactions and is drained by itself below.
HANDLERS: Mapping[str, Handler] = {
    "pricing": consumers.price_arrived,
    "supply": consumers.decide_supply,
    "documents": render_receipts,
    "webhooks": _write_down,
    "password_links": send_links,
    "resident_codes": send_codes,
}

#: Consumer → what it finds to do by itself, a part at a time: work whose event was lost to a dead letter.
UNTOLD: Mapping[str, Callable[[Session], bool]] = {"pricing": consumers.price_untold}

_transport: transport.Transport | None = None


def attach(to: transport.Transport) -> None:
    """Let drains clear their flags on this transport."""
    global _transport
    _transport = to


def drain(tenant_id: int, consumer: str) -> int:
    """Work until the consumer has nothing left that is due, or DRAIN_S_MAX is over and the sweep hints anew.

    Returns how many deliveries were handled.
    """
    if _transport is not None:
        _transport.started((tenant_id, consumer))
    if consumer == "notices":
        return send_waiting(tenant_id)
    if consumer == "webhooks":
        return _tell_outside(tenant_id)
    done, until = 0, time.monotonic() + DRAIN_S_MAX
    while time.monotonic() < until and (count := _batch(tenant_id, consumer, BATCH)):
        done += count
    while time.monotonic() < until and _untold(tenant_id, consumer):
        done += 1
    return done


def _tell_outside(tenant_id: int) -> int:
    """Write down what each endpoint is to hear, then try to tell what is due; the clock sees to the rest."""
    done = 0
    while count := _batch(tenant_id, "webhooks", BATCH):
        done += count
    send_webhooks(tenant_id)
    return done


def _untold(tenant_id: int, consumer: str) -> bool:
    if consumer not in UNTOLD:
        return False
    with at_most(BATCH_S_MAX), unit_of_work(tenant_id) as session:
        outbox.hold_lane(session, consumer=consumer)
        return UNTOLD[consumer](session)


def _batch(tenant_id: int, consumer: str, limit: int) -> int:
    try:
        with at_most(BATCH_S_MAX), unit_of_work(tenant_id) as session:
            outbox.hold_lane(session, consumer=consumer)
            deliveries = outbox.take(session, consumer=consumer, limit=limit)
            if deliveries:
                HANDLERS[consumer](session, deliveries)
                outbox.finish(session, ids=[d.id for d in deliveries])
        return len(deliveries)
    except Exception as failure:
        log.warning("%s of tenant %s failed, one by one now", consumer, tenant_id, exc_info=failure)
        return _one_by_one(tenant_id, consumer, limit)


def _one_by_one(tenant_id: int, consumer: str, limit: int) -> int:
    handled = 0
    while handled < limit and _one(tenant_id, consumer):
        handled += 1
    return handled


def _one(tenant_id: int, consumer: str) -> bool:
    """Handle the oldest due delivery alone; a failure is counted on it. False when none is due."""
    taken: Sequence[Delivery] = ()
    try:
        with at_most(ONE_S_MAX), unit_of_work(tenant_id) as session:
            outbox.hold_lane(session, consumer=consumer)
            taken = outbox.take(session, consumer=consumer, limit=1)
            if taken:
                HANDLERS[consumer](session, taken)
                outbox.finish(session, ids=[taken[0].id])
    except Exception as failure:
        if not taken:
            raise
        log.exception("%s of tenant %s: delivery %s failed", consumer, tenant_id, taken[0].id)
        _put_back(tenant_id, taken[0], failure)
    return bool(taken)


def _put_back(tenant_id: int, delivery: Delivery, failure: Exception) -> None:
    wait = timedelta(seconds=2 ** (delivery.attempts + 1))
    with unit_of_work(tenant_id) as session:
        outbox.put_back(session, delivery=delivery, error=repr(failure), not_before=wall_now() + wait)


def _prune(tenant_id: int) -> None:
    """Delete what is long done, some thousands per unit of work."""
    pruned = outbox.PRUNE_MAX
    while pruned == outbox.PRUNE_MAX:
        with unit_of_work(tenant_id) as session:
            pruned = outbox.prune(session, done_before=wall_now() - KEEP_DONE)
    with unit_of_work(tenant_id) as session:
        forget_runs(session, before=business_now() - KEEP_DONE)
        prune_sign_ins(session)
        forget_old_secrets(session)
        prune_deliveries(session, ended_before=wall_now() - KEEP_WEBHOOKS)
        prune_links(session)
        prune_codes(session)
        prune_sessions(session)


def _rotate_keys(tenant_id: int) -> None:
    """Go on with a change of the tenant's data key that is under way, for a part of a minute."""
    continue_rotation(tenant_id, by=Actor.system("worker"), until=wall_now() + ROTATE_FOR)


#: Scheduled deed → use-case; each runs in one transaction together with the claim of its period.
SCHEDULED: Mapping[str, Callable[[Session], object]] = {
    "expire_commands": lambda session: expire_commands(session, now=business_now()),
    "judge_stops": lambda session: judge_again(session, limit=BATCH),
    "expire_approvals": expire_approvals,
    "expire_holds": lambda session: expire_holds(session, now=business_now()),
    "open_periods": lambda session: open_ahead(session, today=business_now().date()),
    "seal": lambda session: (seal_chain(session, LEDGER), seal_chain(session, AUDIT)),
    "fold_accounts": lambda session: fold_days(session, since=(business_now() - FOLD_BACK).date()),
    "sweep_files": lambda _session: sweep_files(Settings.from_env().var_path),
}
#: Deeds that open their own units of work, batch after batch, and resume where they were.
IN_BATCHES: Mapping[str, Callable[[int], object]] = {
    "close_days": close_days_due,
    "anchor": anchor_heads,
    "rotate_keys": _rotate_keys,
    "prune": _prune,
    "send_webhooks": send_webhooks,
}


def run_due(tenant_id: int, deeds: Sequence[tuple[str, str]]) -> int:
    """Run deeds (kind, period) of a tenant one after another, each with its own claim. Returns how many were run.

    A deed that fails or takes too long stops none of the others. Raises ExceptionGroup of all failures when the last
    has had its turn, so that the job counts as failed.
    """
    ran, failures = 0, list[Exception]()
    for kind, period in deeds:
        try:
            with at_most(RUN_SECONDS_MAX):
                ran += run_scheduled(kind, tenant_id, period)
        except Exception as failure:
            log.warning("%s of tenant %s for %s failed: %r", kind, tenant_id, period, failure)
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"deeds of tenant {tenant_id} failed", failures)
    return ran


def run_scheduled(kind: str, tenant_id: int, period: str) -> bool:
    """Run a deed for a period once; False when it was done before. A failed run leaves the period unclaimed."""
    if kind in IN_BATCHES:
        return _run_in_batches(kind, tenant_id, period)
    with unit_of_work(tenant_id) as session:
        if not claim(session, kind=kind, period=period):
            return False
        SCHEDULED[kind](session)
    return True


def _run_in_batches(kind: str, tenant_id: int, period: str) -> bool:
    """Two workers may both get this far: every batch is done once, and one of them claims the period."""
    with unit_of_work(tenant_id) as session:
        if claimed(session, periods=[(kind, period)]):
            return False
    IN_BATCHES[kind](tenant_id)
    with unit_of_work(tenant_id) as session:
        return claim(session, kind=kind, period=period)
