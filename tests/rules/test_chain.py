"""Blocks of hashes: whatever is altered, removed or moved is named."""

from collections.abc import Callable
from typing import Any

import pytest

from app.tenants.chain import first_broken, genesis, seal


def chain(tenant_id: int, blocks: list[list[bytes]], name: str = "ledger") -> list[tuple[bytes, list[bytes]]]:
    """Blocks sealed one after the other."""
    sealed, previous = [], genesis(tenant_id, name)
    for hashes in blocks:
        previous = seal(previous, hashes)
        sealed.append((previous, hashes))
    return sealed


A, B, C, D = (bytes([n]) * 32 for n in range(4))
GOOD = chain(1, [[A, B], [C], [D]])

TAMPERING: list[tuple[str, Callable[[list[tuple[bytes, list[bytes]]]], Any], int | None]] = [
    ("untouched", lambda blocks: blocks, None),
    ("empty", lambda blocks: [], None),
    ("row_changed", lambda blocks: [blocks[0], (blocks[1][0], [D]), blocks[2]], 1),
    ("row_removed", lambda blocks: [(blocks[0][0], [A]), *blocks[1:]], 0),
    ("rows_swapped", lambda blocks: [(blocks[0][0], [B, A]), *blocks[1:]], 0),
    ("block_removed", lambda blocks: [blocks[0], blocks[2]], 1),
    ("blocks_swapped", lambda blocks: [blocks[0], blocks[2], blocks[1]], 1),
    ("resealed_midway", lambda blocks: [blocks[0], *chain(1, [[D]]), blocks[2]], 1),
    ("chain_of_another_tenant", lambda blocks: chain(2, [[A, B], [C], [D]]), 0),
    ("chain_of_another_kind", lambda blocks: chain(1, [[A, B], [C], [D]], "audit"), 0),
]


@pytest.mark.parametrize(("tamper", "broken"), [row[1:] for row in TAMPERING], ids=[row[0] for row in TAMPERING])
def test_the_chain_says_where_it_was_broken(
    tamper: Callable[[list[tuple[bytes, list[bytes]]]], Any], broken: int | None
) -> None:
    assert first_broken(genesis(1, "ledger"), tamper(GOOD)) == broken


def test_only_whole_hashes_are_chained() -> None:
    with pytest.raises(ValueError):
        seal(b"short", [A])
    with pytest.raises(ValueError):
        seal(A, [b"short"])
