"""`tallyhouse demo seed`: one demo group with a month of history, made once and atomically.

The demo's business clock starts on Monday 2026-07-20 10:00 in Shanghai and runs as fast as the wall clock; partitions
are made around it. At the next start it goes on where the product last lived: time in which nothing ran did not pass.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import create_engine, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.billing.cutoff import order_stop
from app.billing.stop_policy import Basis
from app.demo.build import Built, Ground, build_site
from app.demo.history import open_balances, past_of, play_day
from app.demo.people import credit_code_of
from app.demo.signins import CASHIER, MANAGER, DemoNotAlone, demo_allowed, make_users
from app.demo.street import first_number, serial_port, state_path, write_street
from app.demo.town import GROUP, TOWN, Town
from app.kernel.actor import Actor
from app.kernel.clock import move_clock
from app.kernel.db import Database
from app.kernel.partitions import ensure_ahead
from app.kernel.schedule import ScheduleRun
from app.kernel.unit_of_work import unit_of_work
from app.meters.epoch import use_epoch_file
from app.permissions.residents import open_page
from app.settings import Settings
from app.tenants.models import Node, Property, Tenant
from app.tenants.service import add_region, create_tenant


@dataclass(frozen=True, slots=True)
class Seeded:
    """The demo group: its tenant and its property ids by name; `fresh` when it was made just now."""

    tenant_id: int
    properties: dict[str, int]
    fresh: bool


def seed_demo(db: Database, settings: Settings, *, town: Town = TOWN) -> Seeded:
    """Make the demo group unless it is there, write the street's spec, and let the clock go on.

    Raises DemoNotAlone beside real tenants, ClockFixed without a clock file.
    """
    use_epoch_file(settings.epoch_file)
    tenant_id = _tenant(db)
    if tenant_id is not None and not demo_allowed(db):
        raise DemoNotAlone()
    make_partitions(settings, town)
    if tenant_id is None:
        if _anybody(db):
            raise DemoNotAlone()
        move_clock(to=town.began_at, rate=0)
        tenant_id = _make_tenant(db)
    found = _properties(db, tenant_id)
    if not found:
        state_path(settings).unlink(missing_ok=True)
        found = _fill(db, tenant_id, settings, town)
        move_clock(to=town.start, rate=1)
        write_street(settings, town)
        return Seeded(tenant_id, found, fresh=True)
    write_street(settings, town)
    move_clock(to=last_lived(db, tenant_id) or town.start, rate=1)
    return Seeded(tenant_id, found, fresh=False)


def find_demo(db: Database) -> Seeded | None:
    """The demo group as it stands; None before it was made."""
    tenant_id = _tenant(db)
    return None if tenant_id is None else Seeded(tenant_id, _properties(db, tenant_id), fresh=False)


def last_lived(db: Database, tenant_id: int) -> datetime | None:
    """Just after the last business minute in which the scheduler worked for the demo; None before its first."""
    with unit_of_work(tenant_id, db=db) as session:
        latest = session.scalar(select(func.max(ScheduleRun.claimed_at)))
    return latest + timedelta(minutes=1) if latest else None


def make_partitions(settings: Settings, town: Town) -> None:
    """Make the partitions around the demo's clock, as the owner."""
    engine = create_engine(make_url(settings.database_owner_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as owner:
        ensure_ahead(owner, today=town.start.date())
    engine.dispose()


def _tenant(db: Database) -> int | None:
    with db.without_tenant() as connection:
        return connection.scalar(select(Tenant.id).where(Tenant.kind == "demo", Tenant.name == GROUP))


def _anybody(db: Database) -> bool:
    with db.without_tenant() as connection:
        return connection.scalar(select(func.count()).select_from(Tenant).where(Tenant.kind != "demo")) != 0


def _make_tenant(db: Database) -> int:
    made = create_tenant(
        db, name=GROUP, kind="demo", legal_entity_name="远景物业集团有限公司", tax_number=credit_code_of(999_999)
    )
    return made.tenant_id


def _properties(db: Database, tenant_id: int) -> dict[str, int]:
    with unit_of_work(tenant_id, db=db) as session:
        rows = session.execute(select(Node.name, Property.id).join(Property, Property.id == Node.id))
        return {name: id_ for name, id_ in rows}


def _fill(db: Database, tenant_id: int, settings: Settings, town: Town) -> dict[str, int]:
    """Everything in one transaction: a seed that is interrupted leaves nothing behind."""
    with unit_of_work(tenant_id, db=db) as session:
        move_clock(to=town.began_at, rate=0)
        headquarters = session.scalars(select(Node).where(Node.kind == "headquarters")).one()
        sites = _build(session, settings, town, headquarters.id)
        nodes = {built.site.name: built.property_id for built in sites}
        users = make_users(session, settings=settings, nodes=nodes, headquarters_id=headquarters.id)
        cashier = Actor.user(users[CASHIER.login].id, name=CASHIER.name)
        _play(session, sites, town, cashier)
        for id_ in nodes.values():
            open_page(session, property_id=id_, by=Actor.user(users[MANAGER.login].id), allowed=[id_])
        _stop_on_request(session, sites, Actor.user(users[MANAGER.login].id))
    return nodes


def _build(session: Session, settings: Settings, town: Town, headquarters_id: int) -> list[Built]:
    regions: dict[str, int] = {}
    sites = []
    for index, site in enumerate(town.sites):
        if site.region not in regions:
            regions[site.region] = add_region(session, parent_id=headquarters_id, name=site.region).id
        ground = Ground(town, regions[site.region], first_number(index), serial_port(settings))
        sites.append(build_site(session, site, ground))
    return sites


def _stop_on_request(session: Session, sites: list[Built], manager: Actor) -> None:
    """Whoever asked to be cut off is: the trip leaves as soon as the head-end runs."""
    for built in sites:
        for supply, account in zip(built.site.supplies, built.accounts, strict=True):
            if account is not None and supply.stop_asked:
                order_stop(
                    session,
                    supply_account_id=account.id,
                    basis=Basis.MANUAL,
                    actor=manager,
                    reason=supply.stop_asked,
                )


def _play(session: Session, sites: list[Built], town: Town, cashier: Actor) -> None:
    pasts = [past_of(built, town) for built in sites]
    for built, past in zip(sites, pasts, strict=True):
        open_balances(session, built, past, town)
    for day in range(town.history_days + 1):
        midnight = town.began_at + timedelta(days=day)
        for built, past in zip(sites, pasts, strict=True):
            play_day(session, built, past, midnight, cashier=cashier)
