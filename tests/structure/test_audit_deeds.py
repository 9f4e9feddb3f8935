"""Whoever does something leaves a record: every use-case that is told who does it reaches the audit log.

A deed takes its `Actor`; from there the calls are followed by name through the package until `audit.record`, or until they
end. And every deed that is recorded has its words on the page and its line in docs/audit-deeds.md.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from app.web.audit_words import deed_groups

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "app"
#: Where use-cases live.
FOLDERS = ("tenants", "permissions", "notify", "meters", "billing", "energy", "reports")
DEED = re.compile(r"[a-z_]+:[a-z_]+:[a-z_]+")
#: The one that writes a record.
RECORD = "record"
#: Names of other things that are written like deeds.
NO_DEEDS = frozenset({"policy.py"})

#: Checks that are told who asks, do nothing, and are called by deeds that record.
CHECKS = ("refuse_", "require_")
#: Use-cases that are told who does it and leave no record: name → why.
UNRECORDED: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its functions by name, and what it imports."""

    functions: dict[str, ast.FunctionDef]
    imported: frozenset[str]


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the use-cases' folders."""
    paths = (path for folder in FOLDERS for path in sorted((APP / folder).rglob("*.py")))
    return tuple(read(ast.parse(path.read_text(encoding="utf-8"))) for path in paths)


def read(tree: ast.Module) -> Module:
    nodes = list(ast.walk(tree))
    names = (alias for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names)
    return Module(
        {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)},
        frozenset(alias.asname or alias.name for alias in names),
    )


def told_who(function: ast.FunctionDef) -> bool:
    """Whether a public function takes an Actor."""
    taken = [*function.args.args, *function.args.kwonlyargs]
    return not function.name.startswith("_") and any(
        argument.annotation is not None and ast.unparse(argument.annotation) == "Actor" for argument in taken
    )


def called(module: Module, function: ast.FunctionDef) -> Iterator[str]:
    """Names that a function calls: its own module's, imported ones, and those of imported modules."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            base = node.func.value
            if isinstance(base, ast.Name) and base.id in module.imported:
                yield node.func.attr


def found_as(name: str, caller: Module | None) -> list[tuple[Module, ast.FunctionDef]]:
    """Where a called name may lead: the caller's own module first, else every module that defines it publicly."""
    if caller is not None and name in caller.functions:
        return [(caller, caller.functions[name])]
    return [] if name.startswith("_") else [(m, m.functions[name]) for m in modules() if name in m.functions]


@cache
def reaches_the_log(name: str) -> bool:
    """Whether every use-case of this name, or something that it calls, writes a record."""
    return all(_reaches(module, function) for module, function in found_as(name, None) if told_who(function))


def _reaches(module: Module, function: ast.FunctionDef) -> bool:
    seen, ahead = {id(function)}, [(module, function)]
    while ahead:
        here, at = ahead.pop()
        for name in called(here, at):
            if name == RECORD:
                return True
            fresh = [found for found in found_as(name, here) if id(found[1]) not in seen]
            seen |= {id(function) for _, function in fresh}
            ahead += fresh
    return False


def use_cases() -> list[str]:
    found = (function for module in modules() for function in module.functions.values())
    return sorted(
        {function.name for function in found if told_who(function) and not function.name.startswith(CHECKS)} - {RECORD}
    )


@pytest.mark.parametrize("name", use_cases())
def test_a_use_case_that_is_told_who_does_it_leaves_a_record(name: str) -> None:
    assert reaches_the_log(name) or name in UNRECORDED, f"{name} writes no audit record; say why here if that is right"


def test_excuses_are_for_use_cases_that_leave_none() -> None:
    assert sorted(name for name in UNRECORDED if name not in use_cases() or reaches_the_log(name)) == []


@cache
def deeds() -> dict[str, list[str]]:
    """Every deed in the code, with the modules that name it."""
    found: dict[str, set[str]] = {}
    for path in sorted(APP.rglob("*.py")):
        if path.name in NO_DEEDS or (path.is_relative_to(APP / "web") and path.name == "audit_words.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and DEED.fullmatch(node.value):
                found.setdefault(node.value, set()).add(path.relative_to(ROOT).as_posix())
    return {deed: sorted(where) for deed, where in sorted(found.items())}


def words() -> dict[str, str]:
    return {deed: said for group in deed_groups().values() for deed, said in group.items()}


def page_of_deeds() -> str:
    """docs/audit-deeds.md as it should stand."""
    lines = [
        "# Deeds that leave a record",
        "",
        "What the audit log may say, in the page's words. Made by"
        " `python -m tests.structure.test_audit_deeds`; a test compares.",
        "",
    ]
    for group, said in deed_groups().items():
        lines += [f"## {group}", "", "| deed | on the page |", "|---|---|"]
        lines += [f"| `{deed}` | {shown} |" for deed, shown in said.items()]
        lines += [""]
    return "\n".join(lines)


def test_every_deed_has_words_on_the_page() -> None:
    assert sorted(set(deeds()) - set(words())) == [], "add the deed to app/web/audit_words.py"


def test_no_words_are_left_for_deeds_that_nobody_does() -> None:
    assert sorted(set(words()) - set(deeds())) == []


def test_the_page_of_deeds_is_the_code() -> None:
    written = (ROOT / "docs" / "audit-deeds.md").read_text(encoding="utf-8")
    assert written == page_of_deeds(), "python -m tests.structure.test_audit_deeds"


if __name__ == "__main__":
    (ROOT / "docs" / "audit-deeds.md").write_text(page_of_deeds(), encoding="utf-8")
