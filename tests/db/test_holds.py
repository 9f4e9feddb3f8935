"""What a hold may become: an entry that draws at most what was held, and that no other deed has written."""

from datetime import UTC, date, datetime, timedelta

import pytest

from app.billing.ledger import EntryDraft, Posting
from app.billing.ledger.balances import read_balance
from app.billing.ledger.books import account_ids
from app.billing.ledger.holds import HoldExceeded, HoldResolved, place_hold, post_hold
from app.billing.ledger.service import post_entry
from app.kernel.idempotency import KeyReused
from app.kernel.unit_of_work import unit_of_work

AT = datetime(2026, 7, 15, 2, tzinfo=UTC)


@pytest.fixture
def bank(world):
    """The book's bank account, from which the first wallet got 1,000 fen."""
    with unit_of_work(world.tenant_id) as session:
        id_ = account_ids(session, book_id=world.book_id, codes=["bank"])["bank"]
        post_entry(session, draft(world, "in", id_, world.wallet_ids[0], 1_000))
    return id_


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


def hold(world, key, amount_fen=600):
    with unit_of_work(world.tenant_id) as session:
        facts = {"account_id": world.wallet_ids[0], "expires_at": AT + timedelta(hours=1), "idempotency_key": key}
        return place_hold(session, amount_fen=amount_fen, **facts)


def post(world, hold_id, said):
    with unit_of_work(world.tenant_id) as session:
        return post_hold(session, hold_id=hold_id, draft=said)


def kept(world):
    with unit_of_work(world.tenant_id) as session:
        own = read_balance(session, world.wallet_ids[0])
    return own.balance_fen, own.held_fen


@pytest.mark.parametrize(("drawn_fen", "after"), [(600, (400, 0)), (1, (999, 0))])
def test_up_to_what_was_held_is_drawn_and_the_rest_is_free_again(world, bank, drawn_fen, after):
    post(world, hold(world, "h"), draft(world, "out", world.wallet_ids[0], bank, drawn_fen))
    assert kept(world) == after


@pytest.mark.parametrize("wallet", [0, 1])
def test_an_entry_beyond_the_hold_or_on_another_wallet_is_refused(world, bank, wallet):
    held = hold(world, "h")
    with pytest.raises(HoldExceeded):
        post(world, held, draft(world, "out", world.wallet_ids[wallet], bank, 601 - wallet))
    assert kept(world) == (1_000, 600)


def test_one_entry_ends_one_hold(world, bank):
    first, second = hold(world, "h1", 400), hold(world, "h2", 400)
    said = draft(world, "out", world.wallet_ids[0], bank, 400)
    assert post(world, first, said).replayed is False
    assert post(world, first, said).replayed is True
    with pytest.raises(KeyReused):
        post(world, second, said)
    with pytest.raises(HoldResolved):
        post(world, first, draft(world, "out again", world.wallet_ids[0], bank, 400))
    assert kept(world) == (600, 400)


def test_an_entry_that_another_deed_wrote_ends_no_hold(world, bank):
    held, said = hold(world, "h"), draft(world, "out", world.wallet_ids[0], bank, 100)
    with unit_of_work(world.tenant_id) as session:
        post_entry(session, said)
    with pytest.raises(KeyReused):
        post(world, held, said)
    post(world, held, draft(world, "own", world.wallet_ids[0], bank, 100))
    with pytest.raises(HoldResolved):
        post(world, held, said)
    assert kept(world) == (800, 0)
