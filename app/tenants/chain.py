"""How records are chained into blocks, so that altering, removing or moving one of them is seen.

content hash = SHA-256(mark | of each record in seal order: id, 8 bytes | record hash, 32 bytes)
block hash   = HMAC-SHA-256(block key, mark | previous block hash, 32 bytes | block number, records, sealing instant in
               microseconds since 1970, 8 bytes each | content hash, 32 bytes)
first block  = follows SHA-256(mark | tenant id | chain name), so that no chain can stand in for another tenant's or for
               another of the same tenant

A header holds everything its hash was made of: a chain whose oldest records went to an archive still verifies.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MARK = b"tallyhouse-block-2"


@dataclass(frozen=True, slots=True)
class Header:
    """What a block says of itself."""

    block_no: int
    size: int
    sealed_us: int
    content_hash: bytes


def genesis(tenant_id: int, chain: str) -> bytes:
    """What the first block of a tenant's chain follows."""
    return hashlib.sha256(_MARK + tenant_id.to_bytes(8, "big") + chain.encode()).digest()


def content_hash(records: Iterable[tuple[int, bytes]]) -> bytes:
    """The hash of (record id, record hash) in seal order. Raises ValueError for a hash that is not 32 bytes."""
    body = bytearray(_MARK)
    for id_, row_hash in records:
        body += id_.to_bytes(8, "big") + _whole(row_hash)
    return hashlib.sha256(body).digest()


def seal(key: bytes, previous_hash: bytes, header: Header) -> bytes:
    """The hash of a block after the block before it. Raises ValueError for a hash that is not 32 bytes."""
    numbers = (header.block_no, header.size, header.sealed_us)
    body = b"".join(number.to_bytes(8, "big") for number in numbers)
    return hmac.digest(key, _MARK + _whole(previous_hash) + body + _whole(header.content_hash), "sha256")


def first_broken(key: bytes, start: bytes, blocks: Sequence[tuple[Header, bytes]]) -> int | None:
    """The index of the first block that is out of order or whose hash is not what its header makes, or None.

    `start` is the chain's genesis; `blocks` are (header, stored block hash) in order.
    """
    previous = start
    for index, (header, stored) in enumerate(blocks):
        if header.block_no != index + 1 or seal(key, previous, header) != stored:
            return index
        previous = stored
    return None


def _whole(digest: bytes) -> bytes:
    if len(digest) != 32:
        raise ValueError("hashes in a chain are 32 bytes each")
    return digest
