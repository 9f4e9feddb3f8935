"""What came in today, as the pages say it and as the ledger has it: a reversed sale is shown and does not count."""

import re
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.billing.ledger.models import Entry, EntryPosting, LedgerAccount
from app.billing.ledger.service import reverse_entry
from app.billing.models import Payment, Receipt
from app.billing.payments.counter import reverse_top_up
from app.kernel.actor import Actor
from app.kernel.clock import business_now, local_day
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.reports.overview import collections_by_day, overview_figures
from app.reports.receipts import payments_of
from app.reports.takings import takings_by_channel
from tests.conftest import MovableClock
from tests.factories.history import pay
from tests.factories.world import World, add_property
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
MANAGER = Actor.user(2, name="张强")
STRUCK = r'<s class="quiet"><span class="money[^"]*">¥30\.00</span></s> <span class="badge">{}</span>'


def today() -> date:
    """The civil day of the world's property."""
    return local_day(business_now(), "Asia/Shanghai")


def reverse_today(db: Database, world: World, receipt: str) -> None:
    """As the manager does it at the receipt."""
    with unit_of_work(world.tenant_id, db=db) as session:
        payment = _payment(session, receipt)
        reverse_top_up(session, payment=payment, reason="收错户号", actor=MANAGER, idempotency_key=receipt)


def reverse_in_the_books(db: Database, world: World, receipt: str) -> None:
    """As the ledger allows it on any day of an open month."""
    with unit_of_work(world.tenant_id, db=db) as session:
        payment = _payment(session, receipt)
        reverse_entry(
            session, entry_id=payment.entry_id, idempotency_key=f"late:{receipt}", booked_on=today(),
            event_at=business_now(), actor=str(MANAGER), document=f"payment:{payment.id}",
        )  # fmt: skip


def _payment(session: Session, receipt: str) -> Payment:
    issued = session.scalars(select(Receipt).where(Receipt.public_id == receipt)).one()
    return session.get_one(Payment, (issued.tenant_id, issued.payment_id))


def booked(db: Database, world: World, day: date) -> int:
    """What the ledger has of sales on a day: wallets credited by top-ups less what their reversals took back."""
    with unit_of_work(world.tenant_id, db=db) as session:
        sides = []
        for kind, side in (("top_up", EntryPosting.credit_account_id), ("reversal", EntryPosting.debit_account_id)):
            asked = (
                select(func.coalesce(func.sum(EntryPosting.amount_fen), 0))
                .join(Entry, (Entry.tenant_id == EntryPosting.tenant_id) & (Entry.id == EntryPosting.entry_id))
                .join(LedgerAccount, (LedgerAccount.tenant_id == EntryPosting.tenant_id) & (LedgerAccount.id == side))
                .where(Entry.kind == kind, Entry.booked_on == day, LedgerAccount.code == "wallet")
            )
            sides.append(int(session.scalar(asked) or 0))
        return sides[0] - sides[1]


def said(db: Database, world: World, day: date) -> tuple[int, int, int, int]:
    """The day's net takings as the list, its totals, the figure and the chart of 今日 have them."""
    where = {"tenant_id": world.tenant_id, "property_ids": [world.property_id]}
    with unit_of_work(world.tenant_id, db=db) as session:
        rows = payments_of(session, day=day, **where)
        totals = takings_by_channel(session, day=day, **where)
        figures = overview_figures(session, today=day, **where)
        chart = dict(collections_by_day(session, today=day, **where))
    return sum(r.fen for r in rows if not r.reversed), sum(totals.values()), figures.collected_fen, chart[day]


@pytest.fixture
def sold(db: Database, world: World, business_clock: MovableClock) -> str:
    """¥50 in cash and ¥20 by card that stand; the receipt of ¥30 in cash for another room."""
    pay(db, world, fen=5_000)
    pay(db, world, fen=2_000, channel="pos")
    return pay(db, world, 1, fen=3_000)


