"""Registering and mounting: gateways, meters, passwords, guarantees, and every way they can be refused."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.errors import AppError, NotFound
from app.kernel.outbox import register_consumers
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import Kind
from app.meters.command_models import Command
from app.meters.headend.server import tenant_of_gateway
from app.meters.models import Gateway, Meter, Mount
from app.meters.mounting import (
    MeterMounted,
    MeterNotMounted,
    MountOverlaps,
    MountTooOld,
    RegisterOutOfRange,
    bypass,
    engage,
    mount,
    set_guaranteed_supply,
    unmount,
)
from app.meters.service import (
    GatewayNumberTaken,
    GatewayNumberUnreadable,
    GatewaySecretMissing,
    MeterAddressTaken,
    MeterAddressUnreadable,
    MeterNumberTaken,
    MeterPasswordUnreadable,
    access_gateway,
    access_meter,
    open_mount_of,
    password_of,
    register_gateway,
    register_meter,
    register_model,
)
from app.tenants.models import AuditRecord
from tests.conftest import MovableClock
from tests.factories.site import CONSUMERS, order
from tests.factories.world import BEGAN_AT, World, unique

CLERK = Actor.user(7)
NOBODY = UUID("00000000-0000-7000-8000-000000000000")


@pytest.fixture(autouse=True)
def _listeners(business_clock: MovableClock) -> None:
    register_consumers(CONSUMERS)


def meter_of(session: Session, world: World, which: int = 0) -> Meter:
    """One of the world's meters."""
    return session.get_one(Meter, (world.tenant_id, world.meter_ids[which]))


def test_a_gateway_number_belongs_to_one_tenant_of_all(db: Database, world: World, make_world) -> None:
    number, other = unique("BOX-"), make_world()
    with unit_of_work(world.tenant_id, db=db) as session:
        register_gateway(session, property_id=world.property_id, number=number, secret="s")
    assert tenant_of_gateway(db, number=number) == world.tenant_id
    for tenant in (world, other):
        with unit_of_work(tenant.tenant_id, db=db) as session:
            with pytest.raises(GatewayNumberTaken):
                register_gateway(session, property_id=tenant.property_id, number=number, secret="s")


