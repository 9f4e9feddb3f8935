"""The audit log's oldest part as a file: whole sealed blocks, and a manifest that says what the file holds.

    audit-7-1-40.jsonl           for each block its header, then its records in seal order
    audit-7-1-40.manifest.json   counts, SHA-256 of the file, HMAC over all of that

A file is believed only after it was read back: each record hashes to what was sealed, each block's records to its header.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from app.kernel.errors import AppError
from app.tenants.audit import hash_of
from app.tenants.audit_keys import Use, audit_keys
from app.tenants.chain import content_hash
from app.tenants.models import AuditRecord, SealBlock

_INSTANTS = ("at", "wall_at", "sealed_at")
_PIECE_BYTES = 1 << 20


class ArchiveBroken(AppError):
    """The archive is not what its manifest says, or its records are not what was sealed."""

    code, status = "archive_broken", 409
    message_zh = "归档文件 {file} 与清单不符：{what}。请改用另一份副本；数据库中的记录没有改动。"
    message_en = (
        "The archive {file} is not what its manifest says: {what}. Use another copy; the database is unchanged."
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds."""

    tenant_id: int
    first_block: int
    last_block: int
    records: int
    sha256: str


#: A block with its records in seal order.
Content = tuple[SealBlock, Sequence[AuditRecord]]


def write_archive(folder: Path, tenant_id: int, blocks: Iterable[Content], *, first: int, last: int) -> Path:
    """Write blocks and manifest, on disk when it returns. Raises FileExistsError rather than overwrite."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    path = folder / f"audit-{tenant_id}-{first}-{last}.jsonl"
    records = 0
    with path.open("x", encoding="ascii") as file:
        for block, content in blocks:
            _write(file, {"block": _plain(block)})
            for record in content:
                _write(file, {"record": _plain(record)})
            records += len(content)
        file.flush()
        os.fsync(file.fileno())
    manifest = asdict(Manifest(tenant_id, first, last, records, _digest(path)))
    keys = audit_keys()
    signed = manifest | {"key_id": keys.current_id, "mac": keys.mac(Use.ARCHIVE, _text(manifest).encode()).hex()}
    with manifest_of(path).open("x", encoding="ascii") as file:
        _write(file, signed)
        file.flush()
        os.fsync(file.fileno())
    return path


def read_archive(path: Path) -> Manifest:
    """Verify an archive from its manifest down to every record. Raises ArchiveBroken naming what does not fit."""
    manifest = _read_manifest(path)
    if _digest(path) != manifest.sha256:
        raise ArchiveBroken(file=path.name, what="SHA-256")
    try:
        _verify_blocks(path, manifest)
    except (KeyError, TypeError, ValueError) as strange:
        raise ArchiveBroken(file=path.name, what="JSON") from strange
    return manifest


def manifest_of(path: Path) -> Path:
    """Where the manifest of an archive lies."""
    return path.with_suffix(".manifest.json")


def _read_manifest(path: Path) -> Manifest:
    try:
        said = json.loads(manifest_of(path).read_text(encoding="ascii"))
        manifest = Manifest(**{name: said[name] for name in Manifest.__slots__})
        mac = audit_keys().mac_of(Use.ARCHIVE, said["key_id"], _text(asdict(manifest)).encode())
        genuine = mac is not None and mac.hex() == said["mac"]
    except (OSError, KeyError, TypeError, ValueError) as strange:
        raise ArchiveBroken(file=path.name, what="manifest") from strange
    if not genuine:
        raise ArchiveBroken(file=path.name, what="manifest")
    return manifest


def _verify_blocks(path: Path, manifest: Manifest) -> None:
    expected, records = manifest.first_block, 0
    for block, content in _blocks_in(path):
        hashes = [(record.id, hash_of(record) or b"") for record in content]
        if block.block_no != expected or [row_hash for _, row_hash in hashes] != [r.row_hash for r in content]:
            raise ArchiveBroken(file=path.name, what=f"block {block.block_no}")
        if content_hash(hashes) != block.content_hash:
            raise ArchiveBroken(file=path.name, what=f"block {block.block_no}")
        expected, records = expected + 1, records + len(content)
    if (expected, records) != (manifest.last_block + 1, manifest.records):
        raise ArchiveBroken(file=path.name, what="count")


def _blocks_in(path: Path) -> Iterator[tuple[SealBlock, list[AuditRecord]]]:
    block, content = None, list[AuditRecord]()
    with path.open(encoding="ascii") as file:
        for line in file:
            said = json.loads(line)
            if "record" in said:
                content.append(AuditRecord(**_read(said["record"])))
                continue
            if block is not None:
                yield block, content
            block, content = SealBlock(**_read(said["block"])), []
    if block is not None:
        yield block, content


def _plain(row: SealBlock | AuditRecord) -> dict[str, Any]:
    cells = {column.key: getattr(row, column.key) for column in row.__mapper__.columns}
    return {name: _said(cell) for name, cell in cells.items()}


def _said(cell: object) -> object:
    if isinstance(cell, bytes):
        return {"hex": cell.hex()}
    return cell.isoformat() if isinstance(cell, datetime) else cell


def _read(said: dict[str, Any]) -> dict[str, Any]:
    cells = {name: bytes.fromhex(cell["hex"]) if _is_hex(name, cell) else cell for name, cell in said.items()}
    dates = {name: datetime.fromisoformat(said[name]) for name in _INSTANTS if name in said}
    return cells | dates


def _is_hex(name: str, cell: object) -> bool:
    return name.endswith(("hash", "digest", "mac")) and isinstance(cell, dict)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _write(file: TextIO, said: dict[str, Any]) -> None:
    file.write(_text(said) + "\n")


def _text(said: dict[str, Any]) -> str:
    return json.dumps(said, sort_keys=True, separators=(",", ":"))
