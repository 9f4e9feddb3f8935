"""From the reading that crosses the overdraft to the relay read back open: 500 meters, 25 gateways, 10 crossings a second.

Method. A demo tenant with 25 properties, each with a gateway and 20 metered accounts on flat price. The product's own
processes run beside each other as in `make run`: head-end, scheduler, money worker, default worker; the simulated street
answers real frames over loopback sockets. Every account starts within a fen of its overdraft with all four notices
delivered, the last warning 40 minutes ago. Then, one every 100 ms, a simulated register moves by 40 Wh and the meter is
read on demand: the clock starts when the frame with that register arrives at the head-end, and stops when the read-back
of status word 3 has confirmed the open relay. Between them lie ingest, usage, rating, the gate, permit and command,
claim, trip frame, acknowledgement and read-back. The mass-trip freeze is off for this tenant: the same hours of the last
four weeks are told to have seen as many crossings, and 20 stops an hour are what a property may have at most.
Repeat: make bench-trip
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from app.billing.ledger.books import open_book
from app.billing.models import StopJudgement, SupplyAccount, ZeroCrossings
from app.billing.plans import assign_plan, create_plan, publish_price
from app.billing.supply_accounts import NewAccount, Signed, open_supply_accounts
from app.jobs import table
from app.jobs.handlers import drain
from app.kernel import clock
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.db import Database
from app.kernel.outbox import send_hints_to
from app.kernel.unit_of_work import unit_of_work
from app.launcher.databases import with_redis_db
from app.meters import wake
from app.meters.command_life import Kind
from app.meters.command_models import Command, FrameRecord
from app.meters.commands import order_command
from app.meters.ingest import NewReading, take_readings
from app.meters.models import Meter
from app.meters.mounting import mount
from app.meters.service import register_gateway, register_meter
from app.meters.simulator.gateway import GatewaySpec
from app.meters.simulator.meter import MeterSpec
from app.meters.simulator.spec import StreetSpec
from app.meters.simulator.street import Street
from app.notify.models import Notice
from app.tenants.models import Floor
from app.tenants.parties import register_party
from app.tenants.places import add_building, add_floor, add_space
from app.tenants.service import add_property
from bench.stage import at_least, at_most, fresh_database, rounded, said
from tests.factories.world import BEGAN_AT, World, build_world, unique

GATEWAYS, METERS_EACH = 25, 20
ALL = GATEWAYS * METERS_EACH
CROSSINGS_PER_S = 10
PATIENCE_S = 60
REDIS_DB = 61
WARNED_AT = datetime(2026, 7, 15, 1, 0, tzinfo=UTC)
BEGIN_AT = WARNED_AT + timedelta(minutes=40)
#: ¥0.56 × 35.7 kWh leaves a fen of the overdraft of ¥20; four steps of the register cross it.
REGISTER_WH, JUMP_WH = 135_700, 40
#: So long four steps take at rated power: a faster jump would be an impossible one.
SETTLE_S = 11
RUNGS = ("alarm_1", "alarm_2", "zero", "last_warning")


@dataclass(frozen=True, slots=True)
class Site:
    """A property behind one gateway; `meters` maps the address on the bus to the meter's id."""

    tenant_id: int
    property_id: int
    gateway_number: str
    meters: dict[str, int]


def build(db: Database) -> list[Site]:
    """A tenant whose every account is one reading away from its stop, warned as the law asks."""
    world = build_world(db, spaces=1)
    with unit_of_work(world.tenant_id, db=db) as session:
        sites = [_site(session, world, number) for number in range(GATEWAYS)]
    for site in sites:
        with unit_of_work(world.tenant_id, db=db) as session:
            _tell_usual_crossings(session, site)
            rows = [NewReading(meter_id, WARNED_AT, REGISTER_WH) for meter_id in site.meters.values()]
            take_readings(session, rows=rows, source="headend")
    while drain(world.tenant_id, "pricing") + drain(world.tenant_id, "supply"):
        continue
    with unit_of_work(world.tenant_id, db=db) as session:
        _prove_notices(session, [site.property_id for site in sites])
    return sites


