"""Day close: rated usage becomes entries, once, and late data posts its difference."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select

from app.billing.day_close import close_day, close_days_due, days_to_close, last_full_day, post_accrual_now
from app.billing.day_memo import read_memo
from app.billing.ledger.balances import read_balance, statement
from app.billing.ledger.models import Entry
from app.billing.models import AccountDay
from app.billing.periods import DaysNotPosted, MonthNotOver, close_month
from app.billing.wallets import find_wallet
from app.kernel.unit_of_work import unit_of_work
from tests.factories.usage import price_all, read, use
from tests.factories.world import BEGAN_AT

FIRST = date(2026, 7, 1)


def close(world, day=FIRST, limit=2000):
    with unit_of_work(world.tenant_id) as session:
        return close_day(session, property_id=world.property_id, day=day, limit=limit)


def wallet_of(world, number=0):
    with unit_of_work(world.tenant_id) as session:
        return find_wallet(session, supply_account_id=world.supply_account_ids[number])


def entries_of(world):
    with unit_of_work(world.tenant_id) as session:
        return session.scalars(select(Entry).where(Entry.kind == "usage_day").order_by(Entry.id)).all()


def test_one_entry_per_day_with_a_posting_per_wallet(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        for number in range(3):
            use(session, world, [3 + number], number=number)
    closed = close(world)
    assert (closed.accounts, closed.finished, len(entries_of(world))) == (3, True, 1)
    assert entries_of(world)[0].document == "usage_day:2026-07-01"
    # 16 of the first day's 24 hours are before Shanghai's midnight: 3 kWh x 16/24 x 0.56 = 1.12 yuan
    assert wallet_of(world).kept.balance_fen == -112


def test_available_is_the_same_before_and_after(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [7, 5])
    before = wallet_of(world).available_fen
    assert close_days_due(world.tenant_id) == 3
    after = wallet_of(world)
    assert after.available_fen == before
    assert after.kept.accrued_microfen == after.kept.carry_microfen


def test_closing_again_posts_nothing(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [3])
    close(world)
    again = close(world)
    assert (again.accounts, again.posted_fen, len(entries_of(world))) == (0, 0, 1)


def test_what_is_less_than_a_fen_is_carried_and_never_lost(make_world, business_clock):
    """L11: over many days the fen posted and the carry together are the rated amount to the last microfen."""
    world = make_world(spaces=1, price="0.60837")
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [1, 2, 3, 1, 4, 1, 2, 5, 1, 3, 2])
    assert close_days_due(world.tenant_id) == 12
    with unit_of_work(world.tenant_id) as session:
        rated = sum(session.scalars(select(AccountDay.rated_microfen)))
    kept = wallet_of(world).kept
    assert rated == 25_000 * 60_837
    assert -kept.balance_fen * 1_000_000 + kept.carry_microfen == rated
    assert kept.accrued_microfen == kept.carry_microfen


def test_late_data_posts_the_difference_in_either_direction(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 124_000, BEGAN_AT + timedelta(hours=48))
        price_all(session, world.property_id)
    close_days_due(world.tenant_id)
    spread = wallet_of(world)
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 100_500, BEGAN_AT + timedelta(hours=16))
        price_all(session, world.property_id)
        late = days_to_close(session, property_id=world.property_id, upto=date(2026, 7, 31))
    assert late[0] == FIRST
    close_days_due(world.tenant_id)
    exact = wallet_of(world)
    assert exact.available_fen == spread.available_fen == -1344
    corrections = [entry for entry in entries_of(world) if entry.idempotency_key.split(":")[4] == "1"]
    assert corrections
    assert {entry.booked_on for entry in corrections} == {date(2026, 7, 15)}
    with unit_of_work(world.tenant_id) as session:
        lines = statement(session, account_id=exact.account_id, first=FIRST, last=date(2026, 7, 31))
    assert any(line.amount_fen > 0 for line in lines)
    assert sum(line.amount_fen for line in lines) == exact.kept.balance_fen


def test_every_posting_explains_its_own_amount(world, business_clock):
    """Posted twice, a day says at each posting what it was worth, what was posted before and what was carried."""
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 124_000, BEGAN_AT + timedelta(hours=48))
        price_all(session, world.property_id)
    close_days_due(world.tenant_id)
    with unit_of_work(world.tenant_id) as session:
        read(session, world, 100_503, BEGAN_AT + timedelta(hours=16))
        price_all(session, world.property_id)
    close_days_due(world.tenant_id)
    account_id = wallet_of(world).account_id
    with unit_of_work(world.tenant_id) as session:
        lines = statement(session, account_id=account_id, first=FIRST, last=date(2026, 7, 31))
    memos = [(read_memo(line.memo), line.amount_fen) for line in lines]
    assert len([memo for memo, _fen in memos if memo.posted_microfen]) == 3
    for memo, amount_fen in memos:
        assert memo.difference_microfen == -amount_fen * 1_000_000


def test_a_killed_run_goes_on_where_it_was(make_world, business_clock):
    world = make_world(spaces=5)
    with unit_of_work(world.tenant_id) as session:
        for number in range(5):
            use(session, world, [3], number=number)
    assert close(world, limit=2).finished is False
    with pytest.raises(ZeroDivisionError), unit_of_work(world.tenant_id) as session:
        close_day(session, property_id=world.property_id, day=FIRST, limit=2)
        raise ZeroDivisionError
    assert close(world, limit=2).accounts == 2
    assert close(world, limit=2).finished is True
    assert [wallet_of(world, n).kept.balance_fen for n in range(5)] == [-112] * 5


def test_a_closed_month_takes_late_usage_into_the_open_one(world, business_clock):
    """L13: the closed month stays as it was; the late kWh count for today."""
    business_clock.set(datetime(2026, 8, 2, 2, 0, tzinfo=UTC))
    with unit_of_work(world.tenant_id) as session:
        with pytest.raises(MonthNotOver):
            close_month(session, book_id=world.book_id, month=date(2026, 8, 1), today=date(2026, 8, 2))
        read(session, world, 101_000, BEGAN_AT + timedelta(hours=10))
        price_all(session, world.property_id)
        with pytest.raises(DaysNotPosted):
            close_month(session, book_id=world.book_id, month=FIRST, today=date(2026, 8, 2))
    close_days_due(world.tenant_id)
    with unit_of_work(world.tenant_id) as session:
        close_month(session, book_id=world.book_id, month=FIRST, today=date(2026, 8, 2))
        read(session, world, 103_000, BEGAN_AT + timedelta(hours=12))
        price_all(session, world.property_id)
    close_days_due(world.tenant_id)
    assert [entry.booked_on for entry in entries_of(world)] == [FIRST, date(2026, 8, 2)]
    assert wallet_of(world).kept.balance_fen == -168


def test_everything_rated_is_posted_before_a_refund(world, business_clock):
    business_clock.set(BEGAN_AT + timedelta(hours=30))
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [3])
        account_id, wallet_id = world.supply_account_ids[0], world.wallet_ids[0]
        assert last_full_day(session, property_id=world.property_id) == FIRST
        posted = post_accrual_now(session, supply_account_id=account_id, wallet_id=wallet_id, today=date(2026, 7, 2))
        assert posted == 168
        assert read_balance(session, wallet_id).accrued_microfen == 0
