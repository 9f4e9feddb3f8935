"""Readings for a world: what makes its people use electricity."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.billing.prepaid import Priced, price_dirty
from app.meters.ingest import NewReading, RowResult, take_readings
from tests.factories.world import BEGAN_AT, World


def read(session: Session, world: World, register_wh: int, at: datetime, *, number: int = 0) -> RowResult:
    """One reading of the world's meter `number`, from the head-end."""
    row = NewReading(meter_id=world.meter_ids[number], read_at=at, register_wh=register_wh)
    return take_readings(session, rows=[row], source="headend", received_at=at)[0]


def use(session: Session, world: World, kwh: Sequence[int], *, number: int = 0, since: datetime = BEGAN_AT) -> datetime:
    """Hourly readings that add up to so many kWh on each following day, then price them. Returns the last instant."""
    register_wh, at = 100_000, since
    rows = []
    for day_kwh in kwh:
        for hour in range(24):
            at += timedelta(hours=1)
            register_wh += day_kwh * 1000 // 24 + (day_kwh * 1000 % 24 if hour == 23 else 0)
            rows.append(NewReading(meter_id=world.meter_ids[number], read_at=at, register_wh=register_wh))
    take_readings(session, rows=rows, source="headend", received_at=at)
    price_all(session, world.property_id)
    return at


def price_all(session: Session, property_id: int) -> Priced:
    """Price until nothing is dirty."""
    priced = price_dirty(session, property_id=property_id)
    while priced.more:
        priced = price_dirty(session, property_id=property_id)
    return priced
