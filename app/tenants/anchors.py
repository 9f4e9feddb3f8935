"""Anchors: the heads of the sealed chains, kept outside the database, at least every ten minutes.

The chains say that nothing between their first and their last block was altered. They cannot say that the last block is
the last: who deletes records together with their blocks leaves a shorter chain that fits. So the head of every chain is
written to a place that the database's owner does not reach, each line under the audit key and following the line before:

    {"at": …, "block_hash": …, "block_no": …, "chain": "audit", "key_id": …, "mac": …, "previous": <mac of the line before>,
     "record_id": <highest id in the block>, "records": <sealed up to here>, "restored": null, "tenant": 7}

Whatever implements `AnchorSink` may take the lines: another kind of place is installed with `use_anchor_sink`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.kernel.db import current_tenant_id
from app.kernel.unit_of_work import unit_of_work
from app.settings import Settings
from app.tenants.anchor_files import AnchorFiles
from app.tenants.audit_keys import AuditKeys, Use, audit_keys
from app.tenants.models import SealBlock, SealedRecord

CHAINS = ("audit", "ledger")
#: A head that has not moved is written again after so long; one that has moved, at once.
ANCHOR_EVERY = timedelta(minutes=9)
#: A block this old that no anchor knows is a finding.
ANCHORED_WITHIN = timedelta(minutes=15)
#: What the very first line follows.
NOTHING = "0" * 64


class AnchorSink(Protocol):
    """A place for lines that the owner of the database cannot rewrite."""

    def append(self, at: datetime, lines_after: Callable[[str | None], Sequence[str]]) -> None:
        """Ask what follows the last line, under a lock, and have it on disk (or further away) when this returns."""

    def lines(self, since: datetime | None = None) -> Iterator[tuple[str, str]]:
        """(where it stands, line) of all that was ever appended, oldest first; or only from the day of an instant."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: its last block, how many records are sealed up to it, and the highest id in that block."""

    tenant: int
    chain: str
    block_no: int
    block_hash: str
    records: int
    record_id: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head as it was written down: when, where it stands, and why if it was written after a restore."""

    head: Head
    at: datetime
    place: str
    restored: str | None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an anchor or by it. `what` is one of line_altered, line_missing, block_missing, block_altered,
    not_anchored."""

    what: str
    place: str
    details: str


_sink: AnchorSink | None = None
_known: dict[tuple[int, str], tuple[Head, datetime]] = {}


def use_anchor_sink(sink: AnchorSink | None) -> None:
    """Install where this process writes and reads anchors; None for the files of the settings."""
    global _sink
    _sink = sink
    _known.clear()


def anchor_sink() -> AnchorSink:
    """The installed sink; the files below ANCHOR_DIR when none was installed."""
    return _sink or AnchorFiles(Settings.from_env().anchor_path)


def anchor_heads(tenant_id: int) -> int:
    """Write down the heads of a tenant's chains that moved, or were not written for ANCHOR_EVERY. Returns how many.

    Only what is committed: the heads are read in a unit of work of their own. Raises OSError when the place is away.
    """
    now = wall_now()
    with unit_of_work(tenant_id) as session:
        heads = [head for chain in CHAINS if (head := head_of(session, chain)) is not None]
    due = [head for head in heads if _is_due(head, now)]
    if due:
        write_anchors(due, at=now)
    return len(due)


def note_restore(session: Session, *, reason: str) -> Sequence[Head]:
    """Say that the database was brought back to an earlier state: what earlier anchors know beyond these heads was lost
    by that restore. Returns the heads."""
    heads = [head for chain in CHAINS if (head := head_of(session, chain)) is not None]
    write_anchors(heads, at=wall_now(), restored=reason)
    return heads


def write_anchors(heads: Sequence[Head], *, at: datetime, restored: str | None = None) -> None:
    """Append heads to the sink, each line after the one before."""
    keys = audit_keys()

    def lines_after(last: str | None) -> list[str]:
        lines, previous = list[str](), mac_in(last)
        for head in heads:
            lines.append(_line(keys, head, at, previous, restored))
            previous = mac_in(lines[-1])
        return lines

    anchor_sink().append(at, lines_after)
    _known.update({(head.tenant, head.chain): (head, at) for head in heads})


def head_of(session: Session, chain: str) -> Head | None:
    """The end of one of the tenant's chains; None while nothing is sealed."""
    block = session.scalars(
        select(SealBlock).where(SealBlock.chain == chain).order_by(SealBlock.block_no.desc()).limit(1)
    ).first()
    if block is None:
        return None
    of_block = (SealedRecord.chain == chain, SealedRecord.block_no == block.block_no)
    record_id = session.scalar(select(func.max(SealedRecord.record_id)).where(*of_block)) or 0
    records = _records_up_to(session, chain)
    return Head(current_tenant_id(), chain, block.block_no, block.block_hash.hex(), records, record_id)


def _records_up_to(session: Session, chain: str) -> int:
    """Counted from what this process wrote down last, so that it does not grow with history."""
    known = _known.get((current_tenant_id(), chain))
    since, counted = (known[0].block_no, known[0].records) if known else (0, 0)
    newer = (SealBlock.chain == chain, SealBlock.block_no > since)
    return counted + int(session.scalar(select(func.coalesce(func.sum(SealBlock.size), 0)).where(*newer)) or 0)


def _is_due(head: Head, now: datetime) -> bool:
    known = _known.get((head.tenant, head.chain))
    return known is None or known[0].block_hash != head.block_hash or now - known[1] >= ANCHOR_EVERY


