"""Two languages from catalogues as they are written."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from app.kernel.text import catalogue, gettext_in, ngettext_in, read_catalogue, renderer, translator

PO = """msgid ""
msgstr "Content-Type: text/plain; charset=utf-8\\n"

msgid "充值"
msgstr "Top up"

msgid "未译"
msgstr ""

msgid "%(num)s 条"
msgid_plural "%(num)s 条"
msgstr[0] "%(num)s row"
msgstr[1] "%(num)s rows"
"""


def test_a_catalogue_is_read_without_a_compile_step(tmp_path: Path) -> None:
    file = tmp_path / "messages.po"
    file.write_text(PO)
    assert read_catalogue(file) == {"充值": ("Top up",), "%(num)s 条": ("%(num)s row", "%(num)s rows")}


def test_chinese_is_its_own_translation() -> None:
    assert catalogue("zh") == catalogue("zh_CN") == {}
    assert gettext_in("zh", "预计可用不足 1 天") == "预计可用不足 1 天"


def test_english_says_what_the_catalogue_says_and_chinese_where_it_is_silent() -> None:
    assert gettext_in("en-GB", "预计可用不足 1 天") == "for less than one day"
    assert gettext_in("en", "从未有人译过") == "从未有人译过"
    assert translator("en")("预计可用约 %(days)s 天", days=3) == "for about 3 days"


@pytest.mark.parametrize(("n", "said"), [(1, "一条"), (2, "多条")])
def test_what_is_counted_has_two_forms(n: int, said: str) -> None:
    assert ngettext_in("zh", "一条", "多条", n) == said


def test_a_template_knows_its_names_and_escapes_pages_only(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("{{ fen|yuan }} {{ wh|kwh }} {{ name }}")
    (tmp_path / "a.html").write_text("{{ name }}")
    environment = renderer(tmp_path, "zh")
    assert environment.get_template("a.txt").render(fen=1_050, wh=1_500, name="<b>") == "¥10.50 1.50 <b>"
    assert environment.get_template("a.html").render(name="<b>") == "&lt;b&gt;"
    with pytest.raises(UndefinedError):
        environment.get_template("a.txt").render(fen=1, wh=1)
