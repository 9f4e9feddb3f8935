"""From the bytes of an XLSX file to rows of raw cells. Whatever is wrong with the file is a named refusal."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import openpyxl

from app.billing.onboarding.cells import EMPTY, Raw, RawCell
from app.billing.onboarding.columns import HEADING_ROWS, ROWS_MAX, SHEETS, Column, SheetForm
from app.kernel.errors import AppError
from app.kernel.xlsx import LINES_MAX, NotAWorkbook, UnpacksTooLarge, refuse_bombs

BYTES_MAX = 8 * 1024 * 1024
COLUMNS_MAX = 40
#: No column holds numbers of more digits.
DIGITS_MAX = 40


class FileTooLarge(AppError):
    """More bytes than any honest list of a property has."""

    code, status = "import_file_too_large", 413
    message_zh = "文件超过 8 MB。请删除图片和无关工作表，或按楼栋拆分后分批导入。"
    message_en = "The file is above 8 MB. Remove pictures and other sheets, or split it by building."


class WorkbookUnreadable(AppError):
    """Not an XLSX workbook, or a damaged one."""

    code, status = "import_workbook_unreadable", 422
    message_zh = "无法读取该文件。请用 Excel 或 WPS 另存为 .xlsx 格式（不加密）后重试。"
    message_en = "The file cannot be read. Save it as .xlsx without a password and try again."


class WorkbookUnpacksTooLarge(AppError):
    """Small outside and huge inside: a mistake or an attack."""

    code, status = "import_workbook_unpacks_too_large", 422
    message_zh = "文件解压后过大，未读取。请下载模板，把数据粘贴为数值后重试。"
    message_en = "The file unpacks to far too much and was not read. Paste the values into a fresh template."


class SheetMissing(AppError):
    """One of the four sheets is not there."""

    code, status = "import_sheet_missing", 422
    message_zh = "缺少工作表“{sheet}”。请使用下载的模板，不要改工作表名称。"
    message_en = "The sheet “{sheet}” is missing. Use the template and keep the names of its sheets."


class HeadingsWrong(AppError):
    """Headings are missing, unknown or there twice."""

    code, status = "import_headings_wrong", 422
    message_zh = "工作表“{sheet}”的表头不对：{headings}。请使用下载的模板，不要改第一行。"
    message_en = "The headings of “{sheet}” are wrong: {headings}. Use the template and keep its first row."


class TooManyRows(AppError):
    """More rows than one import takes."""

    code, status = "import_too_many_rows", 422
    message_zh = "工作表“{sheet}”超过 {rows_max} 行。请按楼栋拆分后分批导入。"
    message_en = "The sheet “{sheet}” has more than {rows_max} rows. Split the file by building."


class WorkbookEmpty(AppError):
    """Four sheets and not one row."""

    code, status = "import_workbook_empty", 422
    message_zh = "文件里没有数据行。请从第 3 行开始填写。"
    message_en = "The file has no rows. Fill it in from row 3 on."


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row that is not blank: its number in Excel and its cells by column key."""

    line: int
    cells: Mapping[str, RawCell]


def read_workbook(content: bytes) -> dict[str, list[RawRow]]:
    """Sheet key → rows. Cells are not judged yet.

    Raises, in this order: FileTooLarge, WorkbookUnreadable, WorkbookUnpacksTooLarge, SheetMissing,
    HeadingsWrong, TooManyRows, WorkbookEmpty.
    """
    if len(content) > BYTES_MAX:
        raise FileTooLarge()
    _refuse_bombs(content)
    with warnings.catch_warnings():
        # The reader warns about styles and extensions it skips; only cell values are of interest here.
        warnings.simplefilter("ignore")
        sheets = _read(content)
    if not any(sheets.values()):
        raise WorkbookEmpty()
    return sheets


def _refuse_bombs(content: bytes) -> None:
    try:
        refuse_bombs(content)
    except UnpacksTooLarge as large:
        raise WorkbookUnpacksTooLarge() from large
    except NotAWorkbook as broken:
        raise WorkbookUnreadable() from broken


