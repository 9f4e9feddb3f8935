"""L01: the ledger beside a model of whole numbers, through whatever order of deeds Hypothesis thinks of."""

from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.dialects.postgresql import insert

from app.billing.day_close import post_accrual_now
from app.billing.ledger import EntryDraft, Posting
from app.billing.ledger.balances import apply_accrual, balance_as_of, lock_balances, read_balances, statement
from app.billing.ledger.books import account_ids
from app.billing.ledger.holds import expire_holds, place_hold, post_hold, void_hold
from app.billing.ledger.invariants import violations
from app.billing.ledger.periods import close_period
from app.billing.ledger.seals import seal_entries, verify_seals
from app.billing.ledger.service import post_entry, reverse_entry
from app.billing.models import AccountDay
from app.kernel.clock import business_now
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from tests.db.ledger_model import Model, Refused, Wallet
from tests.factories.world import build_world

AT = datetime(2026, 7, 15, 2, tzinfo=UTC)
#: June and July may be closed; August stays open for reversals and late usage.
MONTHS = {6: date(2026, 6, 15), 7: date(2026, 7, 15), 8: date(2026, 8, 15)}
WALLETS = 3

wallets = st.integers(0, WALLETS - 1)
#: Small amounts meet floors and each other; large ones overflow what is small.
amounts = st.one_of(st.integers(1, 200), st.integers(1, 2_000_000))
floors = st.sampled_from([0, 0, -500, 100])
#: The last is never closed, and most deeds are of today.
months = st.sampled_from([6, 7, 7, 8, 8, 8])
hours = st.integers(1, 48)


