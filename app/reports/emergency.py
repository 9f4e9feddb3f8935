"""Emergency supplies as the manager reads them in the morning."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session


def emergencies_since(
    session: Session, *, tenant_id: int, property_ids: list[int], since: datetime, now: datetime, most: int = 200
) -> Sequence[Row[Any]]:
    """Emergency supplies given since an instant, newest first, each with its usage and whether it still holds."""
    given = {"tenant": tenant_id, "properties": property_ids, "since": since, "now": now, "most": most}
    return session.execute(_SINCE, given).all()


_SINCE = text("""
    SELECT x.*, CASE WHEN x.used_fen >= x.fen_max THEN 'used' WHEN :now >= x.until_at THEN 'over' ELSE 'holds' END AS stands
    FROM (
        SELECT es.id, es.given_at, es.until_at, es.fen_max, es.reason, u.name AS officer,
               sa.public_id::text AS public_id, s.name AS space, b.name AS building, n.name AS property,
               (greatest(coalesce((SELECT sum(d.rated_microfen) FROM account_days d WHERE d.tenant_id = es.tenant_id
                   AND d.supply_account_id = es.supply_account_id AND d.day >= es.day_from), 0)
                   - es.rated_from_microfen, 0) / 1000000)::bigint AS used_fen
        FROM emergency_supplies es
        JOIN supply_accounts sa ON sa.tenant_id = es.tenant_id AND sa.id = es.supply_account_id
        JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
        JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
        JOIN nodes n ON n.tenant_id = es.tenant_id AND n.id = es.property_id
        LEFT JOIN users u ON u.tenant_id = es.tenant_id AND es.actor = 'user:' || u.id
        WHERE es.tenant_id = :tenant AND es.property_id = ANY(:properties) AND es.given_at >= :since) x
    ORDER BY x.given_at DESC, x.id DESC LIMIT :most
""")
