"""The workbook a property fills in: four sheets with headings, hints and drop-downs, and one sheet that
explains.
"""

import io
from typing import Any

import xlsxwriter

from app.billing.onboarding.columns import HEADING_ROWS, ROWS_MAX, SHEETS, Column, Holds, SheetForm

_AS_NUMBER = frozenset({Holds.AREA, Holds.MONEY, Holds.REGISTER})
_GUIDE = (
    "填写说明 How to fill in",
    "1. 从第 3 行开始填写；不要改工作表名称和前两行。 Fill in from row 3; keep sheet names and the first two rows.",
    "2. 粘贴数据时用“粘贴为数值”，不要公式、不要合并单元格。 Paste as values: no formulas, no merged cells.",
    "3. 先点“检查（不写入）”，改完全部提示后再正式导入；有一行不对则一行都不会写入。 "
    "Do a dry run first; if one row is wrong, none is written.",
)


def make_template() -> bytes:
    """The empty template as XLSX bytes."""
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        heading = book.add_format({"bold": True, "bg_color": "#DCE6F1", "border": 1})
        english = book.add_format({"italic": True, "font_color": "#666666", "border": 1})
        as_text = book.add_format({"num_format": "@"})
        for form in SHEETS:
            _add_sheet(book, form, heading=heading, english=english, as_text=as_text)
        _add_guide(book, heading=heading)
    return buffer.getvalue()


def _add_sheet(book: Any, form: SheetForm, *, heading: Any, english: Any, as_text: Any) -> None:
    sheet = book.add_worksheet(form.title)
    sheet.freeze_panes(HEADING_ROWS, 0)
    for position, column in enumerate(form.columns):
        width = max(len(column.zh) * 2, len(column.en), len(column.example)) + 4
        sheet.set_column(position, position, width, None if column.holds in _AS_NUMBER else as_text)
        sheet.write_string(0, position, column.zh, heading)
        sheet.write_string(1, position, column.en, english)
        sheet.write_comment(0, position, f"{column.hint}\n例：{column.example}")
        _add_choices(sheet, position, column)


def _add_choices(sheet: Any, position: int, column: Column) -> None:
    if column.holds is Holds.CHOICE:
        rule = {"validate": "list", "source": list(column.choices), "ignore_blank": True}
        sheet.data_validation(HEADING_ROWS, position, HEADING_ROWS + ROWS_MAX - 1, position, rule)


def _add_guide(book: Any, *, heading: Any) -> None:
    sheet = book.add_worksheet("填写说明")
    sheet.set_column(0, 4, 22)
    for line, words in enumerate(_GUIDE):
        sheet.write_string(line, 0, words)
    line = len(_GUIDE) + 1
    for position, words in enumerate(("工作表 Sheet", "列 Column", "必填 Required", "例 Example", "说明 Hint")):
        sheet.write_string(line, position, words, heading)
    for form in SHEETS:
        for column in form.columns:
            line += 1
            facts = (f"{form.title} {form.title_en}", f"{column.zh} {column.en}", "是" if column.required else "")
            for position, words in enumerate((*facts, column.example, column.hint)):
                sheet.write_string(line, position, words)
