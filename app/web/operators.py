"""The person behind the request: from the cookie's token to name, tenant and scope, in one unit of work."""

from contextlib import ExitStack

from flask import Flask, g, session
from flask_login import LoginManager, UserMixin
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.kernel.db import database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Grant, Permission, Role, Scope, scope_of
from app.permissions.sign_in import SEEN_EVERY, SignedIn, find_session, tenant_of, touch_session
from app.tenants.models import Node
from app.tenants.tree import Tree
from app.web.guards import keep_open


class Operator(UserMixin):
    """Who is signed in. `get_id` is the session token, so that leaving or revoking the session ends it everywhere."""

    def __init__(self, token: str, found: SignedIn, nodes: list[Node]) -> None:
        self.token = token
        self.found = found
        self.nodes = {node.id: node for node in nodes}
        self.tree = Tree.of([(node.id, node.parent_id) for node in nodes])
        self.scope: Scope = scope_of([Grant(Role(role), node_id) for role, node_id in found.grants], self.tree)

    def get_id(self) -> str:
        """The random token of this session; only its digest is stored."""
        return self.token

    @property
    def label(self) -> str:
        """How entries and the audit log name this person."""
        return f"user:{self.found.user_id}"

    @property
    def name(self) -> str:
        """Name on receipts and in the menu."""
        return self.found.name

    def may(self, permission: Permission, property_id: int | None = None) -> bool:
        """Whether the deed is held at a property, or anywhere when none is named."""
        if property_id is None:
            return permission in self.scope.permissions
        return self.scope.allows(permission, property_id)

    def property_ids(self, permission: Permission) -> list[int]:
        """Properties at which the deed is held, in id order: the one filter of every list."""
        held = self.scope.nodes(permission)
        return sorted(node_id for node_id in held if self.nodes[node_id].kind == "property")


def install_operators(app: Flask) -> None:
    """Teach flask-login where operators come from."""
    manager = LoginManager(app)
    manager.session_protection = None  # the token is the session; addresses of phones change
    manager.user_loader(load_operator)


def load_operator(token: str) -> Operator | None:
    """The operator of a session token, with the request's unit of work opened; None when the session is over."""
    with database().without_tenant() as connection:
        tenant_id = tenant_of(connection, kind="session", value=token)
    if tenant_id is None:
        session.clear()
        return None
    stack = ExitStack()
    work = stack.enter_context(unit_of_work(tenant_id))
    found = find_session(work, token=token)
    if found is None:
        stack.close()
        session.clear()
        return None
    _note_use(work, token, found)
    g.session, g.tenant_id = work, tenant_id
    keep_open(stack)
    return Operator(token, found, list(work.scalars(select(Node).order_by(Node.id))))


def _note_use(work: Session, token: str, found: SignedIn) -> None:
    """Committed at once and before anything else happens, because a GET rolls its unit of work back."""
    if wall_now() - found.seen_at < SEEN_EVERY:
        return
    with database().session() as own, own.begin():
        touch_session(own, token=token)
