"""L04, Q07: a deed killed at any step has, after the retry, exactly one effect."""

import os
import subprocess
import sys

import pytest
from sqlalchemy import func, select

from app.billing.ledger.models import Entry, EntryPosting
from app.billing.models import AccountDay, Payment, Receipt
from app.billing.wallets import find_wallet
from app.kernel.outbox import OutboxEvent
from app.kernel.unit_of_work import unit_of_work
from app.tenants.models import AuditRecord
from tests.factories.usage import use
from tests.faults.kill_at import close, top_up

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("same_day")]

SAMPLED = 9


def run(world, deed, place_id, steps):
    """What became of a deed killed at each of these steps, by step."""
    words = [sys.executable, "-m", "tests.faults.kill_at", deed, world.tenant_id, place_id, *steps]
    env = os.environ | {"DATABASE_URL": os.environ["TALLYHOUSE_TEST_DATABASE_URL"]}
    done = subprocess.run([str(word) for word in words], env=env, check=True, capture_output=True, text=True)
    return {int(line.split()[0]): line.partition(" ")[2] for line in done.stdout.splitlines()}


def steps_of_a_top_up(world):
    """How many steps an unharmed top-up has, once the month and the series are there."""
    top_up(world.tenant_id, world.supply_account_ids[0], -1)
    return count_steps(world, "top_up", world.supply_account_ids[0])


def count_steps(world, deed, place_id):
    """How many steps the deed has when nothing harms it."""
    said = run(world, deed, place_id, [0])[0]
    assert said.startswith("finished after ")
    return int(said.rsplit(maxsplit=1)[1])


def sampled(last):
    return sorted({1, last - 1, last, *(last * i // SAMPLED for i in range(1, SAMPLED))})


def check_one_effect_each(world, steps):
    assert set(run(world, "top_up", world.supply_account_ids[0], steps).values()) == {"killed"}
    numbers = [top_up(world.tenant_id, world.supply_account_ids[0], step) for step in steps]
    again = [top_up(world.tenant_id, world.supply_account_ids[0], step) for step in steps]
    assert again == numbers
    expected = len(steps) + 2
    with unit_of_work(world.tenant_id) as session:
        for table in (Payment, Receipt, Entry, EntryPosting, AuditRecord, OutboxEvent):
            assert session.scalars(select(func.count()).select_from(table)).one() == expected, table
        wallet = find_wallet(session, supply_account_id=world.supply_account_ids[0])
        issued = session.scalars(select(Receipt.number).order_by(Receipt.number)).all()
    assert wallet.kept.balance_fen == 5_000 * expected
    assert issued == list(range(1, expected + 1))


def test_a_top_up_killed_at_sampled_steps_has_one_effect(world):
    last = steps_of_a_top_up(world)
    check_one_effect_each(world, sampled(last))


@pytest.mark.long
def test_a_top_up_killed_at_every_step_has_one_effect(world):
    last = steps_of_a_top_up(world)
    assert last > 20
    check_one_effect_each(world, list(range(1, last + 1)))


def month_of_usage(world):
    """Two homes that use 5 kWh on each of 50 days, so that every step has a day of its own to close."""
    with unit_of_work(world.tenant_id) as session:
        for number in range(2):
            use(session, world, [5] * 50, number=number)
    # The first close of a month makes the month's row: not the way every other day goes.
    close(world.tenant_id, world.property_id, -1)


def check_every_day_is_posted_once(world, steps):
    assert set(run(world, "close", world.property_id, steps).values()) == {"killed"}
    for step in steps:
        close(world.tenant_id, world.property_id, step)
        assert close(world.tenant_id, world.property_id, step) == 0
    with unit_of_work(world.tenant_id) as session:
        documents = session.scalars(select(Entry.document).where(Entry.kind == "usage_day")).all()
        wallets = [find_wallet(session, supply_account_id=id_).kept for id_ in world.supply_account_ids[:2]]
        posted = session.scalars(
            select(func.sum(AccountDay.posted_microfen)).group_by(AccountDay.supply_account_id)
        ).all()
    assert len(documents) == len(set(documents)) == len(steps) + 2
    assert [-kept.balance_fen * 1_000_000 + kept.carry_microfen for kept in wallets] == posted


def test_a_day_close_killed_at_sampled_steps_posts_every_day_once(world):
    month_of_usage(world)
    check_every_day_is_posted_once(world, sampled(count_steps(world, "close", world.property_id)))


@pytest.mark.long
def test_a_day_close_killed_at_every_step_posts_every_day_once(world):
    month_of_usage(world)
    last = count_steps(world, "close", world.property_id)
    assert 20 < last < 46
    check_every_day_is_posted_once(world, list(range(1, last + 1)))
