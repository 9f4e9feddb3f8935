"""Places of the tree as a form offers them: those where a permission is held, each under its parent."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.permissions.policy import Permission
from app.tenants.access import or_not_found
from app.web.places import operator


@dataclass(frozen=True, slots=True)
class NodeChoice:
    """One place: what the form sends and what it shows."""

    id: int
    ref: str
    label: str


def node_choices(permission: Permission) -> list[NodeChoice]:
    """Where the permission is held, headquarters first, indented by depth."""
    held, nodes = operator().scope.nodes(permission), operator().nodes
    return [
        NodeChoice(id_, str(nodes[id_].public_id), "\N{IDEOGRAPHIC SPACE}" * depth + nodes[id_].name)
        for id_, depth in _walk(None, 0)
        if id_ in held
    ]


def chosen_node(permission: Permission, ref: str) -> int:
    """The place a form named. Raises NotFound for one that is not there and one where nothing is held alike."""
    return or_not_found(next((choice.id for choice in node_choices(permission) if choice.ref == ref), None))


def _walk(parent_id: int | None, depth: int) -> Iterator[tuple[int, int]]:
    for id_ in operator().tree.branches.get(parent_id, ()):
        yield id_, depth
        yield from _walk(id_, depth + 1)
