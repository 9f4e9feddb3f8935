"""People, their grants and who holds what, within what the reader may see."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from app.permissions.factor_models import UserFactor
from app.permissions.held import grants_column, held_grant, living, own_role_of_grant, read_grants
from app.permissions.models import Grant, OwnRole, User, UserSession
from app.permissions.people import in_view
from app.permissions.policy import Grant as HeldGrant
from app.permissions.policy import Permission
from app.tenants.access import within


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A line of the list; grants are those that live within the reader's view."""

    id: int
    public_id: uuid.UUID
    login: str
    name: str
    disabled: bool
    grants: list[HeldGrant]
    #: Wall; null for nobody yet, or longer ago than sessions are kept.
    signed_in_at: datetime | None
    has_factor: bool


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant on a person's page."""

    grant: HeldGrant
    #: Null for one without an end.
    ends_at: datetime | None
    #: Ended, or of a role that was withdrawn.
    dead: bool


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who holds a permission, through which role, where."""

    public_id: uuid.UUID
    name: str
    grant: HeldGrant


def people_list(
    session: Session,
    *,
    allowed: Collection[int],
    roots: Collection[int],
    words: str = "",
    role: str = "",
    state: str = "",
    after: str = "",
    most: int,
) -> list[PersonRow]:
    """People in view by sign-in name, after one of them; `state` is no_factor, disabled or nothing."""
    query = _people().where(in_view(allowed, roots), User.login > after).order_by(User.login).limit(most)
    for text in words.split():
        like = f"%{text.replace('%', '').replace('_', '')}%"
        query = query.where(or_(User.login.ilike(like), User.name.ilike(like)))
    if role:
        held = select(Grant.user_id).where(Grant.role == role, living(), within(Grant.node_id, allowed))
        query = query.where(User.id.in_(held))
    if state == "disabled":
        query = query.where(User.disabled_at.is_not(None))
    if state == "no_factor":
        query = query.where(User.disabled_at.is_(None), User.id.not_in(_with_factor()))
    return [_person(row, allowed) for row in session.execute(query)]


def person_row(session: Session, *, user_id: int, allowed: Collection[int]) -> PersonRow:
    """One person, as the list shows them."""
    return _person(session.execute(_people().where(User.id == user_id)).one(), allowed)


def grants_of(session: Session, *, user_id: int, allowed: Collection[int], now: datetime) -> list[GrantRow]:
    """Every grant of a person within view, living ones first."""
    found = (
        select(Grant.role, Grant.node_id, OwnRole.permissions, OwnRole.name, Grant.ends_at)
        .outerjoin(OwnRole, own_role_of_grant())
        .where(Grant.user_id == user_id, within(Grant.node_id, allowed))
        .order_by(Grant.id)
    )
    rows = []
    for role, node_id, permissions, name, ends_at in session.execute(found):
        grant = held_grant(role, node_id, permissions, name)
        rows.append(GrantRow(grant, ends_at, not grant.permissions or (ends_at is not None and ends_at <= now)))
    return sorted(rows, key=lambda row: row.dead)


def holders(session: Session, *, allowed: Collection[int]) -> dict[Permission, list[Holder]]:
    """Who holds each permission within view, through which grant: living grants of people who may sign in."""
    found = (
        select(User.public_id, User.name, Grant.role, Grant.node_id, OwnRole.permissions, OwnRole.name)
        .join(User, (User.tenant_id == Grant.tenant_id) & (User.id == Grant.user_id))
        .outerjoin(OwnRole, own_role_of_grant())
        .where(living(), User.disabled_at.is_(None), within(Grant.node_id, allowed))
        .order_by(User.name, Grant.id)
    )
    held: dict[Permission, list[Holder]] = {permission: [] for permission in Permission}
    for public_id, name, role, node_id, permissions, role_name in session.execute(found):
        grant = held_grant(role, node_id, permissions, role_name)
        for permission in grant.permissions:
            held[permission].append(Holder(public_id, name, grant))
    return held


def _people() -> Select[Any]:
    last = select(func.max(UserSession.created_at)).where(
        UserSession.tenant_id == User.tenant_id, UserSession.user_id == User.id
    )
    return select(
        User.id, User.public_id, User.login, User.name, User.disabled_at, grants_column(User.tenant_id, User.id),
        last.scalar_subquery(), User.id.in_(_with_factor()),
    )  # fmt: skip


def _with_factor() -> Select[Any]:
    return select(UserFactor.user_id).where(UserFactor.confirmed_at.is_not(None), UserFactor.removed_at.is_(None))


def _person(row: Any, allowed: Collection[int]) -> PersonRow:
    id_, public_id, login, name, disabled_at, grants, signed_in_at, has_factor = row
    seen = [grant for grant in read_grants(grants) if grant.node_id in allowed]
    return PersonRow(id_, public_id, login, name, disabled_at is not None, seen, signed_in_at, has_factor)