def _site(session: Session, world: World, number: int) -> Site:
    """A property with its gateway and METERS_EACH metered accounts."""
    place = add_property(
        session, parent_id=world.headquarters_id, name=f"项目 {number}", legal_entity_id=world.legal_entity_id
    )
    open_book(session, legal_entity_id=world.legal_entity_id, property_id=place.id)
    floor = add_floor(session, building=add_building(session, property_id=place.id, name="A座"), level=1)
    accounts = open_supply_accounts(
        session, accounts=[_account(session, place.id, floor, turn) for turn in range(METERS_EACH)]
    )
    plan = create_plan(session, property_id=place.id, name="居民")
    publish_price(session, plan=plan, price=Decimal("0.56"), effective_from=BEGAN_AT, by=Actor.system("bench"))
    assign_plan(session, supply_account_ids=[a.id for a in accounts], plan=plan, effective_from=BEGAN_AT)
    gateway = register_gateway(session, property_id=place.id, number=unique("BENCH-"), simulated=True)
    meters = {}
    for turn, account in enumerate(accounts):
        address = f"{1_000 + number * METERS_EACH + turn:012d}"
        meter = register_meter(
            session, property_id=place.id, model_id=world.model_id, number=address, address=address,
            gateway_id=gateway.id,
        )  # fmt: skip
        mount(session, meter=meter, began_at=BEGAN_AT, register_wh_first=100_000, supply_account_id=account.id)
        meters[address] = meter.id
    return Site(world.tenant_id, place.id, gateway.number, meters)


def _account(session: Session, property_id: int, floor: Floor, turn: int) -> NewAccount:
    space = add_space(session, floor=floor, name=f"{turn + 1:03d}", usage_class="residential")
    party = register_party(session, property_id=property_id, name=f"住户{turn + 1}")
    signed = Signed(BEGAN_AT.date(), f"XY-{turn}")
    return NewAccount(
        property_id, space.id, party.id, f"{turn + 1:08d}", "residential", BEGAN_AT.date(),
        overdraft_fen_max=2_000, agreement=signed,
    )  # fmt: skip


def _prove_notices(session: Session, property_ids: list[int]) -> None:
    session.execute(delete(Notice))
    for account in session.scalars(select(SupplyAccount).where(SupplyAccount.property_id.in_(property_ids))):
        assert account.alarm_level == 3, account.alarm_level
        for rung in RUNGS:
            session.add(
                Notice(
                    property_id=account.property_id, party_id=account.party_id, subject=f"supply_account:{account.id}",
                    kind=rung, message_key=f"{account.id}:{rung}", params={"episode": account.episode},
                    state="delivered", queued_at=WARNED_AT, sent_at=WARNED_AT, delivered_at=WARNED_AT,
                )
            )  # fmt: skip


def _tell_usual_crossings(session: Session, site: Site) -> None:
    hour = BEGIN_AT.replace(minute=0)
    for week in range(1, 5):
        for later in range(3):
            usual = hour - timedelta(weeks=week) + timedelta(hours=later)
            session.add(ZeroCrossings(property_id=site.property_id, hour=usual, crossings=METERS_EACH))


def street_of(sites: list[Site], port: int) -> StreetSpec:
    """The gateways of every property, their meters standing still until the bench moves them."""
    return StreetSpec(
        gateways=tuple(
            (
                GatewaySpec(site.gateway_number, "dial_in", "127.0.0.1", port),
                tuple(MeterSpec(address, register_wh=REGISTER_WH, load_percent=0) for address in site.meters),
            )
            for site in sites
        )
    )


