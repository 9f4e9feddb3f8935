"""The size of things: what a reader has to hold in the head at once. Measured, so that it cannot creep."""

import ast
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

APP = Path(__file__).resolve().parents[2] / "app"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> tuple[tuple[Path, str, ast.Module], ...]:
    """(path, text, tree) of every module of the product."""
    texts = ((file, file.read_text(encoding="utf-8")) for file in sorted(APP.rglob("*.py")))
    return tuple((file, text, ast.parse(text)) for file, text in texts)


def functions() -> Iterator[tuple[str, Function]]:
    for file, _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{file.relative_to(APP)}:{node.name}", node


def lines_of(function: Function) -> int:
    """Lines of a function without its docstring: a long explanation is never held against it."""
    first = function.body[0]
    told = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if told else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


def at_percent(values: list[int], percent: int) -> int:
    return sorted(values)[len(values) * percent // 100]


def test_functions_are_short() -> None:
    lengths = [lines_of(function) for _, function in functions()]
    assert len(lengths) > 1000
    assert statistics.median(lengths) <= 8
    assert at_percent(lengths, 95) <= 40
    assert max(lengths) <= 70


def test_files_are_short() -> None:
    lengths = [text.count("\n") for _, text, _ in sources()]
    assert at_percent(lengths, 95) <= 350
    assert max(lengths) <= 500


def test_the_only_import_inside_a_function_makes_the_web_application() -> None:
    lazy = [
        where
        for where, function in functions()
        if any(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.walk(function))
    ]
    assert lazy == ["__init__.py:create_app"]


def test_every_function_says_what_it_takes_and_gives() -> None:
    bare = []
    for where, function in functions():
        taken = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if function.returns is None or any(a.annotation is None for a in taken if a.arg not in {"self", "cls"}):
            bare.append(where)
    assert bare == []


def test_every_module_says_what_it_is_for() -> None:
    assert [str(file.relative_to(APP)) for file, text, tree in sources() if text and not ast.get_docstring(tree)] == []
