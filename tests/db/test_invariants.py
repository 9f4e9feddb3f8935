"""L18: the invariants are worth something only if they fail. Each is broken once, and each is named.

The faults are seeded as the owner of the schema, with the constraints that forbid them taken away, in a transaction
that is rolled back.
"""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text

from app.billing.day_close import close_days_due
from app.billing.giving_back import make_refund
from app.billing.ledger import EntryDraft, Posting
from app.billing.ledger.books import account_ids, open_book, open_wallet
from app.billing.ledger.folds import fold_days
from app.billing.ledger.holds import place_hold, post_hold
from app.billing.ledger.invariants import INVARIANTS, violations
from app.billing.ledger.periods import close_period
from app.billing.ledger.service import post_entry
from app.billing.models import Payment, SupplyAccount
from app.billing.payments.counter import reverse_top_up
from app.jobs import table
from app.kernel import clock
from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from tests.factories.supply import darken, pay
from tests.factories.usage import use
from tests.factories.world import add_property, build_world

AT = datetime(2026, 7, 15, 2, tzinfo=UTC)
TOP_UP = "(SELECT min(id) FROM ledger_entries WHERE kind = 'top_up')"
REVERSAL = "(SELECT max(id) FROM ledger_entries WHERE kind = 'reversal')"
PLAIN = "(SELECT max(id) FROM ledger_entries WHERE kind = 'transfer')"
WALLET = "(SELECT min(id) FROM ledger_accounts WHERE code = 'wallet')"
OTHER_BOOK = "(SELECT max(id) FROM ledger_books)"

