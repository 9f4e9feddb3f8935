"""What the system has already of the names a workbook mentions."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.models import PricePlan, SupplyAccount
from app.billing.onboarding.checks import Known
from app.billing.onboarding.rows import Parsed, SpaceKey
from app.kernel.crypto import directory_digest
from app.meters.models import Gateway, Meter, MeterModel
from app.tenants.models import Building, DirectoryEntry, PartyRole, Space


def load_known(session: Session, *, property_id: int, parsed: Parsed) -> Known:
    """A handful of set-based queries, however many rows the file has."""
    spaces = load_spaces(session, property_id=property_id)
    lodged = _lodged(session, property_id)
    return Known(
        spaces=frozenset(spaces),
        lodgings=frozenset(key for key, space_id in spaces.items() if space_id in lodged),
        meters=_meters(session, {row.number for row in parsed.meters}),
        addresses=_addresses(session, property_id),
        accounts=_accounts(session, property_id, {row.account for row in parsed.meters}),
        models=dict(session.execute(select(MeterModel.name, MeterModel.modulus_wh)).all()),
        plans=frozenset(session.scalars(select(PricePlan.name).where(PricePlan.property_id == property_id))),
        gateways_elsewhere=_gateways_elsewhere(
            session, property_id, {row.gateway for row in parsed.meters if row.gateway}
        ),
    )


def load_spaces(session: Session, *, property_id: int) -> dict[SpaceKey, int]:
    """(building, door number) → space id of a property."""
    rows = session.execute(
        select(Building.name, Space.name, Space.id)
        .join(Building, (Building.tenant_id == Space.tenant_id) & (Building.id == Space.building_id))
        .where(Space.property_id == property_id)
    )
    return {(building, name): space_id for building, name, space_id in rows}


def load_gateways(session: Session, *, property_id: int) -> dict[str, int]:
    """Gateway number → id of a property."""
    rows = select(Gateway.number, Gateway.id).where(Gateway.property_id == property_id)
    return dict(session.execute(rows).all())


def _lodged(session: Session, property_id: int) -> set[int]:
    open_roles = select(PartyRole.space_id).where(PartyRole.property_id == property_id, PartyRole.ended_on.is_(None))
    return set(session.scalars(open_roles.distinct()))


def _meters(session: Session, numbers: Collection[str]) -> frozenset[str]:
    return frozenset(session.scalars(select(Meter.number).where(Meter.number.in_(numbers))))


def _addresses(session: Session, property_id: int) -> frozenset[tuple[str, str]]:
    rows = session.execute(
        select(Gateway.number, Meter.address)
        .join(Gateway, (Gateway.tenant_id == Meter.tenant_id) & (Gateway.id == Meter.gateway_id))
        .where(Gateway.property_id == property_id)
    )
    return frozenset((gateway, address) for gateway, address in rows)


def _accounts(session: Session, property_id: int, numbers: Collection[str]) -> frozenset[str]:
    taken = select(SupplyAccount.number).where(
        SupplyAccount.property_id == property_id, SupplyAccount.number.in_(numbers)
    )
    return frozenset(session.scalars(taken))


def _gateways_elsewhere(session: Session, property_id: int, numbers: Collection[str]) -> frozenset[str]:
    here = load_gateways(session, property_id=property_id)
    by_digest = {directory_digest("gateway", number): number for number in numbers if number not in here}
    taken = select(DirectoryEntry.digest).where(DirectoryEntry.digest.in_(by_digest))
    return frozenset(by_digest[digest] for digest in session.scalars(taken))
