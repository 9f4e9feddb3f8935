"""Sealing: committed records get a place in a per-tenant chain of blocks, at least once a minute.

A chain head updated inside every transaction would serialise them all, so a record carries only its own row hash; the
sealer chains what is committed and unsealed, in seal order. What is not yet sealed is reported as the tail. Blocks are
hashed under a key outside the database (`tenants.audit_keys`): whoever can write here cannot seal anew.

Two chains: `ledger` (entries with their postings; billing says how they are hashed) and `audit` (the audit log, below).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Exists, Row, func, insert, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.kernel.clock import EPOCH, MICROSECOND, wall_now
from app.kernel.db import current_tenant_id
from app.tenants.audit import hash_of
from app.tenants.audit_keys import AuditKeys, Use, audit_keys
from app.tenants.chain import Header, content_hash, genesis, seal
from app.tenants.models import AuditRecord, SealBlock, SealedRecord

BLOCK_MAX = 5_000
#: How many records are read at a time when a chain is verified.
VERIFY_MAX = 500
#: Longer than any transaction may last.
LAG = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Chain:
    """One kind of record that is sealed."""

    name: str
    #: Columns of the table: the record's id, and the hash written with it.
    id: InstrumentedAttribute[int]
    row_hash: InstrumentedAttribute[bytes]
    #: What the records with these ids hash to today; those that are gone, or say nonsense, are absent.
    hashes_today: Callable[[Session, Sequence[int]], Mapping[int, bytes]]


@dataclass(frozen=True, slots=True)
class SealReport:
    """What the verifier found: the first record whose content or place is wrong, and how many wait for a seal."""

    chain: str
    blocks: int
    #: Records in those blocks that are here, and those that went to an archive.
    sealed: int
    archived: int
    unsealed: int
    first_bad_record_id: int | None
    first_bad_block_no: int | None

    @property
    def intact(self) -> bool:
        """Nothing was altered, removed or moved."""
        return self.first_bad_record_id is None and self.first_bad_block_no is None


def _audit_hashes(session: Session, ids: Sequence[int]) -> Mapping[int, bytes]:
    records = session.scalars(
        select(AuditRecord).where(AuditRecord.id.in_(ids)), execution_options={"populate_existing": True}
    )
    found = ((record.id, hash_of(record)) for record in records)
    return {id_: row_hash for id_, row_hash in found if row_hash is not None}


AUDIT = Chain("audit", AuditRecord.id, AuditRecord.row_hash, _audit_hashes)


def seal_chain(session: Session, chain: Chain) -> int:
    """Chain everything committed and unsealed, in blocks of at most BLOCK_MAX. Returns how many records were sealed."""
    session.execute(text("SELECT 1 FROM tenants WHERE id = :id FOR UPDATE"), {"id": current_tenant_id()})
    sealed = 0
    while rows := _unsealed(session, chain, after=_settled_up_to(session, chain), limit=BLOCK_MAX):
        _write_block(session, chain, rows)
        sealed += len(rows)
        if len(rows) < BLOCK_MAX:
            break
    return sealed


def _unsealed(session: Session, chain: Chain, *, after: int, limit: int) -> Sequence[Row[int, bytes]]:
    return session.execute(
        select(chain.id, chain.row_hash).where(chain.id > after, ~_is_sealed(chain)).order_by(chain.id).limit(limit)
    ).all()


def _settled_up_to(session: Session, chain: Chain) -> int:
    """A record id below which nothing can be unsealed any more, so that sealing does not grow with history.

    No transaction lasts an hour: whatever was numbered an hour before the last block has been seen by it.
    """
    last = session.scalar(select(func.max(SealBlock.sealed_at)).where(SealBlock.chain == chain.name))
    if last is None:
        return 0
    old = select(func.max(SealBlock.block_no)).where(SealBlock.chain == chain.name, SealBlock.sealed_at < last - LAG)
    query = select(func.max(SealedRecord.record_id)).where(
        SealedRecord.chain == chain.name, SealedRecord.block_no == old.scalar_subquery()
    )
    return session.scalar(query) or 0


def _is_sealed(chain: Chain) -> Exists:
    return (
        select(SealedRecord.record_id)
        .where(
            SealedRecord.tenant_id == current_tenant_id(),
            SealedRecord.chain == chain.name,
            SealedRecord.record_id == chain.id,
        )
        .exists()
    )


def _write_block(session: Session, chain: Chain, rows: Sequence[Row[int, bytes]]) -> None:
    last = session.scalars(
        select(SealBlock).where(SealBlock.chain == chain.name).order_by(SealBlock.block_no.desc()).limit(1)
    ).first()
    previous = last.block_hash if last else genesis(current_tenant_id(), chain.name)
    block_no = last.block_no + 1 if last else 1
    session.add(_new_block(chain, block_no, previous, [(id_, row_hash) for id_, row_hash in rows]))
    session.flush()  # allow: flush - the records refer to the block
    places = [
        {"tenant_id": current_tenant_id(), "chain": chain.name, "record_id": id_, "block_no": block_no}
        | {"position": position, "row_hash": row_hash}
        for position, (id_, row_hash) in enumerate(rows)
    ]
    session.execute(insert(SealedRecord), places)


def _new_block(chain: Chain, block_no: int, previous: bytes, records: Sequence[tuple[int, bytes]]) -> SealBlock:
    keys, now = audit_keys(), wall_now()
    key = keys.key(Use.BLOCK)
    assert key is not None
    header = Header(block_no, len(records), _us(now), content_hash(records))
    return SealBlock(
        chain=chain.name,
        block_no=block_no,
        previous_hash=previous,
        content_hash=header.content_hash,
        block_hash=seal(key, previous, header),
        key_id=keys.current_id,
        size=len(records),
        sealed_at=now,
    )


def verify_chain(session: Session, chain: Chain) -> SealReport:
    """Recompute every record's hash and every block. Names the first altered, missing or misplaced record.

    Records that wait for their seal are held against the hash written with them. Of a block whose records went to an
    archive the header is verified, and that who holds the key said so.
    """
    keys = audit_keys()
    key_age: int | None = None
    bad_record, sealed, archived = None, 0, 0
    bad_block, previous = None, genesis(current_tenant_id(), chain.name)
    blocks = session.scalars(select(SealBlock).where(SealBlock.chain == chain.name).order_by(SealBlock.block_no)).all()
    for expected_no, block in enumerate(blocks, 1):
        said = _sealed_in(session, chain, block.block_no)
        sealed += len(said)
        bad_record = bad_record if bad_record is not None else _first_altered(session, chain, said)
        archived += block.size if block.archive_digest else 0
        age = keys.age(block.key_id)
        # After a key was exchanged the one before it, which may be known to somebody, seals nothing more.
        older_again = age is not None and key_age is not None and age > key_age
        if bad_block is None and (older_again or _is_broken(keys, block, expected_no, previous, said)):
            bad_block = block.block_no
        previous, key_age = block.block_hash, age
    unsealed = 0
    for said in _tail(session, chain):
        unsealed += len(said)
        bad_record = bad_record if bad_record is not None else _first_altered(session, chain, said)
    return SealReport(chain.name, len(blocks), sealed, archived, unsealed, bad_record, bad_block)


def _is_broken(
    keys: AuditKeys, block: SealBlock, expected_no: int, previous: bytes, said: Sequence[tuple[int, bytes]]
) -> bool:
    if block.block_no != expected_no or block.previous_hash != previous or not _header_holds(keys, block):
        return True
    if block.archive_digest is not None:
        return bool(said) or not archive_holds(keys, block)
    return block.size != len(said) or block.content_hash != _content(said)


def _header_holds(keys: AuditKeys, block: SealBlock) -> bool:
    key = keys.key(Use.BLOCK, block.key_id)
    header = Header(block.block_no, block.size, _us(block.sealed_at), block.content_hash)
    with suppress(ValueError, OverflowError):  # what stands there is no header that was ever sealed
        return key is not None and seal(key, block.previous_hash, header) == block.block_hash
    return False


def archive_mac(keys: AuditKeys, block_hash: bytes, archive_digest: bytes, key_id: str | None = None) -> bytes | None:
    """What says that the records of a block went to an archive; None under a key nobody knows."""
    return keys.mac_of(Use.ARCHIVE, key_id or keys.current_id, block_hash + archive_digest)


def archive_holds(keys: AuditKeys, block: SealBlock) -> bool:
    """Whether somebody who holds a key of the ring sent this block's records to the archive it names."""
    digest = block.archive_digest or b""
    return any(block.archive_mac == archive_mac(keys, block.block_hash, digest, key_id) for key_id, _ in keys.ring)


