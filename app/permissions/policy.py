"""Who may do what, where: a role is a set of permissions, a grant puts it on a node and all below."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.tenants.tree import Tree


class Permission(StrEnum):
    """`<area>:<thing>:<deed>`, kept in alphabetical order."""

    ACCOUNT_SUPPLY_READ = "account:supply:read"
    AUDIT_LOG_READ = "audit:log:read"
    DEMO_CLOCK_MOVE = "demo:clock:move"
    GATEWAY_GATEWAY_EDIT = "gateway:gateway:edit"
    GATEWAY_GATEWAY_READ = "gateway:gateway:read"
    LEDGER_ENTRY_READ = "ledger:entry:read"
    LEGAL_ENTITY_EDIT = "legal:entity:edit"
    METER_COMMAND_ORDER = "meter:command:order"
    METER_METER_EDIT = "meter:meter:edit"
    METER_METER_READ = "meter:meter:read"
    MONEY_RECEIPT_PRINT = "money:receipt:print"
    MONEY_SHIFT_OWN = "money:shift:own"
    MONEY_TOPUP_REVERSE = "money:topup:reverse"
    MONEY_TOPUP_SELL = "money:topup:sell"
    ONBOARDING_IMPORT_COMMIT = "onboarding:import:commit"
    OVERVIEW_GROUP_READ = "overview:group:read"
    PERSON_PHONE_UNMASK = "person:phone:unmask"
    PLAN_PRICE_PUBLISH = "plan:price:publish"
    PLAN_PRICE_READ = "plan:price:read"
    PLATFORM_SETTING_EDIT = "platform:setting:edit"
    PROPERTY_WALL_READ = "property:wall:read"
    READING_IMPORT_LOAD = "reading:import:load"
    USER_SESSION_MANAGE = "user:session:manage"


class Role(StrEnum):
    """What a user is at a node."""

    GROUP_ADMINISTRATOR = "group_administrator"
    PROPERTY_MANAGER = "property_manager"
    CASHIER = "cashier"


#: What concerns the tenant as a whole and no property manager touches.
HEADQUARTERS_ONLY = frozenset(
    {Permission.LEGAL_ENTITY_EDIT, Permission.PLATFORM_SETTING_EDIT, Permission.USER_SESSION_MANAGE}
)

#: Find the customer, sell, print, and close one's own till: who sells does not reverse.
CASHIER = frozenset(
    {
        Permission.ACCOUNT_SUPPLY_READ,
        Permission.MONEY_RECEIPT_PRINT,
        Permission.MONEY_SHIFT_OWN,
        Permission.MONEY_TOPUP_SELL,
        Permission.PROPERTY_WALL_READ,
    }
)

ROLES: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.GROUP_ADMINISTRATOR: frozenset(Permission),
        Role.PROPERTY_MANAGER: frozenset(Permission) - HEADQUARTERS_ONLY,
        Role.CASHIER: CASHIER,
    }
)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role at a node of the tree; it holds for the node and for everything below it."""

    role: Role
    node_id: int


@dataclass(frozen=True, slots=True)
class Scope:
    """Where each permission holds: node ids, whole branches already unfolded."""

    nodes_by_permission: Mapping[Permission, frozenset[int]]

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the user may do somewhere: enough for a menu, never for a deed."""
        return frozenset(self.nodes_by_permission)

    def nodes(self, permission: Permission) -> frozenset[int]:
        """Where the user may do it. Empty when nowhere."""
        return self.nodes_by_permission.get(permission, frozenset())

    def allows(self, permission: Permission, node_id: int) -> bool:
        """May the user do it at this node?"""
        return node_id in self.nodes(permission)


def scope_of(grants: Iterable[Grant], tree: Tree) -> Scope:
    """Unfold grants over the tree. A grant on a node that is gone gives nothing: access fails closed."""
    reach: dict[Permission, frozenset[int]] = {}
    for grant in grants:
        if grant.node_id not in tree.parents:
            continue
        branch = tree.subtree(grant.node_id)
        for permission in ROLES[grant.role]:
            reach[permission] = reach.get(permission, frozenset()) | branch
    return Scope(MappingProxyType(reach))
