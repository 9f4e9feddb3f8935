"""Switching many supplies: the amount is how many; above the limit a second person sees the list first."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.approved.gate import Desk, gated
from app.billing.mass_control import MassDeed, MassLine, check_mass, switch_many
from app.billing.models import SupplyAccount
from app.kernel.actor import Actor
from app.permissions.approval_models import Approval
from app.permissions.approvals import Wish
from app.tenants.access import or_not_found, within


def control_many(
    session: Session,
    *,
    property_id: int,
    account_ids: Sequence[int],
    deed: str,
    reason: str,
    actor: Actor,
    approval_id: int | None = None,
) -> list[MassLine]:
    """Stop or give back accounts of one property. Raises NotFound, and as `gated` and `switch_many`."""
    ids = sorted(set(account_ids))
    check_mass(accounts=len(ids), reason=reason)
    query = select(SupplyAccount).where(
        within(SupplyAccount.id, ids), SupplyAccount.property_id == property_id, SupplyAccount.state != "closed"
    )
    accounts = session.scalars(query.order_by(SupplyAccount.id)).all()
    or_not_found(accounts if len(accounts) == len(ids) else None)
    wish = Wish(
        "mass_control",
        property_id,
        f"properties:{property_id}",
        len(ids),
        {"deed": MassDeed(deed).value, "property_id": property_id, "account_ids": ids},
    )
    return gated(
        session,
        wish=wish,
        by=actor,
        approval_id=approval_id,
        deed=lambda: switch_many(
            session, accounts=accounts, deed=MassDeed(deed), reason=reason, actor=actor, approval_id=approval_id
        ),
    )


def control_again(session: Session, row: Approval, by: Actor, _desk: Desk) -> str:
    """Carry a request out; what came of each account stands in the audit record that names the request."""
    said = row.content
    control_many(
        session, property_id=said["property_id"], account_ids=said["account_ids"], deed=said["deed"],
        reason=row.reason, actor=by, approval_id=row.id,
    )  # fmt: skip
    return row.subject
