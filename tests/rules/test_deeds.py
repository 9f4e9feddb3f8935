"""What one person may do alone: limits by role and node, the table of deeds, the life of a request.

1 headquarters ─┬─ 2 east ─┬─ 4 garden
                │          └─ 5 plaza
                └─ 3 west ─── 6 tower
"""

import pytest

from app.permissions.deeds import (
    DEEDS,
    MOVES,
    REACH_ABOVE,
    REACH_MAX,
    DeedNotKnown,
    HeldRole,
    Unit,
    deed_named,
    limit_of,
    may_move,
    needs_second,
)
from app.permissions.policy import ROLES, Permission, Role
from app.tenants.tree import NodeUnknown, Tree

GROUP = Tree.of([(1, None), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3)])
REVERSAL = DEEDS["reversal"]
STATES = ("waiting", "approved", "done", "refused", "withdrawn", "expired", "failed")


def held(role: Role, node_id: int) -> HeldRole:
    return HeldRole(role, node_id, ROLES[role], role)


def own(code: str, node_id: int, *permissions: Permission, standard: Role = Role.PROPERTY_FINANCE) -> HeldRole:
    return HeldRole(code, node_id, frozenset(permissions), standard)


MANAGER, FINANCE = held(Role.PROPERTY_MANAGER, 4), held(Role.GROUP_FINANCE, 1)


@pytest.mark.parametrize(
    ("roles", "limits", "node_id", "expected"),
    [
        ([], {}, 4, None),
        ([MANAGER], {}, 4, 50_000),
        ([MANAGER], {}, 5, None),
        ([held(Role.CASHIER, 4)], {}, 4, None),
        ([MANAGER], {(4, "property_manager", "reversal"): 0}, 4, 0),
        ([MANAGER], {(1, "property_manager", "reversal"): 7}, 4, 7),
        ([MANAGER], {(1, "property_manager", "reversal"): 7, (2, "property_manager", "reversal"): 9}, 4, 9),
        ([MANAGER], {(2, "property_manager", "reversal"): 9, (4, "property_manager", "reversal"): 8}, 4, 8),
        ([MANAGER], {(5, "property_manager", "reversal"): 8}, 4, 50_000),
        ([MANAGER], {(4, "property_manager", "refund"): 8}, 4, 50_000),
        ([MANAGER], {(4, "group_finance", "reversal"): 8}, 4, 50_000),
        ([MANAGER, FINANCE], {}, 4, 500_000),
        ([MANAGER, FINANCE], {(4, "group_finance", "reversal"): 8}, 4, 50_000),
        ([FINANCE], {(4, "group_finance", "reversal"): 8}, 6, 500_000),
        ([own("own:x", 2, Permission.MONEY_TOPUP_REVERSE)], {}, 4, 50_000),
        ([own("own:x", 2, Permission.MONEY_TOPUP_REVERSE)], {(1, "own:x", "reversal"): 3}, 4, 3),
        ([own("own:x", 2, Permission.MONEY_TOPUP_REVERSE, standard=Role.CASHIER)], {}, 4, 0),
        ([own("own:x", 2, Permission.MONEY_REFUND_GIVE)], {}, 4, None),
    ],
)
def test_the_largest_limit_of_the_roles_that_give_the_right_counts_and_the_nearest_setting_wins(
    roles: list[HeldRole], limits: dict[tuple[int, str, str], int], node_id: int, expected: int | None
) -> None:
    assert limit_of(roles, GROUP, limits, REVERSAL, node_id) == expected


def test_a_node_that_is_not_there_has_no_limits() -> None:
    with pytest.raises(NodeUnknown):
        limit_of([MANAGER], GROUP, {}, REVERSAL, 99)


@pytest.mark.parametrize(
    ("amount", "limit", "waits"),
    [(0, 0, False), (1, 0, True), (50_000, 50_000, False), (50_001, 50_000, True), (1, None, True), (0, None, False)],
)
def test_up_to_the_limit_one_does_it_alone(amount: int, limit: int | None, waits: bool) -> None:
    assert needs_second(amount, limit) is waits


def test_a_deed_that_stands_under_no_limits_is_refused() -> None:
    with pytest.raises(DeedNotKnown):
        deed_named("dance")


@pytest.mark.parametrize("name", sorted(DEEDS))
def test_every_deed_can_be_done_and_decided_by_somebody_and_only_who_may_do_it_does_some_alone(name: str) -> None:
    deed = DEEDS[name]
    doers = {role for role in Role if deed.permission in ROLES[role]}
    deciders = {role for role in Role if deed.decide in ROLES[role]}
    assert doers >= set(deed.alone)
    assert deciders
    assert deed.persons >= 1
    assert deed.words_zh
    assert deed.words_en
    # Who asks and who decides find the request: both sides hold the inbox.
    assert all(Permission.APPROVAL_REQUEST_READ in ROLES[role] for role in doers | deciders)


def test_nobody_is_ever_allowed_a_role_above_properties_alone() -> None:
    assert REACH_MAX < REACH_ABOVE
    assert max(DEEDS["role_change"].alone.values()) <= REACH_MAX
    assert [deed.name for deed in DEEDS.values() if deed.alone_without_others] == ["role_change"]
    assert DEEDS["role_change"].unit is Unit.REACH


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_request_lives_by_its_table(before: str, after: str) -> None:
    expected = (before, after) in {
        ("waiting", "approved"), ("waiting", "refused"), ("waiting", "withdrawn"), ("waiting", "expired"),
        ("approved", "done"), ("approved", "failed"), ("approved", "withdrawn"), ("approved", "expired"),
    }  # fmt: skip
    assert may_move(before, after) is expected


def test_what_ended_stays_ended() -> None:
    assert set(MOVES) == {"waiting", "approved"}