def _content(said: Sequence[tuple[int, bytes]]) -> bytes | None:
    with suppress(ValueError, OverflowError):
        return content_hash(said)
    return None


def _us(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def _sealed_in(session: Session, chain: Chain, block_no: int) -> list[tuple[int, bytes]]:
    """(record id, hash it was sealed with) of a block, in seal order."""
    rows = session.execute(
        select(SealedRecord.record_id, SealedRecord.row_hash)
        .where(SealedRecord.chain == chain.name, SealedRecord.block_no == block_no)
        .order_by(SealedRecord.position)
    )
    return [(id_, row_hash) for id_, row_hash in rows]


def _tail(session: Session, chain: Chain) -> Iterator[list[tuple[int, bytes]]]:
    """(record id, hash written with it) of what is not sealed, some at a time."""
    after = 0
    while rows := _unsealed(session, chain, after=after, limit=VERIFY_MAX):
        after = rows[-1][0]
        yield [(id_, row_hash) for id_, row_hash in rows]


def _first_altered(session: Session, chain: Chain, said: Sequence[tuple[int, bytes]]) -> int | None:
    """The first record whose present content does not hash to what was said of it."""
    for start in range(0, len(said), VERIFY_MAX):
        part = said[start : start + VERIFY_MAX]
        today = chain.hashes_today(session, [id_ for id_, _ in part])
        for id_, row_hash in part:
            if today.get(id_) != row_hash:
                return id_
    return None