@pytest.mark.parametrize(
    ("facts", "needs_one"),
    [
        ({}, True),
        ({"secret": ""}, True),
        ({"secret": "s"}, False),
        ({"simulated": True}, False),
        ({"mode": "dial_out", "host": "10.0.0.9", "port": 4001}, False),
    ],
)
def test_only_a_real_gateway_that_dials_in_must_have_a_secret(
    db: Database, world: World, facts: dict[str, Any], needs_one: bool
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        with pytest.raises(GatewaySecretMissing) if needs_one else nullcontext():
            register_gateway(session, property_id=world.property_id, number=unique("BOX-"), **facts)


def test_a_gateway_number_that_could_not_be_dialled_in_with_is_refused(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        with pytest.raises(GatewayNumberUnreadable):
            register_gateway(session, property_id=world.property_id, number="网关 1")


@pytest.mark.parametrize(
    ("wishes", "refusal"),
    [
        ({"address": "12"}, MeterAddressUnreadable),
        ({"password": "123"}, MeterPasswordUnreadable),
        ({"number": "000000000001"}, MeterNumberTaken),
        ({"address": "000000000001"}, MeterAddressTaken),
    ],
)
def test_a_meter_that_cannot_be_registered_says_why(
    db: Database, world: World, wishes: dict[str, Any], refusal: type[AppError]
) -> None:
    good = {"number": "N-1", "address": "000000009999", "gateway_id": world.gateway_id} | wishes
    with unit_of_work(world.tenant_id, db=db) as session:
        with pytest.raises(refusal):
            register_meter(session, property_id=world.property_id, model_id=world.model_id, **good)


def test_a_password_is_kept_encrypted_and_read_back(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        model = register_model(session, name="DTSY-100A")
        assert register_model(session, name="DTSY-100A") is model
        facts = {"number": "N-2", "address": "000000008888", "password": "02987654"}
        register_meter(session, property_id=world.property_id, model_id=model.id, **facts)
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = session.scalars(select(Meter).where(Meter.number == "N-2")).one()
        assert meter.password_cipher is not None
        assert b"987654" not in meter.password_cipher
        assert password_of(session, meter=meter) == "02987654"


@pytest.mark.parametrize("access", [access_meter, access_gateway])
def test_not_yours_and_not_there_answer_alike(
    db: Database, world: World, access: Callable[..., Meter | Gateway]
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        table = Meter if access is access_meter else Gateway
        thing = session.scalars(select(table)).first()
        assert thing is not None
        assert access(session, public_id=thing.public_id, allowed=[world.property_id]) is thing
        for public_id, allowed in ((thing.public_id, []), (NOBODY, [world.property_id])):
            with pytest.raises(NotFound):
                access(session, public_id=public_id, allowed=allowed)


@pytest.mark.parametrize(
    ("wishes", "refusal"),
    [
        ({"began_at": BEGAN_AT - timedelta(days=1)}, MountOverlaps),
        ({"began_at": BEGAN_AT - timedelta(days=999)}, MountTooOld),
        ({"register_wh_first": 1_000_000_000}, RegisterOutOfRange),
    ],
)
def test_a_mount_that_cannot_be_says_why(
    db: Database, world: World, wishes: dict[str, Any], refusal: type[AppError]
) -> None:
    given = {"began_at": BEGAN_AT + timedelta(days=1), "register_wh_first": 100_000} | wishes
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = meter_of(session, world)
        unmount(session, meter=meter, ended_at=BEGAN_AT + timedelta(hours=1), register_wh_last=100_000)
        with pytest.raises(refusal):
            mount(session, meter=meter, **given)


def test_a_meter_is_mounted_once_and_unmounted_once(db: Database, world: World) -> None:
    at = BEGAN_AT + timedelta(hours=1)
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = meter_of(session, world)
        with pytest.raises(MeterMounted):
            mount(session, meter=meter, began_at=at, register_wh_first=0)
        unmount(session, meter=meter, ended_at=at, register_wh_last=100_500)
        with pytest.raises(MeterNotMounted):
            unmount(session, meter=meter, ended_at=at, register_wh_last=100_500)
        assert open_mount_of(session, meter_id=meter.id) is None


def test_a_meter_that_serves_no_account_is_guaranteed_from_the_first_moment(db: Database, world: World) -> None:
    at = BEGAN_AT + timedelta(hours=1)
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = meter_of(session, world)
        unmount(session, meter=meter, ended_at=at, register_wh_last=100_000)
        public_area = mount(session, meter=meter, began_at=at, register_wh_first=100_000)
        assert public_area.guaranteed_supply


def test_a_guarantee_cancels_the_waiting_trip_and_is_set_in_the_meter_too(db: Database, world: World) -> None:
    order(db, world, Kind.TRIP)
    with unit_of_work(world.tenant_id, db=db) as session:
        mounted = session.get_one(Mount, (world.tenant_id, world.mount_ids[0]))
        set_guaranteed_supply(session, mount=mounted, on=True, reason="制氧机", by=CLERK)
    with unit_of_work(world.tenant_id, db=db) as session:
        commands = session.scalars(select(Command).order_by(Command.id)).all()
        deeds = session.scalars(select(AuditRecord.deed)).all()
    assert [(c.kind, c.state) for c in commands] == [("trip", "cancelled"), ("guarantee_on", "queued")]
    assert deeds == ["meters:guarantee:set"]


def test_a_bypassed_breaker_loses_its_waiting_trip_and_is_engaged_again(db: Database, world: World) -> None:
    order(db, world, Kind.TRIP)
    with unit_of_work(world.tenant_id, db=db) as session:
        mounted = session.get_one(Mount, (world.tenant_id, world.mount_ids[0]))
        bypass(session, mount=mounted, reason="抢修", by=CLERK)
        assert session.scalars(select(Command.state)).all() == ["cancelled"]
        assert engage(session, mount=mounted, reason="抢修结束", by=CLERK).control == "engaged"
