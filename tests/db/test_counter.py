"""Money over the counter: once per key, numbered without a gap, undone only in the open."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app.billing.day_close import close_day
from app.billing.ledger.models import Entry, EntryPosting
from app.billing.ledger.service import AlreadyReversed
from app.billing.models import Payment, Receipt, SupplyAccount
from app.billing.payments.counter import (
    NotACounterChannel,
    OwnSaleReversed,
    TopUpNotToday,
    reverse_top_up,
    take_payment,
)
from app.billing.payments.gateway import AmountOutOfRange
from app.billing.payments.service import SupplyAccountClosed
from app.billing.wallets import find_wallet
from app.kernel.actor import Actor
from app.kernel.idempotency import KeyReused
from app.kernel.unit_of_work import unit_of_work
from app.tenants.models import AuditRecord
from tests.factories.supply import CASHIER, pay
from tests.factories.usage import use

MANAGER = Actor.user(3, name="李经理")


def count(world, table):
    with unit_of_work(world.tenant_id) as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def wallet(world, number=0):
    with unit_of_work(world.tenant_id) as session:
        return find_wallet(session, supply_account_id=world.supply_account_ids[number])


def sell(world, **wishes):
    asked = {"amount_fen": 5_000, "channel": "cash", "till": "T1", "actor": CASHIER, "idempotency_key": "k1"} | wishes
    with unit_of_work(world.tenant_id) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[asked.pop("number", 0)]))
        return take_payment(session, supply_account=account, **asked)


def test_money_goes_from_the_till_into_the_wallet_with_a_numbered_receipt(world, business_clock):
    receipt = sell(world)
    assert (receipt.number, receipt.content["number"], wallet(world).available_fen) == (1, "T1-000001", 5_000)
    assert receipt.content | {"received_at": ""} == {
        "property": "和风苑", "legal_entity": "远景物业服务有限公司", "tax_number": receipt.content["tax_number"],
        "time_zone": "Asia/Shanghai", "account_number": "00000001", "utility": "electricity", "building": "A座",
        "space": "A-0101", "party": receipt.content["party"], "amount_fen": 5_000, "channel": "cash",
        "available_before_fen": 0, "available_after_fen": 5_000, "taken_by": "王敏", "received_at": "",
        "number": "T1-000001",
    }  # fmt: skip
    assert "住户1" not in str(receipt.content)
    with unit_of_work(world.tenant_id) as session:
        record = session.scalars(select(AuditRecord)).one()
    assert (record.deed, record.actor, record.facts["amount_fen"]) == ("money:topup:sell", "user:7", 5_000)


def test_the_same_key_fifty_times_at_once_is_one_payment_and_one_receipt(world, business_clock):
    """L02."""
    barrier, numbers = threading.Barrier(50), []

    def pay_at_once():
        barrier.wait()
        numbers.append(sell(world).number)

    threads = [threading.Thread(target=pay_at_once) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers == [1] * 50
    assert [count(world, table) for table in (Payment, Receipt, Entry, EntryPosting, AuditRecord)] == [1] * 5


@pytest.mark.parametrize("other", [{"amount_fen": 6_000}, {"channel": "bank"}, {"till": "T2"}, {"number": 1}])
def test_a_key_used_for_another_request_is_refused_and_the_first_answer_stands(world, business_clock, other):
    """L03."""
    first = sell(world)
    with pytest.raises(KeyReused):
        sell(world, **other)
    assert sell(world).id == first.id
    assert count(world, Payment) == 1


@pytest.mark.parametrize(
    ("wishes", "refusal"),
    [
        ({"channel": "wechat"}, NotACounterChannel),
        ({"channel": "shells"}, NotACounterChannel),
        ({"amount_fen": 0}, AmountOutOfRange),
        ({"amount_fen": -1}, AmountOutOfRange),
        ({"amount_fen": 20_000_001}, AmountOutOfRange),
        ({"amount_fen": 10.0}, AmountOutOfRange),
    ],
)
def test_what_is_no_payment_leaves_nothing_behind(world, business_clock, wishes, refusal):
    with pytest.raises(refusal):
        sell(world, **wishes)
    assert [count(world, table) for table in (Payment, Receipt, Entry)] == [0, 0, 0]


def test_a_closed_account_takes_no_money(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0])).state = "closed"
    with pytest.raises(SupplyAccountClosed):
        sell(world)


def test_numbers_run_without_a_gap_per_till_even_past_a_failure(world, business_clock):
    assert sell(world, idempotency_key="a").number == 1
    with pytest.raises(ZeroDivisionError), unit_of_work(world.tenant_id) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        take_payment(
            session, supply_account=account, amount_fen=1, channel="cash", till="T1", actor=CASHIER, idempotency_key="b"
        )
        raise ZeroDivisionError
    assert sell(world, idempotency_key="c").number == 2
    assert sell(world, idempotency_key="d", till="T2").number == 1


def test_the_receipt_says_what_was_left_after_usage(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [3])
    receipt = pay(world, 5_000)
    assert receipt.content["available_before_fen"] == -168
    assert receipt.content["available_after_fen"] == 4_832


def reverse(world, receipt, actor=MANAGER, key="r1"):
    with unit_of_work(world.tenant_id) as session:
        payment = session.get_one(Payment, (world.tenant_id, receipt.payment_id))
        return reverse_top_up(session, payment=payment, reason="输错户号", actor=actor, idempotency_key=key)


def test_a_wrong_sale_is_reversed_by_somebody_else_the_same_day_once(world, business_clock):
    """L12."""
    receipt = sell(world)
    with pytest.raises(OwnSaleReversed):
        reverse(world, receipt, actor=CASHIER)
    first = reverse(world, receipt)
    assert reverse(world, receipt).entry_id == first.entry_id
    with pytest.raises(AlreadyReversed):
        reverse(world, receipt, key="r2")
    assert (wallet(world).available_fen, count(world, Entry), count(world, Receipt)) == (0, 2, 1)


def test_yesterdays_sale_is_a_refund_not_a_reversal(world, business_clock):
    receipt = sell(world)
    business_clock.set(business_clock.now() + timedelta(days=1))
    with pytest.raises(TopUpNotToday):
        reverse(world, receipt)


def test_money_that_never_came_in_leaves_even_a_used_wallet(world, business_clock):
    receipt = sell(world)
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [3])
    reverse(world, receipt)
    assert wallet(world).available_fen == -168


def test_a_top_up_during_the_day_close_waits_for_nobody_else(make_world, business_clock):
    """A run holds only the wallets of its own batch; others are topped up meanwhile."""
    world = make_world(spaces=3)
    with unit_of_work(world.tenant_id) as session:
        for number in range(3):
            use(session, world, [3], number=number)
    sell(world, number=2, idempotency_key="opens the month")
    first_day = business_clock.now().date().replace(day=1)
    done = threading.Event()

    def top_up():
        sell(world, number=2)
        done.set()

    with unit_of_work(world.tenant_id) as session:
        close_day(session, property_id=world.property_id, day=first_day, limit=2)
        thread = threading.Thread(target=top_up)
        thread.start()
        assert done.wait(timeout=60)
    thread.join()
    assert wallet(world, 2).kept.balance_fen == 10_000
