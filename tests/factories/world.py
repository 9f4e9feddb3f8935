"""A tenant with one property: the smallest world in which money and meters can meet."""

import itertools
import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app.billing.ledger.books import open_book, open_wallets
from app.billing.ledger.periods import open_ahead
from app.billing.models import Agreement, PlanAssignment, PricePlan, PriceVersion, SupplyAccount
from app.kernel.crypto import directory_digest
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Gateway, Meter, MeterModel, Mount
from app.tenants.keys import key_store
from app.tenants.models import (
    Building,
    DirectoryEntry,
    Floor,
    LegalEntity,
    Node,
    Party,
    PartyRole,
    Property,
    Space,
    Tenant,
)

#: When everything in a world began.
BEGAN_AT = datetime(2026, 7, 1, tzinfo=UTC)
_count = itertools.count(1)


@dataclass
class World:
    """Ids of what was made; lists run parallel, one entry per space."""

    tenant_id: int
    headquarters_id: int = 0
    legal_entity_id: int = 0
    property_id: int = 0
    book_id: int = 0
    building_id: int = 0
    gateway_id: int = 0
    gateway_number: str = ""
    model_id: int = 0
    plan_id: int = 0
    price_version_id: int = 0
    space_ids: list[int] = field(default_factory=list)
    party_ids: list[int] = field(default_factory=list)
    supply_account_ids: list[int] = field(default_factory=list)
    wallet_ids: list[int] = field(default_factory=list)
    meter_ids: list[int] = field(default_factory=list)
    mount_ids: list[int] = field(default_factory=list)


def unique(prefix: str) -> str:
    """A name no other test of this run uses, over all workers."""
    return f"{prefix}{os.getpid()}x{next(_count)}"


def make_tenant(db: Database, *, kind: str = "demo", name: str = "远景物业集团") -> int:
    """A tenant row with its data key; returns its id."""
    with db.without_tenant() as connection:
        row = insert(Tenant).values(name=name, kind=kind, data_key=b"", created_at=BEGAN_AT).returning(Tenant.id)
        tenant_id = connection.execute(row).scalar_one()
        wrapped = key_store().new_data_key(tenant_id)
        connection.execute(Tenant.__table__.update().where(Tenant.id == tenant_id).values(data_key=wrapped))
    return tenant_id


def build_world(
    db: Database,
    *,
    kind: str = "demo",
    spaces: int = 4,
    usage_class: str = "residential",
    price: str = "0.56000",
    agreement: bool = True,
    simulated: bool = True,
    register_wh_first: int = 100_000,
    overdraft_fen_max: int = 2_000,
) -> World:
    """A tenant, a property, and per space a party, a meter, a mount, a supply account with wallet and plan."""
    world = World(make_tenant(db, kind=kind))
    with unit_of_work(world.tenant_id, db=db) as session:
        _make_places(session, world, spaces=spaces, usage_class=usage_class)
        world.book_id = open_book(session, legal_entity_id=world.legal_entity_id, property_id=world.property_id)
        open_ahead(session, today=BEGAN_AT.date())
        _make_accounts(
            session, world, usage_class=usage_class, agreement=agreement, overdraft_fen_max=overdraft_fen_max
        )
        _make_plan(session, world, price=price)
        _make_meters(session, world, simulated=simulated, register_wh_first=register_wh_first)
    _name_gateway(db, world)
    return world


def build_sibling(db: Database, world: World, *, name: str, spaces: int = 4) -> World:
    """A second property of the same tenant with spaces, people, accounts, a plan and meters of its own."""
    sibling = World(world.tenant_id, headquarters_id=world.headquarters_id, legal_entity_id=world.legal_entity_id)
    with unit_of_work(world.tenant_id, db=db) as session:
        _make_property(session, sibling, name=name, spaces=spaces, usage_class="residential")
        sibling.book_id = open_book(session, legal_entity_id=world.legal_entity_id, property_id=sibling.property_id)
        open_ahead(session, today=BEGAN_AT.date())
        _make_accounts(session, sibling, usage_class="residential", agreement=True, overdraft_fen_max=2_000)
        _make_plan(session, sibling, price="0.61000")
        _make_meters(session, sibling, simulated=True, register_wh_first=100_000)
    _name_gateway(db, sibling)
    return sibling


def add_property(session: Session, world: World, *, name: str) -> int:
    """A further property of the same legal entity; returns its id."""
    node = Node(kind="property", name=name, parent_id=world.headquarters_id)
    session.add(node)
    session.flush()
    session.add(Property(id=node.id, legal_entity_id=world.legal_entity_id))
    session.flush()
    open_book(session, legal_entity_id=world.legal_entity_id, property_id=node.id)
    return node.id


def _name_gateway(db: Database, world: World) -> None:
    digest = directory_digest("gateway", world.gateway_number)
    with db.without_tenant() as connection:
        connection.execute(insert(DirectoryEntry).values(digest=digest, kind="gateway", tenant_id=world.tenant_id))


