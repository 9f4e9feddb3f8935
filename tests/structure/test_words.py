"""Every Chinese sentence a person can meet has its English, and the other way round no English is left without use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

from app.kernel.text import read_catalogue

APP = Path(__file__).resolve().parents[2] / "app"
METHODS = [
    ("**.py", "python"),
    ("**/templates/**.html", "jinja2.ext:babel_extract"),
    ("**/templates/**.txt", "jinja2.ext:babel_extract"),
]
KEYWORDS: dict[str, tuple[int, ...] | None] = {"_": None, "gettext": None, "ngettext": (1, 2), "say": None}
OWNERS = ("web", "reports")


def english_of(folder: str) -> dict[str, tuple[str, ...]]:
    """The English of a folder, from all its catalogues; a message stands in one of them only."""
    said: dict[str, tuple[str, ...]] = {}
    for path in sorted((APP / folder / "translations" / "en" / "LC_MESSAGES").glob("*.po")):
        more = read_catalogue(path)
        assert not said.keys() & more.keys(), path
        said |= more
    return said


def messages_of(folder: str) -> Iterator[str]:
    """The message ids that a folder's Python and templates ask for."""
    options = {name: {"silent": "false"} for name, method in METHODS if method.startswith("jinja2")}
    for found in extract_from_dir(APP / folder, METHODS, options, KEYWORDS):
        message = found[2]
        yield message[0] if isinstance(message, tuple) else message


@pytest.mark.parametrize("folder", OWNERS)
def test_every_sentence_has_its_english(folder: str) -> None:
    english = english_of(folder)
    assert sorted(set(messages_of(folder)) - set(english)) == []


@pytest.mark.parametrize("folder", OWNERS)
def test_no_english_is_left_without_use(folder: str) -> None:
    english = english_of(folder)
    assert sorted(set(english) - set(messages_of(folder))) == []


@pytest.mark.parametrize("folder", OWNERS)
def test_a_translation_keeps_the_places_of_its_message(folder: str) -> None:
    english = english_of(folder)
    for message, forms in english.items():
        for form in forms:
            assert sorted(places(form)) == sorted(places(message)), message


def places(text: str) -> list[str]:
    """Names of the details a message is filled with."""
    return [part.split(")")[0] for part in text.split("%(")[1:]]
