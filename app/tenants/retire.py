"""Retention: audit records older than the group's policy leave, as whole sealed blocks, for a verified archive.

Only the owner of the tables can delete them; the blocks' headers stay, so that the chain verifies from its first block on.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.tenants.archives import Content, Manifest, read_archive, write_archive
from app.tenants.audit import record
from app.tenants.audit_keys import audit_keys
from app.tenants.models import AuditRecord, SealBlock, SealedRecord
from app.tenants.seals import AUDIT, archive_mac, verify_chain

#: The law's least (Cybersecurity Law of the PRC, article 23: logs are kept no less than six months).
KEEP_DAYS_MIN = 180


class KeptTooShort(AppError):
    """Records of this day must still be kept."""

    code, status = "audit_kept_too_short", 422
    message_zh = "审计记录至少保留 {days} 天。请选择 {latest} 或更早的日期。"
    message_en = "Audit records are kept for at least {days} days. Choose {latest} or earlier."


class ChainBroken(AppError):
    """A chain that is not whole is evidence: nothing of it leaves."""

    code, status = "audit_chain_broken", 409
    message_zh = "审计链校验未通过，不能归档。请先运行 tallyhouse audit verify 查明原因。"
    message_en = "The audit chain does not verify, so nothing is archived. Run tallyhouse audit verify first."


class NothingToRetire(AppError):
    """No whole block lies before the date."""

    code, status = "audit_nothing_to_retire", 409
    message_zh = "该日期之前没有可归档的完整区块。请选择更晚的日期，但不得短于保留期限。"
    message_en = "There is no whole block before this date. Choose a later one, within the time to keep."


def retire(session: Session, *, before: datetime, keep_days: int, folder: Path, by: Actor) -> tuple[Path, Manifest]:
    """Send the blocks sealed before an instant to an archive below `folder`, read it back, delete their records.

    As the owner. `keep_days` is the group's policy. Raises KeptTooShort, ChainBroken, NothingToRetire, ArchiveBroken,
    FileExistsError; then nothing was deleted.
    """
    _refuse_young(before, max(keep_days, KEEP_DAYS_MIN))
    if not verify_chain(session, AUDIT).intact:
        raise ChainBroken()
    blocks = _blocks_before(session, before)
    if not blocks:
        raise NothingToRetire()
    first, last = blocks[0].block_no, blocks[-1].block_no
    path = write_archive(folder, current_tenant_id(), _contents(session, blocks), first=first, last=last)
    manifest = read_archive(path)
    _mark(blocks, bytes.fromhex(manifest.sha256))
    _delete(session, first, last)
    facts = {"first_block": first, "last_block": last, "records": manifest.records, "sha256": manifest.sha256}
    record(session, deed="audit:log:retire", subject="audit_records:*", actor=by, facts=facts)
    return path, manifest


def _refuse_young(before: datetime, keep_days: int) -> None:
    latest = wall_now() - timedelta(days=keep_days)
    if before > latest:
        raise KeptTooShort(days=keep_days, latest=f"{latest:%Y-%m-%d}")


def _blocks_before(session: Session, before: datetime) -> list[SealBlock]:
    """Sealed before, and therefore recorded before; none of them archived, without a gap."""
    query = select(SealBlock).where(
        SealBlock.chain == AUDIT.name, SealBlock.archive_digest.is_(None), SealBlock.sealed_at < before
    )
    blocks: list[SealBlock] = []
    for block in session.scalars(query.order_by(SealBlock.block_no)):
        if blocks and block.block_no != blocks[-1].block_no + 1:
            break
        blocks.append(block)
    return blocks


def _contents(session: Session, blocks: list[SealBlock]) -> Iterator[Content]:
    """One block's records at a time."""
    for block in blocks:
        records = session.scalars(
            select(AuditRecord)
            .join(
                SealedRecord,
                (SealedRecord.tenant_id == AuditRecord.tenant_id) & (SealedRecord.record_id == AuditRecord.id),
            )
            .where(SealedRecord.chain == AUDIT.name, SealedRecord.block_no == block.block_no)
            .order_by(SealedRecord.position)
        ).all()
        yield block, records
        for one in records:
            session.expunge(one)


def _mark(blocks: list[SealBlock], digest: bytes) -> None:
    keys = audit_keys()
    for block in blocks:
        block.archive_digest = digest
        block.archive_mac = archive_mac(keys, block.block_hash, digest)


def _delete(session: Session, first: int, last: int) -> None:
    own = (SealedRecord.chain == AUDIT.name, SealedRecord.block_no.between(first, last))
    ids = select(SealedRecord.record_id).where(*own)
    quietly = {"synchronize_session": False}
    session.execute(delete(AuditRecord).where(AuditRecord.id.in_(ids)), execution_options=quietly)
    session.execute(delete(SealedRecord).where(*own), execution_options=quietly)
