"""Kill a deed at a given step: run as a process, one fork per step, so that nothing is patched in the product.

    python -m tests.faults.kill_at <deed> <tenant id> <supply account or property id> <step>…

A step is a moment before or after a statement, before the commit, or after it. Step 0 counts them. Each line of output is
`<step> killed` or `<step> finished after <n>`.
"""

import os
import signal
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import select

from app.billing.approved import Desk, executor
from app.billing.cutoff import order_stop
from app.billing.day_close import close_day
from app.billing.models import SupplyAccount
from app.billing.payments.counter import take_payment
from app.billing.stop_policy import Basis
from app.jobs import table
from app.kernel.actor import Actor
from app.kernel.db import open_database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.approval_models import Approval
from app.permissions.approvals import approve

CASHIER = Actor.user(7, name="王敏")
#: Step n closes the n-th day after this one.
FIRST_DAY = date(2026, 7, 2)
#: The gate lets no more stops through in an hour: so many steps share a property.
STOPS_MAX = 5
#: What the request of step 0 is about; step n is about n fen more.
ASKED_FEN = 60_000


def top_up(tenant_id: int, supply_account_id: int, step: int) -> int:
    """One top-up under the key of this step; returns its receipt's number."""
    with unit_of_work(tenant_id) as session:
        account = session.get_one(SupplyAccount, (tenant_id, supply_account_id))
        receipt = take_payment(
            session,
            supply_account=account,
            amount_fen=5_000,
            channel="cash",
            till="T1",
            actor=CASHIER,
            idempotency_key=f"kill-{step}",
        )
    return receipt.number


def close(tenant_id: int, property_id: int, step: int) -> int:
    """Close the day that belongs to this step; returns how many account-days were left to post."""
    with unit_of_work(tenant_id) as session:
        return close_day(session, property_id=property_id, day=FIRST_DAY + timedelta(days=step)).accounts


def stop(tenant_id: int, supply_account_id: int, step: int) -> str:
    """Stop one of the five accounts from the given one on; returns the gate's verdict."""
    asked = {"supply_account_id": supply_account_id + step % STOPS_MAX, "basis": Basis.SAFETY, "reason": "漏电"}
    with unit_of_work(tenant_id) as session:
        return order_stop(session, actor=Actor.user(7), **asked).verdict


def agree(tenant_id: int, finance_id: int, step: int) -> str:
    """The finance officer agrees to the reversal of this step: the request of ¥600 and as many fen."""
    with unit_of_work(tenant_id) as session:
        row = session.scalars(select(Approval).where(Approval.amount == ASKED_FEN + step)).one()
        done = approve(
            session,
            public_id=row.public_id,
            by=Actor.user(finance_id),
            seen=row.content_hash,
            execute=executor(Desk(Path())),
        )
        return done.state


DEEDS = {"top_up": top_up, "close": close, "stop": stop, "agree": agree}


def die_at(step: int) -> list[int]:
    """Count every statement and commit, before and after it; be killed, with no chance to tidy up, at the given one.

    Counted in the driver, below every way of writing SQL: nothing can go to PostgreSQL without passing here.
    """
    passed = [0]

    def count() -> None:
        passed[0] += 1
        if passed[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, name in ((psycopg.Cursor, "execute"), (psycopg.Cursor, "executemany"), (psycopg.Connection, "commit")):
        setattr(owner, name, counted(getattr(owner, name), count))
    return passed


def counted(deed: Callable[..., Any], count: Callable[[], None]) -> Callable[..., Any]:
    """The deed with a step before and after it."""

    def with_steps(*args: Any, **options: Any) -> Any:
        count()
        done = deed(*args, **options)
        count()
        return done

    return with_steps


def in_a_fork(deed: str, tenant_id: int, place_id: int, step: int) -> str:
    """Do the deed in a child of our own and say how it ended."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        open_database(os.environ["DATABASE_URL"], pool_max=1)
        table.install()
        passed = die_at(step)
        DEEDS[deed](tenant_id, place_id, step)
        os.write(writes, f"finished after {passed[0]}".encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as said:
        words = said.read()
    _, status = os.waitpid(child, 0)
    return "killed" if os.WIFSIGNALED(status) else words or f"failed with {status}"


def main() -> None:
    """Each step in turn."""
    tenant_id, place_id, *steps = (int(word) for word in sys.argv[2:])
    for step in steps:
        print(step, in_a_fork(sys.argv[1], tenant_id, place_id, step), flush=True)


if __name__ == "__main__":
    main()