@contextmanager
def processes(folder: Path, port: int) -> Iterator[None]:
    """The product's processes, ended in order."""
    tallyhouse = str(Path(sys.executable).with_name("tallyhouse"))
    env = os.environ | {
        "CLOCK_FILE": str(folder / "clock.json"), "VAR_DIR": str(folder), "HEADEND_PORT": str(port),
        "HEADEND_POLL_S": "86400", "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    commands = (["headend"], ["scheduler"], ["worker", "money"], ["worker", "commands"], ["worker", "default"])
    started = [subprocess.Popen([tallyhouse, *command], env=env) for command in commands]
    try:
        yield
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait()


def read_now(tenant_id: int, meter_id: int) -> None:
    """Ask for a meter's register."""
    with unit_of_work(tenant_id) as session:
        order_command(
            session, meter=session.get_one(Meter, (tenant_id, meter_id)), kind=Kind.READ_TOTAL, permit=None,
            reason="bench", actor="system:bench", valid_until=business_now() + timedelta(minutes=10),
            idempotency_key=f"read:{meter_id}",
        )  # fmt: skip


async def cross(sites: list[Site], port: int) -> None:
    """Bring the street up, wait until every meter was polled, then cross at an even pace over all gateways."""
    street, tenant_id = Street(street_of(sites, port), business_now), sites[0].tenant_id
    serving = asyncio.create_task(street.run())
    await until(lambda: count(tenant_id, select(func.count()).where(Meter.answered_at >= BEGIN_AT)) == ALL)
    await asyncio.sleep(SETTLE_S)
    began = time.monotonic()
    order = [pair for turn in zip(*(site.meters.items() for site in sites), strict=True) for pair in turn]
    for turn, (address, meter_id) in enumerate(order):
        await asyncio.sleep(max(0.0, began + turn / CROSSINGS_PER_S - time.monotonic()))
        await street.obey({"meter": address, "register_wh": REGISTER_WH + JUMP_WH})
        await asyncio.to_thread(read_now, tenant_id, meter_id)
    ended = select(func.count()).where(Command.kind == "trip", Command.ended_at.is_not(None))
    with suppress(TimeoutError):
        await until(lambda: count(tenant_id, ended) == ALL)
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


def count(tenant_id: int, counted: Select[tuple[int]]) -> int:
    """One count in the tenant's database."""
    with unit_of_work(tenant_id) as session:
        return session.scalar(counted) or 0


async def until(done: Callable[[], bool]) -> None:
    """Look again every half second. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(done):
            await asyncio.sleep(0.5)


def spans_ms(tenant_id: int) -> list[int]:
    """Milliseconds from the frame that brought the register to the confirmed relay, for every meter that got there."""
    frame_of = (FrameRecord.tenant_id == Command.tenant_id) & (FrameRecord.command_id == Command.id)
    arrived = (
        select(Command.meter_id, func.min(FrameRecord.at))
        .join(FrameRecord, frame_of)
        .where(Command.kind == "read_total", FrameRecord.direction == "in")
        .group_by(Command.meter_id)
    )
    with unit_of_work(tenant_id) as session:
        arrivals = {meter_id: at for meter_id, at in session.execute(arrived)}
        trips = session.scalars(select(Command).where(Command.kind == "trip", Command.state == "confirmed"))
        return sorted(
            (trip.confirmed_at - arrivals[trip.meter_id]) // timedelta(milliseconds=1)
            for trip in trips
            if trip.confirmed_at is not None
        )


def tell_why(tenant_id: int) -> None:
    """Where the others stopped: states of commands and answers of the gate."""
    found: Counter[str] = Counter()
    with unit_of_work(tenant_id) as session:
        found.update(f"{c.kind} {c.state} {c.failure}" for c in session.scalars(select(Command)))
        found.update(f"gate {judgement.verdict}" for judgement in session.scalars(select(StopJudgement)))
    for what, times in found.most_common():
        print(f"{times} × {what}", flush=True)


def main() -> None:
    """Build, run, print."""
    os.environ.setdefault("KEY_ENCRYPTION_KEY", "00" * 32)
    os.environ.setdefault("AUDIT_KEY", "a0" * 32)
    os.environ.setdefault("SECRET_KEY", "bench" * 8)
    os.environ["REDIS_URL"] = with_redis_db(os.environ["REDIS_URL"], REDIS_DB)
    with TemporaryDirectory() as name, fresh_database("tallyhouse_bench_trip") as db:
        folder = Path(name)
        clock.use_clock_file(str(folder / "clock.json"))
        clock.move_clock(to=WARNED_AT, rate=0)
        table.install()
        send_hints_to(None)
        sites = build(db)
        wake.use_redis(os.environ["REDIS_URL"])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        clock.move_clock(to=BEGIN_AT, rate=1)
        with processes(folder, port):
            asyncio.run(cross(sites, port))
        spans = spans_ms(sites[0].tenant_id)
        if len(spans) < ALL:
            tell_why(sites[0].tenant_id)
    at_least("trip_confirmed", len(spans), "relays", ALL)
    if spans:
        said("trip_p50", rounded(spans[len(spans) // 2] / 1000), "s")
        at_most("trip_p95", rounded(spans[len(spans) * 95 // 100 - 1] / 1000), "s", 2)
        said("trip_max", rounded(spans[-1] / 1000), "s")


if __name__ == "__main__":
    main()
