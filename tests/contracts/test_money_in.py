"""What every channel hands over, whatever the channel: refused alike, booked to the account of the chart."""

import pytest
from sqlalchemy import select

from app.billing.ledger.books import account_ids
from app.billing.ledger.chart import STANDARD
from app.billing.ledger.models import EntryPosting
from app.billing.models import SupplyAccount
from app.billing.payments.gateway import AMOUNT_FEN_MAX, AmountOutOfRange, Channel, MoneyIn, ledger_code
from app.billing.payments.service import record_payment
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.unit_of_work import unit_of_work


@pytest.mark.parametrize("channel", Channel)
def test_every_channel_has_an_account_in_the_chart(channel):
    assert STANDARD[ledger_code(channel)].side == "debit"


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("amount_fen", [0, -1, AMOUNT_FEN_MAX + 1, 10**12, True, "50", 1.5])
def test_no_channel_hands_over_an_impossible_amount(channel, amount_fen):
    """P11."""
    with pytest.raises(AmountOutOfRange):
        MoneyIn(channel, amount_fen, business_now(), Actor.system("test"))


@pytest.mark.parametrize("channel", Channel)
def test_money_of_every_channel_is_debited_where_it_lies(world, business_clock, channel):
    with unit_of_work(world.tenant_id) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        money = MoneyIn(channel, 5_000, business_now(), Actor.system("test"))
        receipt = record_payment(session, account=account, money=money, till="AUTO", idempotency_key="k")
        again = record_payment(session, account=account, money=money, till="AUTO", idempotency_key="k")
        posting = session.scalars(select(EntryPosting)).one()
        code = ledger_code(channel)
        debit = account_ids(session, book_id=world.book_id, codes=[code])[code]
    assert (posting.debit_account_id, posting.credit_account_id, again.id) == (debit, world.wallet_ids[0], receipt.id)
