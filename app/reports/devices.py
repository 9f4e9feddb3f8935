"""Meters and gateways: online state, last word, last reading, cases for a human."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session


def gateways(session: Session, *, tenant_id: int, property_ids: list[int]) -> Sequence[Row[Any]]:
    """Every gateway in scope with how many meters answer behind it, the lost ones first."""
    return session.execute(_GATEWAYS, {"tenant": tenant_id, "properties": property_ids}).all()


def gateway(session: Session, *, tenant_id: int, property_ids: list[int], public_id: str) -> Row[Any] | None:
    """One gateway; None when not there or not in scope."""
    given = {"tenant": tenant_id, "properties": property_ids, "gateway": public_id}
    return session.execute(_GATEWAY, given).one_or_none()


def meters(
    session: Session,
    *,
    tenant_id: int,
    property_ids: list[int],
    gateway_id: int | None = None,
    online: bool | None = None,
    after: int = 0,
    most: int = 50,
) -> Sequence[Row[Any]]:
    """Meters in id order from `after`, of one gateway or of all, online or lost or both."""
    given = {
        "tenant": tenant_id, "properties": property_ids, "gateway": gateway_id, "online": online,
        "after": after, "most": most, "meter": None,
    }  # fmt: skip
    return session.execute(_METERS, given).all()


def meter(session: Session, *, tenant_id: int, property_ids: list[int], public_id: str) -> Row[Any] | None:
    """One meter with model, mount and gateway; None when not there or not in scope."""
    given = {
        "tenant": tenant_id, "properties": property_ids, "gateway": None, "online": None,
        "after": 0, "most": 1, "meter": public_id,
    }  # fmt: skip
    return session.execute(_METERS, given).one_or_none()


def readings(session: Session, *, tenant_id: int, meter_id: int, since: datetime, most: int = 60) -> Sequence[Row[Any]]:
    """Readings of the total register since an instant, newest first."""
    given = {"tenant": tenant_id, "meter": meter_id, "since": since, "most": most}
    return session.execute(_READINGS, given).all()


def cases(
    session: Session, *, tenant_id: int, property_ids: list[int], meter_id: int | None = None, most: int = 100
) -> Sequence[Row[Any]]:
    """Readings that wait for a human, newest first."""
    given = {"tenant": tenant_id, "properties": property_ids, "meter": meter_id, "most": most}
    return session.execute(_CASES, given).all()


_GATEWAYS = text("""
    SELECT gw.id, gw.public_id::text AS public_id, gw.number, gw.mode, gw.host, gw.port, gw.simulated, gw.online, gw.seen_at,
           gw.lease_holder, n.name AS property, coalesce(k.meters, 0) AS meters, coalesce(k.online, 0) AS meters_online
    FROM gateways gw
    JOIN nodes n ON n.tenant_id = gw.tenant_id AND n.id = gw.property_id
    LEFT JOIN (SELECT gateway_id, count(*) AS meters, count(*) FILTER (WHERE online) AS online FROM meters
                WHERE tenant_id = :tenant AND property_id = ANY(:properties) GROUP BY gateway_id) k ON k.gateway_id = gw.id
    WHERE gw.tenant_id = :tenant AND gw.property_id = ANY(:properties)
    ORDER BY gw.online, n.name, gw.number
""")

_GATEWAY = text("""
    SELECT gw.id, gw.public_id::text AS public_id, gw.number, gw.mode, gw.host, gw.port, gw.simulated, gw.online, gw.seen_at,
           gw.lease_holder, gw.lease_expires_at, gw.lease_epoch, gw.property_id, n.name AS property
    FROM gateways gw JOIN nodes n ON n.tenant_id = gw.tenant_id AND n.id = gw.property_id
    WHERE gw.tenant_id = :tenant AND gw.property_id = ANY(:properties) AND gw.public_id = CAST(:gateway AS uuid)
""")

_METERS = text("""
    SELECT m.id, m.public_id::text AS public_id, m.number, m.address, m.online, m.relay_state, m.relay_read_at, m.reading_at,
           m.register_wh, m.answered_at, m.clock_drift_s, m.property_id, mm.name AS model, mm.dialect, mm.modulus_wh,
           mm.rated_power_w, gw.number AS gateway_number, gw.public_id::text AS gateway_public_id, gw.online AS gateway_online,
           mo.ratio, mo.actuator, mo.control, mo.guaranteed_supply, mo.began_at, s.name AS space, n.name AS property,
           sa.number AS account_number, sa.public_id::text AS account_public_id
    FROM meters m
    JOIN meter_models mm ON mm.tenant_id = m.tenant_id AND mm.id = m.model_id
    JOIN nodes n ON n.tenant_id = m.tenant_id AND n.id = m.property_id
    LEFT JOIN gateways gw ON gw.tenant_id = m.tenant_id AND gw.id = m.gateway_id
    LEFT JOIN mounts mo ON mo.tenant_id = m.tenant_id AND mo.meter_id = m.id AND mo.ended_at IS NULL
    LEFT JOIN spaces s ON s.tenant_id = mo.tenant_id AND s.id = mo.space_id
    LEFT JOIN supply_accounts sa ON sa.tenant_id = mo.tenant_id AND sa.id = mo.supply_account_id
    WHERE m.tenant_id = :tenant AND m.property_id = ANY(:properties) AND m.id > :after
      AND (CAST(:gateway AS bigint) IS NULL OR m.gateway_id = :gateway)
      AND (CAST(:online AS boolean) IS NULL OR m.online = :online)
      AND (CAST(:meter AS uuid) IS NULL OR m.public_id = CAST(:meter AS uuid))
    ORDER BY m.id LIMIT :most
""")

_READINGS = text("""
    SELECT read_at, register_wh, flag, source, received_at, revision,
           register_wh - lead(register_wh) OVER (ORDER BY read_at DESC, revision DESC) AS step_wh
    FROM readings
    WHERE tenant_id = :tenant AND meter_id = :meter AND register = 'total' AND read_at >= :since
    ORDER BY read_at DESC, revision DESC LIMIT :most
""")

_CASES = text("""
    SELECT k.id, k.flag, k.read_at, k.register_wh, k.source, k.received_at, k.facts, m.number AS meter_number,
           m.public_id::text AS meter_public_id, n.name AS property
    FROM reading_cases k
    JOIN meters m ON m.tenant_id = k.tenant_id AND m.id = k.meter_id
    JOIN nodes n ON n.tenant_id = k.tenant_id AND n.id = k.property_id
    WHERE k.tenant_id = :tenant AND k.property_id = ANY(:properties) AND k.settled_at IS NULL
      AND (CAST(:meter AS bigint) IS NULL OR k.meter_id = :meter)
    ORDER BY k.id DESC LIMIT :most
""")
