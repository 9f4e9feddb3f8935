"""Customers as their pages show them, within scope: the list, one person's roles and accounts, who looked at numbers."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session

from app.billing.models import SupplyAccount
from app.billing.wallets import AVAILABLE_FEN
from app.permissions.models import User
from app.tenants.access import within
from app.tenants.models import AuditRecord, Building, Party, PartyRole, Space
from app.tenants.personal_data import UNMASK_DEEDS

UNMASKED = tuple(UNMASK_DEEDS.values())


def customers_after(session: Session, *, allowed: Collection[int], after: int, most: int) -> Sequence[Party]:
    """Customers in scope, newest first, after one of them (0: from the newest)."""
    query = select(Party).where(within(Party.property_id, allowed)).order_by(Party.id.desc()).limit(most)
    return session.scalars(query.where(Party.id < after) if after else query).all()


def rooms_of(session: Session, *, party_ids: Collection[int]) -> dict[int, list[str]]:
    """Party id → rooms they have a role on today. The parties were loaded within scope."""
    rows = session.execute(
        select(PartyRole.party_id, Building.name, Space.name)
        .join(Space, (Space.tenant_id == PartyRole.tenant_id) & (Space.id == PartyRole.space_id))
        .join(Building, (Building.tenant_id == Space.tenant_id) & (Building.id == Space.building_id))
        .where(within(PartyRole.party_id, party_ids), PartyRole.ended_on.is_(None))
        .order_by(Building.name, Space.name)
        .distinct()
    )
    rooms: dict[int, list[str]] = {}
    for party_id, building, space in rows:
        rooms.setdefault(party_id, []).append(f"{building} {space}")
    return rooms


def roles_of(session: Session, *, party_id: int) -> Sequence[Any]:
    """Every role of a party, those of today first."""
    return session.execute(
        select(PartyRole.role, PartyRole.began_on, PartyRole.ended_on, Building.name, Space.name)
        .join(Space, (Space.tenant_id == PartyRole.tenant_id) & (Space.id == PartyRole.space_id))
        .join(Building, (Building.tenant_id == Space.tenant_id) & (Building.id == Space.building_id))
        .where(PartyRole.party_id == party_id)
        .order_by(PartyRole.ended_on.desc().nulls_first(), Building.name, Space.name, PartyRole.id)
    ).all()


def accounts_of(session: Session, *, tenant_id: int, party_id: int) -> Sequence[Any]:
    """Every supply account of a party with what it can still pay, in fen."""
    return session.execute(_ACCOUNTS, {"tenant": tenant_id, "party": party_id}).all()


def account_ids_of(session: Session, *, party_id: int) -> list[int]:
    """Ids of a party's supply accounts."""
    return list(session.scalars(select(SupplyAccount.id).where(SupplyAccount.party_id == party_id)))


def unmaskings_of(session: Session, *, party_id: int, most: int = 50) -> Sequence[Any]:
    """Who looked at a number of this party in full, newest first."""
    return session.execute(
        select(AuditRecord.wall_at, AuditRecord.deed, AuditRecord.actor, User.name, AuditRecord.reason)
        .outerjoin(User, _made_by(User))
        .where(AuditRecord.subject == f"parties:{party_id}", AuditRecord.deed.in_(UNMASKED))
        .order_by(AuditRecord.id.desc())
        .limit(most)
    ).all()


def unmaskings_by_person(
    session: Session, *, allowed: Collection[int], day: datetime, week: datetime, month: datetime
) -> Sequence[Any]:
    """(actor, name, last day, last seven days, last thirty days), the busiest of the last day first; wall instants."""
    since = [func.count().filter(AuditRecord.wall_at >= start) for start in (day, week)]
    name = func.max(User.name)
    return session.execute(
        select(AuditRecord.actor, name, *since, func.count())
        .outerjoin(User, _made_by(User))
        .where(
            AuditRecord.deed.in_(UNMASKED),
            AuditRecord.wall_at >= month,
            within(AuditRecord.property_id, allowed),
        )
        .group_by(AuditRecord.actor)
        .order_by(since[0].desc(), since[1].desc(), func.count().desc(), AuditRecord.actor)
    ).all()


def _made_by(user: type[User]) -> ColumnElement[bool]:
    """Whether a record names this person as who did it."""
    return (user.tenant_id == AuditRecord.tenant_id) & (AuditRecord.actor == func.concat("user:", user.id))


_ACCOUNTS = text(f"""
    SELECT sa.id, sa.public_id, sa.number, sa.utility, sa.state, sa.opened_on, s.name AS space, b.name AS building,
           la.id AS wallet_id, {AVAILABLE_FEN} AS available_fen
      FROM supply_accounts sa
      JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
      JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
      LEFT JOIN ledger_accounts la ON la.tenant_id = sa.tenant_id AND la.supply_account_id = sa.id AND la.code = 'wallet'
      LEFT JOIN ledger_balances bal ON bal.tenant_id = la.tenant_id AND bal.account_id = la.id
     WHERE sa.tenant_id = :tenant AND sa.party_id = :party ORDER BY sa.number
""")
