"""Receipts 收据: what they say is frozen when they are issued; a second print says that it is a copy."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.billing.models import Receipt, SupplyAccount
from app.billing.payments.gateway import MoneyIn
from app.billing.payments.payee import Payee
from app.kernel.errors import NotFound
from app.tenants.phones import mask_name


@dataclass(frozen=True, slots=True)
class Printed:
    """A receipt as it goes on paper. `is_copy` from the second print on; the number never changes."""

    number: str
    content: dict[str, Any]
    is_copy: bool


def receipt_number(till: str, number: int) -> str:
    """How a receipt number is written: `T1-000042`."""
    return f"{till}-{number:06d}"


def receipt_content(payee: Payee, *, account: SupplyAccount, money: MoneyIn, available_fen: int) -> dict[str, Any]:
    """Everything a receipt says, names masked as printed. Amounts in fen, `available_fen` after the payment."""
    return {
        "property": payee.property_name,
        "legal_entity": payee.legal_entity,
        "tax_number": payee.tax_number,
        "time_zone": payee.time_zone,
        "account_number": account.number,
        "utility": account.utility,
        "building": payee.building,
        "space": payee.space,
        "party": mask_name(payee.party),
        "amount_fen": money.amount_fen,
        "channel": money.channel.value,
        "available_before_fen": available_fen - money.amount_fen,
        "available_after_fen": available_fen,
        "taken_by": money.actor.name,
        "received_at": money.received_at.isoformat(),
    }


def print_receipt(session: Session, *, receipt: Receipt) -> Printed:
    """Count a print and say what goes on the paper."""
    counted = (
        update(Receipt).where(Receipt.id == receipt.id).values(prints=Receipt.prints + 1).returning(Receipt.prints)
    )
    prints = session.scalars(counted, execution_options={"synchronize_session": False}).one()
    return Printed(receipt_number(receipt.till, receipt.number), receipt.content, is_copy=prints > 1)


def access_receipt(session: Session, *, public_id: uuid.UUID, allowed: Collection[int]) -> Receipt:
    """The receipt when its property is among `allowed`. Raises NotFound for "not yours" and "not there" alike."""
    found = session.scalar(select(Receipt).where(Receipt.public_id == public_id, Receipt.property_id.in_(allowed)))
    if found is None:
        raise NotFound(thing="receipt")
    return found
