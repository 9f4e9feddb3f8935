"""How hashes are chained into blocks, so that altering, removing or moving one record is seen.

block hash  = SHA-256(mark | previous block hash, 32 bytes | count, 8 bytes | record hashes, 32 bytes each)
first block = follows SHA-256(mark | tenant id | chain name), so that no chain can stand in for another tenant's or for
              another of the same tenant
"""

import hashlib
from collections.abc import Iterable, Sequence

_MARK = b"tallyhouse-block-1"


def genesis(tenant_id: int, chain: str) -> bytes:
    """What the first block of a tenant's chain follows."""
    return hashlib.sha256(_MARK + tenant_id.to_bytes(8, "big") + chain.encode()).digest()


def seal(previous_hash: bytes, record_hashes: Sequence[bytes]) -> bytes:
    """The hash of a block of record hashes, in seal order, after the block before it."""
    body = b"".join(record_hashes)
    if len(previous_hash) != 32 or len(body) != 32 * len(record_hashes):
        raise ValueError("hashes in a chain are 32 bytes each")
    return hashlib.sha256(_MARK + previous_hash + len(record_hashes).to_bytes(8, "big") + body).digest()


def first_broken(start: bytes, blocks: Iterable[tuple[bytes, Sequence[bytes]]]) -> int | None:
    """The index of the first block whose stored hash is not what its records make, or None.

    `start` is the chain's genesis; `blocks` are (stored block hash, record hashes) in order.
    """
    previous = start
    for index, (stored, record_hashes) in enumerate(blocks):
        if seal(previous, record_hashes) != stored:
            return index
        previous = stored
    return None