def _add(session: Session, thing: Any) -> int:
    session.add(thing)
    session.flush()
    return thing.id


def _make_places(session: Session, world: World, *, spaces: int, usage_class: str) -> None:
    world.headquarters_id = _add(session, Node(kind="headquarters", name="集团总部"))
    world.legal_entity_id = _add(session, LegalEntity(name="远景物业服务有限公司", tax_number=unique("9131")))
    _make_property(session, world, name="和风苑", spaces=spaces, usage_class=usage_class)


def _make_property(session: Session, world: World, *, name: str, spaces: int, usage_class: str) -> None:
    world.property_id = _add(session, Node(kind="property", name=name, parent_id=world.headquarters_id))
    session.add(Property(id=world.property_id, legal_entity_id=world.legal_entity_id))
    session.flush()
    building = Building(property_id=world.property_id, name="A座")
    world.building_id = _add(session, building)
    floors: dict[int, int] = {}
    for number in range(spaces):
        level = number // 4 + 1
        if level not in floors:
            floor = Floor(property_id=world.property_id, building_id=building.id, level=level, name=f"{level}F")
            floors[level] = _add(session, floor)
        place = {"property_id": world.property_id, "building_id": building.id, "floor_id": floors[level]}
        name = f"A-{level:02d}{number % 4 + 1:02d}"
        world.space_ids.append(_add(session, Space(**place, name=name, usage_class=usage_class, area_cm2=900_000)))
        world.party_ids.append(_add(session, Party(property_id=world.property_id, name=f"住户{number + 1}")))
        role = {
            "party_id": world.party_ids[-1],
            "space_id": world.space_ids[-1],
            "property_id": world.property_id,
        }
        session.add(PartyRole(**role, role="contract", began_on=BEGAN_AT.date()))


def _make_accounts(
    session: Session, world: World, *, usage_class: str, agreement: bool, overdraft_fen_max: int
) -> None:
    for number, (space_id, party_id) in enumerate(zip(world.space_ids, world.party_ids, strict=True), 1):
        account = SupplyAccount(
            property_id=world.property_id,
            book_id=world.book_id,
            number=f"{number:08d}",
            party_id=party_id,
            space_id=space_id,
            usage_class=usage_class,
            overdraft_fen_max=overdraft_fen_max,
            opened_on=BEGAN_AT.date(),
        )
        world.supply_account_ids.append(_add(session, account))
        if agreement:
            facts = {"property_id": world.property_id, "supply_account_id": account.id}
            session.add(Agreement(**facts, signed_on=date(2026, 7, 1), document=f"XY-{number:04d}"))
    wallets = open_wallets(session, book_id=world.book_id, supply_account_ids=world.supply_account_ids)
    world.wallet_ids = [wallets[id_] for id_ in world.supply_account_ids]


def _make_plan(session: Session, world: World, *, price: str) -> None:
    world.plan_id = _add(session, PricePlan(property_id=world.property_id, name="居民合表"))
    version = PriceVersion(
        plan_id=world.plan_id,
        effective_from=BEGAN_AT,
        price=Decimal(price),
        published_by="system:tests",
        published_at=BEGAN_AT,
    )
    world.price_version_id = _add(session, version)
    for supply_account_id in world.supply_account_ids:
        session.add(PlanAssignment(supply_account_id=supply_account_id, plan_id=world.plan_id, effective_from=BEGAN_AT))


def _make_meters(session: Session, world: World, *, simulated: bool, register_wh_first: int) -> None:
    world.gateway_number = unique("GW")
    gateway = Gateway(property_id=world.property_id, number=world.gateway_number, mode="dial_in", simulated=simulated)
    world.gateway_id = _add(session, gateway)
    world.model_id = session.scalar(select(MeterModel.id).where(MeterModel.name == "DDSY-60A")) or _make_model(session)
    taken = session.scalar(select(func.count()).select_from(Meter)) or 0
    for number, (space_id, account_id) in enumerate(
        zip(world.space_ids, world.supply_account_ids, strict=True), taken + 1
    ):
        meter = Meter(
            property_id=world.property_id,
            model_id=world.model_id,
            gateway_id=gateway.id,
            number=f"{number:012d}",
            address=f"{number:012d}",
        )
        world.meter_ids.append(_add(session, meter))
        mount = Mount(
            property_id=world.property_id,
            meter_id=meter.id,
            supply_account_id=account_id,
            space_id=space_id,
            began_at=BEGAN_AT,
            register_wh_first=register_wh_first,
        )
        world.mount_ids.append(_add(session, mount))


def _make_model(session: Session) -> int:
    model = MeterModel(
        name="DDSY-60A",
        dialect="dlt645-2007",
        modulus_wh=1_000_000_000,
        rated_power_w=13_200,
        registers=["total"],
    )
    return _add(session, model)
