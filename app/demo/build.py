"""Building a site of the demo through the product's own use-cases: places, parties, accounts, gateways, meters."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from sqlalchemy.orm import Session

from app.billing.ledger.books import open_book
from app.billing.models import SupplyAccount
from app.billing.plans import assign_plan, create_plan, publish_price
from app.billing.supply_accounts import NewAccount, Signed, open_supply_accounts
from app.demo.people import credit_code_of, id_number_of, name_of, phone_of
from app.demo.registers import Fitted, fit_meters
from app.demo.town import Site, Supply, Town
from app.kernel.actor import Actor
from app.kernel.clock import day_start
from app.meters.models import MeterModel
from app.meters.mounting import mount
from app.meters.service import register_gateway, register_meter, register_model
from app.tenants.models import Party, Space
from app.tenants.parties import give_role, register_party
from app.tenants.places import add_building, add_floor, add_space
from app.tenants.service import add_legal_entity, add_property

#: A protected party's status is looked at again on this day.
PROTECTED_UNTIL = date(2026, 12, 31)


@dataclass(slots=True)
class Built:
    """A site that stands: ids, and per fitted meter its meter and supply account (None in the public area)."""

    site: Site
    property_id: int
    book_id: int
    fitted: list[Fitted]
    meter_ids: list[int] = field(default_factory=list)
    accounts: list[SupplyAccount | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a site is built: its region, how its meters and people are counted, where its serial server listens."""

    town: Town
    region_id: int
    first: int
    serial_port: int


def build_site(session: Session, site: Site, ground: Ground) -> Built:
    """Build one property with everything in it; nothing is read or paid yet."""
    entity = add_legal_entity(session, name=site.company, tax_number=credit_code_of(ground.first))
    place = add_property(session, parent_id=ground.region_id, name=site.name, legal_entity_id=entity.id)
    book_id = open_book(session, legal_entity_id=entity.id, property_id=place.id)
    fitted = fit_meters(site, began_at=ground.town.began_at, first=ground.first)
    built = Built(site, place.id, book_id, fitted)
    spaces = _spaces(session, site, place.id)
    built.accounts = _accounts(session, built, spaces, ground)
    _plan(session, built, ground)
    _meters(session, built, spaces, ground)
    return built


def _spaces(session: Session, site: Site, property_id: int) -> dict[str, Space]:
    buildings, spaces = {}, {}
    for building, level, names in site.floors:
        if building not in buildings:
            buildings[building] = add_building(session, property_id=property_id, name=building)
        floor = add_floor(session, building=buildings[building], level=level)
        for name in names:
            spaces[name] = add_space(session, floor=floor, name=name, usage_class=site.usage_class, area_cm2=890_000)
    return spaces


def _party(session: Session, built: Built, supply: Supply, number: int) -> Party:
    company = bool(supply.company)
    party = register_party(
        session,
        property_id=built.property_id,
        name=supply.company or name_of(number),
        kind="company" if company else "person",
        phone=phone_of(number),
        id_number=credit_code_of(number) if company else id_number_of(number),
    )
    party.protected_until = PROTECTED_UNTIL if supply.protected else None
    return party


def _accounts(session: Session, built: Built, spaces: dict[str, Space], ground: Ground) -> list[SupplyAccount | None]:
    served = [(i, s) for i, s in enumerate(built.site.supplies) if s.has_account]
    began_on = ground.town.began_at.date()
    wishes = []
    for index, supply in served:
        party = _party(session, built, supply, ground.first + index)
        give_role(session, party=party, space=spaces[supply.space], role="contract", began_on=began_on)
        wishes.append(_wish(built, supply, spaces[supply.space], party, began_on, ground.first + index))
    opened = iter(open_supply_accounts(session, accounts=wishes))
    accounts: list[SupplyAccount | None] = [next(opened) if s.has_account else None for s in built.site.supplies]
    for supply, account in zip(built.site.supplies, accounts, strict=True):
        if account is not None and supply.suspended:
            account.state = "suspended"
    return accounts


def _wish(built: Built, supply: Supply, space: Space, party: Party, began_on: date, number: int) -> NewAccount:
    signed = Signed(began_on, f"预付费用电协议 XY-{number:04d}") if supply.agreement else None
    return NewAccount(
        property_id=built.property_id,
        space_id=space.id,
        party_id=party.id,
        number=f"{20260000 + number}",
        usage_class=built.site.usage_class,
        opened_on=began_on,
        agreement=signed,
    )


def _plan(session: Session, built: Built, ground: Ground) -> None:
    plan = create_plan(session, property_id=built.property_id, name=built.site.plan)
    began_on = ground.town.began_at.date()
    known = [day for day, _ in built.site.prices if day <= began_on]
    for effective_on, price in built.site.prices:
        # Only a plan's first price may date back: of those before the history the one then in force.
        if effective_on >= known[-1]:
            begins = day_start(effective_on, "Asia/Shanghai")
            publish_price(session, plan=plan, price=Decimal(price), effective_from=begins, by=Actor.system("demo"))
    ids = [account.id for account in built.accounts if account is not None]
    assign_plan(session, supply_account_ids=ids, plan=plan, effective_from=ground.town.began_at)


def _meters(session: Session, built: Built, spaces: dict[str, Space], ground: Ground) -> None:
    model = _model(session, built.site)
    gateway_ids = {}
    for box in built.site.boxes:
        dialled = {"host": "127.0.0.1", "port": ground.serial_port} if box.serial else {}
        gateway = register_gateway(
            session,
            property_id=built.property_id,
            number=box.number,
            mode="dial_out" if box.serial else "dial_in",
            simulated=True,
            **dialled,  # type: ignore[arg-type]
        )
        gateway_ids[box.number] = gateway.id
    for fitted, account in zip(built.fitted, built.accounts, strict=True):
        supply, spec = fitted.supply, fitted.spec
        meter = register_meter(
            session,
            property_id=built.property_id,
            model_id=model.id,
            number=spec.address,
            address=spec.address,
            gateway_id=gateway_ids[supply.gateway],
            password=spec.password,
        )
        mount(
            session,
            meter=meter,
            began_at=ground.town.began_at,
            register_wh_first=spec.register_wh,
            supply_account_id=account.id if account else None,
            space_id=spaces[supply.space].id if supply.has_account else None,
            guaranteed_supply=supply.guaranteed,
            button_reachable=supply.button_reachable,
        )
        built.meter_ids.append(meter.id)


def _model(session: Session, site: Site) -> MeterModel:
    name, rated_power_w = site.model
    return register_model(session, name=name, rated_power_w=rated_power_w)