#: Invariant → what breaks it.
FAULTS = {
    "i01_entries_have_postings": f"DELETE FROM ledger_postings WHERE entry_id = {PLAIN}",
    "i01_debits_equal_credits_per_book": "UPDATE ledger_postings SET debit_account_id = (SELECT min(id) FROM"
    f" ledger_accounts WHERE book_id = {OTHER_BOOK} AND code = 'cash') WHERE entry_id = {TOP_UP}",
    "i01_entry_and_legs_share_book_and_currency": f"UPDATE ledger_entries SET currency = 'USD' WHERE id = {PLAIN}",
    "i01_amounts_are_positive_between_two_accounts": "UPDATE ledger_postings SET amount_fen = -amount_fen"
    f" WHERE entry_id = {PLAIN}",
    "i02_balance_is_sum_of_postings": "UPDATE ledger_balances SET balance_fen = balance_fen + 1"
    f" WHERE account_id = {WALLET}",
    "i02_kept_accounts_have_a_balance_and_others_none": f"DELETE FROM ledger_balances WHERE account_id = {WALLET}",
    "i02_folds_hold_no_more_than_was_posted": "UPDATE ledger_day_folds SET debit_fen = debit_fen + 1",
    "i03_versions_gapless_and_running": "UPDATE ledger_postings SET credit_version = credit_version + 50"
    f" WHERE entry_id = {TOP_UP}",
    "i03_version_counts_postings": f"UPDATE ledger_balances SET version = version + 1 WHERE account_id = {WALLET}",
    "i03_every_leg_of_a_kept_account_is_versioned": "UPDATE ledger_postings SET credit_version = NULL"
    f" WHERE entry_id = {TOP_UP}",
    "i04_history_is_granted_to_nobody": "GRANT UPDATE ON ledger_entries TO PUBLIC",
    "i05_payment_is_one_entry": "UPDATE payments SET amount_fen = amount_fen + 1",
    "i05_top_up_entry_is_one_payment": f"UPDATE ledger_entries SET kind = 'top_up' WHERE id = {PLAIN}",
    "i05_payment_credits_its_own_wallet": "UPDATE payments SET supply_account_id = (SELECT max(id) FROM"
    " supply_accounts)",
    "i05_receipt_says_what_was_paid": "UPDATE receipts SET content = content || '{\"amount_fen\": 1}'",
    "i05_payment_has_one_receipt": "UPDATE receipts SET payment_id = (SELECT min(payment_id) FROM receipts)",
    "i05_receipt_numbers_gapless": "UPDATE receipts SET number = number + 1",
    "i06_reversal_mirrors_its_entry": f"UPDATE ledger_postings SET amount_fen = 1 WHERE entry_id = {REVERSAL}",
    "i06_originals_are_reversed_once_and_reversals_never": f"UPDATE ledger_entries SET reverses_id = {REVERSAL}"
    f" WHERE id = {PLAIN}",
    "i06_no_more_given_back_than_was_paid": "UPDATE payments SET amount_fen = 1",
    "i07_held_is_sum_of_pending_holds": f"UPDATE ledger_balances SET held_fen = 1 WHERE account_id = {WALLET}",
    "i07_posted_hold_drew_what_it_held": "UPDATE ledger_holds SET amount_fen = 1 WHERE state = 'posted'",
    "i07_entry_ends_one_hold": "UPDATE ledger_holds SET state = 'posted', entry_id = (SELECT max(entry_id) FROM"
    " ledger_holds)",
    "i08_deposits_and_advances_are_not_overdrawn": "UPDATE ledger_balances SET balance_fen = -1 WHERE account_id ="
    " (SELECT id FROM ledger_accounts WHERE code = 'deposit')",
    "i08_posted_usage_is_in_the_ledger": "UPDATE account_days SET posted_microfen = posted_microfen + 1000000,"
    " rated_microfen = rated_microfen + 1000000 WHERE posted_microfen > 0",
    "i08_accrual_is_rated_minus_posted_plus_carry": "UPDATE ledger_balances SET accrued_microfen ="
    f" accrued_microfen + 1 WHERE account_id = {WALLET}",
    "i10_no_float_column": "ALTER TABLE account_days ADD COLUMN cost double precision",
    "i10_amount_columns_are_whole_numbers": "ALTER TABLE payments ADD COLUMN fee_fen numeric(12, 2)",
    "i12_wallet_stands_in_the_book_of_its_supply_account": f"UPDATE supply_accounts SET book_id = {OTHER_BOOK}",
    "i12_headquarters_accounts_eliminate": "UPDATE ledger_postings SET debit_account_id = (SELECT min(id) FROM"
    f" ledger_accounts WHERE code = 'due_from_headquarters') WHERE entry_id = {PLAIN}",
    "i13_what_is_given_moved_its_own_wallet": "UPDATE money_given SET amount_fen = amount_fen + 1",
    "i13_entry_that_gives_has_its_paper": f"UPDATE ledger_entries SET kind = 'waiver' WHERE id = {PLAIN}",
    "i13_paper_numbers_gapless": "UPDATE money_given SET number = number + 1",
    "x01_no_trip_without_permit": "UPDATE commands SET permit_id = NULL WHERE kind = 'trip'",
    "x02_closed_months_got_no_late_entry": "UPDATE ledger_periods SET state = 'closed', closed_at = '2026-01-01Z'",
}


def draft(world, key, debit, credit, amount_fen):
    return EntryDraft(
        book_id=world.book_id,
        kind="transfer",
        booked_on=date(2026, 7, 15),
        event_at=AT,
        currency="CNY",
        postings=(Posting(debit=debit, credit=credit, amount_fen=amount_fen),),
        idempotency_key=key,
        actor="system:tests",
    )


@pytest.fixture(scope="module")
def business(db, tmp_path_factory):
    """A tenant in which everything has happened once: usage, a stop, top-ups, a reversal, holds, folds, a closing."""
    movable = MovableBusiness(tmp_path_factory.mktemp("clock"))
    table.install()
    world = build_world(db)
    darken(world, movable, number=1)
    pay(world, 5_000)
    receipt = pay(world, 7_000)
    with unit_of_work(world.tenant_id) as session:
        payment = session.get_one(Payment, (world.tenant_id, receipt.payment_id))
        manager = Actor.user(3, name="李经理")
        reverse_top_up(session, payment=payment, reason="输错户号", actor=manager, idempotency_key="r1")
        use(session, world, [3, 4], number=2)
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        why = {"reason": "退租", "actor": manager, "idempotency_key": "g1"}
        make_refund(session, account=account, amount_fen=900, way="cash", **why)
    close_days_due(world.tenant_id)
    with unit_of_work(world.tenant_id) as session:
        bank = account_ids(session, book_id=world.book_id, codes=["bank"])["bank"]
        facts = {"account_id": world.wallet_ids[0], "expires_at": AT + timedelta(days=30)}
        held = place_hold(session, amount_fen=300, idempotency_key="h1", **facts)
        post_hold(session, hold_id=held, draft=draft(world, "h1", world.wallet_ids[0], bank, 300))
        place_hold(session, amount_fen=200, idempotency_key="h2", **facts)
        post_entry(session, draft(world, "t1", world.wallet_ids[0], bank, 100))
        deposit = open_wallet(
            session, book_id=world.book_id, supply_account_id=world.supply_account_ids[0], code="deposit"
        )
        post_entry(session, draft(world, "t2", bank, deposit, 500))
        fold_days(session, since=date(2026, 7, 1))
        close_period(session, book_id=world.book_id, month=date(2026, 6, 1), at=AT)
        elsewhere = add_property(session, world, name="邻园")
        open_book(session, legal_entity_id=world.legal_entity_id, property_id=elsewhere)
    yield world
    clock.use_clock_file(None)


