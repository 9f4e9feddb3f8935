"""The ledger on a real database: what it writes, what it refuses, and in which order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from app.billing.ledger.balances import balance_as_of, hot_balance, read_balance, statement
from app.billing.ledger.books import account_ids, open_book
from app.billing.ledger.folds import fold_days
from app.billing.ledger.holds import HoldResolved, expire_holds, place_hold, post_hold, void_hold
from app.billing.ledger.models import Entry, EntryPosting
from app.billing.ledger.periods import close_period
from app.billing.ledger.postings import EntryDraft, Posting
from app.billing.ledger.seals import seal_entries, verify_seals
from app.billing.ledger.series import next_number
from app.billing.ledger.service import (
    AccountUnknown,
    AlreadyReversed,
    EntryIsReversal,
    EntryUnknown,
    PeriodClosed,
    Posted,
    WalletTooLow,
    post_entry,
    reverse_entry,
)
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.idempotency import KeyReused
from app.kernel.unit_of_work import unit_of_work
from tests.factories.world import World, add_property

AT = datetime(2026, 7, 15, 2, 0, tzinfo=UTC)


def draft(
    world: World, session: Session, *, amount_fen: int, key: str, wallet: int = 0, **changes: object
) -> EntryDraft:
    """Money into wallet number `wallet` (or out of it, for a negative amount); never a top-up without its payment."""
    bank = account_ids(session, book_id=world.book_id, codes=["bank"])["bank"]
    ends = (bank, world.wallet_ids[wallet]) if amount_fen > 0 else (world.wallet_ids[wallet], bank)
    facts: dict[str, object] = {
        "book_id": world.book_id,
        "kind": "transfer",
        "booked_on": date(2026, 7, 15),
        "event_at": AT,
        "currency": "CNY",
        "postings": (Posting(debit=ends[0], credit=ends[1], amount_fen=abs(amount_fen)),),
        "idempotency_key": key,
        "actor": "system:tests",
    }
    return EntryDraft(**(facts | changes))  # type: ignore[arg-type]


def pay(world: World, session: Session, amount_fen: int, key: str, **changes: object) -> Posted:
    """Post a draft whose draws can be refused below zero."""
    floors = {world.wallet_ids[0]: 0} if amount_fen < 0 else None
    return post_entry(session, draft(world, session, amount_fen=amount_fen, key=key, **changes), floors=floors)


def test_a_wallet_in_the_table_language_of_the_ledger(world: World) -> None:
    rows = """
        in    5000  -> 5000
        out   1200  -> 3800
        out   3801  -> wallet_too_low
        out   3800  -> 0
        out      1  -> wallet_too_low
    """
    for number, row in enumerate(rows.strip().splitlines()):
        way, amount, _, outcome = row.split()
        with unit_of_work(world.tenant_id) as session:
            signed = int(amount) if way == "in" else -int(amount)
            if outcome == "wallet_too_low":
                with pytest.raises(WalletTooLow):
                    pay(world, session, signed, f"k{number}")
                session.rollback()
                continue
            assert pay(world, session, signed, f"k{number}").balances == {world.wallet_ids[0]: int(outcome)}


def test_refusals_come_in_their_order(world: World) -> None:
    with unit_of_work(world.tenant_id) as session:
        pay(world, session, 100, "first")
        close_period(session, book_id=world.book_id, month=date(2026, 6, 1), at=AT)
    unknown = (Posting(debit=1, credit=world.wallet_ids[0], amount_fen=5),)
    table = [
        (PeriodClosed, {"booked_on": date(2026, 6, 30), "key": "first", "amount_fen": -500}),
        (AccountUnknown, {"postings": unknown, "key": "first", "amount_fen": -500}),
        (KeyReused, {"key": "first", "amount_fen": -500}),
        (WalletTooLow, {"key": "second", "amount_fen": -500}),
    ]
    for expected, facts in table:
        with pytest.raises(expected), unit_of_work(world.tenant_id) as session:
            pay(world, session, **facts)  # type: ignore[arg-type]
    with unit_of_work(world.tenant_id) as session:
        assert read_balance(session, world.wallet_ids[0]).balance_fen == 100


def test_a_repeated_request_gets_the_first_answer(world: World) -> None:
    with unit_of_work(world.tenant_id) as session:
        first = pay(world, session, 700, "same")
    with unit_of_work(world.tenant_id) as session:
        second = pay(world, session, 700, "same")
    assert (second.entry_id, second.replayed) == (first.entry_id, True)


def in_parallel(count: int, deed: Callable[[int], object]) -> list[object]:
    """Run a deed on so many threads that all start at once; exceptions are results."""
    barrier = Barrier(count)

    def run(number: int) -> object:
        barrier.wait()
        try:
            return deed(number)
        except Exception as refusal:
            return refusal

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_fifty_copies_of_one_request_post_once(world: World) -> None:
    def send(_: int) -> int:
        with unit_of_work(world.tenant_id) as session:
            return pay(world, session, 1_000, "copies").entry_id

    assert len(set(in_parallel(20, send) + in_parallel(20, send) + in_parallel(10, send))) == 1
    with unit_of_work(world.tenant_id) as session:
        assert read_balance(session, world.wallet_ids[0]).balance_fen == 1_000


def test_of_fifty_parallel_draws_exactly_those_that_fit_succeed(world: World) -> None:
    with unit_of_work(world.tenant_id) as session:
        pay(world, session, 10_000, "in")

    def draw(number: int) -> int:
        with unit_of_work(world.tenant_id) as session:
            return pay(world, session, -1_000, f"out{number}").entry_id

    results = (
        in_parallel(20, draw) + in_parallel(20, lambda n: draw(n + 100)) + in_parallel(10, lambda n: draw(n + 200))
    )
    assert sum(isinstance(r, int) for r in results) == 10
    assert sum(isinstance(r, WalletTooLow) for r in results) == 40


def test_a_reversal_mirrors_once_and_leaves_the_original(world: World) -> None:
    facts = {"booked_on": date(2026, 7, 16), "event_at": AT, "actor": "system:tests"}
    with unit_of_work(world.tenant_id) as session:
        entry_id = pay(world, session, 900, "in").entry_id
    with unit_of_work(world.tenant_id) as session:
        undone = reverse_entry(session, entry_id=entry_id, idempotency_key="undo", **facts)  # type: ignore[arg-type]
        assert undone.balances == {world.wallet_ids[0]: 0}
    for key, wanted, target in (
        ("again", AlreadyReversed, entry_id),
        ("back", EntryIsReversal, undone.entry_id),
    ):
        with pytest.raises(wanted), unit_of_work(world.tenant_id) as session:
            reverse_entry(session, entry_id=target, idempotency_key=key, **facts)  # type: ignore[arg-type]
    with pytest.raises(EntryUnknown), unit_of_work(world.tenant_id) as session:
        reverse_entry(session, entry_id=0, idempotency_key="none", **facts)  # type: ignore[arg-type]
    with unit_of_work(world.tenant_id) as session:
        replay = reverse_entry(session, entry_id=entry_id, idempotency_key="undo", **facts)  # type: ignore[arg-type]
        assert replay.replayed


def test_two_reversals_at_once_leave_one(world: World) -> None:
    with unit_of_work(world.tenant_id) as session:
        entry_id = pay(world, session, 900, "in").entry_id

    def undo(number: int) -> int:
        with unit_of_work(world.tenant_id) as session:
            facts = {"booked_on": date(2026, 7, 16), "event_at": AT, "actor": "system:tests"}
            return reverse_entry(session, entry_id=entry_id, idempotency_key=f"u{number}", **facts).entry_id  # type: ignore[arg-type]

    results = in_parallel(8, undo)
    assert sum(isinstance(r, int) for r in results) == 1
    assert sum(isinstance(r, AlreadyReversed) for r in results) == 7


def test_a_hold_ends_once(world: World) -> None:
    wallet = world.wallet_ids[0]

    def place(key: str, amount_fen: int) -> int:
        with unit_of_work(world.tenant_id) as session:
            facts = {"account_id": wallet, "expires_at": AT + timedelta(hours=1), "idempotency_key": key}
            return place_hold(session, amount_fen=amount_fen, **facts)  # type: ignore[arg-type]

    with unit_of_work(world.tenant_id) as session:
        pay(world, session, 1_000, "in")
    held = place("h1", 600)
    assert place("h1", 600) == held
    with pytest.raises(KeyReused):
        place("h1", 601)
    with pytest.raises(WalletTooLow):
        place("h2", 401)
    with pytest.raises(WalletTooLow), unit_of_work(world.tenant_id) as session:
        pay(world, session, -500, "out")
    with unit_of_work(world.tenant_id) as session:
        post_hold(session, hold_id=held, draft=draft(world, session, amount_fen=-600, key="posted"))
    with pytest.raises(HoldResolved), unit_of_work(world.tenant_id) as session:
        void_hold(session, hold_id=held)
    voided, late = place("h3", 100), place("h4", 100)
    with unit_of_work(world.tenant_id) as session:
        void_hold(session, hold_id=voided)
        assert expire_holds(session, now=AT + timedelta(hours=2)) == 1
    with pytest.raises(HoldResolved), unit_of_work(world.tenant_id) as session:
        void_hold(session, hold_id=late)
    with pytest.raises(NotFound), unit_of_work(world.tenant_id) as session:
        void_hold(session, hold_id=0)
    with unit_of_work(world.tenant_id) as session:
        assert read_balance(session, wallet).available_fen == 400


def test_post_void_and_expire_race_for_a_hold_and_one_wins(world: World) -> None:
    with unit_of_work(world.tenant_id) as session:
        pay(world, session, 1_000, "in")
    for round_ in range(5):
        with unit_of_work(world.tenant_id) as session:
            facts = {"account_id": world.wallet_ids[0], "expires_at": AT, "idempotency_key": f"r{round_}"}
            hold_id = place_hold(session, amount_fen=100, **facts)  # type: ignore[arg-type]

        def resolve(way: int, hold_id: int = hold_id, round_: int = round_) -> str:
            with unit_of_work(world.tenant_id) as session:
                if way == 0:
                    post_hold(
                        session,
                        hold_id=hold_id,
                        draft=draft(world, session, amount_fen=-100, key=f"p{round_}"),
                    )
                elif way == 1:
                    void_hold(session, hold_id=hold_id)
                elif expire_holds(session, now=AT) == 0:
                    raise HoldResolved(state="gone")
                return "won"

        results = in_parallel(3, resolve)
        assert results.count("won") == 1
        assert sum(isinstance(r, HoldResolved) for r in results) == 2


def test_the_past_is_read_as_it_was(world: World) -> None:
    with unit_of_work(world.tenant_id) as session:
        pay(world, session, 5_000, "a", booked_on=date(2026, 7, 1))
        pay(world, session, -1_500, "b", booked_on=date(2026, 7, 10))
        pay(world, session, 300, "c", booked_on=date(2026, 7, 20))
    with unit_of_work(world.tenant_id) as session:
        wallet, bank = (
            world.wallet_ids[0],
            account_ids(session, book_id=world.book_id, codes=["bank"])["bank"],
        )
        days = [date(2026, 6, 30), date(2026, 7, 9), date(2026, 7, 10), date(2026, 7, 31)]
        assert [balance_as_of(session, account_id=wallet, at_end_of=day) for day in days] == [
            0,
            5_000,
            3_500,
            3_800,
        ]
        lines = statement(session, account_id=wallet, first=date(2026, 7, 1), last=date(2026, 7, 31))
        assert [(line.amount_fen, line.balance_fen) for line in lines] == [
            (300, 3_800),
            (-1_500, 3_500),
            (5_000, 5_000),
        ]
        older = statement(
            session, account_id=wallet, first=date(2026, 7, 1), last=date(2026, 7, 31),
            before=(lines[0].entry_id, lines[0].line_no), limit=1,
        )  # fmt: skip
        assert [line.amount_fen for line in older] == [-1_500]
        fold_days(session, since=date(2026, 7, 1))
        assert hot_balance(session, account_id=bank) == 3_800


@pytest.mark.parametrize("statement_", ["UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize(
    "table", ["ledger_entries", "ledger_postings", "audit_records", "sealed_records", "seal_blocks"]
)
def test_history_cannot_be_changed_by_the_runtime_role(world: World, table: str, statement_: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), unit_of_work(world.tenant_id) as session:
        session.execute(text(statement_.format(table)))


def test_the_database_refuses_what_python_would_not_write(world: World) -> None:
    """A posting of zero, with one end, or across books is refused by PostgreSQL itself."""
    with unit_of_work(world.tenant_id) as session:
        entry_id = pay(world, session, 100, "in").entry_id
        sibling = add_property(session, world, name="邻园")
        other_book = open_book(session, legal_entity_id=world.legal_entity_id, property_id=sibling)
        mine = account_ids(session, book_id=world.book_id, codes=["bank", "cash"])
        theirs = account_ids(session, book_id=other_book, codes=["bank", "cash"])
    table = [
        ("amount_positive", {"amount_fen": 0}),
        ("amount_positive", {"amount_fen": -5}),
        ("two_ends", {"credit_account_id": mine["bank"]}),
        ("fk_ledger_postings_credit", {"credit_account_id": theirs["bank"]}),
        (
            "fk_ledger_postings_entry",
            {"book_id": other_book, "debit_account_id": theirs["bank"], "credit_account_id": theirs["cash"]},
        ),
        ("fk_ledger_postings", {"currency": "USD"}),
    ]
    for name, change in table:
        row = {
            "entry_id": entry_id,
            "line_no": 9,
            "book_id": world.book_id,
            "currency": "CNY",
            "amount_fen": 5,
        }
        row |= {"debit_account_id": mine["bank"], "credit_account_id": mine["cash"]} | change
        with pytest.raises(IntegrityError, match=name), unit_of_work(world.tenant_id) as session:
            session.add(EntryPosting(**row))
            session.flush()


def test_a_closing_waits_for_postings_under_way_and_then_nothing_enters(world: World, db: Database) -> None:
    month = date(2026, 7, 1)
    with unit_of_work(world.tenant_id) as session:
        pay(world, session, 100, "before")
    with unit_of_work(world.tenant_id) as session:
        pay(world, session, 100, "under way")
        with pytest.raises(Exception, match="lock timeout"), unit_of_work(world.tenant_id) as closing:
            closing.execute(text("SET LOCAL lock_timeout = '50ms'"))
            close_period(closing, book_id=world.book_id, month=month, at=AT)
    with unit_of_work(world.tenant_id) as session:
        close_period(session, book_id=world.book_id, month=month, at=AT)
    with pytest.raises(PeriodClosed), unit_of_work(world.tenant_id) as session:
        pay(world, session, 100, "after")


def test_numbers_of_a_till_have_no_gap_even_when_a_sale_fails(world: World) -> None:
    def take(till: str) -> int:
        with unit_of_work(world.tenant_id) as session:
            return next_number(session, book_id=world.book_id, till=till)

    assert take("T1") == 1
    with pytest.raises(RuntimeError), unit_of_work(world.tenant_id) as session:
        next_number(session, book_id=world.book_id, till="T1")
        raise RuntimeError
    assert [take("T1"), take("T2"), take("T1")] == [2, 1, 3]


def test_the_seal_names_the_first_altered_entry(world: World, owner_url: str) -> None:
    with unit_of_work(world.tenant_id) as session:
        ids = [pay(world, session, 100 + n, f"k{n}").entry_id for n in range(5)]
    with unit_of_work(world.tenant_id) as session:
        assert verify_seals(session).unsealed == 5
        assert seal_entries(session) == 5
    with unit_of_work(world.tenant_id) as session:
        pay(world, session, 999, "later")
        assert seal_entries(session) == 1
        report = verify_seals(session)
        assert (report.blocks, report.sealed, report.unsealed, report.intact) == (2, 6, 0, True)
    as_owner(owner_url, world.tenant_id, f"UPDATE ledger_entries SET actor = 'user:7' WHERE id = {ids[2]}")
    with unit_of_work(world.tenant_id) as session:
        report = verify_seals(session)
        assert (report.first_bad_record_id, report.intact) == (ids[2], False)


def as_owner(owner_url: str, tenant_id: int, sql: str) -> None:
    """What only somebody with the owner's password could do."""
    owner = Database(owner_url)
    with unit_of_work(tenant_id, db=owner) as session:
        session.execute(text(sql))
    owner.engine.dispose()


def test_another_tenant_sees_nothing_of_it(world: World, make_world: Callable[..., World]) -> None:
    other = make_world()
    with unit_of_work(world.tenant_id) as session:
        entry_id = pay(world, session, 100, "mine").entry_id
    with unit_of_work(other.tenant_id) as session:
        assert session.scalars(select(Entry)).all() == []
        assert session.execute(text("SELECT count(*) FROM ledger_postings")).scalar_one() == 0
    with pytest.raises(EntryUnknown), unit_of_work(other.tenant_id) as session:
        facts = {"booked_on": date(2026, 7, 16), "event_at": AT, "actor": "system:tests"}
        reverse_entry(session, entry_id=entry_id, idempotency_key="x", **facts)  # type: ignore[arg-type]
