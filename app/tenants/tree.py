"""The organisation tree as pure functions over (id, parent id) pairs: headquarters, regions, properties."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from app.kernel.errors import AppError


class NodeUnknown(AppError):
    """The node is not in this tree. Answers like any missing thing, so that it tells nothing about others."""

    code, status = "node_unknown", 404
    message_zh = "找不到该组织节点，可能已被移除或不在您的权限范围内。请重新选择。"
    message_en = "No such place in the organisation. It may have been removed. Choose again."


class NodeTwice(AppError):
    """One node was given twice, perhaps under two parents."""

    code, status = "node_twice", 422
    message_zh = "组织节点 {node_id} 重复出现。每个节点只能有一个上级，请删除多余的一行。"
    message_en = "Node {node_id} appears twice. A node has one parent: remove the extra line."


class ParentMissing(AppError):
    """A node names a parent that is not in the tree."""

    code, status = "parent_missing", 422
    message_zh = "组织节点 {node_id} 的上级 {parent_id} 不存在。请先建立上级节点。"
    message_en = "Node {node_id} names a parent {parent_id} that does not exist. Create the parent first."


class TreeCycle(AppError):
    """A node would become its own ancestor."""

    code, status = "tree_cycle", 422
    message_zh = "组织节点 {node_id} 不能放在自己或自己的下级之下。请选择其他上级。"
    message_en = "Node {node_id} cannot be placed under itself or its own branch. Choose another parent."


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes by id. Build one with `Tree.of`, which refuses what is not a forest."""

    parents: Mapping[int, int | None]
    branches: Mapping[int | None, tuple[int, ...]]

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int | None]]) -> Self:
        """A tree from (id, parent id or None) in any order. Raises NodeTwice, ParentMissing, TreeCycle."""
        parents: dict[int, int | None] = {}
        for node_id, parent_id in pairs:
            if node_id in parents:
                raise NodeTwice(node_id=node_id)
            parents[node_id] = parent_id
        branches = _branches(parents)
        _refuse_cycles(parents, branches)
        return cls(MappingProxyType(parents), MappingProxyType(branches))

    @property
    def ids(self) -> frozenset[int]:
        """Every node."""
        return frozenset(self.parents)

    @property
    def roots(self) -> tuple[int, ...]:
        """Nodes without a parent, in the order given."""
        return self.branches.get(None, ())

    def children(self, node_id: int) -> tuple[int, ...]:
        """The nodes directly below, in the order given. Raises NodeUnknown."""
        self._known(node_id)
        return self.branches.get(node_id, ())

    def ancestors(self, node_id: int) -> tuple[int, ...]:
        """The nodes above, nearest first, the root last. Raises NodeUnknown."""
        above = []
        parent = self._known(node_id)
        while parent is not None:
            above.append(parent)
            parent = self.parents[parent]
        return tuple(above)

    def path(self, node_id: int) -> tuple[int, ...]:
        """From the root down to the node itself. Raises NodeUnknown."""
        return (*reversed(self.ancestors(node_id)), node_id)

    def depth(self, node_id: int) -> int:
        """How many nodes stand above: a root has depth 0. Raises NodeUnknown."""
        return len(self.ancestors(node_id))

    def subtree(self, node_id: int) -> frozenset[int]:
        """The node and everything below it. Raises NodeUnknown."""
        self._known(node_id)
        return frozenset(_reach(node_id, self.branches))

    def descendants(self, node_id: int) -> frozenset[int]:
        """Everything below the node, without itself. Raises NodeUnknown."""
        return self.subtree(node_id) - {node_id}

    def check_move(self, node_id: int, new_parent_id: int | None) -> None:
        """May the node hang under that parent? Raises NodeUnknown, TreeCycle."""
        self._known(node_id)
        if new_parent_id is None:
            return
        self._known(new_parent_id)
        if new_parent_id in self.subtree(node_id):
            raise TreeCycle(node_id=node_id)

    def _known(self, node_id: int) -> int | None:
        if node_id not in self.parents:
            raise NodeUnknown()
        return self.parents[node_id]


def _branches(parents: Mapping[int, int | None]) -> dict[int | None, tuple[int, ...]]:
    branches: dict[int | None, list[int]] = {}
    for node_id, parent_id in parents.items():
        if parent_id is not None and parent_id not in parents:
            raise ParentMissing(node_id=node_id, parent_id=parent_id)
        branches.setdefault(parent_id, []).append(node_id)
    return {parent_id: tuple(below) for parent_id, below in branches.items()}


def _reach(start: int | None, branches: Mapping[int | None, tuple[int, ...]]) -> list[int]:
    """Everything met from `start` downwards, itself included, without recursion."""
    reached = [] if start is None else [start]
    waiting = list(branches.get(start, ()))
    while waiting:
        node_id = waiting.pop()
        reached.append(node_id)
        waiting.extend(branches.get(node_id, ()))
    return reached


def _refuse_cycles(parents: Mapping[int, int | None], branches: Mapping[int | None, tuple[int, ...]]) -> None:
    # A node on a cycle, or below one, is never reached from a root.
    lost = parents.keys() - set(_reach(None, branches))
    if lost:
        raise TreeCycle(node_id=min(lost))
