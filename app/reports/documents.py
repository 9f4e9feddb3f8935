"""The worker's consumer `documents`: the PDF of a receipt follows the payment. Only workers import this module."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.models import Receipt
from app.billing.payments.receipts import receipt_number
from app.kernel.outbox import Delivery
from app.reports.receipt_files import receipt_path, receipt_words
from app.reports.render import render_pdf
from app.settings import Settings


def render_receipts(session: Session, deliveries: Sequence[Delivery]) -> None:
    """Make original and copy of the receipts of these payments. Repeatable: the same files again."""
    folder = Settings.from_env().var_path
    payment_ids = [int(delivery.payload["payment_id"]) for delivery in deliveries]
    for receipt in session.scalars(select(Receipt).where(Receipt.payment_id.in_(payment_ids)).order_by(Receipt.id)):
        write_receipt(receipt, folder)


def write_receipt(receipt: Receipt, folder: Path, *, locale: str = "zh") -> list[Path]:
    """Write both PDFs of a receipt under the folder and return their paths."""
    return [_write(receipt, folder, is_copy=is_copy, locale=locale) for is_copy in (False, True)]


def _write(receipt: Receipt, folder: Path, *, is_copy: bool, locale: str) -> Path:
    path = receipt_path(folder, receipt.tenant_id, str(receipt.public_id), is_copy=is_copy)
    number = receipt_number(receipt.till, receipt.number)
    words = receipt_words(receipt.content, number=number, is_copy=is_copy, locale=locale)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    draft = path.with_suffix(".part")  # nobody may open half a PDF
    draft.touch(mode=0o600)
    draft.chmod(0o600)  # one left over from before may be open to others
    draft.write_bytes(render_pdf("receipt.html", locale=locale, **words))
    return draft.replace(path)
