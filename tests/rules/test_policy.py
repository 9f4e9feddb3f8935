"""Roles and scope: who may do what, and where.

1 headquarters ─┬─ 2 east ─┬─ 4 garden
                │          └─ 5 plaza
                └─ 3 west ─── 6 tower
"""

import re

import pytest

from app.permissions.policy import (
    LOOKED_AT,
    PLATFORM_ONLY,
    ROLES,
    SELLING,
    SEPARATED,
    Grant,
    Permission,
    Role,
    beyond,
    clipped,
    joined_in,
    joined_sides,
    known,
    scope_of,
    strangers,
)
from app.tenants.tree import Tree

GROUP = Tree.of([(1, None), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3)])
ADMIN, MANAGER, CASHIER = Role.GROUP_ADMINISTRATOR, Role.PROPERTY_MANAGER, Role.CASHIER

#: One column per role, in the order of `Role`.
TABLE = """
    permission                op    admin g-fin audit mgr   p-fin cash  meter duty  stew  enrg  read
    account:supply:read       -     yes   yes   yes   yes   yes   yes   yes   yes   -     yes   yes
    api:token:manage          -     yes   -     -     yes   -     -     -     -     -     -     -
    api:webhook:manage        -     yes   -     -     -     -     -     -     -     -     -     -
    approval:limit:edit       -     yes   -     -     -     -     -     -     -     -     -     -
    approval:meter:decide     -     yes   -     -     yes   -     -     -     -     -     -     -
    approval:money:decide     -     yes   yes   -     yes   -     -     -     -     -     -     -
    approval:price:decide     -     yes   yes   -     yes   -     -     -     -     -     -     -
    approval:request:read     -     yes   yes   yes   yes   yes   -     yes   -     -     -     -
    approval:right:decide     -     yes   -     -     -     -     -     -     -     -     -     -
    audit:log:export          -     yes   -     yes   -     -     -     -     -     -     -     -
    audit:log:read            yes   yes   -     yes   yes   -     -     -     -     -     -     -
    collection:call:read      -     yes   yes   yes   yes   yes   -     -     -     yes   -     -
    counter:pc:register       -     yes   -     -     yes   -     -     -     -     -     -     -
    demo:clock:move           -     yes   -     -     yes   -     -     -     -     -     -     -
    energy:usage:read         -     yes   yes   yes   yes   yes   -     yes   -     -     yes   yes
    gateway:gateway:edit      -     yes   -     -     yes   -     -     yes   -     -     -     -
    gateway:gateway:read      yes   yes   yes   yes   yes   yes   -     yes   -     -     yes   yes
    ledger:entry:read         -     yes   yes   yes   yes   yes   -     -     -     -     -     -
    legal:entity:edit         -     yes   yes   -     -     -     -     -     -     -     -     -
    meter:command:mass        -     yes   -     -     yes   -     -     -     -     -     -     -
    meter:command:order       -     yes   -     -     yes   -     -     yes   -     -     -     -
    meter:meter:edit          -     yes   -     -     yes   -     -     yes   -     -     -     -
    meter:meter:read          yes   yes   yes   yes   yes   yes   -     yes   yes   -     yes   yes
    money:adjustment:make     -     yes   yes   -     yes   yes   -     -     -     -     -     -
    money:receipt:print       -     yes   yes   -     yes   yes   yes   -     -     -     -     -
    money:receipt:read        -     yes   yes   yes   yes   yes   yes   -     -     -     -     -
    money:refund:give         -     yes   yes   -     yes   yes   -     -     -     -     -     -
    money:shift:own           -     -     -     -     -     -     yes   -     -     -     -     -
    money:topup:reverse       -     yes   yes   -     yes   yes   -     -     -     -     -     -
    money:topup:sell          -     -     -     -     -     -     yes   -     -     -     -     -
    money:waiver:give         -     yes   yes   -     yes   yes   -     -     -     -     -     -
    onboarding:import:commit  -     yes   -     -     yes   -     -     -     -     -     -     -
    overview:group:read       -     yes   yes   yes   yes   yes   -     -     -     -     yes   yes
    person:data:edit          -     yes   -     -     yes   -     -     -     -     -     -     -
    person:data:erase         -     yes   -     -     -     -     -     -     -     -     -     -
    person:data:export        -     yes   -     -     yes   -     -     -     -     -     -     -
    person:document:unmask    -     yes   yes   -     yes   -     -     -     -     -     -     -
    person:phone:unmask       -     yes   -     -     yes   yes   -     -     yes   yes   -     -
    plan:price:publish        -     yes   yes   -     yes   -     -     -     -     -     -     -
    plan:price:read           -     yes   yes   yes   yes   yes   -     -     -     -     yes   yes
    platform:key:rotate       yes   -     -     -     -     -     -     -     -     -     -     -
    platform:setting:edit     yes   -     -     -     -     -     -     -     -     -     -     -
    property:wall:read        -     yes   yes   yes   yes   yes   yes   yes   yes   -     yes   yes
    reading:import:load       -     yes   -     -     yes   -     -     yes   -     -     -     -
    resident:page:open        -     yes   -     -     yes   -     -     -     -     -     -     -
    security:setting:read     -     yes   -     yes   yes   -     -     -     -     -     -     -
    supply:appliances:confirm -     yes   -     -     yes   -     yes   yes   yes   -     -     -
    supply:emergency:give     -     yes   -     -     yes   -     -     -     yes   -     -     -
    user:account:edit         -     yes   -     -     yes   -     -     -     -     -     -     -
    user:account:read         -     yes   -     yes   yes   -     -     -     -     -     -     -
    user:grant:edit           -     yes   -     -     yes   -     -     -     -     -     -     -
    user:policy:edit          -     yes   -     -     -     -     -     -     -     -     -     -
    user:provider:edit        -     yes   -     -     -     -     -     -     -     -     -     -
    user:role:edit            -     yes   -     -     -     -     -     -     -     -     -     -
    user:session:manage       yes   yes   -     -     -     -     -     -     -     -     -     -
    user:view:as              -     yes   -     -     -     -     -     -     -     -     -     -
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()[1:]]


def test_the_table_names_every_permission_in_order() -> None:
    assert [row[0] for row in ROWS] == [permission.value for permission in Permission]
    assert [row[0] for row in ROWS] == sorted(row[0] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_role_holds_what_the_table_says(row: list[str]) -> None:
    permission = Permission(row[0])
    for role, held in zip(Role, row[1:], strict=True):
        assert (permission in ROLES[role]) is (held == "yes"), role


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(("one", "other"), SEPARATED, ids=lambda side: min(side))
def test_no_standard_role_holds_both_sides_of_what_is_kept_apart(
    role: Role, one: frozenset[Permission], other: frozenset[Permission]
) -> None:
    assert not (ROLES[role] & one and ROLES[role] & other)


def test_only_the_cashier_sells_and_only_the_platform_holds_its_keys() -> None:
    assert {role for role in Role if ROLES[role] & SELLING} == {CASHIER}
    assert {role for role in Role if ROLES[role] & PLATFORM_ONLY} == {Role.PLATFORM_OPERATOR}


@pytest.mark.parametrize("permission", list(Permission))
def test_a_permission_is_area_thing_deed(permission: Permission) -> None:
    assert re.fullmatch(r"[a-z]+:[a-z]+:[a-z]+", permission)


@pytest.mark.parametrize(
    ("grants", "permission", "nodes"),
    [
        ([], Permission.MONEY_TOPUP_SELL, set()),
        ([Grant(ADMIN, 1)], Permission.LEGAL_ENTITY_EDIT, {1, 2, 3, 4, 5, 6}),
        ([Grant(MANAGER, 4)], Permission.METER_COMMAND_ORDER, {4}),
        ([Grant(MANAGER, 2)], Permission.METER_COMMAND_ORDER, {2, 4, 5}),
        ([Grant(MANAGER, 4)], Permission.LEGAL_ENTITY_EDIT, set()),
        ([Grant(CASHIER, 4)], Permission.METER_COMMAND_ORDER, set()),
        ([Grant(MANAGER, 4), Grant(CASHIER, 6)], Permission.MONEY_TOPUP_SELL, {6}),
        ([Grant(MANAGER, 4), Grant(CASHIER, 6)], Permission.PROPERTY_WALL_READ, {4, 6}),
        ([Grant(MANAGER, 4), Grant(CASHIER, 6)], Permission.PLAN_PRICE_PUBLISH, {4}),
        ([Grant(MANAGER, 99)], Permission.MONEY_TOPUP_SELL, set()),
    ],
)
def test_a_grant_reaches_its_branch_and_no_further(
    grants: list[Grant], permission: Permission, nodes: set[int]
) -> None:
    scope = scope_of(grants, GROUP)
    assert scope.nodes(permission) == nodes
    for node in GROUP.ids:
        assert scope.allows(permission, node) is (node in nodes)
    assert (permission in scope.permissions) is bool(nodes)


# --- own roles ---


def own(*permissions: Permission, at: int = 1) -> Grant:
    return Grant("own:1", at, frozenset(permissions))


def test_an_own_role_gives_what_it_holds_and_a_withdrawn_one_nothing() -> None:
    assert scope_of([own(Permission.PROPERTY_WALL_READ, at=4)], GROUP).nodes(Permission.PROPERTY_WALL_READ) == {4}
    assert scope_of([Grant("own:1", 4)], GROUP).permissions == frozenset()


def test_names_that_are_no_permission_give_nothing_and_are_named() -> None:
    said = ["property:wall:read", "moon:cheese:eat", ""]
    assert known(said) == {Permission.PROPERTY_WALL_READ}
    assert strangers(said) == ["", "moon:cheese:eat"]


@pytest.mark.parametrize(("deed", "look"), LOOKED_AT.items())
def test_who_may_do_something_may_look_at_it(deed: Permission, look: Permission) -> None:
    assert known([deed]) == {deed, look}
    assert known([look]) == {look}
    assert all(look in held for held in ROLES.values() if deed in held)


# --- what is kept apart ---

SELL, REFUND, DECIDE = Permission.MONEY_TOPUP_SELL, Permission.MONEY_REFUND_GIVE, Permission.APPROVAL_MONEY_DECIDE
SHIFT, LIGHT = Permission.MONEY_SHIFT_OWN, Permission.SUPPLY_EMERGENCY_GIVE


@pytest.mark.parametrize(
    ("together", "joined"),
    [
        ({SELL}, set()),
        ({REFUND, DECIDE, LIGHT}, set()),
        ({SELL, REFUND}, {SELL, REFUND}),
        ({SHIFT, DECIDE}, {SHIFT, DECIDE}),
        ({SELL, LIGHT}, {SELL, LIGHT}),
        ({SELL, REFUND, LIGHT, Permission.METER_METER_READ}, {SELL, REFUND, LIGHT}),
    ],
)
def test_one_role_keeps_apart_taking_and_giving(together: set[Permission], joined: set[Permission]) -> None:
    assert joined_sides(frozenset(together)) == joined


@pytest.mark.parametrize(
    ("grants", "joined"),
    [
        ([Grant(CASHIER, 4), Grant(MANAGER, 5)], False),
        ([Grant(CASHIER, 4), Grant(MANAGER, 4)], True),
        ([Grant(CASHIER, 4), Grant(MANAGER, 2)], True),
        ([Grant(CASHIER, 1), Grant(Role.PROPERTY_FINANCE, 6)], True),
        ([Grant(CASHIER, 4), Grant(Role.READ_ONLY, 1), Grant(Role.METER_ENGINEER, 4)], False),
        ([Grant(CASHIER, 99), Grant(MANAGER, 99)], False),
    ],
)
def test_one_person_keeps_them_apart_at_every_node(grants: list[Grant], joined: bool) -> None:
    assert bool(joined_in(scope_of(grants, GROUP))) is joined


# --- who may give what ---


@pytest.mark.parametrize(
    ("giver", "given", "missing"),
    [
        (Grant(ADMIN, 1), Grant(ADMIN, 1), set()),
        (Grant(ADMIN, 1), Grant(CASHIER, 4), set()),
        (Grant(ADMIN, 1), Grant(Role.PLATFORM_OPERATOR, 1), set(PLATFORM_ONLY)),
        (Grant(MANAGER, 2), Grant(Role.PROPERTY_FINANCE, 4), set()),
        (Grant(MANAGER, 2), Grant(CASHIER, 5), set()),
        (Grant(MANAGER, 4), Grant(CASHIER, 5), ROLES[CASHIER] - SELLING),
        (Grant(MANAGER, 4), Grant(CASHIER, 2), ROLES[CASHIER] - SELLING),
        (Grant(MANAGER, 4), Grant(Role.GROUP_FINANCE, 4), {Permission.LEGAL_ENTITY_EDIT}),
        (own(Permission.USER_GRANT_EDIT), Grant(Role.DUTY_OFFICER, 4), ROLES[Role.DUTY_OFFICER]),
    ],
)
def test_nobody_gives_what_they_do_not_hold_there_except_selling(
    giver: Grant, given: Grant, missing: set[Permission]
) -> None:
    assert beyond(scope_of([giver], GROUP), scope_of([given], GROUP)) == missing


def test_a_viewer_sees_no_more_than_their_own_and_the_counter() -> None:
    manager, cashier = scope_of([Grant(MANAGER, 4)], GROUP), scope_of([Grant(CASHIER, 2)], GROUP)
    seen = clipped(cashier, manager)
    assert seen.nodes(Permission.PROPERTY_WALL_READ) == {4}
    assert seen.nodes(SELL) == {2, 4, 5}
    assert clipped(manager, cashier).permissions == ROLES[MANAGER] & ROLES[CASHIER]
