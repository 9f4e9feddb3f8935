"""Postings: what cannot be said, in order of precedence, and hashes that notice any change."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.ledger import postings
from app.billing.ledger.postings import (
    AMOUNT_FEN_MAX,
    EntryDraft,
    Posting,
    fingerprint,
    nets,
    reverse,
    row_hash,
)
from app.kernel.errors import AppError

CASH, WALLET, REVENUE = 1, 2, 3
NOON = datetime(2026, 7, 1, 4, tzinfo=UTC)
TOP_UP = EntryDraft(
    book_id=7,
    kind="top_up",
    booked_on=date(2026, 7, 1),
    event_at=NOON,
    currency="CNY",
    postings=(Posting(CASH, WALLET, 5_000, "柜台充值"),),
    idempotency_key="counter:1:42",
    actor="user:9",
    document="R-000042",
)


@pytest.mark.parametrize(
    ("debit", "credit", "amount", "refusal"),
    [
        (CASH, CASH, 0.5, postings.PostingAmountNotWhole),
        (CASH, CASH, True, postings.PostingAmountNotWhole),
        (CASH, CASH, 0, postings.PostingAmountNotPositive),
        (CASH, WALLET, -1, postings.PostingAmountNotPositive),
        (CASH, CASH, AMOUNT_FEN_MAX + 1, postings.PostingAmountTooLarge),
        (CASH, CASH, 1, postings.PostingToItself),
    ],
)
def test_a_posting_that_cannot_be_said(debit: int, credit: int, amount: Any, refusal: type[AppError]) -> None:
    with pytest.raises(refusal) as caught:
        Posting(debit, credit, amount)
    assert caught.value.message("zh")
    assert caught.value.message("en")


NO_KEY = {"idempotency_key": " "}
NO_CURRENCY = {"currency": "yuan"}
NO_ZONE = {"event_at": NOON.replace(tzinfo=None)}
NO_LINES = {"postings": ()}


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        (NO_KEY | NO_CURRENCY | NO_ZONE | NO_LINES, postings.EntryKeyMissing),
        (NO_CURRENCY | NO_ZONE | NO_LINES, postings.EntryCurrencyUnknown),
        ({"currency": "cny"}, postings.EntryCurrencyUnknown),
        (NO_ZONE | NO_LINES, postings.EntryInstantNaive),
        (NO_LINES, postings.EntryEmpty),
    ],
)
def test_an_entry_that_cannot_be_said(wrong: dict[str, Any], refusal: type[AppError]) -> None:
    with pytest.raises(refusal) as caught:
        replace(TOP_UP, **wrong)
    assert caught.value.message("zh")
    assert caught.value.message("en")


CHANGES: list[tuple[str, dict[str, Any], bool]] = [
    # what changes, how, is it another request?
    ("book", {"book_id": 8}, True),
    ("kind", {"kind": "transfer"}, True),
    ("currency", {"currency": "HKD"}, True),
    ("amount", {"postings": (Posting(CASH, WALLET, 5_001, "柜台充值"),)}, True),
    ("account", {"postings": (Posting(CASH, REVENUE, 5_000, "柜台充值"),)}, True),
    ("direction", {"postings": (Posting(WALLET, CASH, 5_000, "柜台充值"),)}, True),
    ("memo", {"postings": (Posting(CASH, WALLET, 5_000),)}, True),
    ("one_line_more", {"postings": (*TOP_UP.postings, Posting(CASH, WALLET, 1))}, True),
    ("reverses", {"reverses": 3}, True),
    ("booked_on", {"booked_on": date(2026, 7, 2)}, False),
    ("event_at", {"event_at": NOON.replace(microsecond=1)}, False),
    ("actor", {"actor": "user:8"}, False),
    ("document", {"document": None}, False),
    ("key", {"idempotency_key": "counter:1:43"}, False),
]


@pytest.mark.parametrize(("change", "another"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_any_change_moves_the_row_hash_and_only_a_new_request_the_fingerprint(
    change: dict[str, Any], another: bool
) -> None:
    changed = replace(TOP_UP, **change)
    assert row_hash(1, changed) != row_hash(1, TOP_UP)
    assert (fingerprint(changed) != fingerprint(TOP_UP)) is another


def test_a_row_hash_knows_its_tenant_and_not_the_zone_it_was_written_in() -> None:
    assert row_hash(1, TOP_UP) != row_hash(2, TOP_UP)
    in_shanghai = replace(TOP_UP, event_at=NOON.astimezone(ZoneInfo("Asia/Shanghai")))
    assert row_hash(1, in_shanghai) == row_hash(1, TOP_UP)


def test_version_one_is_pinned_for_good() -> None:
    assert row_hash(1, TOP_UP, 1).hex() == "501ecbc132cf96373719b892658502dfae074fe5f9a33db05957ea622b4d9572"


def test_a_hash_of_a_later_version_is_not_guessed() -> None:
    with pytest.raises(postings.HashVersionUnknown) as caught:
        row_hash(1, TOP_UP, 2)
    assert "2" in caught.value.message("zh")


def test_a_reversal_swaps_the_ends_and_leaves_the_original_alone() -> None:
    undo = reverse(
        TOP_UP,
        entry_id=42,
        idempotency_key="reverse:42",
        booked_on=date(2026, 7, 2),
        event_at=NOON,
        actor="user:3",
    )
    assert undo.postings == (Posting(WALLET, CASH, 5_000, "柜台充值"),)
    assert (undo.kind, undo.reverses, undo.book_id, undo.currency) == ("reversal", 42, 7, "CNY")
    assert nets((*TOP_UP.postings, *undo.postings)) == {CASH: 0, WALLET: 0}


LINES = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 10**12)).filter(lambda line: line[0] != line[1]),
    min_size=1,
)


@given(LINES)
def test_whatever_is_posted_nothing_is_made_or_lost(lines: list[tuple[int, int, int]]) -> None:
    entry = [Posting(*line) for line in lines]
    assert sum(nets(entry).values()) == 0
