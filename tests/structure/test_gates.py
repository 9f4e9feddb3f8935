"""Nobody at a screen gets past a limit: the shells call gated deeds, never the use-cases behind them."""

import ast
from pathlib import Path

import pytest

from app.billing.approved import AGAIN
from app.permissions.deeds import DEEDS

WEB = Path(__file__).resolve().parents[2] / "app" / "web"
#: Use-case → the gated deed of `billing.approved` that people go through.
BEHIND = {
    "reverse_top_up": "reverse_sale",
    "make_refund": "give_refund",
    "make_waiver": "give_waiver",
    "make_adjustment": "give_adjustment",
    "switch_many": "control_many",
    "undo_giving": "take_back",
    "publish_price": "change_price",
    "commit_import": "open_property",
    "load": "import_readings",
    "grant_role": "change_role",
    "withdraw_role": "change_role",
    "change_own_role": "edit_role",
    "redeem": "the deed itself, through its gate",
}
#: Names too common to be refused by themselves: only as an attribute of this module, or imported from it.
OF_MODULE = {"load": "sheet"}


def ungated(source: str) -> list[str]:
    """Names behind the gate that a module of the web asks for."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found += [each.name for each in node.names if each.name in BEHIND and _is_it(each.name, node.module or "")]
        elif isinstance(node, ast.Attribute) and node.attr in BEHIND and isinstance(node.value, ast.Name):
            found += [node.attr] if _is_it(node.attr, node.value.id) else []
    return found


def _is_it(name: str, module: str) -> bool:
    return name not in OF_MODULE or module.rpartition(".")[2] == OF_MODULE[name]


@pytest.mark.parametrize("path", sorted(WEB.rglob("*.py")), ids=lambda path: str(path.relative_to(WEB)))
def test_a_shell_calls_the_gated_deed(path: Path) -> None:
    assert ungated(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from app.billing.plans import publish_price", ["publish_price"]),
        ("service.grant_role(session)", ["grant_role"]),
        ("sheet.load(g.session)", ["load"]),
        ("from app.meters.sheet import load", ["load"]),
        ("json.load(file)", []),
        ("from app.billing.approved import change_price", []),
    ],
)
def test_the_examiner_finds_what_it_looks_for(source: str, found: list[str]) -> None:
    assert ungated(source) == found


def test_every_way_back_from_a_request_belongs_to_a_deed_under_limits() -> None:
    assert set(AGAIN) <= set(DEEDS)
