"""House rules: what no linter knows. `python tools/house_rules.py [FILE …]`, no file means the whole tree.

Each finding reads `path:line: rule: what is banned, and what to use instead`. An excuse stands on the line,
or on a line of its own above it, and carries its reason:

    session.flush()  # allow: flush - the receipt's number comes from a sequence

An excuse that excuses nothing is itself a finding.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREES = ("app", "bench", "migrations", "tests", "tools", "wsgi.py")
LINES_PER_FUNCTION, LINES_PER_FILE, LINES_PER_FILE_HARD = 70, 400, 500

EXCUSE = re.compile(r"#\s*allow:\s*(?P<rule>[a-z-]+)\s+-\s+(?P<reason>\S.*)")
SQL_CLOCK = re.compile(r"\bnow\(\)|\bcurrent_(timestamp|date|time)\b|\b(clock|statement)_timestamp\(", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}

Finding = tuple[int, str]
Nodes = Iterator[Finding]


@dataclass(frozen=True, slots=True)
class Source:
    """One file, read and parsed. `path` is relative to the checkout."""

    path: str
    text: str
    tree: ast.Module
    comments: dict[int, str]

    @classmethod
    def of(cls, path: str, text: str) -> "Source":
        """Parse a file. Raises SyntaxError."""
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
        return cls(path, text, ast.parse(text), comments)

    def under(self, *places: str) -> bool:
        """True when the file is one of the places, or lies below one."""
        return any(self.path == place or self.path.startswith(f"{place}/") for place in places)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: where it holds, what it finds."""

    name: str
    holds: Callable[[Source], bool]
    find: Callable[[Source], Nodes]


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute, '' of anything else at the root."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield node, _dotted(node.func)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _docstrings(tree: ast.AST) -> set[int]:
    """Ids of string constants that are statements of their own: documentation, never SQL."""
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(node.value) for node in statements if isinstance(node.value, ast.Constant)}