def _read(content: bytes) -> dict[str, list[RawRow]]:
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False)
        try:
            return {form.key: _read_sheet(book, form) for form in SHEETS}
        finally:
            book.close()
    except AppError:
        raise
    except Exception as broken:  # the reader's failures on garbage have no common base
        raise WorkbookUnreadable() from broken


def _read_sheet(book: Any, form: SheetForm) -> list[RawRow]:
    titles = {str(name).strip(): name for name in book.sheetnames}
    if form.title not in titles or not hasattr(book[titles[form.title]], "iter_rows"):
        raise SheetMissing(sheet=form.title)
    sheet = book[titles[form.title]]
    sheet.reset_dimensions()
    lines = _lines(sheet, form)
    headings = next(lines, (1, []))[1]
    columns = _columns(form, [cell.text.strip() for cell in headings])
    return list(_data_rows(form, columns, lines))


def _lines(sheet: Any, form: SheetForm) -> Iterator[tuple[int, list[RawCell]]]:
    for line, cells in enumerate(sheet.iter_rows(max_col=COLUMNS_MAX, max_row=LINES_MAX + 1), start=1):
        if line > LINES_MAX:
            raise TooManyRows(sheet=form.title, rows_max=ROWS_MAX)
        is_blank = all(cell.value is None for cell in cells)
        yield line, [] if is_blank else [_raw(cell) for cell in cells]


def _columns(form: SheetForm, headings: Sequence[str]) -> list[Column | None]:
    """The column of each position.

    Raises HeadingsWrong with every heading that is missing, unknown or doubled.
    """
    by_heading = {column.zh: column for column in form.columns}
    missing = [column.zh for column in form.columns if column.zh not in headings]
    strange = [name for position, name in enumerate(headings) if name and _is_strange(by_heading, headings, position)]
    if missing or strange:
        said = [f"缺 {name}" for name in missing] + [f"多 {name[:20]}" for name in strange]
        raise HeadingsWrong(sheet=form.title, headings="，".join(said))
    return [by_heading.get(name) for name in headings]


def _is_strange(known: Mapping[str, Column], headings: Sequence[str], position: int) -> bool:
    name = headings[position]
    return name not in known or name in headings[:position]


def _data_rows(
    form: SheetForm, columns: Sequence[Column | None], lines: Iterator[tuple[int, list[RawCell]]]
) -> Iterator[RawRow]:
    taken = 0
    for line, cells in lines:
        filled = {column.key: cell for column, cell in zip(columns, cells, strict=False) if column}
        said = [cell for cell in cells if cell.raw is not Raw.EMPTY and (cell.raw is not Raw.TEXT or cell.text.strip())]
        if not said or (line <= HEADING_ROWS and _is_english_heading(form, filled)):
            continue
        taken += 1
        if taken > ROWS_MAX:
            raise TooManyRows(sheet=form.title, rows_max=ROWS_MAX)
        yield RawRow(line, {column.key: filled.get(column.key, EMPTY) for column in form.columns})


def _is_english_heading(form: SheetForm, filled: Mapping[str, RawCell]) -> bool:
    return all(filled[column.key].text.strip() == column.en for column in form.columns if column.key in filled)


def _raw(cell: Any) -> RawCell:
    value, kind = cell.value, getattr(cell, "data_type", "n")
    if value is None:
        return EMPTY
    if kind == "f":
        return RawCell(Raw.FORMULA, str(value)[:200])
    if kind == "e":
        return RawCell(Raw.ERROR, str(value))
    if isinstance(value, bool):
        return RawCell(Raw.ODD, str(value))
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, datetime):
        return RawCell(Raw.DATE, value.date().isoformat())
    if isinstance(value, date):
        return RawCell(Raw.DATE, value.isoformat())
    if isinstance(value, str):
        return RawCell(Raw.TEXT, value)
    return RawCell(Raw.ODD, str(value)[:200])


def _number(value: Any) -> RawCell:
    """Plain digits of a number cell: fifteen significant ones, which is all that Excel knows."""
    exact = Decimal(value) if isinstance(value, int) else Decimal(f"{value:.15g}")
    if not exact.is_finite() or exact.adjusted() > DIGITS_MAX:
        return RawCell(Raw.ODD, f"{exact:.6e}")
    return RawCell(Raw.NUMBER, f"{exact:f}")