def mac_in(line: str | None) -> str:
    """The code at the end of a whole line; NOTHING where there is none."""
    said = _parsed(line or "")
    return str(said.get("mac", NOTHING)) if said else NOTHING


def _line(keys: AuditKeys, head: Head, at: datetime, previous: str, restored: str | None) -> str:
    said = asdict(head) | {"at": at.isoformat(), "key_id": keys.current_id, "previous": previous, "restored": restored}
    return _text(said | {"mac": keys.mac(Use.ANCHOR, _text(said).encode()).hex()})


def _text(said: dict[str, Any]) -> str:
    """One line whatever was typed: everything beyond ASCII and every control character is escaped."""
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


def read_anchors(lines: Iterable[tuple[str, str]]) -> tuple[list[Anchor], list[Fault]]:
    """Every anchor whose line is genuine, and what is wrong with the others, in order.

    A torn line (the computer died while it was written) is forgiven when the next one follows the line before it.
    """
    keys, anchors, faults = audit_keys(), list[Anchor](), list[Fault]()
    previous: str | None = None
    torn: Fault | None = None
    for place, line in lines:
        said = _parsed(line)
        if said is None:
            faults += [torn] if torn else []
            torn = Fault("line_altered", place, "it is no anchor")
            continue
        follows = said.get("previous") == (previous or NOTHING)
        if torn and not follows:
            faults.append(torn)
        elif not follows:
            faults.append(Fault("line_missing", place, "it does not follow the line before it"))
        torn, previous = None, str(said.get("mac"))
        anchor = _genuine(keys, said, place)
        if anchor is None:
            faults.append(Fault("line_altered", place, f"it says {said.get('chain')} block {said.get('block_no')}"))
        else:
            anchors.append(anchor)
    return anchors, faults + ([torn] if torn else [])


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _genuine(keys: AuditKeys, said: dict[str, Any], place: str) -> Anchor | None:
    try:
        unsigned = {name: value for name, value in said.items() if name != "mac"}
        if keys.mac_of(Use.ANCHOR, said["key_id"], _text(unsigned).encode()) != bytes.fromhex(said["mac"]):
            return None
        head = Head(**{name: said[name] for name in Head.__slots__})
        return Anchor(head, datetime.fromisoformat(said["at"]), place, said["restored"])
    except (KeyError, TypeError, ValueError):
        return None


def check_anchors(session: Session, chain: str, anchors: Iterable[Anchor]) -> list[Fault]:
    """Hold one of the tenant's chains against what was written down about it: the first block that is gone, the first
    that is another one, and the first that should have been written down and was not."""
    own = [a for a in anchors if (a.head.tenant, a.head.chain) == (current_tenant_id(), chain)]
    known = {
        block_no: (block_hash.hex(), sealed_at)
        for block_no, block_hash, sealed_at in session.execute(
            select(SealBlock.block_no, SealBlock.block_hash, SealBlock.sealed_at).where(SealBlock.chain == chain)
        )
    }
    in_force = _not_restored_over(own)
    faults = [fault for fault in (_first_missing(in_force, known), _first_other(in_force, known)) if fault]
    newest = max((a.head.block_no for a in in_force), default=0)
    late = [no for no, (_, sealed_at) in known.items() if no > newest and wall_now() - sealed_at > ANCHORED_WITHIN]
    if late:
        faults.append(Fault("not_anchored", "", f"{chain} block {min(late)} and {len(late) - 1} after it"))
    return faults


def restored_over(anchors: Sequence[Anchor]) -> list[Anchor]:
    """Anchors of blocks that a restore, written down as such, has undone."""
    kept = set(_not_restored_over(anchors))
    return [anchor for anchor in anchors if anchor not in kept]


def _not_restored_over(anchors: Sequence[Anchor]) -> list[Anchor]:
    kept: list[Anchor] = []
    for anchor in anchors:
        head = anchor.head
        if anchor.restored is not None:
            other = (head.tenant, head.chain)
            kept = [a for a in kept if (a.head.tenant, a.head.chain) != other or a.head.block_no <= head.block_no]
        kept.append(anchor)
    return kept


def _first_missing(anchors: Iterable[Anchor], known: dict[int, tuple[str, datetime]]) -> Fault | None:
    gone = [anchor for anchor in anchors if anchor.head.block_no not in known]
    if not gone:
        return None
    first = min(gone, key=lambda anchor: anchor.head.block_no)
    last = max(gone, key=lambda anchor: anchor.head.block_no).head
    return Fault(
        "block_missing",
        first.place,
        f"{last.chain} block {first.head.block_no} was sealed with records up to {first.head.record_id} and is gone;"
        f" {last.records} records were sealed in {last.block_no} blocks",
    )


def _first_other(anchors: Iterable[Anchor], known: dict[int, tuple[str, datetime]]) -> Fault | None:
    for anchor in sorted(anchors, key=lambda anchor: anchor.head.block_no):
        head = anchor.head
        if head.block_no in known and known[head.block_no][0] != head.block_hash:
            return Fault("block_altered", anchor.place, f"{head.chain} block {head.block_no} is another one today")
    return None


def anchored_at(sink: AnchorSink, *, tenant_id: int, chain: str, block_no: int, since: datetime) -> datetime | None:
    """When a block was first written down, looking from the day it was sealed; None where no genuine line says so."""
    keys = audit_keys()
    for place, line in sink.lines(since):
        said = _parsed(line)
        if said is None or (said.get("tenant"), said.get("chain")) != (tenant_id, chain):
            continue
        anchor = _genuine(keys, said, place)
        if anchor is not None and anchor.head.block_no >= block_no:
            return anchor.at
    return None
