"""Publishing a price: its amount is how far it lies from the one it replaces."""

from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.approved.gate import Desk, gated
from app.billing.models import PricePlan, PriceVersion
from app.billing.plans import counts, publish_price
from app.billing.tariffs.plans import MICROFEN_PER_WH_AT_ONE_YUAN, FlatPrice
from app.kernel.actor import Actor
from app.permissions.approval_models import Approval
from app.permissions.approvals import Wish
from app.tenants.access import or_not_found


def change_price(
    session: Session,
    *,
    plan: PricePlan,
    price: Decimal,
    effective_from: datetime,
    by: Actor,
    approval_id: int | None = None,
) -> PriceVersion:
    """Publish a price; its amount is how far it lies from the one it replaces. Raises as `gated` and `publish_price`."""
    FlatPrice(price)
    before = _price_at(session, plan, effective_from)
    wish = Wish(
        "price_change",
        plan.property_id,
        f"price_plans:{plan.id}",
        int(abs(price - (before or Decimal(0))) * MICROFEN_PER_WH_AT_ONE_YUAN),
        {"plan_id": plan.id, "price": _plain(price), "price_before": None if before is None else _plain(before)}
        | {"effective_from": effective_from.astimezone(UTC).isoformat()},
    )
    return gated(
        session,
        wish=wish,
        by=by,
        approval_id=approval_id,
        deed=lambda: publish_price(
            session, plan=plan, price=price, effective_from=effective_from, by=by, approval_id=approval_id
        ),
    )


def _price_at(session: Session, plan: PricePlan, at: datetime) -> Decimal | None:
    of_plan = select(PriceVersion.price).where(PriceVersion.plan_id == plan.id, counts())
    known = of_plan.where(PriceVersion.effective_from <= at)
    return session.scalar(known.order_by(PriceVersion.effective_from.desc()).limit(1))


def change_price_again(session: Session, row: Approval, by: Actor, _desk: Desk) -> str:
    """Carry a request out."""
    plan = or_not_found(session.get(PricePlan, (row.tenant_id, row.content["plan_id"])))
    since = datetime.fromisoformat(row.content["effective_from"])
    made = change_price(
        session, plan=plan, price=Decimal(row.content["price"]), effective_from=since, by=by, approval_id=row.id
    )
    return f"price_versions:{made.id}"


def _plain(price: Decimal) -> str:
    """The price with its five decimals, so that equal prices read equal."""
    return str(price.quantize(Decimal("0.00001")))
