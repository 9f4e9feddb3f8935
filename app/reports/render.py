"""Paper: HTML of our own templates to PDF. Imported by the worker only; WeasyPrint takes half a second to load.

Nothing is fetched while rendering, whatever the HTML says: no file, no network. One font configuration serves the whole
process, because each one keeps every font it has touched.
"""

from functools import cache
from pathlib import Path
from typing import Any

from weasyprint import CSS, HTML
from weasyprint.text.fonts import FontConfiguration

from app.kernel.text import renderer

TEMPLATES = Path(__file__).resolve().parent / "templates"


class FetchRefused(Exception):
    """A document asked for something outside itself."""


def deny_all(url: str, *_rest: Any, **_options: Any) -> dict[str, Any]:
    """The only URL fetcher: refuses everything. Raises FetchRefused."""
    raise FetchRefused(url)


@cache
def fonts() -> FontConfiguration:
    """The process's one font configuration."""
    return FontConfiguration()


def render_pdf(template: str, *, locale: str = "zh", **context: Any) -> bytes:
    """A PDF of a template of this folder in one language."""
    page = renderer(TEMPLATES, locale).get_template(template).render(**context)
    sheet = CSS(string=(TEMPLATES / "paper.css").read_text(), url_fetcher=deny_all, font_config=fonts())
    pdf: bytes = HTML(string=page, url_fetcher=deny_all).write_pdf(stylesheets=[sheet], font_config=fonts())
    return pdf
