"""Blocks of hashes: whatever is altered, removed, moved or sealed without the key is named."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.kernel.errors import StartRefused
from app.tenants.audit_keys import AuditKeys, AuditKeyWrong, Use, audit_keys, key_id_of, use_audit_keys
from app.tenants.chain import Header, content_hash, first_broken, genesis, seal

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
Block = tuple[Header, bytes]
A, B, C, D = ((n, bytes([n]) * 32) for n in range(1, 5))


def chain(
    tenant_id: int, blocks: Sequence[Sequence[tuple[int, bytes]]], name: str = "ledger", key: bytes = KEY
) -> list[Block]:
    """Blocks sealed one after the other."""
    sealed: list[Block] = []
    previous = genesis(tenant_id, name)
    for block_no, records in enumerate(blocks, 1):
        header = Header(block_no, len(records), 1_000_000 * block_no, content_hash(records))
        previous = seal(key, previous, header)
        sealed.append((header, previous))
    return sealed


GOOD = chain(1, [[A, B], [C], [D]])


def altered(index: int, **changes: Any) -> list[Block]:
    """The good chain with one header saying something else."""
    blocks = list(GOOD)
    blocks[index] = (dataclasses.replace(blocks[index][0], **changes), blocks[index][1])
    return blocks


TAMPERING: list[tuple[str, Callable[[], list[Block]], int | None]] = [
    ("untouched", lambda: GOOD, None),
    ("empty", list, None),
    ("row_changed", lambda: altered(1, content_hash=content_hash([D])), 1),
    ("row_removed", lambda: altered(0, content_hash=content_hash([A]), size=1), 0),
    ("rows_swapped", lambda: altered(0, content_hash=content_hash([B, A])), 0),
    ("ids_swapped", lambda: altered(0, content_hash=content_hash([(2, A[1]), (1, B[1])])), 0),
    ("sealed_earlier", lambda: altered(2, sealed_us=1), 2),
    ("block_removed", lambda: [GOOD[0], GOOD[2]], 1),
    ("blocks_swapped", lambda: [GOOD[0], GOOD[2], GOOD[1]], 1),
    ("resealed_midway", lambda: [GOOD[0], *chain(1, [[D]]), GOOD[2]], 1),
    ("resealed_without_the_key", lambda: chain(1, [[A, B], [C], [D]], key=OTHER_KEY), 0),
    ("chain_of_another_tenant", lambda: chain(2, [[A, B], [C], [D]]), 0),
    ("chain_of_another_kind", lambda: chain(1, [[A, B], [C], [D]], "audit"), 0),
]


@pytest.mark.parametrize(("tamper", "broken"), [row[1:] for row in TAMPERING], ids=[row[0] for row in TAMPERING])
def test_the_chain_says_where_it_was_broken(tamper: Callable[[], list[Block]], broken: int | None) -> None:
    assert first_broken(KEY, genesis(1, "ledger"), tamper()) == broken


def test_only_whole_hashes_are_chained() -> None:
    with pytest.raises(ValueError):
        seal(KEY, b"short", GOOD[0][0])
    with pytest.raises(ValueError):
        content_hash([(1, b"short")])


@pytest.mark.parametrize(
    ("current", "old"), [("", ""), ("zz" * 32, ""), ("aa" * 31, ""), ("aa" * 32, "bb" * 31), ("aa" * 32, "geheim")]
)
def test_an_audit_key_of_another_shape_is_refused(current: str, old: str) -> None:
    before = audit_keys()
    with pytest.raises(AuditKeyWrong, match="AUDIT_KEY") as refused:
        use_audit_keys(current, old)
    assert isinstance(refused.value, StartRefused)
    assert audit_keys() is before


def test_old_keys_only_verify_and_each_use_has_a_key_of_its_own() -> None:
    new, old = bytes.fromhex("aa" * 32), bytes.fromhex("bb" * 32)
    ring = AuditKeys(((key_id_of(new), new), (key_id_of(old), old)))
    before = AuditKeys(((key_id_of(old), old),))
    said = before.mac(Use.BLOCK, b"a block")
    assert ring.current_id == key_id_of(new)
    assert ring.mac_of(Use.BLOCK, before.current_id, b"a block") == said != ring.mac(Use.BLOCK, b"a block")
    assert (ring.age(key_id_of(new)), ring.age(key_id_of(old)), ring.age("00000000")) == (0, 1, None)
    assert ring.mac_of(Use.BLOCK, "00000000", b"a block") is None
    assert len({ring.key(use) for use in Use}) == len(Use)
    assert hashlib.sha256(new).hexdigest()[:8] != ring.current_id
    assert "aa" * 4 not in repr(ring)
