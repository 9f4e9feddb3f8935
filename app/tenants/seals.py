"""Sealing: committed records get a place in a per-tenant chain of blocks, at least once a minute.

A chain head updated inside every transaction would serialise them all, so a record carries only its own row hash; the
sealer chains what is committed and unsealed, in seal order. What is not yet sealed is reported as the tail.

Two chains: `ledger` (entries with their postings; billing says how they are hashed) and `audit` (the audit log, below).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Exists, Row, func, insert, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.kernel.clock import wall_now
from app.kernel.db import current_tenant_id
from app.tenants.audit import hash_of
from app.tenants.chain import genesis, seal
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
    sealed: int
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
    return {record.id: hash_of(record) for record in records}


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
    block = SealBlock(
        chain=chain.name,
        block_no=block_no,
        previous_hash=previous,
        block_hash=seal(previous, [row_hash for _, row_hash in rows]),
        size=len(rows),
        sealed_at=wall_now(),
    )
    session.add(block)
    session.flush()  # allow: flush - the records refer to the block
    places = [
        {"tenant_id": current_tenant_id(), "chain": chain.name, "record_id": id_, "block_no": block_no}
        | {"position": position, "row_hash": row_hash}
        for position, (id_, row_hash) in enumerate(rows)
    ]
    session.execute(insert(SealedRecord), places)


def verify_chain(session: Session, chain: Chain) -> SealReport:
    """Recompute every record's hash and every block. Names the first altered, missing or misplaced record.

    Records that wait for their seal are held against the hash written with them.
    """
    bad_record, sealed = None, 0
    bad_block, previous = None, genesis(current_tenant_id(), chain.name)
    blocks = session.scalars(select(SealBlock).where(SealBlock.chain == chain.name).order_by(SealBlock.block_no)).all()
    for expected_no, block in enumerate(blocks, 1):
        said = _sealed_in(session, chain, block.block_no)
        sealed += len(said)
        bad_record = bad_record if bad_record is not None else _first_altered(session, chain, said)
        if bad_block is None and _is_broken(block, expected_no, previous, said):
            bad_block = block.block_no
        previous = block.block_hash
    unsealed = 0
    for said in _tail(session, chain):
        unsealed += len(said)
        bad_record = bad_record if bad_record is not None else _first_altered(session, chain, said)
    return SealReport(chain.name, len(blocks), sealed, unsealed, bad_record, bad_block)


def _is_broken(block: SealBlock, expected_no: int, previous: bytes, said: Sequence[tuple[int, bytes]]) -> bool:
    return (
        block.block_no != expected_no
        or block.previous_hash != previous
        or block.size != len(said)
        or block.block_hash != seal(previous, [row_hash for _, row_hash in said])
    )


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
