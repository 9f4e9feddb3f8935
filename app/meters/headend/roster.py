"""Who hangs on a gateway, and what is known of each."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.meters.models import Gateway, Meter, MeterModel
from app.tenants.models import Property


@dataclass(frozen=True, slots=True)
class RosterMeter:
    """A meter on a bus as the database knew it when the roster was read."""

    meter_id: int
    address: str
    dialect: str
    #: Meters keep the civil time of their property.
    zone: ZoneInfo
    answered_at: datetime | None
    relay_state: str
    relay_read_at: datetime | None


def load_roster(session: Session, *, gateway_id: int) -> list[RosterMeter]:
    """The meters of a gateway, in the order of their ids."""
    rows = session.execute(
        select(Meter, MeterModel.dialect, Property.time_zone)
        .join(MeterModel, (MeterModel.tenant_id == Meter.tenant_id) & (MeterModel.id == Meter.model_id))
        .join(Property, (Property.tenant_id == Meter.tenant_id) & (Property.id == Meter.property_id))
        .where(Meter.gateway_id == gateway_id)
        .order_by(Meter.id)
    )
    return [
        RosterMeter(
            meter_id=meter.id,
            address=meter.address,
            dialect=dialect,
            zone=ZoneInfo(time_zone),
            answered_at=meter.answered_at,
            relay_state=meter.relay_state,
            relay_read_at=meter.relay_read_at,
        )
        for meter, dialect, time_zone in rows
    ]


def dialled_gateways(session: Session) -> list[tuple[int, str, int]]:
    """Gateways of the tenant that we dial: id, host, port."""
    rows = session.execute(
        select(Gateway.id, Gateway.host, Gateway.port).where(Gateway.mode == "dial_out").order_by(Gateway.id)
    )
    return [(id_, host, port) for id_, host, port in rows if host is not None and port is not None]
