"""Roles and scope: who may do what, and where.

1 headquarters ─┬─ 2 east ─┬─ 4 garden
                │          └─ 5 plaza
                └─ 3 west ─── 6 tower
"""

import re

import pytest

from app.permissions.policy import ROLES, Grant, Permission, Role, scope_of
from app.tenants.tree import Tree

GROUP = Tree.of([(1, None), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3)])
ADMIN, MANAGER, CASHIER = Role.GROUP_ADMINISTRATOR, Role.PROPERTY_MANAGER, Role.CASHIER

TABLE = """
    permission                administrator  manager  cashier
    account:supply:read       yes            yes      yes
    audit:log:read            yes            yes      -
    demo:clock:move           yes            yes      -
    gateway:gateway:edit      yes            yes      -
    gateway:gateway:read      yes            yes      -
    ledger:entry:read         yes            yes      -
    legal:entity:edit         yes            -        -
    meter:command:order       yes            yes      -
    meter:meter:edit          yes            yes      -
    meter:meter:read          yes            yes      -
    money:receipt:print       yes            yes      yes
    money:shift:own           yes            yes      yes
    money:topup:reverse       yes            yes      -
    money:topup:sell          yes            yes      yes
    onboarding:import:commit  yes            yes      -
    overview:group:read       yes            yes      -
    person:phone:unmask       yes            yes      -
    plan:price:publish        yes            yes      -
    plan:price:read           yes            yes      -
    platform:setting:edit     yes            -        -
    property:wall:read        yes            yes      yes
    reading:import:load       yes            yes      -
    user:session:manage       yes            -        -
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()[1:]]


def test_the_table_names_every_permission_in_order() -> None:
    assert [row[0] for row in ROWS] == [permission.value for permission in Permission]
    assert [row[0] for row in ROWS] == sorted(row[0] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_role_holds_what_the_table_says(row: list[str]) -> None:
    permission = Permission(row[0])
    for role, held in zip((ADMIN, MANAGER, CASHIER), row[1:], strict=True):
        assert (permission in ROLES[role]) is (held == "yes"), role


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
        ([Grant(MANAGER, 4), Grant(CASHIER, 6)], Permission.MONEY_TOPUP_SELL, {4, 6}),
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
