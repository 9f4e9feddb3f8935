"""The person behind the request: from the cookie's token to name, tenant and scope, in one unit of work."""

from contextlib import ExitStack

from flask import Flask, g, session
from flask_login import LoginManager, UserMixin
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.kernel.db import database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.counter_pcs import property_of_pc
from app.permissions.policy import NEEDS_SECOND_FACTOR, Permission, Scope, at_counter, clipped, scope_of
from app.permissions.sessions import SEEN_EVERY, SignedIn, find_session, touch_session
from app.permissions.sign_in import tenant_of
from app.tenants.models import Node
from app.tenants.tree import Tree
from app.web.guards import keep_open


class Operator(UserMixin):
    """Who is signed in. `get_id` is the session token, so that leaving or revoking the session ends it everywhere."""

    def __init__(self, token: str, found: SignedIn, nodes: list[Node], *, counter_at: int | None = None) -> None:
        self.token = token
        self.found = found
        self.nodes = {node.id: node for node in nodes}
        self.tree = Tree.of([(node.id, node.parent_id) for node in nodes])
        #: What the person holds; `scope` is what this request may see, which is less while viewing as somebody else.
        self.own_scope: Scope = scope_of(found.grants, self.tree)
        if found.opened_by == "pin":
            self.own_scope = at_counter(self.own_scope, counter_at or 0)
        self.scope: Scope = self._seen()

    def get_id(self) -> str:
        """The random token of this session; only its digest is stored."""
        return self.token

    @property
    def viewing(self) -> bool:
        """Whether the console is seen as somebody else would: nothing can be done meanwhile. It is over when the other
        may no longer sign in.
        """
        return self.found.view_as_name is not None

    def _seen(self) -> Scope:
        if not self.viewing or Permission.USER_VIEW_AS not in self.own_scope.permissions:
            return self.own_scope
        return clipped(scope_of(self.found.view_as_grants, self.tree), self.own_scope)

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
    nodes = list(work.scalars(select(Node).order_by(Node.id)))
    operator = Operator(token, found, nodes, counter_at=_counter_of(work, found))
    if _lacks_factor(operator):
        stack.close()
        session.clear()
        return None
    _note_use(work, token, found)
    g.session, g.tenant_id = work, tenant_id
    keep_open(stack)
    return operator


def _counter_of(work: Session, found: SignedIn) -> int | None:
    """The property whose counter the session was opened at by PIN."""
    if found.opened_by != "pin" or found.counter_pc_id is None:
        return None
    return property_of_pc(work, pc_id=found.counter_pc_id)


def _lacks_factor(operator: Operator) -> bool:
    """Whether the group has come to ask for a second factor since: then one signs in again, and is led to set it up.

    A provider's sign-in and a counter PC's PIN are proofs of their own.
    """
    found = operator.found
    if not found.factor_required or found.factor_at is not None or found.opened_by not in ("password", "passkey"):
        return False
    return bool(operator.own_scope.permissions & NEEDS_SECOND_FACTOR)


def _note_use(work: Session, token: str, found: SignedIn) -> None:
    """Committed at once and before anything else happens, because a GET rolls its unit of work back."""
    if wall_now() - found.seen_at < SEEN_EVERY:
        return
    with database().session() as own, own.begin():
        touch_session(own, token=token)
