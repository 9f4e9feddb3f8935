"""Who may do what, where: a role is a set of permissions, a grant puts it on a node and all below."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.tenants.tree import Tree


class Permission(StrEnum):
    """`<area>:<thing>:<deed>`, kept in alphabetical order."""

    ACCOUNT_SUPPLY_READ = "account:supply:read"
    API_TOKEN_MANAGE = "api:token:manage"
    API_WEBHOOK_MANAGE = "api:webhook:manage"
    APPROVAL_LIMIT_EDIT = "approval:limit:edit"
    APPROVAL_METER_DECIDE = "approval:meter:decide"
    APPROVAL_MONEY_DECIDE = "approval:money:decide"
    APPROVAL_PRICE_DECIDE = "approval:price:decide"
    APPROVAL_REQUEST_READ = "approval:request:read"
    APPROVAL_RIGHT_DECIDE = "approval:right:decide"
    AUDIT_LOG_EXPORT = "audit:log:export"
    AUDIT_LOG_READ = "audit:log:read"
    COLLECTION_CALL_READ = "collection:call:read"
    COUNTER_PC_REGISTER = "counter:pc:register"
    DEMO_CLOCK_MOVE = "demo:clock:move"
    ENERGY_USAGE_READ = "energy:usage:read"
    GATEWAY_GATEWAY_EDIT = "gateway:gateway:edit"
    GATEWAY_GATEWAY_READ = "gateway:gateway:read"
    LEDGER_ENTRY_READ = "ledger:entry:read"
    LEGAL_ENTITY_EDIT = "legal:entity:edit"
    METER_COMMAND_MASS = "meter:command:mass"
    METER_COMMAND_ORDER = "meter:command:order"
    METER_METER_EDIT = "meter:meter:edit"
    METER_METER_READ = "meter:meter:read"
    MONEY_ADJUSTMENT_MAKE = "money:adjustment:make"
    MONEY_RECEIPT_PRINT = "money:receipt:print"
    MONEY_RECEIPT_READ = "money:receipt:read"
    MONEY_REFUND_GIVE = "money:refund:give"
    MONEY_SHIFT_OWN = "money:shift:own"
    MONEY_TOPUP_REVERSE = "money:topup:reverse"
    MONEY_TOPUP_SELL = "money:topup:sell"
    MONEY_WAIVER_GIVE = "money:waiver:give"
    ONBOARDING_IMPORT_COMMIT = "onboarding:import:commit"
    OVERVIEW_GROUP_READ = "overview:group:read"
    PERSON_DATA_EDIT = "person:data:edit"
    PERSON_DATA_ERASE = "person:data:erase"
    PERSON_DATA_EXPORT = "person:data:export"
    PERSON_DOCUMENT_UNMASK = "person:document:unmask"
    PERSON_PHONE_UNMASK = "person:phone:unmask"
    PLAN_PRICE_PUBLISH = "plan:price:publish"
    PLAN_PRICE_READ = "plan:price:read"
    PLATFORM_KEY_ROTATE = "platform:key:rotate"
    PLATFORM_SETTING_EDIT = "platform:setting:edit"
    PROPERTY_WALL_READ = "property:wall:read"
    READING_IMPORT_LOAD = "reading:import:load"
    RESIDENT_PAGE_OPEN = "resident:page:open"
    SECURITY_SETTING_READ = "security:setting:read"
    SUPPLY_APPLIANCES_CONFIRM = "supply:appliances:confirm"
    SUPPLY_EMERGENCY_GIVE = "supply:emergency:give"
    USER_ACCOUNT_EDIT = "user:account:edit"
    USER_ACCOUNT_READ = "user:account:read"
    USER_GRANT_EDIT = "user:grant:edit"
    USER_POLICY_EDIT = "user:policy:edit"
    USER_PROVIDER_EDIT = "user:provider:edit"
    USER_ROLE_EDIT = "user:role:edit"
    USER_SESSION_MANAGE = "user:session:manage"
    USER_VIEW_AS = "user:view:as"


class Role(StrEnum):
    """What a user is at a node."""

    PLATFORM_OPERATOR = "platform_operator"
    GROUP_ADMINISTRATOR = "group_administrator"
    GROUP_FINANCE = "group_finance"
    GROUP_AUDITOR = "group_auditor"
    PROPERTY_MANAGER = "property_manager"
    PROPERTY_FINANCE = "property_finance"
    CASHIER = "cashier"
    METER_ENGINEER = "meter_engineer"
    DUTY_OFFICER = "duty_officer"
    BUILDING_STEWARD = "building_steward"
    ENERGY_MANAGER = "energy_manager"
    READ_ONLY = "read_only"


P = Permission

#: What looks and changes nothing.
READS = frozenset(
    {P.ACCOUNT_SUPPLY_READ, P.ENERGY_USAGE_READ, P.GATEWAY_GATEWAY_READ, P.METER_METER_READ, P.OVERVIEW_GROUP_READ}
    | {P.PLAN_PRICE_READ, P.PROPERTY_WALL_READ}
)
#: The keys of the installation: nobody of a group holds them.
PLATFORM_ONLY = frozenset({P.PLATFORM_KEY_ROTATE, P.PLATFORM_SETTING_EDIT})
#: Taking money over the counter: who sells neither reverses nor decides.
SELLING = frozenset({P.MONEY_SHIFT_OWN, P.MONEY_TOPUP_SELL})
#: Giving money back or away.
GIVING = frozenset({P.MONEY_ADJUSTMENT_MAKE, P.MONEY_REFUND_GIVE, P.MONEY_TOPUP_REVERSE, P.MONEY_WAIVER_GIVE})
#: Who may do what, and how sure we are of who they are.
RIGHTS = frozenset(
    {P.APPROVAL_LIMIT_EDIT, P.APPROVAL_RIGHT_DECIDE, P.USER_ACCOUNT_EDIT, P.USER_ACCOUNT_READ, P.USER_GRANT_EDIT}
    | {P.USER_POLICY_EDIT, P.USER_PROVIDER_EDIT, P.USER_ROLE_EDIT, P.USER_SESSION_MANAGE, P.USER_VIEW_AS}
)
#: Saying yes to what somebody else asks for.
DECIDING = frozenset(
    {P.APPROVAL_METER_DECIDE, P.APPROVAL_MONEY_DECIDE, P.APPROVAL_PRICE_DECIDE, P.APPROVAL_RIGHT_DECIDE}
)
#: What concerns the tenant as a whole and no property manager touches.
HEADQUARTERS_ONLY = frozenset(
    {P.API_WEBHOOK_MANAGE, P.APPROVAL_LIMIT_EDIT, P.APPROVAL_RIGHT_DECIDE, P.AUDIT_LOG_EXPORT, P.LEGAL_ENTITY_EDIT}
    | {P.PERSON_DATA_ERASE, P.USER_POLICY_EDIT, P.USER_PROVIDER_EDIT, P.USER_ROLE_EDIT, P.USER_SESSION_MANAGE}
    | {P.USER_VIEW_AS}
)
#: Looking at receipts, and printing them: every print is counted.
PAPERS = frozenset({P.MONEY_RECEIPT_PRINT, P.MONEY_RECEIPT_READ})
#: What is changed by the one permission is looked at by the other.
LOOKED_AT: Mapping[Permission, Permission] = MappingProxyType(
    {P.MONEY_RECEIPT_PRINT: P.MONEY_RECEIPT_READ}
    | dict.fromkeys((P.API_TOKEN_MANAGE, P.API_WEBHOOK_MANAGE, P.APPROVAL_LIMIT_EDIT), P.SECURITY_SETTING_READ)
    | dict.fromkeys((P.COUNTER_PC_REGISTER, P.USER_POLICY_EDIT, P.USER_PROVIDER_EDIT), P.SECURITY_SETTING_READ)
)
#: Find the customer, sell, print, close one's own till, and ask whether the heaters are off.
CASHIER = SELLING | PAPERS | {P.ACCOUNT_SUPPLY_READ, P.PROPERTY_WALL_READ, P.SUPPLY_APPLIANCES_CONFIRM}
#: Who runs a place gives money back and decides on it, and therefore never takes any: selling is the cashier's alone.
RUNNING = frozenset(Permission) - PLATFORM_ONLY - SELLING

ROLES: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        # Sees how the installation runs in this tenant; neither money nor anybody's personal data.
        Role.PLATFORM_OPERATOR: PLATFORM_ONLY
        | {P.AUDIT_LOG_READ, P.GATEWAY_GATEWAY_READ, P.METER_METER_READ, P.USER_SESSION_MANAGE},
        Role.GROUP_ADMINISTRATOR: RUNNING,
        Role.GROUP_FINANCE: READS
        | GIVING
        | PAPERS
        | {P.APPROVAL_MONEY_DECIDE, P.APPROVAL_PRICE_DECIDE, P.LEDGER_ENTRY_READ, P.LEGAL_ENTITY_EDIT}
        | {P.APPROVAL_REQUEST_READ, P.COLLECTION_CALL_READ, P.PERSON_DOCUMENT_UNMASK}
        | {P.PLAN_PRICE_PUBLISH},
        # Reads everything, changes nothing, and sees names and numbers masked like everybody else.
        Role.GROUP_AUDITOR: READS
        | {P.APPROVAL_REQUEST_READ, P.AUDIT_LOG_EXPORT, P.AUDIT_LOG_READ, P.COLLECTION_CALL_READ, P.LEDGER_ENTRY_READ}
        | {P.MONEY_RECEIPT_READ, P.SECURITY_SETTING_READ, P.USER_ACCOUNT_READ},
        Role.PROPERTY_MANAGER: RUNNING - HEADQUARTERS_ONLY,
        Role.PROPERTY_FINANCE: READS
        | GIVING
        | PAPERS
        | {P.APPROVAL_REQUEST_READ, P.COLLECTION_CALL_READ, P.LEDGER_ENTRY_READ}
        | {P.PERSON_PHONE_UNMASK},
        Role.CASHIER: CASHIER,
        Role.METER_ENGINEER: frozenset({P.ACCOUNT_SUPPLY_READ, P.APPROVAL_REQUEST_READ})
        | {P.ENERGY_USAGE_READ, P.GATEWAY_GATEWAY_EDIT}
        | {P.GATEWAY_GATEWAY_READ, P.METER_COMMAND_ORDER, P.METER_METER_EDIT, P.METER_METER_READ}
        | {P.PROPERTY_WALL_READ, P.READING_IMPORT_LOAD, P.SUPPLY_APPLIANCES_CONFIRM},
        # Light at night: never a stop, never money.
        Role.DUTY_OFFICER: frozenset({P.ACCOUNT_SUPPLY_READ, P.METER_METER_READ, P.PERSON_PHONE_UNMASK})
        | {P.PROPERTY_WALL_READ, P.SUPPLY_APPLIANCES_CONFIRM, P.SUPPLY_EMERGENCY_GIVE},
        Role.BUILDING_STEWARD: frozenset({P.COLLECTION_CALL_READ, P.PERSON_PHONE_UNMASK}),
        Role.ENERGY_MANAGER: READS,
        Role.READ_ONLY: READS,
    }
)

STANDARD = frozenset(role.value for role in Role)

#: Whoever holds one of these moves money, power or rights: such a person needs a second factor.
NEEDS_SECOND_FACTOR = (
    SELLING
    | GIVING
    | RIGHTS - {P.USER_ACCOUNT_READ}
    | PLATFORM_ONLY
    | {P.API_TOKEN_MANAGE, P.API_WEBHOOK_MANAGE, P.APPROVAL_METER_DECIDE, P.APPROVAL_MONEY_DECIDE}
    | {P.APPROVAL_PRICE_DECIDE, P.METER_COMMAND_MASS, P.METER_COMMAND_ORDER, P.METER_METER_EDIT}
    | {P.ONBOARDING_IMPORT_COMMIT, P.PERSON_DATA_ERASE, P.PERSON_DATA_EXPORT, P.PLAN_PRICE_PUBLISH}
    | {P.READING_IMPORT_LOAD, P.SUPPLY_EMERGENCY_GIVE}
)

#: No role may hold a permission of both sides (domain rule 31).
SEPARATED: tuple[tuple[frozenset[Permission], frozenset[Permission]], ...] = (
    (SELLING, GIVING),
    (SELLING, frozenset({P.APPROVAL_MONEY_DECIDE})),
    (frozenset({P.SUPPLY_EMERGENCY_GIVE}), SELLING),
)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role at a node of the tree; it holds for the node and for everything below it."""

    #: A standard role, or the code of a tenant's own one.
    role: str
    node_id: int
    #: What an own role holds; None for a standard one.
    own: frozenset[Permission] | None = None
    #: What an own role is called; '' for a standard one.
    name: str = ""

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the role holds: nothing for one that is not known or was withdrawn, so that access fails closed."""
        if self.own is not None:
            return self.own
        return ROLES[Role(self.role)] if self.role in STANDARD else frozenset()


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

    def at(self, node_id: int) -> frozenset[Permission]:
        """What the user may do at this node."""
        return frozenset(p for p, nodes in self.nodes_by_permission.items() if node_id in nodes)


def scope_of(grants: Iterable[Grant], tree: Tree) -> Scope:
    """Unfold grants over the tree. A grant on a node that is gone gives nothing: access fails closed."""
    reach: dict[Permission, frozenset[int]] = {}
    for grant in grants:
        if grant.node_id not in tree.parents:
            continue
        branch = tree.subtree(grant.node_id)
        for permission in grant.permissions:
            reach[permission] = reach.get(permission, frozenset()) | branch
    return Scope(MappingProxyType(reach))


def known(names: Iterable[str]) -> frozenset[Permission]:
    """Permissions of these names; what an older version knew and this one does not gives nothing.

    Who may do something may look at it: roles saved before looking stood apart do not name it.
    """
    found = frozenset(Permission(name) for name in names if name in _NAMES)
    return found | {look for deed, look in LOOKED_AT.items() if deed in found}


def strangers(names: Iterable[str]) -> list[str]:
    """Names that are no permission, sorted."""
    return sorted(set(names) - _NAMES)


def joined_sides(permissions: frozenset[Permission]) -> frozenset[Permission]:
    """Permissions of a set that may not stand together in one role; empty when it keeps them apart."""
    both = [(one, other) for one, other in SEPARATED if permissions & one and permissions & other]
    return frozenset(p for one, other in both for p in permissions & (one | other))


def joined_in(scope: Scope) -> frozenset[Permission]:
    """Permissions that would meet at one node in one hand, though they must not; empty when they are kept apart."""
    clashing: frozenset[Permission] = frozenset()
    for node_id in frozenset().union(*scope.nodes_by_permission.values()):
        clashing |= joined_sides(scope.at(node_id))
    return clashing


def beyond(giver: Scope, wanted: Scope, *, aside: frozenset[Permission] = SELLING) -> frozenset[Permission]:
    """What of a scope the giver does not hold at the same places.

    Selling stands aside: who may appoint never sells, and somebody must appoint the cashier (adr 0016).
    """
    return frozenset(p for p, nodes in wanted.nodes_by_permission.items() if p not in aside and nodes - giver.nodes(p))


def at_counter(scope: Scope, property_id: int) -> Scope:
    """What is left of somebody's rights at a shared counter PC: a cashier's, and at this property only."""
    return Scope(
        MappingProxyType({p: frozenset({property_id}) for p in ROLES[Role.CASHIER] if scope.allows(p, property_id)})
    )


def clipped(viewed: Scope, viewer: Scope) -> Scope:
    """What a viewer sees as somebody else: never more than the viewer may see, and where the other sells, the counter.

    Safe because nothing can be written meanwhile.
    """
    return Scope(
        MappingProxyType(
            {
                p: nodes if p in SELLING else nodes & viewer.nodes(p)
                for p, nodes in viewed.nodes_by_permission.items()
                if p in SELLING or nodes & viewer.nodes(p)
            }
        )
    )


_NAMES = frozenset(permission.value for permission in Permission)
