"""A sheet of hand-read registers: the file, its three columns, and what can be wrong with either.

表号 Meter | 抄表时间 Read at (local time) | 示数 kWh Register
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, BinaryIO

import openpyxl
from openpyxl.styles import Font

from app.kernel.errors import AppError
from app.kernel.quantity import parse_register
from app.kernel.xlsx import LINES_MAX, NotAWorkbook, UnpacksTooLarge, refuse_bombs

BYTES_MAX = 8 * 1024 * 1024
ROWS_MAX = 20_000
HEADINGS = ("表号 Meter", "抄表时间 Read at", "示数 kWh Register")
_KEYS = ("表号", "抄表时间", "示数")
_TIMES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d")


class SheetTooLarge(AppError):
    """More bytes than any honest list of readings has."""

    code, status = "sheet_too_large", 413
    message_zh = "文件过大。请删除图片和无关工作表，或拆分后分批导入。"
    message_en = "The file is too large. Remove pictures and other sheets, or split it."


class SheetUnreadable(AppError):
    """Not an XLSX workbook, or a damaged one."""

    code, status = "sheet_unreadable", 422
    message_zh = "无法读取该文件。请用 Excel 或 WPS 另存为 .xlsx 格式（不加密）后重试。"
    message_en = "The file cannot be read. Save it as .xlsx without a password and try again."


class SheetHeadingsWrong(AppError):
    """The first row is not the template's."""

    code, status = "sheet_headings_wrong", 422
    message_zh = "表头不对。请使用下载的模板，第一行应为：表号、抄表时间、示数。"
    message_en = "The headings are wrong. Use the template: meter, read at, register in its first row."


class SheetTooLong(AppError):
    """More rows than one import takes."""

    code, status = "sheet_too_long", 422
    message_zh = "超过 {rows_max} 行。请拆分后分批导入。"
    message_en = "More than {rows_max} rows. Split the file."


class SheetEmpty(AppError):
    """Headings and nothing below them."""

    code, status = "sheet_empty", 422
    message_zh = "文件里没有数据行。请从第 2 行开始填写。"
    message_en = "The file has no rows. Fill it in from row 2 on."


class MeterNumberMissing(AppError):
    """A row without a meter."""

    code, status = "meter_number_missing", 422
    message_zh = "没有填写表号。"
    message_en = "The meter number is missing."


class ReadAtUnreadable(AppError):
    """Not a date and time."""

    code, status = "read_at_unreadable", 422
    message_zh = "看不懂抄表时间“{text}”。请写成 2026-07-15 10:00。"
    message_en = "“{text}” is not a time. Write it like 2026-07-15 10:00."


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A row that can be read: its number in Excel, instant in UTC, register in Wh."""

    line: int
    meter_number: str
    read_at: datetime
    register_wh: int


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row that cannot be taken, and why."""

    line: int
    error: AppError

    def message(self, locale: str = "zh") -> str:
        """The reason in the reader's language."""
        return self.error.message(locale)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a file says, and the rows that say nothing sensible."""

    rows: list[SheetRow]
    errors: list[RowFault]


def template() -> bytes:
    """An empty workbook with the right headings."""
    book = openpyxl.Workbook()
    page = book.worksheets[0]
    page.title = "抄表"
    page.append(HEADINGS)
    for cell, letter in zip(page[1], "ABC", strict=True):
        cell.font = Font(bold=True)
        page.column_dimensions[letter].width = 22
    page.freeze_panes = "A2"
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def read_sheet(file: BinaryIO, zone: tzinfo) -> Sheet:
    """Every row of the first sheet; times without a zone are local to `zone`.

    Raises, in this order: SheetTooLarge, SheetUnreadable, SheetHeadingsWrong, SheetTooLong, SheetEmpty.
    """
    content = file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise SheetTooLarge
    _refuse_bombs(content)
    sheet = Sheet([], [])
    for line, cells in _lines(content):
        try:
            sheet.rows.append(_row(line, cells, zone))
        except AppError as wrong:
            sheet.errors.append(RowFault(line, wrong))
    if not sheet.rows and not sheet.errors:
        raise SheetEmpty
    return sheet


def _refuse_bombs(content: bytes) -> None:
    try:
        refuse_bombs(content)
    except UnpacksTooLarge as large:
        raise SheetTooLarge from large
    except NotAWorkbook as broken:
        raise SheetUnreadable from broken


def _lines(content: bytes) -> list[tuple[int, Sequence[Any]]]:
    try:
        with warnings.catch_warnings():
            # The reader warns about styles it skips; only cell values are of interest here.
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, keep_links=False)
            try:
                page = book.worksheets[0]
                # Programs write how far a sheet reaches, and some are wrong: rows beyond would go unread.
                page.reset_dimensions()
                return list(_filled(page.iter_rows(max_col=len(HEADINGS), max_row=LINES_MAX + 1, values_only=True)))
            finally:
                book.close()
    except AppError:
        raise
    except Exception as broken:  # the reader's failures on garbage have no common base
        raise SheetUnreadable from broken


def _filled(rows: Iterator[Sequence[Any]]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Rows below the headings that hold anything, with their numbers in Excel."""
    headings = next(rows, ())
    if [str(cell or "").split()[:1] for cell in headings] != [[key] for key in _KEYS]:
        raise SheetHeadingsWrong
    found = 0
    for line, cells in enumerate(rows, 2):
        if line > LINES_MAX:
            raise SheetTooLong(rows_max=ROWS_MAX)
        if all(cell is None or cell == "" for cell in cells):
            continue
        found += 1
        if found > ROWS_MAX:
            raise SheetTooLong(rows_max=ROWS_MAX)
        yield line, cells


def _row(line: int, cells: Sequence[Any], zone: tzinfo) -> SheetRow:
    number, read_at, register = (*cells, None, None, None)[:3]
    return SheetRow(line, _number(number), _instant(read_at, zone), parse_register(_text(register)))


def _number(cell: Any) -> str:
    text = _text(cell)
    if not text:
        raise MeterNumberMissing
    return text


def _text(cell: Any) -> str:
    """The cell as a person would have typed it: 1234.0 is 1234."""
    if cell is None:
        return ""
    text = str(cell).strip()
    return text.removesuffix(".0") if not isinstance(cell, str) else text


def _instant(cell: Any, zone: tzinfo) -> datetime:
    local = _local_time(cell)
    return (local.replace(tzinfo=zone) if local.tzinfo is None else local).astimezone(UTC)


def _local_time(cell: Any) -> datetime:
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, date):
        return datetime.combine(cell, time())
    for form in _TIMES:
        try:
            return datetime.strptime(_text(cell), form)
        except ValueError:
            continue
    raise ReadAtUnreadable(text=_text(cell)[:40])
