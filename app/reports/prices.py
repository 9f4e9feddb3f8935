"""Price plans and their versions."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session


def price_plans(session: Session, *, tenant_id: int, property_ids: list[int], now: object) -> Sequence[Row[Any]]:
    """Every plan in scope with the price in force, the next one, and how many accounts it prices."""
    return session.execute(_PLANS, {"tenant": tenant_id, "properties": property_ids, "now": now, "plan": None}).all()


def price_plan(
    session: Session, *, tenant_id: int, property_ids: list[int], public_id: str, now: object
) -> Row[Any] | None:
    """One plan; None when not there or not in scope."""
    given = {"tenant": tenant_id, "properties": property_ids, "now": now, "plan": public_id}
    return session.execute(_PLANS, given).one_or_none()


def price_versions(session: Session, *, tenant_id: int, plan_id: int) -> Sequence[Row[Any]]:
    """What the plan charged since when, newest first."""
    return session.execute(_VERSIONS, {"tenant": tenant_id, "plan": plan_id}).all()


#: Of versions `v`, those nobody has withdrawn.
COUNTS = """
    NOT EXISTS (SELECT 1 FROM price_withdrawals w WHERE w.tenant_id = v.tenant_id AND w.price_version_id = v.id)
"""

_PLANS = text(f"""
    SELECT pp.id, pp.public_id::text AS public_id, pp.name, pp.utility, pp.property_id, n.name AS property,
           cur.price, cur.effective_from, nxt.price AS next_price, nxt.effective_from AS next_from,
           (SELECT count(DISTINCT supply_account_id) FROM plan_assignments pa
             WHERE pa.tenant_id = pp.tenant_id AND pa.plan_id = pp.id) AS accounts
    FROM price_plans pp
    JOIN nodes n ON n.tenant_id = pp.tenant_id AND n.id = pp.property_id
    LEFT JOIN LATERAL (SELECT price, effective_from FROM price_versions v WHERE v.tenant_id = pp.tenant_id
         AND v.plan_id = pp.id AND v.effective_from <= :now AND {COUNTS} ORDER BY v.effective_from DESC LIMIT 1) cur ON true
    LEFT JOIN LATERAL (SELECT price, effective_from FROM price_versions v WHERE v.tenant_id = pp.tenant_id
         AND v.plan_id = pp.id AND v.effective_from > :now AND {COUNTS} ORDER BY v.effective_from LIMIT 1) nxt ON true
    WHERE pp.tenant_id = :tenant AND pp.property_id = ANY(:properties)
      AND (CAST(:plan AS uuid) IS NULL OR pp.public_id = CAST(:plan AS uuid))
    ORDER BY n.name, pp.name, pp.id
""")

_VERSIONS = text("""
    SELECT v.id, v.effective_from, v.price, v.published_by, v.published_at, u.name AS publisher,
           w.withdrawn_by, w.withdrawn_at, x.name AS withdrawer
    FROM price_versions v
    LEFT JOIN users u ON u.tenant_id = v.tenant_id AND v.published_by = 'user:' || u.id
    LEFT JOIN price_withdrawals w ON w.tenant_id = v.tenant_id AND w.price_version_id = v.id
    LEFT JOIN users x ON x.tenant_id = w.tenant_id AND w.withdrawn_by = 'user:' || x.id
    WHERE v.tenant_id = :tenant AND v.plan_id = :plan ORDER BY v.effective_from DESC, v.id DESC
""")
