"""How far a person's hand reaches into the rights of others: nobody gives what they do not hold (adr 0016)."""

from datetime import datetime

from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.errors import AppError, NotFound
from app.permissions.held import lasting_scope, load_grants, load_scope, load_tree
from app.permissions.models import User
from app.permissions.policy import (
    PLATFORM_ONLY,
    SELLING,
    Grant,
    Permission,
    Scope,
    beyond,
    joined_in,
    joined_sides,
    scope_of,
)

#: Taking these away needs nobody who holds them: a group may always show its cashier and the platform the door.
TAKEN_BY_ANYBODY = SELLING | PLATFORM_ONLY


class OwnRights(AppError):
    """Nobody changes what they themselves may do."""

    code, status = "own_rights", 403
    message_zh = "不能更改自己的授权、角色或账号状态。请由另一位管理员办理。"
    message_en = "Nobody changes their own grants, roles or account state. Ask another administrator."


class RightsBeyondYours(AppError):
    """Nobody gives, changes or takes over what they do not hold themselves at the same place for as long."""

    code, status = "rights_beyond_yours", 403
    message_zh = "此项涉及您自己在该处没有（或期限更短）的权限：{permissions}。请由持有这些权限的管理员办理。"
    message_en = (
        "This concerns permissions that you do not hold there yourself, or not for as long: {permissions}. "
        "Ask an administrator who holds them."
    )


class DutiesJoined(AppError):
    """One person would take money and give it back, or take it and decide on it, at one place."""

    code, status = "duties_joined", 409
    message_zh = "同一人不能在同一处兼有这些权限：{permissions}。请先收回与之冲突的授权，或授予另一人。"
    message_en = (
        "One person may not hold these together at one place: {permissions}. Withdraw the grant that clashes first, "
        "or choose another person."
    )


def refuse_out_of_reach(session: Session, *, user: User, by: Actor, aside: frozenset[Permission] = SELLING) -> None:
    """Whoever changes a person must hold all that the person holds, where they hold it: otherwise a new password for
    somebody greater would be a way up.

    Raises RightsBeyondYours.
    """
    if by.kind != "user" or by.ref == user.id:
        return
    tree = load_tree(session)
    theirs = scope_of(load_grants(session, user_id=user.id), tree)
    mine = load_scope(session, user_id=int(by.ref))
    refuse_beyond(beyond(mine, theirs, aside=aside))
    nodes = frozenset().union(*theirs.nodes_by_permission.values()) or frozenset(tree.roots)
    if not nodes <= mine.nodes(Permission.USER_ACCOUNT_EDIT):
        refuse_beyond(frozenset({Permission.USER_ACCOUNT_EDIT}))


def refuse_giver(session: Session, *, user: User, given: Grant, by: Actor, until: datetime | None) -> None:
    """What a signed-in giver must hold to give somebody this grant, until an instant or without end.

    Raises OwnRights, NotFound, RightsBeyondYours.
    """
    if by.kind != "user":
        return
    _refuse_stranger(session, user=user, node_id=given.node_id, by=by)
    mine = lasting_scope(session, user_id=int(by.ref), until=until)
    refuse_beyond(beyond(mine, scope_of([given], load_tree(session))))


def refuse_taker(session: Session, *, user: User, given: Grant, by: Actor) -> None:
    """What a signed-in person must hold to take this grant from somebody. Raises OwnRights, NotFound,
    RightsBeyondYours.
    """
    if by.kind != "user":
        return
    mine = _refuse_stranger(session, user=user, node_id=given.node_id, by=by)
    refuse_beyond(beyond(mine, scope_of([given], load_tree(session)), aside=TAKEN_BY_ANYBODY))


def _refuse_stranger(session: Session, *, user: User, node_id: int, by: Actor) -> Scope:
    refuse_oneself(user, by)
    mine = load_scope(session, user_id=int(by.ref))
    if not mine.allows(Permission.USER_GRANT_EDIT, node_id):
        raise NotFound()
    return mine


def refuse_oneself(user: User, by: Actor) -> None:
    """Raises OwnRights."""
    if by.kind == "user" and by.ref == user.id:
        raise OwnRights()


def refuse_beyond(missing: frozenset[Permission]) -> None:
    """Raises RightsBeyondYours when anything is missing."""
    if missing:
        raise RightsBeyondYours(permissions="、".join(sorted(missing)))


def refuse_out_of_view(session: Session, *, user: User, by: Actor) -> None:
    """Nobody sees through the eyes of somebody who may see more. Raises RightsBeyondYours."""
    theirs = scope_of(load_grants(session, user_id=user.id), load_tree(session))
    refuse_beyond(beyond(load_scope(session, user_id=int(by.ref)), theirs))


def refuse_joined(session: Session, user: User, new: Grant) -> None:
    """A person's grants with a new one must keep apart what is kept apart, node by node. Raises DutiesJoined."""
    others = [grant for grant in load_grants(session, user_id=user.id) if grant.role != new.role]
    clash = joined_sides(new.permissions) or joined_in(scope_of([*others, new], load_tree(session)))
    if clash:
        raise DutiesJoined(permissions="、".join(sorted(clash)))
