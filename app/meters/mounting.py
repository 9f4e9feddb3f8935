"""Mounting: which supply a meter serves, from which register to which, and what protects that supply."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.errors import AppError
from app.kernel.quantity import Ratio
from app.meters.actuators import Actuator
from app.meters.command_life import Kind
from app.meters.commands import order_command, revoke_permits
from app.meters.ingest_rows import archive_begins
from app.meters.intervals import mark_dirty_meters
from app.meters.models import Meter, MeterModel, Mount, Reading
from app.meters.readings import RegisterFacts, RegisterReading, judge
from app.meters.service import open_mount_of
from app.tenants import audit

GUARANTEE_COMMAND_LASTS = timedelta(days=1)


class MeterMounted(AppError):
    """The meter serves a supply already."""

    code, status = "meter_mounted", 409
    message_zh = "表 {number} 已装表使用。请先办理拆表，再重新装表。"
    message_en = "Meter {number} is mounted already. Unmount it first."


class MeterNotMounted(AppError):
    """The meter serves nothing, so nothing can be ended."""

    code, status = "meter_not_mounted", 409
    message_zh = "表 {number} 未装表。请先登记装表。"
    message_en = "Meter {number} is not mounted. Mount it first."


class MountOverlaps(AppError):
    """The mount would begin before the last one of this meter ended."""

    code, status = "mount_overlaps", 422
    message_zh = "装表时间早于该表上次拆表时间。请核对时间。"
    message_en = "The mount would begin before the meter's last one ended. Check the time."


class MountTooOld(AppError):
    """The mount would begin before the first month the installation keeps."""

    code, status = "mount_too_old", 422
    message_zh = "装表时间早于系统保存数据的最早月份（{begins}）。请先由管理员建立更早的月份，或改用较晚的起始示数。"
    message_en = "The mount would begin before the first month kept ({begins}). Have older months made, or begin later."


class RegisterOutOfRange(AppError):
    """More than the register of this model can show."""

    code, status = "register_out_of_range", 422
    message_zh = "示数超出该表型的量程。请核对示数与表型。"
    message_en = "The register is beyond what this model can show. Check the digits and the model."


class LastReadingImpossible(AppError):
    """The last reading does not follow from the readings before it; a person has to look."""

    code, status = "last_reading_impossible", 422
    message_zh = "拆表示数与此前示数不符（{flag}）。请核对示数；若表已清零，请先人工处理异常示数。"
    message_en = "The last reading does not follow from those before it ({flag}). Check the digits on the meter."


def mount(
    session: Session,
    *,
    meter: Meter,
    began_at: datetime,
    register_wh_first: int,
    supply_account_id: int | None = None,
    space_id: int | None = None,
    ratio: int = 1,
    actuator: Actuator = Actuator.INTERNAL_RELAY,
    guaranteed_supply: bool | None = None,
    button_reachable: bool = False,
) -> Mount:
    """Begin a mount with its first reading: a start value, not usage.

    A mount without a supply account is guaranteed unless told otherwise, and never tripped in any case.
    Raises MeterMounted, MountTooOld, MountOverlaps, RegisterOutOfRange.
    """
    _check_mountable(session, meter, began_at, register_wh_first)
    begun = Mount(
        property_id=meter.property_id,
        meter_id=meter.id,
        supply_account_id=supply_account_id,
        space_id=space_id,
        began_at=began_at,
        register_wh_first=register_wh_first,
        ratio=ratio,
        actuator=actuator.value,
        guaranteed_supply=supply_account_id is None if guaranteed_supply is None else guaranteed_supply,
        button_reachable=button_reachable,
    )
    session.add(begun)
    # The first reading is what the next one is judged against.
    meter.reading_at, meter.register_wh = began_at, register_wh_first
    session.flush()  # allow: flush - spans refer to the mount's id
    mark_dirty_meters(session, meter_ids=[meter.id], from_at=began_at)
    return begun


def unmount(session: Session, *, meter: Meter, ended_at: datetime, register_wh_last: int) -> Mount:
    """End a mount with its last reading. Raises MeterNotMounted, LastReadingImpossible."""
    mounted = open_mount_of(session, meter_id=meter.id)
    if mounted is None:
        raise MeterNotMounted(number=meter.number)
    previous = _last_before(session, meter=meter, mounted=mounted, instant=ended_at)
    last = RegisterReading(ended_at, register_wh_last, received_at=ended_at)
    verdict = judge(previous, last, _facts(session, meter), Ratio(mounted.ratio))
    same_instant = previous.read_at == ended_at and previous.register_wh == register_wh_last
    if not verdict.billable and not same_instant:
        raise LastReadingImpossible(flag=verdict.flag.value)
    mounted.ended_at, mounted.register_wh_last = ended_at, register_wh_last
    session.flush()  # allow: flush - a following mount must find this one ended
    mark_dirty_meters(session, meter_ids=[meter.id], from_at=previous.read_at)
    return mounted


def set_guaranteed_supply(session: Session, *, mount: Mount, on: bool, reason: str, by: Actor) -> Mount:
    """Put a supply under guarantee (保电) or take it out, in our books and in the meter.

    Turning it on revokes live permits and cancels unsent trips of the meter.
    """
    # The meter before its commands, and the mount after them, as everybody else locks them.
    locked = select(Meter).where(Meter.id == mount.meter_id).with_for_update(key_share=True)
    meter = session.scalars(locked, execution_options={"populate_existing": True}).one()
    if on:
        revoke_permits(session, meter_ids=[meter.id], reason="guaranteed")
    if meter.gateway_id is not None:
        _tell_meter(session, meter, on, reason, by)
    mount.guaranteed_supply = on
    facts = {"guaranteed_supply": on, "reason": reason}
    _record(session, mount, deed="meters:guarantee:set", facts=facts, by=by)
    return mount


def bypass(session: Session, *, mount: Mount, reason: str, by: Actor) -> Mount:
    """Take the breaker out of control (退出): no trips leave, usage is billed on."""
    revoke_permits(session, meter_ids=[mount.meter_id], reason="bypassed")
    mount.control = "bypassed"
    _record(session, mount, deed="meters:control:bypass", facts={"reason": reason}, by=by)
    return mount


def engage(session: Session, *, mount: Mount, reason: str, by: Actor) -> Mount:
    """Put the breaker back under control (投入)."""
    mount.control = "engaged"
    _record(session, mount, deed="meters:control:engage", facts={"reason": reason}, by=by)
    return mount


def _check_mountable(session: Session, meter: Meter, began_at: datetime, register_wh_first: int) -> None:
    if open_mount_of(session, meter_id=meter.id) is not None:
        raise MeterMounted(number=meter.number)
    begins = archive_begins(session)
    if began_at < begins:
        raise MountTooOld(begins=begins.date().isoformat())
    later = select(Mount.id).where(Mount.meter_id == meter.id, Mount.ended_at > began_at)
    if session.scalar(later.limit(1)) is not None:
        raise MountOverlaps
    if not 0 <= register_wh_first < _facts(session, meter).modulus_wh:
        raise RegisterOutOfRange


def _facts(session: Session, meter: Meter) -> RegisterFacts:
    model = session.scalars(select(MeterModel).where(MeterModel.id == meter.model_id)).one()
    return RegisterFacts(model.modulus_wh, model.rated_power_w, model.step_wh)


def _last_before(session: Session, *, meter: Meter, mounted: Mount, instant: datetime) -> RegisterReading:
    """The last reading of the mount at or before an instant that could be trusted; its first reading otherwise."""
    row = session.execute(
        select(Reading.read_at, Reading.register_wh)
        .where(
            Reading.meter_id == meter.id,
            Reading.register == "total",
            Reading.read_at > mounted.began_at,
            Reading.read_at <= instant,
            Reading.flag.not_in(("negative", "impossible_jump")),
        )
        .order_by(Reading.read_at.desc(), Reading.revision.desc())
        .limit(1)
    ).first()
    if row is None:
        return RegisterReading(mounted.began_at, mounted.register_wh_first, mounted.began_at)
    return RegisterReading(row.read_at, row.register_wh, row.read_at)


def _tell_meter(session: Session, meter: Meter, on: bool, reason: str, by: Actor) -> None:
    now = business_now()
    order_command(
        session,
        meter=meter,
        kind=Kind.GUARANTEE_ON if on else Kind.GUARANTEE_OFF,
        permit=None,
        reason=reason,
        actor=str(by),
        valid_until=now + GUARANTEE_COMMAND_LASTS,
        idempotency_key=f"guarantee:{meter.id}:{on}:{now.isoformat()}",
    )


def _record(session: Session, mount: Mount, *, deed: str, facts: dict[str, object], by: Actor) -> None:
    audit.record(
        session,
        deed=deed,
        subject=f"mounts:{mount.id}",
        actor=by,
        facts=facts,
        property_id=mount.property_id,
    )
