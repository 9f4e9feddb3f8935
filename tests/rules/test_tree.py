"""The organisation tree, drawn once and asked from every side.

1 headquarters ─┬─ 2 east ─┬─ 4 garden
                │          └─ 5 plaza
                └─ 3 west ─── 6 tower
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import AppError
from app.tenants import tree
from app.tenants.tree import Tree

GROUP = Tree.of([(4, 2), (1, None), (2, 1), (3, 1), (5, 2), (6, 3)])


@pytest.mark.parametrize(
    ("node", "ancestors", "descendants", "depth"),
    [
        (1, (), {2, 3, 4, 5, 6}, 0),
        (2, (1,), {4, 5}, 1),
        (3, (1,), {6}, 1),
        (4, (2, 1), set(), 2),
        (6, (3, 1), set(), 2),
    ],
)
def test_every_node_knows_what_is_above_and_below(
    node: int, ancestors: tuple[int, ...], descendants: set[int], depth: int
) -> None:
    assert GROUP.ancestors(node) == ancestors
    assert GROUP.path(node) == (*reversed(ancestors), node)
    assert GROUP.descendants(node) == descendants
    assert GROUP.subtree(node) == descendants | {node}
    assert GROUP.depth(node) == depth


def test_roots_and_children_keep_the_order_given() -> None:
    assert GROUP.roots == (1,)
    assert GROUP.children(1) == (2, 3)
    assert GROUP.children(6) == ()
    assert GROUP.ids == {1, 2, 3, 4, 5, 6}
    assert Tree.of([]).roots == ()


@pytest.mark.parametrize(
    ("pairs", "refusal"),
    [
        ([(1, None), (1, None)], tree.NodeTwice),
        ([(1, None), (2, 9)], tree.ParentMissing),
        ([(1, 1)], tree.TreeCycle),
        ([(1, None), (2, 3), (3, 2)], tree.TreeCycle),
        ([(1, 2), (2, 1), (3, 1)], tree.TreeCycle),
        ([(1, 2), (2, 1), (1, None), (3, 9)], tree.NodeTwice),
        ([(1, 2), (2, 1), (3, 9)], tree.ParentMissing),
    ],
)
def test_what_is_no_tree_is_refused_by_name(pairs: list[tuple[int, int | None]], refusal: type[AppError]) -> None:
    with pytest.raises(refusal) as caught:
        Tree.of(pairs)
    assert caught.value.message("zh")
    assert caught.value.message("en")


@pytest.mark.parametrize("ask", [Tree.children, Tree.ancestors, Tree.path, Tree.subtree, Tree.descendants, Tree.depth])
def test_an_unknown_node_is_not_there(ask: object) -> None:
    assert callable(ask)
    with pytest.raises(tree.NodeUnknown):
        ask(GROUP, 99)


@pytest.mark.parametrize(
    ("node", "parent", "refusal"),
    [
        (2, 2, tree.TreeCycle),
        (1, 4, tree.TreeCycle),
        (2, 99, tree.NodeUnknown),
        (99, 1, tree.NodeUnknown),
    ],
)
def test_a_branch_is_never_hung_under_itself(node: int, parent: int, refusal: type[AppError]) -> None:
    with pytest.raises(refusal):
        GROUP.check_move(node, parent)


def test_a_branch_may_move_elsewhere() -> None:
    GROUP.check_move(2, 3)
    GROUP.check_move(2, None)
    moved = Tree.of([(1, None), (2, 3), (3, 1), (4, 2), (5, 2), (6, 3)])
    assert moved.ancestors(4) == (2, 3, 1)


def test_a_deep_chain_needs_no_recursion() -> None:
    chain = Tree.of([(i, i - 1 or None) for i in range(1, 5_001)])
    assert chain.depth(5_000) == 4_999
    assert len(chain.subtree(1)) == 5_000


@given(st.lists(st.integers(0, 1_000), max_size=60))
def test_below_and_above_are_the_same_fact(picks: list[int]) -> None:
    # Node n hangs under an earlier node, or is a root: every such list is a forest.
    pairs = [(n, pick % n or None) for n, pick in enumerate(picks, start=1)]
    forest = Tree.of(pairs)
    for node, _ in pairs:
        assert all(node in forest.descendants(above) for above in forest.ancestors(node))
        assert all(node in forest.ancestors(below) for below in forest.descendants(node))
