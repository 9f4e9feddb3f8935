"""Leases on gateways: two head-ends never talk on one bus.

A lease has a holder, an epoch that rises with every new holder, and an end by the wall clock. Its holder renews it
well before the end and stops talking before the end when it cannot.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.kernel.errors import AppError
from app.meters.models import Gateway, Meter

LEASE_LASTS = timedelta(seconds=15)
RENEW_EVERY_S = 4.0
#: A holder that could not renew falls silent this long after its last renewal: before anybody else may begin.
TALK_AT_MOST_S = 11.0


class GatewayRefused(AppError):
    """A registration that is not taken: unknown number, no or wrong secret, wrong mode, or talking elsewhere already."""

    code, status = "gateway_refused", 403
    message_zh = "网关 {number} 的注册被拒绝（{reason}）。请核对网关编号、密钥与登记信息。"
    message_en = "The registration of gateway {number} was refused ({reason}). Check its number, secret and record."


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to talk to one gateway."""

    tenant_id: int
    gateway_id: int
    number: str
    epoch: int


def admit(session: Session, *, number: str, secret: str | None) -> int:
    """The id of the gateway that says it is `number`. Raises GatewayRefused."""
    gateway = session.scalar(select(Gateway).where(Gateway.number == number))
    if gateway is None:
        raise GatewayRefused(number=number, reason="not_provisioned")
    if gateway.mode != "dial_in":
        raise GatewayRefused(number=number, reason="not_dial_in")
    if gateway.secret_digest is None and not gateway.simulated:
        raise GatewayRefused(number=number, reason="no_secret_on_file")
    told = hashlib.sha256((secret or "").encode()).digest()
    if gateway.secret_digest is not None and not hmac.compare_digest(gateway.secret_digest, told):
        raise GatewayRefused(number=number, reason="wrong_secret")
    return gateway.id


def take_lease(session: Session, *, gateway_id: int, holder: str) -> Lease:
    """Become the one who talks to a gateway. Raises GatewayRefused while another head-end holds it."""
    now = wall_now()
    free = or_(Gateway.lease_holder.is_(None), Gateway.lease_expires_at < now, Gateway.lease_holder == holder)
    taken = session.execute(
        update(Gateway)
        .where(Gateway.id == gateway_id, free)
        .values(
            lease_holder=holder,
            lease_epoch=Gateway.lease_epoch + 1,
            lease_expires_at=now + LEASE_LASTS,
            seen_at=now,
            online=True,
        )
        .returning(Gateway.tenant_id, Gateway.number, Gateway.lease_epoch),
        execution_options={"synchronize_session": False},
    ).first()
    if taken is None:
        raise GatewayRefused(number=str(gateway_id), reason="leased_elsewhere")
    return Lease(taken.tenant_id, gateway_id, taken.number, taken.lease_epoch)


def renew_leases(session: Session, *, holder: str, epochs: Mapping[int, int]) -> set[int]:
    """Renew the leases of these gateways (gateway → epoch); returns those that are still ours."""
    now = wall_now()
    rows = session.execute(
        select(Gateway.id, Gateway.lease_epoch)
        .where(Gateway.id.in_(epochs), Gateway.lease_holder == holder)
        .order_by(Gateway.id)
        .with_for_update(key_share=True)
    )
    ours = {gateway_id for gateway_id, epoch in rows if epochs[gateway_id] == epoch}
    session.execute(
        update(Gateway).where(Gateway.id.in_(ours)).values(lease_expires_at=now + LEASE_LASTS, seen_at=now),
        execution_options={"synchronize_session": False},
    )
    return ours


def release_lease(session: Session, *, lease: Lease, lost: bool) -> None:
    """Give a gateway up. `lost`: its line broke, so its meters are offline; otherwise this head-end only ends."""
    given_up = session.execute(
        update(Gateway)
        .where(Gateway.id == lease.gateway_id, Gateway.lease_epoch == lease.epoch)
        .values(lease_holder=None, lease_expires_at=None, online=False)
        .returning(Gateway.id),
        execution_options={"synchronize_session": False},
    ).first()
    if given_up is not None and lost:
        _lose_meters(session, [lease.gateway_id])


def drop_dead_leases(session: Session) -> int:
    """Gateways whose head-end died without a word are offline, and their meters with them. Returns how many."""
    dead = session.scalars(
        select(Gateway.id)
        .where(Gateway.lease_holder.is_not(None), Gateway.lease_expires_at < wall_now())
        .order_by(Gateway.id)
        .with_for_update(key_share=True, skip_locked=True)
    ).all()
    if dead:
        session.execute(
            update(Gateway).where(Gateway.id.in_(dead)).values(lease_holder=None, lease_expires_at=None, online=False),
            execution_options={"synchronize_session": False},
        )
        _lose_meters(session, dead)
    return len(dead)


def _lose_meters(session: Session, gateway_ids: Sequence[int]) -> None:
    # Locked in the order of their ids, as the intake does that may still be writing what they said.
    locked = select(Meter.id).where(Meter.gateway_id.in_(gateway_ids)).order_by(Meter.id)
    meter_ids = session.scalars(locked.with_for_update(key_share=True)).all()
    session.execute(
        update(Meter).where(Meter.id.in_(meter_ids)).values(online=False),
        execution_options={"synchronize_session": False},
    )
