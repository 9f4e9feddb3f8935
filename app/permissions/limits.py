"""Limits as they are set, and who stands where under them.

Nobody raises a limit that they work under: a threshold that its own subject can lift guards nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.errors import AppError, Forbidden
from app.permissions.approval_models import DeedLimit
from app.permissions.deeds import REACH_MAX, HeldRole, LimitedDeed, Unit, deed_named, limit_at, limit_of
from app.permissions.held import living, load_tree
from app.permissions.models import Grant, OwnRole, User
from app.permissions.policy import ROLES, Permission, Role, known
from app.tenants import audit
from app.tenants.access import or_not_found
from app.tenants.models import AuditRecord
from app.tenants.tree import Tree

#: A hundred million yuan: a longer figure has slipped.
AMOUNT_MAX = 10_000_000_000
#: For so long nobody profits from having sent the other deciders away.
REMOVAL_REMEMBERED = timedelta(days=7)


class LimitUnfit(AppError):
    """Below zero, beyond reason, or for a role that may not do the deed at all."""

    code, status = "limit_unfit", 422
    message_zh = "该限额无法设置：数值超出范围，或此角色本来就不能办理该事项。请核对角色与数值。"
    message_en = "This limit cannot be set: the figure is out of range, or the role may not do this at all. Check both."


class OwnLimitRaised(AppError):
    """Nobody raises a limit that they work under."""

    code, status = "own_limit_raised", 403
    message_zh = "不能提高自己所任角色的限额。请由另一位管理员设置。"
    message_en = "Nobody raises the limit of a role they hold. Ask another administrator."


@dataclass(frozen=True, slots=True)
class Standing:
    """Who holds which roles, over the tree, under which limits: everything that decides who may do what alone."""

    tree: Tree
    #: User id → roles; people who may not sign in hold none.
    held: Mapping[int, tuple[HeldRole, ...]]
    limits: Mapping[tuple[int, str, str], int]

    def may(self, user_id: int, permission: Permission, node_id: int) -> bool:
        """Whether a person holds a permission at a node."""
        path = self.tree.path(node_id)
        return any(each.covers(permission, path) for each in self.held.get(user_id, ()))

    def holders(self, permission: Permission, node_id: int) -> frozenset[int]:
        """Everybody who holds a permission at a node."""
        return frozenset(user_id for user_id in self.held if self.may(user_id, permission, node_id))

    def limit(self, user_id: int, deed: LimitedDeed, node_id: int) -> int | None:
        """What a person may do alone at a node; None when they may not do it at all."""
        return limit_of(self.held.get(user_id, ()), self.tree, self.limits, deed, node_id)


def load_standing(session: Session) -> Standing:
    """Read the tree, the grants and the limits of the tenant as they are committed now. Four queries."""
    tree = load_tree(session)
    return Standing(tree, _held(session, tree.ids), load_limits(session))


def removed_somebody_lately(session: Session, *, user_id: int) -> bool:
    """Whether a person has taken a right or an account from anybody within a week.

    Who may do alone what nobody else could decide must not be the one who saw to it that nobody else can.
    """
    since = wall_now() - REMOVAL_REMEMBERED
    removed = select(AuditRecord.id).where(
        AuditRecord.actor == f"user:{user_id}",
        AuditRecord.deed.in_(("user:grant:withdraw", "user:account:disable", "user:role:withdraw")),
        AuditRecord.result == "done",
        AuditRecord.wall_at > since,
    )
    return session.scalar(removed.limit(1)) is not None


def load_limits(session: Session) -> dict[tuple[int, str, str], int]:
    """Every limit that was set, by node, role and deed."""
    columns = (DeedLimit.node_id, DeedLimit.role, DeedLimit.deed, DeedLimit.amount_max)
    return {(node_id, role, deed): amount for node_id, role, deed, amount in session.execute(select(*columns))}


def _held(session: Session, node_ids: Collection[int]) -> dict[int, tuple[HeldRole, ...]]:
    own = _own_roles(session)
    rows = session.execute(
        select(Grant.user_id, Grant.role, Grant.node_id)
        .join(User, (User.tenant_id == Grant.tenant_id) & (User.id == Grant.user_id))
        .where(User.disabled_at.is_(None), living())
        .order_by(Grant.user_id, Grant.id)
    )
    held: dict[int, list[HeldRole]] = defaultdict(list)
    for user_id, role, node_id in rows:
        found = role_named(role, own)
        if found is not None and node_id in node_ids:
            held[user_id].append(HeldRole(role, node_id, *found))
    return {user_id: tuple(roles) for user_id, roles in held.items()}


#: Permissions of a role, and the standard role it is or was copied from.
KnownRole = tuple[frozenset[Permission], Role | None]


def _own_roles(session: Session) -> dict[str, KnownRole]:
    rows = session.scalars(select(OwnRole).where(OwnRole.withdrawn_at.is_(None)))
    return {row.code: (known(row.permissions), _standard(row.based_on)) for row in rows}


def role_named(role: str, own: Mapping[str, KnownRole]) -> KnownRole | None:
    """What a role gives, standard or own; None when it is gone, and then it gives nothing."""
    if role in set(Role):
        return ROLES[Role(role)], Role(role)
    return own.get(role)


def roles_under(session: Session, deed: LimitedDeed) -> list[tuple[str, Role | None]]:
    """Every role that may do a deed, with the standard role behind it: the standard ones first."""
    standard = [(role.value, role) for role in Role if deed.permission in ROLES[role]]
    own = [(code, based) for code, (given, based) in _own_roles(session).items() if deed.permission in given]
    return [*standard, *sorted(own)]


def set_limit(
    session: Session,
    *,
    node_id: int,
    role: str,
    deed: str,
    amount_max: int | None,
    allowed: Collection[int],
    by: Actor,
    reason: str = "",
) -> None:
    """Set what a role may do alone at a node and below; None takes the node's own setting away again.

    Raises NotFound when the node is not among `allowed`, DeedNotKnown, LimitUnfit, OwnLimitRaised.
    """
    or_not_found(node_id if node_id in allowed else None)
    limited, standing = deed_named(deed), load_standing(session)
    named = role_named(role, _own_roles(session))
    if named is None or limited.permission not in named[0] or not _fits(limited, amount_max):
        raise LimitUnfit()
    path = standing.tree.path(node_id)
    before = limit_at(role, named[1], path, standing.limits, limited)
    row = session.scalar(
        select(DeedLimit)
        .where(DeedLimit.node_id == node_id, DeedLimit.role == role, DeedLimit.deed == deed)
        .with_for_update()
    )
    kept = {place: amount for place, amount in standing.limits.items() if place != (node_id, role, deed)}
    after = limit_at(role, named[1], path, kept, limited) if amount_max is None else amount_max
    if after > before and _works_under(standing, by, role, node_id):
        raise OwnLimitRaised()
    _write(session, row, node_id=node_id, role=role, deed=deed, amount_max=amount_max)
    audit.record(
        session,
        deed="approval:limit:edit",
        subject=f"nodes:{node_id}",
        actor=by,
        before={"amount_max": before, "set_here": row is not None},
        after={"amount_max": after, "set_here": amount_max is not None},
        reason=reason or None,
        facts={"role": role, "deed": deed},
    )


def _fits(deed: LimitedDeed, amount_max: int | None) -> bool:
    most = REACH_MAX if deed.unit is Unit.REACH else AMOUNT_MAX
    return amount_max is None or 0 <= amount_max <= most


def _works_under(standing: Standing, by: Actor, role: str, node_id: int) -> bool:
    """Whether a person holds the role somewhere that the setting reaches: above, here or below."""
    if by.kind != "user":
        return False
    near = standing.tree.subtree(node_id) | set(standing.tree.ancestors(node_id))
    return any(each.role == role and each.node_id in near for each in standing.held.get(int(by.ref), ()))


def _write(
    session: Session, row: DeedLimit | None, *, node_id: int, role: str, deed: str, amount_max: int | None
) -> None:
    if row is None and amount_max is not None:
        row = DeedLimit(node_id=node_id, role=role, deed=deed, amount_max=amount_max, changed_at=wall_now())
        session.add(row)
    elif row is not None and amount_max is None:
        session.delete(row)
    elif row is not None and amount_max is not None:
        row.amount_max, row.changed_at = amount_max, wall_now()
    session.flush()  # allow: flush - what is asked next in this unit of work goes by the new limit


def require_holder(standing: Standing, *, by: Actor, permission: Permission, node_id: int) -> None:
    """Raises Forbidden when a person does not hold a permission at a node."""
    if by.kind != "user" or not standing.may(int(by.ref), permission, node_id):
        raise Forbidden(permission=permission)


def _standard(name: str) -> Role | None:
    return Role(name) if name in set(Role) else None
