"""The ledger's chain: what an entry and its postings hash to today, sealed and verified by `app.tenants.seals`."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.ledger.models import Entry, EntryPosting
from app.billing.ledger.postings import row_hash
from app.billing.ledger.service import draft_of
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.tenants.seals import Chain, SealReport, seal_chain, verify_chain


def _hashes_today(session: Session, ids: Sequence[int]) -> Mapping[int, bytes]:
    fresh = {"populate_existing": True}
    entries = session.scalars(select(Entry).where(Entry.id.in_(ids)), execution_options=fresh).all()
    lines = session.scalars(
        select(EntryPosting)
        .where(EntryPosting.entry_id.in_(ids))
        .order_by(EntryPosting.entry_id, EntryPosting.line_no),
        execution_options=fresh,
    )
    postings = {id_: list(own) for id_, own in groupby(lines, key=lambda line: line.entry_id)}
    hashed = ((entry.id, _hash_of(entry, postings.get(entry.id, ()))) for entry in entries)
    return {id_: found for id_, found in hashed if found is not None}


def _hash_of(entry: Entry, lines: Iterable[EntryPosting]) -> bytes | None:
    """None for an entry that no draft could ever have said: it was altered."""
    try:
        return row_hash(current_tenant_id(), draft_of(entry, lines), entry.hash_version)
    except AppError:
        return None


LEDGER = Chain("ledger", Entry.id, Entry.row_hash, _hashes_today)


def seal_entries(session: Session) -> int:
    """Chain every committed, unsealed entry. Returns how many were sealed."""
    return seal_chain(session, LEDGER)


def verify_seals(session: Session) -> SealReport:
    """Recompute every entry's hash and every block of the ledger's chain."""
    return verify_chain(session, LEDGER)
