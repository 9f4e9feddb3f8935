"""L06: the reply to a COMMIT is lost. Nobody can know whether it happened, so the retry must find out."""

import os

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from app.billing.ledger.models import Entry
from app.billing.ledger.seals import verify_seals
from app.billing.models import Payment, Receipt, SupplyAccount
from app.billing.payments.counter import take_payment
from app.billing.wallets import find_wallet
from app.kernel.db import Database
from app.kernel.outbox import OutboxEvent
from app.kernel.unit_of_work import unit_of_work
from app.tenants.models import AuditRecord
from tests.factories.supply import CASHIER
from tests.faults.lost_ack import LostAck

pytestmark = pytest.mark.faults


@pytest.fixture
def proxy(db, tmp_path):
    with LostAck(os.environ["TALLYHOUSE_TEST_DATABASE_URL"], tmp_path) as own:
        yield own


@pytest.fixture
def through(proxy):
    """The database by way of the proxy."""
    database = Database(proxy.url, pool_max=1)
    yield database
    database.engine.dispose()


def top_up(world, key, *, db=None):
    with unit_of_work(world.tenant_id, db=db) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        return take_payment(
            session,
            supply_account=account,
            amount_fen=1_000,
            channel="cash",
            till="T1",
            actor=CASHIER,
            idempotency_key=key,
        ).number


def pay_over_a_bad_line(world, proxy, through, count):
    """Every top-up is committed and looks failed; then the cashier tries again, on the same line and on a good one."""
    for no in range(1, count + 1):
        proxy.armed = True
        with pytest.raises(OperationalError):
            top_up(world, f"k{no}", db=through)
        assert top_up(world, f"k{no}", db=through) == no
        assert top_up(world, f"k{no}") == no
    assert proxy.cuts == count


def check_one_effect_each(world, count):
    with unit_of_work(world.tenant_id) as session:
        for table in (Payment, Receipt, Entry, AuditRecord, OutboxEvent):
            assert session.scalars(select(func.count()).select_from(table)).one() == count, table
        wallet = find_wallet(session, supply_account_id=world.supply_account_ids[0])
        assert verify_seals(session).intact
    assert wallet.kept.balance_fen == 1_000 * count
    assert wallet.kept.version == count


def test_a_retry_after_a_lost_reply_finds_the_one_effect(world, business_clock, proxy, through):
    pay_over_a_bad_line(world, proxy, through, 30)
    check_one_effect_each(world, 30)


@pytest.mark.long
def test_a_thousand_lost_replies_make_no_second_payment(world, business_clock, proxy, through):
    pay_over_a_bad_line(world, proxy, through, 1_000)
    check_one_effect_each(world, 1_000)


def test_a_line_that_is_not_cut_is_only_a_line(world, business_clock, proxy, through):
    assert top_up(world, "k1", db=through) == 1
    assert proxy.cuts == 0
    check_one_effect_each(world, 1)
