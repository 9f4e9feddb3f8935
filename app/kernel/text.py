"""Words in two languages: the Chinese text is the message id, its English stands in the `.po` files beside it.

Each folder that speaks to people owns its catalogue: `app/<folder>/translations/<language>/LC_MESSAGES/messages.po`.
They are read as they are, without a compile step, and without Flask, so that a worker can write a text message.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from babel.messages.pofile import read_po
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.kernel.money import format_yuan
from app.kernel.quantity import format_kwh

APP = Path(__file__).resolve().parents[1]
#: The language the product is written in: its messages need no catalogue.
SOURCE = "zh"

Translator = Callable[..., str]


def gettext_in(locale: str, message: str) -> str:
    """The message in a language; what has no translation is said in Chinese."""
    found = catalogue(locale).get(message)
    return found[0] if found else message


def ngettext_in(locale: str, one: str, many: str, n: int) -> str:
    """The counted message in a language: `one` for exactly one, `many` otherwise."""
    found = catalogue(locale).get(one)
    if not found:
        return one if n == 1 else many
    return found[0] if n == 1 or len(found) == 1 else found[1]


def translator(locale: str) -> Translator:
    """A `_` for one language: `_("充值 %(amount)s", amount="¥50.00")`."""

    def say(message: str, **details: object) -> str:
        said = gettext_in(locale, message)
        return said % details if details else said

    return say


@cache
def catalogue(locale: str) -> dict[str, tuple[str, ...]]:
    """Message id → its forms in a language, from the catalogues of all folders. Empty for the source language."""
    language = locale.partition("_")[0].partition("-")[0]
    if language == SOURCE:
        return {}
    said: dict[str, tuple[str, ...]] = {}
    for path in sorted(APP.glob(f"*/translations/{language}/LC_MESSAGES/*.po")):
        said.update(read_catalogue(path))
    return said


def read_catalogue(path: Path) -> dict[str, tuple[str, ...]]:
    """Message id → its translated forms of one `.po` file; entries without a translation are left out."""
    with path.open("rb") as file:
        messages = read_po(file)
    said = {}
    for message in messages:
        ids, strings = _forms(message.id), _forms(message.string)
        if ids[0] and all(strings):
            said[ids[0]] = strings
    return said


def _forms(text: Any) -> tuple[str, ...]:
    return tuple(text) if isinstance(text, (list, tuple)) else (text,)


def renderer(folder: Path, locale: str) -> Environment:
    """A Jinja environment over one folder of templates in one language; an unknown name in a template is an error.

    Plain text by file name (`.txt`), escaped for pages (`.html`).
    """
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=50,
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: gettext_in(locale, message),
        lambda one, many, n: ngettext_in(locale, one, many, n),
        newstyle=True,
    )
    environment.filters.update(yuan=format_yuan, kwh=format_kwh)
    return environment
