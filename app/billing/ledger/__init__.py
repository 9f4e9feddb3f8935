"""The double-entry ledger: the only door to money. `service.post_entry` is the one place that writes an entry."""

from app.billing.ledger.postings import EntryDraft, Posting

__all__ = ["EntryDraft", "Posting"]
