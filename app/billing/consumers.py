"""What billing does when it hears of something: each handles a batch of deliveries in the caller's unit of work."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing import supply
from app.billing.accrual import days_with_usage
from app.billing.freeze import freeze_if_unusual
from app.billing.models import SupplyAccount
from app.billing.prepaid import price_days, price_dirty
from app.billing.restore import relay_changed
from app.billing.supply_accounts import accounts_of_meters
from app.kernel.clock import business_now
from app.kernel.outbox import Delivery, tell
from app.meters.models import DirtyRange

_SUBJECT = "supply_account:"


def price_arrived(session: Session, deliveries: Sequence[Delivery]) -> None:
    """Price what arrived, one batch per property; what did not fit is told anew and priced in the next unit of work."""
    crossings = 0
    for property_id in sorted({d.payload["property_id"] for d in deliveries if d.kind == "readings.arrived"}):
        priced = price_dirty(session, property_id=property_id)
        crossings += priced.crossings
        if priced.more:
            tell(session, kind="readings.arrived", payload={"property_id": property_id})
    for delivery in deliveries:
        if delivery.kind == "plans.changed":
            crossings += _price_anew(session, delivery.payload["supply_account_ids"], delivery.payload["since"])
    if crossings:
        freeze_if_unusual(session, at=business_now())


def price_untold(session: Session) -> bool:
    """Price one property whose readings are dirty though no event is left to say so. False when there is none."""
    property_id = session.scalar(select(DirtyRange.property_id).order_by(DirtyRange.property_id).limit(1))
    if property_id is None:
        return False
    if price_dirty(session, property_id=property_id).crossings:
        freeze_if_unusual(session, at=business_now())
    return True


def decide_supply(session: Session, deliveries: Sequence[Delivery]) -> None:
    """Follow commands and relays to their stops, then decide on every account that was spoken of, once."""
    _lock_in_order(session, deliveries)
    accounts: dict[int, bool] = {}
    for delivery in deliveries:
        said = delivery.payload
        match delivery.kind:
            case "supply.level_changed":
                accounts.setdefault(said["supply_account_id"], False)
            case "payments.succeeded":
                off = bool(said.get("appliances_off")) or accounts.get(said["supply_account_id"], False)
                accounts[said["supply_account_id"]] = off
            case "notices.delivered" | "notices.failed" if said["subject"].startswith(_SUBJECT):
                accounts.setdefault(int(said["subject"].removeprefix(_SUBJECT)), False)
            case "commands.ended":
                supply.command_ended(session, command_id=said["command_id"])
            case "meters.relay_changed":
                relay_changed(session, meter_id=said["meter_id"], relay_state=said["relay_state"])
            case "meters.returned":
                supply.meter_returned(session, meter_id=said["meter_id"])
    for supply_account_id, appliances_off in accounts.items():
        supply.decide(session, supply_account_id=supply_account_id, appliances_off=appliances_off)


def _lock_in_order(session: Session, deliveries: Sequence[Delivery]) -> None:
    """Lock everything that will be decided on before the first decision."""
    named = {d.payload["supply_account_id"] for d in deliveries if "supply_account_id" in d.payload}
    subjects = [d.payload["subject"] for d in deliveries if "subject" in d.payload]
    named |= {int(s.removeprefix(_SUBJECT)) for s in subjects if s.startswith(_SUBJECT)}
    meters = {d.payload["meter_id"] for d in deliveries if "meter_id" in d.payload}
    accounts = named | accounts_of_meters(session, meter_ids=meters)
    supply.lock_in_order(session, supply_account_ids=accounts)


def _price_anew(session: Session, supply_account_ids: Sequence[int], since: str) -> int:
    """Price the days of these accounts from a day on; they had no price, or another, when they were used."""
    properties = select(SupplyAccount.property_id).where(SupplyAccount.id.in_(supply_account_ids)).distinct()
    crossings = 0
    for property_id in session.scalars(properties).all():
        days = days_with_usage(
            session, property_id=property_id, supply_account_ids=supply_account_ids, since=date.fromisoformat(since)
        )
        crossings += price_days(session, property_id=property_id, days=days).crossings
    return crossings