class LedgerMachine(RuleBasedStateMachine):
    """Every rule does the same to the ledger and to the model, and both must say the same."""

    database = None
    entries = Bundle("entries")
    holds = Bundle("holds")

    def __init__(self):
        super().__init__()
        self.world = build_world(self.database, spaces=WALLETS)
        self.model = Model([Wallet() for _ in range(WALLETS)])
        self.ids, self.holds_placed, self.count = {}, {}, 0
        with unit_of_work(self.world.tenant_id) as session:
            self.bank = account_ids(session, book_id=self.world.book_id, codes=["bank"])["bank"]

    def key(self):
        self.count += 1
        return f"k{self.count}"

    @contextmanager
    def both(self):
        """Run the model's deed, then the ledger's inside the same unit of work: the same answer or the same refusal."""
        expected, answered = [], []
        try:
            with unit_of_work(self.world.tenant_id) as session:
                yield session, expected, answered
        except AppError as refusal:
            answered.append(refusal.code)
        assert answered == expected

    def modelled(self, expected, deed, *facts):
        """The model's answer; its refusal is what the ledger is expected to raise."""
        try:
            return deed(*facts)
        except Refused as refusal:
            expected.append(str(refusal))
            return None

    def ledger_id(self, wallet):
        return self.bank if wallet is None else self.world.wallet_ids[wallet]

    def draft(self, key, lines, month):
        postings = (Posting(debit=self.ledger_id(f), credit=self.ledger_id(t), amount_fen=n) for f, t, n in lines)
        return EntryDraft(
            book_id=self.world.book_id,
            kind="transfer",
            booked_on=MONTHS[month],
            event_at=AT,
            currency="CNY",
            postings=tuple(postings),
            idempotency_key=key,
            actor="system:tests",
        )

    def post(self, key, lines, month, floored=None):
        """Post on both sides; the key when there is now such an entry."""
        with self.both() as (session, expected, _):
            replayed = self.modelled(expected, self.model.post, key, lines, month, floored)
            ledger_floors = {self.ledger_id(w): floor for w, floor in (floored or {}).items()}
            posted = post_entry(session, self.draft(key, lines, month), floors=ledger_floors)
            assert posted.replayed == replayed
            assert self.ids.setdefault(key, posted.entry_id) == posted.entry_id
        return key if not expected else multiple()

    @initialize(target=entries, amount=amounts)
    def open_with_some_money(self, amount):
        return self.post(self.key(), ((None, 0, amount),), 7)

    @rule(target=entries, wallet=wallets, amount=amounts, month=months)
    def credit(self, wallet, amount, month):
        return self.post(self.key(), ((None, wallet, amount),), month)

    @rule(target=entries, wallet=wallets, amount=amounts, floor=floors, month=months)
    def draw(self, wallet, amount, floor, month):
        return self.post(self.key(), ((wallet, None, amount),), month, {wallet: floor})

    @rule(target=entries, wallet=wallets, amount=amounts)
    def use_beyond_any_floor(self, wallet, amount):
        return self.post(self.key(), ((wallet, None, amount),), 8)

    @rule(target=entries, one=wallets, other=wallets, amount=amounts, floor=floors, month=months)
    def transfer(self, one, other, amount, floor, month):
        other = other if other != one else (one + 1) % WALLETS
        return self.post(self.key(), ((one, other, amount),), month, {one: floor})

    @rule(
        target=entries,
        lines=st.lists(st.tuples(wallets, st.booleans(), amounts), min_size=2, max_size=5),
        floored=st.dictionaries(wallets, floors, max_size=2),
        month=months,
    )
    def many_lines(self, lines, floored, month):
        said = tuple((None, wallet, n) if up else (wallet, None, n) for wallet, up, n in lines)
        touched = {wallet for wallet, _, _ in lines}
        return self.post(self.key(), said, month, {w: f for w, f in floored.items() if w in touched})

    @rule(key=entries, month=months)
    def ask_again(self, key, month):
        if not self.model.entries[key].is_reversal:
            self.post(key, self.model.entries[key].lines, month)

    @rule(key=entries, wallet=wallets, amount=amounts, month=months)
    def reuse_a_key(self, key, wallet, amount, month):
        self.post(key, ((None, wallet, amount + 3_000_000),), month)

    @rule(target=entries, of=entries, month=months, again=st.booleans())
    def reverse(self, of, month, again):
        key = self.model.entries[of].reversed_by if again else None
        key = key or self.key()
        with self.both() as (session, expected, _):
            self.modelled(expected, self.model.reverse, of, key, month)
            facts = {"booked_on": MONTHS[month], "event_at": AT, "actor": "system:tests"}
            posted = reverse_entry(session, entry_id=self.ids[of], idempotency_key=key, **facts)
            assert self.ids.setdefault(key, posted.entry_id) == posted.entry_id
        return multiple() if expected else key

    def place(self, key, wallet, amount, floor, expires):
        with self.both() as (session, expected, _):
            self.modelled(expected, self.model.hold, key, wallet, amount, floor, expires)
            hold_id = place_hold(
                session,
                account_id=self.ledger_id(wallet),
                amount_fen=amount,
                expires_at=AT + timedelta(hours=expires),
                idempotency_key=key,
                floor_fen=floor,
            )
            assert self.holds_placed.setdefault(key, hold_id) == hold_id
        return multiple() if expected else key

    @rule(target=holds, wallet=wallets, amount=amounts, floor=floors, expires=hours)
    def hold(self, wallet, amount, floor, expires):
        return self.place(self.key(), wallet, amount, floor, expires)

    @rule(key=holds, more=st.sampled_from([0, 1]), expires=hours)
    def hold_again(self, key, more, expires):
        known = self.model.holds[key]
        self.place(key, known.wallet, known.amount + more, known.floor, expires)

    @rule(key=holds, month=months)
    def post_a_hold(self, key, month):
        hold = self.model.holds[key]
        with self.both() as (session, expected, _):
            self.modelled(expected, self.model.post_hold, key, month)
            draft = self.draft(f"posted:{key}", ((hold.wallet, None, hold.amount),), month)
            post_hold(session, hold_id=self.holds_placed[key], draft=draft)

    @rule(key=holds)
    def void_a_hold(self, key):
        with self.both() as (session, expected, _):
            self.modelled(expected, self.model.resolve, key, "voided")
            void_hold(session, hold_id=self.holds_placed[key])

    @rule(now=hours)
    def expire(self, now):
        with unit_of_work(self.world.tenant_id) as session:
            assert expire_holds(session, now=AT + timedelta(hours=now)) == self.model.expire(now)

    @rule(wallet=wallets, day=st.integers(1, 3), micro=st.integers(-3_000_000, 90_000_000))
    def usage_is_rated(self, wallet, day, micro):
        """Pricing upserts the account-day and moves the accrual by the same difference."""
        self.model.accrue(wallet, day, micro)
        row = insert(AccountDay).values(
            supply_account_id=self.world.supply_account_ids[wallet],
            tenant_id=self.world.tenant_id,
            property_id=self.world.property_id,
            day=date(2026, 7, day),
            usage_wh=0,
            rated_microfen=micro,
            lines=[],
            rated_at=AT,
        )
        more = {"rated_microfen": AccountDay.rated_microfen + micro}
        with unit_of_work(self.world.tenant_id) as session:
            lock_balances(session, [self.ledger_id(wallet)])
            key = ["tenant_id", "supply_account_id", "day"]
            session.execute(row.on_conflict_do_update(index_elements=key, set_=more))
            apply_accrual(session, rows=[(self.ledger_id(wallet), micro, None)])

    @rule(wallet=wallets)
    def close_the_day(self, wallet):
        with unit_of_work(self.world.tenant_id) as session:
            posted = post_accrual_now(
                session,
                supply_account_id=self.world.supply_account_ids[wallet],
                wallet_id=self.ledger_id(wallet),
                today=MONTHS[8],
            )
        assert posted == self.model.settle(wallet)

    @precondition(lambda self: len(self.model.entries) > 6)
    @rule(month=st.sampled_from([6, 7]))
    def close_a_month(self, month):
        with self.both() as (session, expected, _):
            expected.extend(["period_closed"] if month in self.model.closed else [])
            self.model.closed.add(month)
            close_period(session, book_id=self.world.book_id, month=MONTHS[month].replace(day=1), at=business_now())

    @rule()
    def seal(self):
        with unit_of_work(self.world.tenant_id) as session:
            seal_entries(session)

    @invariant()
    def the_ledger_says_what_the_model_says(self):
        with unit_of_work(self.world.tenant_id) as session:
            kept = read_balances(session, self.world.wallet_ids)
        for own, id_ in zip(self.model.wallets, self.world.wallet_ids, strict=True):
            said = kept[id_]
            assert (said.balance_fen, said.held_fen, said.version) == (own.balance, own.held, own.version)
            assert (said.accrued_microfen, said.carry_microfen) == (own.accrued, own.carry)
            assert said.available_fen == own.available_fen

    def teardown(self):
        with unit_of_work(self.world.tenant_id) as session:
            assert violations(session) == []
            seal_entries(session)
            report = verify_seals(session)
            assert (report.intact, report.unsealed) == (True, 0)
            for own, id_ in zip(self.model.wallets, self.world.wallet_ids, strict=True):
                span = {"first": date(2026, 1, 1), "last": date(2026, 12, 31), "limit": 1000}
                assert sum(line.amount_fen for line in statement(session, account_id=id_, **span)) == own.balance
                assert balance_as_of(session, account_id=id_, at_end_of=span["last"]) == own.balance


def test_the_ledger_and_a_model_of_whole_numbers_never_differ(db):
    class Machine(LedgerMachine):
        database = db

    run_state_machine_as_test(Machine, settings=settings(stateful_step_count=30))


def test_the_comparison_is_not_idle(db):
    """A model that forgets a fen of every draw is told apart."""

    class Forgetful(LedgerMachine):
        database = db

        def use_beyond_any_floor(self, wallet, amount):
            self.model.wallets[wallet].balance += 1

        forgetting = rule(wallet=wallets, amount=amounts)(use_beyond_any_floor)

    once = settings(stateful_step_count=30, phases=[Phase.generate], database=None, print_blob=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Forgetful, settings=once)
