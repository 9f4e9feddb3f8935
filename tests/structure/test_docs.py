"""What the pages promise is there: settings, commands, targets, paths, links, pictures, words, decisions."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from click.testing import CliRunner

from app.billing.ledger.invariants import INVARIANTS
from app.cli import main
from app.cli.frames import frames
from app.kernel.db import Database
from app.kernel.text import read_catalogue
from app.meters.batches import BatchRow
from app.meters.readings import Flag
from app.settings import Settings
from app.web.api.readings import parse_row

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
TREES = ("app", "bench", "deploy", "docs", "migrations", "tests", "tools")
ROOT_FILES = {path.name for path in ROOT.iterdir() if path.is_file()}
HEADINGS = ["Context", "Decision", "Consequences", "Alternatives"]

QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"^[A-Za-z0-9_.*/-]+(::\w+)?$")
CHINESE = re.compile(r"[一-鿿]")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def rows_of(text: str) -> Iterator[list[str]]:
    """Cells of every table row below a head."""
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|- :"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def section(text: str, heading: str) -> str:
    """What stands below a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings, the way they are made from the words."""
    heads = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


# Settings


def settings_rows() -> dict[str, str]:
    return {row[0]: row[1] for row in rows_of(text_of(DOCS / "settings.md")) if row[0].isupper()}


def test_every_setting_is_explained_with_its_default() -> None:
    shown = {None: "–", "": "(empty)"}
    expected = {field.name.upper(): shown.get(field.default, field.default) for field in fields(Settings)}
    explained = settings_rows()
    assert {name: explained.get(name) for name in expected} == expected


def test_no_setting_is_explained_that_nothing_reads() -> None:
    known = {field.name.upper() for field in fields(Settings)}
    aside = {row[0] for row in rows_of(section(text_of(DOCS / "settings.md"), "For make, not for the product"))}
    assert set(settings_rows()) - known <= aside


# Commands


def targets() -> dict[str, str]:
    """Target → its line of help."""
    makefile = text_of(ROOT / "Makefile")
    return dict(re.findall(r"^([a-z][a-z-]*):[^=\n]*?  ## (.+)$", makefile, re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_every_target_a_page_names_exists_and_has_its_help(name: str) -> None:
    named = set(re.findall(r"(?:`|^\s*|\$ )make ([a-z][a-z-]+)", text_of(ROOT / name), re.MULTILINE))
    assert named - set(targets()) == set()


def test_every_target_stands_in_the_help() -> None:
    made = re.findall(r"^([a-z][a-z-]*):", text_of(ROOT / "Makefile"), re.MULTILINE)
    assert set(made) == set(targets())


def test_every_benchmark_is_explained() -> None:
    explained = text_of(DOCS / "figures.md")
    assert [target for target in targets() if target.startswith("bench-") and f"`make {target}`" not in explained] == []


def commands(group: click.Group, words: tuple[str, ...] = ("tallyhouse",)) -> Iterator[str]:
    """Every command as it is typed."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name))


def test_every_command_is_explained_and_no_other() -> None:
    assert isinstance(main, click.Group)
    there = set(commands(main))
    rows = [row[0].strip("`").split(" [")[0] for row in rows_of(text_of(DOCS / "commands.md"))]
    assert {row for row in rows if row.startswith("tallyhouse")} == there


@pytest.mark.parametrize("name", NAMES)
def test_every_command_a_page_names_exists(name: str) -> None:
    assert isinstance(main, click.Group)
    there = {*commands(main), *(command.rpartition(" ")[0] for command in commands(main))}
    typed = re.findall(r"(?:`|^\$ |\.venv/bin/)(tallyhouse(?: [a-z][a-z-]*)+)", text_of(ROOT / name), re.MULTILINE)
    unknown = [
        words for words in typed if not any(words == c or words.startswith(f"{c} ") for c in there - {"tallyhouse"})
    ]
    assert unknown == []


def shown_runs() -> Iterator[tuple[str, str]]:
    """(what is typed after `frames decode`, what is printed) of every run shown on a page."""
    shown = re.compile(r"^\$ tallyhouse frames decode (.+)\n((?:\{.*\n)+)", re.MULTILINE)
    for page in PAGES:
        yield from shown.findall(text_of(page))