def find_float(source: Source) -> Nodes:
    """Floats near money and energy; asking `isinstance(x, float)` in order to refuse one is right."""
    asked = {
        id(node)
        for call, name in _calls(source)
        if name == "isinstance"
        for argument in call.args
        for node in ast.walk(argument)
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and node.id == "float" and id(node) not in asked:
            yield node.lineno, "no float near money or energy: whole fen and watt-hours, Decimal for prices"


def find_sql_clock(source: Source) -> Nodes:
    """The database's clock in business SQL."""
    message = "the database's clock cannot be moved: pass app.kernel.clock.business_now() as a parameter"
    documentation = _docstrings(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and _dotted(node) in {"func.now", "func.current_timestamp"}:
            yield node.lineno, message
        elif isinstance(node, ast.Constant) and id(node) not in documentation and _reads_clock(node.value):
            yield node.lineno, message


def _reads_clock(value: object) -> bool:
    return isinstance(value, str) and SQL_CLOCK.search(value) is not None


def find_clock(source: Source) -> Nodes:
    """Clocks read directly."""
    banned = re.compile(r"(^|\.)(datetime\.(now|utcnow|today)|date\.today)$|^time\.time$")
    for node, name in _calls(source):
        if banned.search(name):
            yield node.lineno, f"{name}() reads a clock nobody can move: use app.kernel.clock"


def find_commit(source: Source) -> Nodes:
    """Commits outside the unit of work."""
    for node, name in _calls(source):
        if name.endswith(".commit"):
            yield node.lineno, "a use-case never commits: its caller's unit of work does"


def find_flush(source: Source) -> Nodes:
    """Flushes of a session without a reason."""
    for node, name in _calls(source):
        if name.endswith("session.flush"):
            yield node.lineno, "the unit of work flushes by itself: say why it must be now"


def find_lazy_import(source: Source) -> Nodes:
    """Imports inside functions."""
    for function in _functions(source.tree):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom) and function.name != "create_app":
                yield node.lineno, "imports stand at the top of the file; a circle means a wrong layer"


def find_print(source: Source) -> Nodes:
    """Prints outside the command line."""
    for node, name in _calls(source):
        if name == "print":
            yield node.lineno, "only the command line prints: log it, or return it"


def find_long_function(source: Source) -> Nodes:
    """Functions over seventy lines."""
    for function in _functions(source.tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > LINES_PER_FUNCTION:
            yield (
                function.lineno,
                f"{function.name} has {lines} lines, {LINES_PER_FUNCTION} are the most: split it",
            )


def find_long_file(source: Source) -> Nodes:
    """Files over four hundred lines; with an excuse, or in tests, five hundred."""
    lines = source.text.count("\n")
    if lines > LINES_PER_FILE_HARD:
        yield 0, f"{lines} lines, {LINES_PER_FILE_HARD} are the most whatever the excuse: make it a folder"
    elif lines > LINES_PER_FILE and not source.under("tests"):
        yield 1, f"{lines} lines, {LINES_PER_FILE} are the most: make it a folder of the same name"


def find_unfinished(source: Source) -> Nodes:
    """Work left undone."""
    for line, comment in source.comments.items():
        if UNFINISHED.search(comment):
            yield line, "unfinished work is an issue, not a comment"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if _dotted(raised) == "NotImplementedError":
                yield node.lineno, "real or not at all: no NotImplementedError"


def find_sleep(source: Source) -> Nodes:
    """Sleeping tests."""
    for node, name in _calls(source):
        if name in {"time.sleep", "sleep"}:
            yield node.lineno, "a test never sleeps: wait for the thing itself, with a deadline"


def find_skip(source: Source) -> Nodes:
    """Skipped tests."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and _dotted(node) in {
            *(
                "pytest.skip",
                "pytest.mark.skip",
                "pytest.mark.skipif",
                "pytest.mark.xfail",
                "pytest.importorskip",
            ),
        }:
            yield node.lineno, "no test is skipped: make it run, or take it away"


def find_mock(source: Source) -> Nodes:
    """Mocks."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if any(name.partition(".")[0] in {"unittest", "mock"} for name in names):
            yield node.lineno, "no mocks where the real part can run"


def find_module_name(source: Source) -> Nodes:
    """Modules whose name says nothing."""
    parts = {Path(part).stem for part in Path(source.path).parts}
    if parts & BANNED_MODULES:
        yield 0, f"{', '.join(sorted(parts & BANNED_MODULES))} says nothing: name the module for what it does"


def find_bare_opt_out(source: Source) -> Nodes:
    """Linter opt-outs without a reason."""
    for line, comment in source.comments.items():
        if "noqa" in comment and not re.search(r"noqa: [A-Z]+\d+(, ?[A-Z]+\d+)* - \S", comment):
            yield line, "an opt-out names its rule and its reason: `# noqa: E501 - why`"


def _in_app(source: Source) -> bool:
    return source.under("app")


def _in_tests(source: Source) -> bool:
    return source.under("tests")


RULES = (
    Rule("float", lambda s: s.under("app/billing", "app/kernel"), find_float),
    Rule("sql-clock", _in_app, find_sql_clock),
    Rule("clock", lambda s: _in_app(s) and not s.under("app/kernel/clock.py", "app/launcher"), find_clock),
    Rule("commit", lambda s: _in_app(s) and not s.under("app/kernel", "app/launcher"), find_commit),
    Rule("flush", _in_app, find_flush),
    Rule("lazy-import", _in_app, find_lazy_import),
    Rule(
        "print",
        lambda s: _in_app(s) and not s.under("app/cli.py", "app/cli", "app/launcher", "app/demo"),
        find_print,
    ),
    Rule("long-function", lambda s: not s.under("migrations"), find_long_function),
    Rule("long-file", lambda s: not s.under("migrations"), find_long_file),
    Rule("unfinished", lambda _: True, find_unfinished),
    Rule("sleep", _in_tests, find_sleep),
    Rule("skip", _in_tests, find_skip),
    Rule("mock", _in_tests, find_mock),
    Rule("module-name", lambda _: True, find_module_name),
    Rule("bare-opt-out", lambda _: True, find_bare_opt_out),
)


def excuses_of(source: Source) -> dict[int, str]:
    """Line an excuse stands for → the rule it excuses."""
    lines = source.text.splitlines()
    found = {}
    for line, comment in source.comments.items():
        if match := EXCUSE.search(comment):
            alone = lines[line - 1].lstrip().startswith("#")
            found[line + 1 if alone else line] = match["rule"]
    return found


def check(path: str, text: str) -> list[str]:
    """Every finding in one file, in order, ready to print."""
    try:
        source = Source.of(path, text)
    except (SyntaxError, tokenize.TokenError) as error:
        return [f"{path}:{getattr(error, 'lineno', 0)}: syntax: not Python 3.11: {error.args[0]}"]
    excuses = excuses_of(source)
    used: set[int] = set()
    findings: list[tuple[int, str]] = []
    for rule in RULES:
        for line, message in rule.find(source) if rule.holds(source) else ():
            if line and excuses.get(line) == rule.name:
                used.add(line)
            else:
                findings.append((line, f"{rule.name}: {message}"))
    for line in excuses.keys() - used:
        findings.append((line, f"idle-excuse: nothing here needs `allow: {excuses[line]}`"))
    return [f"{path}:{line}: {said}" for line, said in sorted(findings)]


def python_files(root: Path) -> list[Path]:
    """Every Python file the rules look at."""
    places = (root / tree for tree in TREES)
    files = (file for place in places for file in ([place] if place.is_file() else place.rglob("*.py")))
    return sorted(file for file in files if "__pycache__" not in file.parts)


def main(arguments: list[str]) -> int:
    """The command. Returns its exit status."""
    files = [Path(argument).resolve() for argument in arguments] or python_files(ROOT)
    findings = [said for file in files for said in check(str(file.relative_to(ROOT)), file.read_text(encoding="utf-8"))]
    for said in findings:
        print(said)
    print(f"house rules: {len(files)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
