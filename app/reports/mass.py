"""Rooms to choose from when many are switched at once, and what came of a switching."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN
from app.reports.room_states import IN_SCOPE, STATE, SUPPLY
from app.tenants.models import AuditRecord


def switchable_rooms(
    session: Session, *, tenant_id: int, property_ids: list[int], only: Collection[int] | None = None
) -> Sequence[Row[Any]]:
    """Open and suspended electricity accounts with their rooms, by building and floor; `only` of these ids."""
    given = {"tenant": tenant_id, "properties": property_ids, "only": None if only is None else sorted(only)}
    return session.execute(_ROOMS, given).all()


def mass_lines(session: Session, *, approval_id: int) -> list[dict[str, Any]]:
    """What came of each account when a request was carried out."""
    facts = session.scalar(
        select(AuditRecord.facts).where(
            AuditRecord.approval_id == approval_id, AuditRecord.deed == "supply:mass:control"
        )
    )
    return list(facts["lines"]) if facts else []


_ROOMS = text(f"""
    SELECT sa.id, sa.public_id::text AS public_id, sa.number, sa.property_id, s.name AS space, b.name AS building,
           f.id AS floor_id, f.name AS floor, f.level, {STATE} AS state, {AVAILABLE_FEN} AS available_fen
    FROM supply_accounts sa
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    JOIN floors f ON f.tenant_id = s.tenant_id AND f.id = s.floor_id
    {SUPPLY}
    {IN_SCOPE} AND sa.state <> 'closed' AND sa.utility = 'electricity' AND m.id IS NOT NULL
      AND (CAST(:only AS bigint[]) IS NULL OR sa.id = ANY(CAST(:only AS bigint[])))
    ORDER BY b.name, b.id, f.level DESC, s.name, sa.id
""")
