"""What a person holds now: living grants with the permissions of their roles, standard or the tenant's own."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, and_, func, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.permissions.models import Grant, OwnRole, User
from app.permissions.policy import Grant as HeldGrant
from app.permissions.policy import Scope, known, scope_of
from app.tenants.models import Node
from app.tenants.tree import Tree


def living(at: datetime | None = None) -> ColumnElement[bool]:
    """Grants that give something at an instant, now when none is named."""
    return or_(Grant.ends_at.is_(None), Grant.ends_at > (at or wall_now()))


def own_role_of_grant() -> ColumnElement[bool]:
    """How a grant finds the own role it names; one that was withdrawn is not found and gives nothing."""
    return and_(OwnRole.tenant_id == Grant.tenant_id, OwnRole.code == Grant.role, OwnRole.withdrawn_at.is_(None))


def grants_column(tenant_id: Any, user_id: Any) -> ScalarSelect[Any]:
    """A column with somebody's living grants, for queries that have no second question to spare; see `read_grants`."""
    said = func.jsonb_build_array(Grant.role, Grant.node_id, OwnRole.permissions, OwnRole.name)
    held = select(func.jsonb_agg(aggregate_order_by(said, Grant.id))).select_from(Grant)
    held = held.outerjoin(OwnRole, own_role_of_grant())
    return held.where(Grant.tenant_id == tenant_id, Grant.user_id == user_id, living()).scalar_subquery()


def read_grants(said: Iterable[Any] | None) -> tuple[HeldGrant, ...]:
    """What `grants_column` found, None for nothing."""
    return tuple(held_grant(*facts) for facts in said or ())


def held_grant(role: str, node_id: int, permissions: Iterable[str] | None, name: str | None) -> HeldGrant:
    """A grant as the rules know it; permissions and name are those of an own role, None for a standard one."""
    return HeldGrant(role, node_id, None if permissions is None else known(permissions), name or "")


def load_grants(session: Session, *, user_id: int, living_at: ColumnElement[bool] | None = None) -> list[HeldGrant]:
    """A person's living grants, whether or not the person may sign in."""
    found = (
        select(Grant.role, Grant.node_id, OwnRole.permissions, OwnRole.name)
        .outerjoin(OwnRole, own_role_of_grant())
        .where(Grant.user_id == user_id, living() if living_at is None else living_at)
        .order_by(Grant.id)
    )
    return [held_grant(*row) for row in session.execute(found)]


def load_tree(session: Session) -> Tree:
    """The organisation as the rules know it."""
    return Tree.of([(node_id, parent_id) for node_id, parent_id in session.execute(select(Node.id, Node.parent_id))])


def load_scope(session: Session, *, user_id: int) -> Scope:
    """Where each permission of a person holds now, in two queries.

    `scope.nodes(p)` is the filter `property_id = ANY(…)`.
    """
    return scope_of(load_grants(session, user_id=user_id), load_tree(session))


def lasting_scope(session: Session, *, user_id: int, until: datetime | None) -> Scope:
    """What a person will still hold at an instant; None asks for what has no end."""
    lasts = Grant.ends_at.is_(None) if until is None else or_(Grant.ends_at.is_(None), Grant.ends_at >= until)
    able = Grant.user_id.in_(select(User.id).where(User.disabled_at.is_(None)))
    return scope_of(load_grants(session, user_id=user_id, living_at=and_(lasts, able)), load_tree(session))
