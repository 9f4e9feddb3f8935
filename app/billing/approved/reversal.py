"""Reversing a top-up: its amount is the whole sale."""

from sqlalchemy.orm import Session

from app.billing.approved.gate import Desk, gated, users_of
from app.billing.ledger.service import Posted
from app.billing.models import Payment
from app.billing.payments.counter import reverse_top_up
from app.kernel.actor import Actor
from app.permissions.approval_models import Approval
from app.permissions.approvals import Wish
from app.tenants.access import or_not_found


def reverse_sale(
    session: Session,
    *,
    payment: Payment,
    reason: str,
    actor: Actor,
    idempotency_key: str,
    approval_id: int | None = None,
) -> Posted:
    """Reverse a top-up of today; who sold it neither reverses nor decides.

    Raises as `gated` and `reverse_top_up`.
    """
    wish = Wish(
        "reversal",
        payment.property_id,
        f"payments:{payment.id}",
        payment.amount_fen,
        {"payment_id": payment.id, "entry_id": payment.entry_id, "amount_fen": payment.amount_fen}
        | {"supply_account_id": payment.supply_account_id, "channel": payment.channel},
        concerned=users_of(payment.actor),
    )
    return gated(
        session,
        wish=wish,
        by=actor,
        approval_id=approval_id,
        deed=lambda: reverse_top_up(
            session,
            payment=payment,
            reason=reason,
            actor=actor,
            idempotency_key=idempotency_key,
            approval_id=approval_id,
        ),
    )


def reverse_again(session: Session, row: Approval, by: Actor, _desk: Desk) -> str:
    """Carry a request out."""
    payment = or_not_found(session.get(Payment, (row.tenant_id, row.content["payment_id"])))
    key = f"approval:{row.id}"
    posted = reverse_sale(
        session, payment=payment, reason=row.reason, actor=by, idempotency_key=key, approval_id=row.id
    )
    return f"ledger_entries:{posted.entry_id}"