@pytest.mark.parametrize(("typed", "printed"), list(shown_runs()))
def test_a_frame_shown_decoded_decodes_like_that(typed: str, printed: str) -> None:
    said = CliRunner().invoke(frames, ["decode", *typed.split()]).output
    assert [json.loads(line) for line in said.splitlines()] == [json.loads(line) for line in printed.splitlines()]


def test_the_pages_show_decoded_frames() -> None:
    assert len(list(shown_runs())) >= 3


def sql_blocks() -> list[str]:
    """Every SQL block on a page, without its indent."""
    shown = re.compile(r"^ *```sql\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    return [block for page in PAGES for block in shown.findall(text_of(page))]


@pytest.mark.parametrize("block", sql_blocks())
def test_sql_shown_on_a_page_runs(db: Database, block: str) -> None:
    statements = [part.strip() for part in block.split(";") if part.strip() not in {"", "BEGIN", "COMMIT"}]
    with db.engine.connect() as connection:
        for sql in statements:
            connection.exec_driver_sql(sql)
        connection.rollback()


def test_the_runbook_shows_what_to_ask_the_database() -> None:
    assert len(sql_blocks()) >= 5


# The API


def codes_in_app() -> set[str]:
    """Codes of every expected failure."""
    found: set[str] = set()
    for file in (ROOT / "app").rglob("*.py"):
        found |= set(re.findall(r'^    code(?:, status)? = "([a-z_0-9]+)"', text_of(file), re.MULTILINE))
    return found | {"database_unavailable", "busy_try_again"}


def test_the_readings_example_is_one_the_api_takes() -> None:
    bodies = [json.loads(body) for body in re.findall(r"-d '(\{.*\})'", text_of(DOCS / "api.md"))]
    assert [type(parse_row(row)) for body in bodies for row in body["readings"]] == [BatchRow]


def test_every_refusal_the_api_page_names_exists() -> None:
    named = [code for row in rows_of(section(text_of(DOCS / "api.md"), "Refusals")) for code in QUOTED.findall(row[1])]
    assert len(named) > 8
    assert set(named) - codes_in_app() == set()


def test_every_flag_of_a_reading_is_named_for_those_who_send_them() -> None:
    named = set(QUOTED.findall(section(text_of(DOCS / "api.md"), "The answer")))
    assert {flag.value for flag in Flag} - named == set()


# Paths, links, pictures


def paths_in(page: Path) -> Iterator[tuple[str, str]]:
    """(path, name inside it) of everything in backquotes that reads like a file or folder of the checkout."""
    for quoted in QUOTED.findall(prose_of(page)):
        path, _, inside = quoted.partition("::")
        if PATH.match(quoted) and ((path.split("/")[0] in TREES and "/" in path) or path in ROOT_FILES):
            yield path.rstrip("/"), inside


def names_in(file: Path) -> set[str]:
    """Names of functions, classes and constants at the top of a Python file."""
    found = set()
    for node in ast.parse(text_of(file)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            ends = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {end.id for end in ends if isinstance(end, ast.Name)}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_path_a_page_names_is_there(name: str) -> None:
    missing = [path for path, _ in paths_in(ROOT / name) if not list(ROOT.glob(path))]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_every_name_a_page_points_to_inside_a_file_is_there(name: str) -> None:
    pointed = [(path, inside) for path, inside in paths_in(ROOT / name) if inside]
    assert [f"{path}::{inside}" for path, inside in pointed if inside not in names_in(ROOT / path)] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    page, dead = ROOT / name, []
    for link in LINK.findall(prose_of(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = unquote(link).partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and anchor not in anchors_of(goal)):
            dead.append(link)
    assert dead == []


def test_every_picture_is_shown_and_says_what_it_shows() -> None:
    shown, mute = set(), []
    for page in PAGES:
        for words, link in PICTURE.findall(text_of(page)):
            shown.add((page.parent / link).resolve())
            mute += [] if words.strip() else [link]
    assert mute == []
    assert {path.resolve() for path in (DOCS / "pictures").glob("*.*")} == shown


def test_every_page_is_reached_from_the_first() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        ahead += [(page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose_of(page))]
    assert sorted(str(page.relative_to(ROOT)) for page in set(PAGES) - reached) == []


# The house


def test_the_picture_of_the_layers_shows_every_package() -> None:
    picture = section(text_of(DOCS / "ARCHITECTURE.md"), "Layers").split("```")[1]
    packages = {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")}
    assert packages - set(re.findall(r"\b[a-z]+\b", picture)) == set()


def test_every_invariant_of_money_is_listed() -> None:
    listed = {row[0] for row in rows_of(text_of(DOCS / "ARCHITECTURE.md"))}
    assert {name.partition("_")[0] for name in INVARIANTS} - listed == set()


# Decisions


DECISIONS = sorted((DOCS / "adr").glob("[0-9]*.md"))


@pytest.mark.parametrize("page", DECISIONS, ids=[page.stem[:40] for page in DECISIONS])
def test_a_decision_has_its_four_headings_and_something_below_each(page: Path) -> None:
    text = text_of(page)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert all(len(section(text, heading).split()) > 10 for heading in HEADINGS)


def test_decisions_are_numbered_without_a_gap_and_listed() -> None:
    assert [page.name[:4] for page in DECISIONS] == [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)]
    listed = re.findall(r"\((\d{4}[\w-]*\.md)\)", text_of(DOCS / "adr" / "README.md"))
    assert listed == [page.name for page in DECISIONS]
    heads = [text_of(page).splitlines()[0] for page in DECISIONS]
    assert [head[2:8] for head in heads] == [f"{page.name[:4]} ·" for page in DECISIONS]


# Words


def never_on_a_screen() -> list[str]:
    rows = rows_of(section(text_of(DOCS / "GLOSSARY.md"), "Never on a screen"))
    return [row[0] for row in rows if row[0] != "never"]


@cache
def said() -> list[tuple[str, str]]:
    """(file, text) of everything a person can come to read."""
    return [*said_in_python(), *said_on_pages()]


def said_in_python() -> Iterator[tuple[str, str]]:
    """(file, text) of every string that holds Chinese, and of every English message of an error."""
    for file in sorted((ROOT / "app").rglob("*.py")):
        tree = ast.parse(text_of(file))
        told = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        english = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Assign) and _is_message(n.targets[0])}
        for node in ast.walk(tree):
            words = node.value if isinstance(node, ast.Constant) and id(node) not in told else None
            if isinstance(words, str) and (id(node) in english or CHINESE.search(words)):
                yield str(file.relative_to(ROOT)), words


def _is_message(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "message_en"


def said_on_pages() -> Iterator[tuple[str, str]]:
    """(file, text) of every template and every translation."""
    for file in sorted([*(ROOT / "app").rglob("templates/**/*.html"), *(ROOT / "app").rglob("templates/**/*.txt")]):
        yield str(file.relative_to(ROOT)), "".join(CHINESE.findall(text_of(file)))
    for file in sorted((ROOT / "app").glob("*/translations/*/LC_MESSAGES/*.po")):
        for message, forms in read_catalogue(file).items():
            yield str(file.relative_to(ROOT)), message
            yield from ((str(file.relative_to(ROOT)), form) for form in forms)


@pytest.mark.parametrize("word", never_on_a_screen())
def test_a_word_with_two_meanings_is_on_no_screen(word: str) -> None:
    looked_for = re.compile(word if CHINESE.search(word) else rf"\b{word}s?\b", re.IGNORECASE)
    found = [(file, text[:60]) for file, text in said() if looked_for.search(text)]
    assert found == []


def test_every_word_has_one_row() -> None:
    words = [row[0] for row in rows_of(text_of(DOCS / "GLOSSARY.md")) if len(row) == 4 and row[0] != "say"]
    assert len(words) > 50
    assert sorted({word for word in words if words.count(word) > 1}) == []


def test_a_row_of_the_glossary_says_what_the_word_means() -> None:
    rows = [row for row in rows_of(text_of(DOCS / "GLOSSARY.md")) if len(row) == 4 and row[0] != "say"]
    assert [row[0] for row in rows if len(row[2].split()) < 4] == []


def test_the_chinese_of_the_glossary_is_what_the_screens_say() -> None:
    on_screens = "".join(text for _, text in said())
    rows = [row for row in rows_of(text_of(DOCS / "GLOSSARY.md")) if len(row) == 4]
    terms = [term for row in rows for term in re.split("[，、/]", row[1]) if CHINESE.search(term) and row[0] != "say"]
    assert len(terms) > 60
    assert [term for term in terms if term not in on_screens] == []
