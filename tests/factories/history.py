"""What happened in a world: money taken, readings arrived and priced, a supply stopped and paid for again."""

from datetime import datetime, timedelta

from sqlalchemy import select, update

from app.billing.day_close import close_days_due
from app.billing.models import Stop, SupplyAccount
from app.billing.payments.counter import take_payment
from app.billing.prepaid import price_dirty
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_models import Command, FrameRecord, Permit
from app.meters.ingest import NewReading, take_readings
from app.meters.models import Gateway, Meter
from app.notify.models import Notice
from tests.factories.world import World, unique

CASHIER = Actor.user(1, name="李雯")
TRIP_FRAME = "68 01 00 00 00 00 00 68 1C 10 35 ** ** ** 33 33 33 33 4D 33 8C 53 43 4A 59 ** 16"


def public_id(db: Database, world: World, index: int = 0) -> str:
    """The address of a supply account of the world."""
    with unit_of_work(world.tenant_id, db=db) as session:
        found = session.scalars(select(SupplyAccount).where(SupplyAccount.id == world.supply_account_ids[index])).one()
        return str(found.public_id)


def pay(db: Database, world: World, index: int = 0, *, fen: int = 10_000, channel: str = "cash") -> str:
    """Take money for an account at the counter; the address of the receipt."""
    with unit_of_work(world.tenant_id, db=db) as session:
        account = session.scalars(
            select(SupplyAccount).where(SupplyAccount.id == world.supply_account_ids[index])
        ).one()
        receipt = take_payment(
            session, supply_account=account, amount_fen=fen, channel=channel, till="T1", actor=CASHIER,
            idempotency_key=unique("pay"),
        )  # fmt: skip
        return str(receipt.public_id)


def read_hourly(db: Database, world: World, *, since: datetime, hours: int, step_wh: int = 400) -> None:
    """Readings of every meter, one an hour, priced when they are in. `since` must not be after the business clock."""
    rows = [
        NewReading(meter_id, since + timedelta(hours=hour), 100_000 + hour * step_wh * (order + 1))
        for order, meter_id in enumerate(world.meter_ids)
        for hour in range(hours)
    ]
    with unit_of_work(world.tenant_id, db=db) as session:
        take_readings(session, rows=rows, source="headend")
    more = True
    while more:
        with unit_of_work(world.tenant_id, db=db) as session:
            more = price_dirty(session, property_id=world.property_id).more


def close_days(db: Database, world: World) -> None:
    """Post what is due by the business clock."""
    close_days_due(world.tenant_id)


def bring_online(db: Database, world: World) -> None:
    """Every gateway and meter of the world answers, relays read back closed."""
    now = business_now()
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Gateway).values(online=True, seen_at=now))
        session.execute(update(Meter).values(online=True, relay_state="closed", relay_read_at=now, answered_at=now))


def stop_in_force(db: Database, world: World, index: int = 0, *, paid: bool = False, by_hand: str = "") -> int:
    """A stop that was carried out and read back: at zero, or for the reason `by_hand`; `paid`: the money for its end is
    here. Returns the stop's id.
    """
    basis = "manual" if by_hand else "zero_stop"
    now = business_now()
    where = {"property_id": world.property_id, "meter_id": world.meter_ids[index]}
    with unit_of_work(world.tenant_id, db=db) as session:
        permit = Permit(
            **where,
            basis=basis,
            evidence={"available_fen": -3905},
            granted_at=now,
            valid_until=now + timedelta(hours=1),
        )
        session.add(permit)
        session.flush()
        command = Command(
            **where, kind="trip", seq=1, permit_id=permit.id, state="confirmed", reason=by_hand or "余额用尽停供",
            actor="system:worker", idempotency_key=unique("trip"), queued_at=now, valid_until=now + timedelta(hours=1),
            sent_at=now, acknowledged_at=now, confirmed_at=now, read_back="open", attempts=1,
        )  # fmt: skip
        session.add(command)
        session.flush()
        session.add(FrameRecord(command_id=command.id, at=now, direction="out", frame=TRIP_FRAME))
        stop = Stop(
            **where, supply_account_id=world.supply_account_ids[index], basis=basis, state="in_force",
            trip_command_id=command.id, evidence={}, ordered_at=now, in_force_at=now, paid_at=now if paid else None,
        )  # fmt: skip
        session.add(stop)
        session.add(
            Notice(
                property_id=world.property_id, party_id=world.party_ids[index], kind="zero", message_key=unique("m"),
                subject=f"supply_account:{world.supply_account_ids[index]}", params={}, state="delivered", queued_at=now,
                sent_at=now, delivered_at=now, proof={"report": "DELIVRD"},
            )
        )  # fmt: skip
        session.execute(update(Meter).where(Meter.id == where["meter_id"]).values(relay_state="open", command_seq=1))
        session.flush()
        return stop.id