class MovableBusiness:
    """The business clock of the module, paused in the middle of a July morning."""

    def __init__(self, folder):
        clock.use_clock_file(str(folder / "clock.json"))
        self.set(AT)

    def set(self, at):
        clock.move_clock(to=at, rate=0)

    def now(self):
        return clock.business_now()


@pytest.fixture(scope="module")
def owner(owner_url):
    database = Database(owner_url)
    yield database
    database.engine.dispose()


_CONSTRAINTS = """
    SELECT conrelid::regclass || '', quote_ident(conname) FROM pg_constraint
     WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'c', 'u') AND coninhcount = 0
       AND conrelid::regclass::text = ANY(:tables)
"""
_UNIQUE_INDEXES = """
    SELECT indexrelid::regclass || '' FROM pg_index
     WHERE indisunique AND NOT indisprimary AND indrelid::regclass::text = ANY(:tables)
"""
LOOSENED = [
    "ledger_entries", "ledger_postings", "ledger_holds", "ledger_accounts", "payments", "receipts", "commands",
    "supply_accounts", "money_given",
]  # fmt: skip


def loosen(session):
    """Take away every constraint that would refuse a fault."""
    for owned_by, name in session.execute(text(_CONSTRAINTS), {"tables": LOOSENED}).all():
        session.execute(text(f"ALTER TABLE {owned_by} DROP CONSTRAINT IF EXISTS {name} CASCADE"))
    for index in session.scalars(text(_UNIQUE_INDEXES), {"tables": LOOSENED}).all():
        session.execute(text(f"DROP INDEX {index}"))


class Undone(Exception):
    """Roll the fault back."""


def names_after(owner, world, fault):
    found = set()
    with pytest.raises(Undone), unit_of_work(world.tenant_id, db=owner) as session:
        loosen(session)
        changed = session.execute(text(fault))
        assert changed.rowcount != 0
        found = {violation.name for violation in violations(session)}
        raise Undone
    return found


def test_a_busy_tenant_breaks_nothing(business):
    with unit_of_work(business.tenant_id) as session:
        assert violations(session) == []


def test_no_invariant_is_without_its_fault():
    assert sorted(FAULTS) == sorted(INVARIANTS)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_by_name(business, owner, name):
    assert name in names_after(owner, business, FAULTS[name])


def test_another_tenants_fault_is_not_ours(business, owner, world):
    with pytest.raises(Undone), unit_of_work(business.tenant_id, db=owner) as session:
        session.execute(text(FAULTS["i02_balance_is_sum_of_postings"]))
        session.execute(text(f"SET LOCAL app.tenant_id TO '{world.tenant_id}'"))
        sql = INVARIANTS["i02_balance_is_sum_of_postings"]
        assert session.execute(text(sql), {"tenant": world.tenant_id}).all() == []
        raise Undone


def test_a_flood_of_violations_is_cut_and_each_says_where(business, owner):
    with pytest.raises(Undone), unit_of_work(business.tenant_id, db=owner) as session:
        session.execute(text("UPDATE ledger_balances SET balance_fen = balance_fen + 7"))
        found = violations(session, limit=2)
        assert len([v for v in found if v.name == "i02_balance_is_sum_of_postings"]) == 2
        assert all("account " in v.detail for v in found)
        raise Undone