def test_a_sale_reversed_on_its_day_is_struck_through_and_not_in_any_total(
    visit: Visit, world: World, db: Database, sold: str
) -> None:
    reverse_today(db, world, sold)
    cashier = visit(world, Role.CASHIER)
    page, counter = cashier.text("/payments"), cashier.text("/counter")
    for listed in (page, counter):
        assert len(re.findall(STRUCK.format("已冲正"), listed)) == 1
        assert f"/receipts/{sold}" in listed
    assert figures_of(page) == ["¥50.00", "¥20.00", "¥70.00"]
    assert "<tfoot>" in page
    assert "¥70.00" in page.split("<tfoot>")[1]
    assert "¥100.00" not in page
    assert '<span class="figure-value">¥70.00</span>' in visit(world).text("/")
    assert said(db, world, today()) == (7_000,) * 4 == (booked(db, world, today()),) * 4


def figures_of(page: str) -> list[str]:
    """Values of the figures above a list."""
    return re.findall(r'class="figure-value[^"]*">([^<]+)<', page)


def test_where_all_was_reversed_the_totals_are_nothing(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    reverse_today(db, world, pay(db, world, fen=3_000))
    assert figures_of(visit(world, Role.CASHIER).text("/payments")) == ["¥0.00", "¥0.00"]
    assert said(db, world, today()) == (0,) * 4


def test_a_sale_reversed_on_another_day_stays_on_its_own_and_lessens_that_one(
    visit: Visit, world: World, db: Database, sold: str, business_clock: MovableClock
) -> None:
    day_of_sale = today()
    business_clock.set(business_now() + timedelta(days=1))
    pay(db, world, fen=1_000)
    reverse_in_the_books(db, world, sold)
    page = visit(world, Role.CASHIER).text("/payments")
    assert "冲正往日收款" in page
    assert "已冲正" not in page
    assert figures_of(page) == ["-¥20.00", "-¥20.00"]
    assert said(db, world, today()) == (-2_000,) * 4 == (booked(db, world, today()),) * 4
    assert said(db, world, day_of_sale) == (10_000,) * 4 == (booked(db, world, day_of_sale),) * 4


def test_totals_hold_where_the_list_is_cut_off(world: World, db: Database, sold: str) -> None:
    where = {"tenant_id": world.tenant_id, "property_ids": [world.property_id], "day": today()}
    with unit_of_work(world.tenant_id, db=db) as session:
        assert len(payments_of(session, most=2, **where)) == 2
        assert takings_by_channel(session, **where) == {"cash": 8_000, "pos": 2_000}


def test_a_reversal_lessens_no_other_property(world: World, db: Database, sold: str) -> None:
    reverse_today(db, world, sold)
    with unit_of_work(world.tenant_id, db=db) as session:
        other = add_property(session, world, name="另一项目")
        where = {"tenant_id": world.tenant_id, "property_ids": [other], "day": today()}
        assert (payments_of(session, **where), takings_by_channel(session, **where)) == ([], {})


def test_the_words_are_there_in_english(visit: Visit, world: World, db: Database, sold: str) -> None:
    reverse_today(db, world, sold)
    cashier = visit(world, Role.CASHIER)
    cashier.client.set_cookie("locale", "en")
    assert re.search(STRUCK.format("reversed"), cashier.text("/payments"))


def test_the_receipt_of_a_sale_whose_reversal_waits_leads_to_the_request_instead_of_asking_again(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    receipt = f"/receipts/{pay(db, world, fen=60_000)}"
    finance = visit(world, Role.GROUP_FINANCE, at=world.headquarters_id)
    manager, cashier = visit(world, Role.PROPERTY_MANAGER), visit(world, Role.CASHIER)
    request = manager.post(f"{receipt}/reverse", {"reason": "收错户号"}, token_from=receipt).location
    for person, may_see in ((manager, True), (finance, True), (cashier, False)):
        page = person.text(receipt)
        assert "冲正申请正在等另一人审批" in page
        assert "冲正这笔充值" not in page
        assert (f'href="{request}"' in page) is may_see
    manager.post(f"{request}/withdraw", token_from=request)
    assert "冲正这笔充值" in manager.text(receipt)
