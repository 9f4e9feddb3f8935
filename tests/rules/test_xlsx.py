"""Small files that are huge inside, or hide something: both readers refuse them before they cost anything."""

import io
import re
import time
import zipfile
from collections.abc import Callable
from datetime import UTC

import openpyxl
import pytest

from app.billing.onboarding.workbook import TooManyRows, WorkbookUnpacksTooLarge, WorkbookUnreadable, read_workbook
from app.kernel.errors import AppError
from app.kernel.xlsx import BYTES_MAX_BY_PART
from app.meters.sheet_file import (
    HEADINGS,
    SheetTooLarge,
    SheetTooLong,
    SheetUnreadable,
    read_sheet,
)
from tests.factories.workbook import good_rows, saved, workbook

Change = Callable[[bytes], bytes]
PAGE, STYLES, BOOK = "xl/worksheets/sheet1.xml", "xl/styles.xml", "xl/workbook.xml"


def sheet(*rows: tuple[object, ...]) -> bytes:
    """A sheet of hand-read registers."""
    book = openpyxl.Workbook()
    for row in (HEADINGS, *(rows or [("000000000001", "2026-07-15 10:00", "1.5")])):
        book.worksheets[0].append(row)
    return saved(book)


def changed(content: bytes, part: str, change: Change) -> bytes:
    """The same archive with one part rewritten."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, change(source.read(name)) if name == part else source.read(name))
    return out.getvalue()


def many_styles(xml: bytes) -> bytes:
    return xml.replace(b"</cellXfs>", b"<xf/>" * (BYTES_MAX_BY_PART[STYLES] // 5) + b"</cellXfs>")


def many_names(xml: bytes) -> bytes:
    return xml.replace(b"</workbook>", b"<!--" + b"x" * BYTES_MAX_BY_PART[BOOK] + b"--></workbook>")


def far_row(xml: bytes) -> bytes:
    return re.sub(rb"<dimension[^>]*/>", b"", xml).replace(b'<row r="2"', b'<row r="60000000"')


def hidden_entities(encoding: str) -> Change:
    declared = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>'
    return lambda xml: xml.decode().replace("<worksheet", declared + "<worksheet", 1).encode(encoding)


def long_prolog(xml: bytes) -> bytes:
    return b"<!--" + b" " * 70_000 + b"-->" + hidden_entities("utf-8")(xml)


def moved_book(xml: bytes) -> bytes:
    return xml.replace(b"/xl/workbook.xml", b"/xl/worksheets/book.xml")


CASES = [
    (STYLES, many_styles, SheetTooLarge, WorkbookUnpacksTooLarge),
    (BOOK, many_names, SheetTooLarge, WorkbookUnpacksTooLarge),
    (PAGE, hidden_entities("utf-8"), SheetUnreadable, WorkbookUnreadable),
    (PAGE, hidden_entities("utf-16"), SheetUnreadable, WorkbookUnreadable),
    (PAGE, long_prolog, SheetUnreadable, WorkbookUnreadable),
    ("[Content_Types].xml", moved_book, SheetUnreadable, WorkbookUnreadable),
    (PAGE, far_row, SheetTooLong, TooManyRows),
]


@pytest.mark.parametrize(("part", "change", "sheet_refusal", "book_refusal"), CASES)
def test_both_readers_refuse_it_at_once(
    part: str, change: Change, sheet_refusal: type[AppError], book_refusal: type[AppError]
) -> None:
    began = time.process_time()
    with pytest.raises(sheet_refusal):
        read_sheet(io.BytesIO(changed(sheet(), part, change)), UTC)
    with pytest.raises(book_refusal):
        read_workbook(changed(workbook(good_rows(2)), part, change))
    assert time.process_time() - began < 3


def test_rows_beyond_what_the_sheet_says_of_itself_are_read() -> None:
    content = sheet(("1", "2026-07-15 10:00", "1"), ("2", "2026-07-15 10:00", "2"))
    lying = changed(content, PAGE, lambda xml: re.sub(rb"<dimension[^>]*/>", b'<dimension ref="A1:C2"/>', xml))
    assert [row.meter_number for row in read_sheet(io.BytesIO(lying), UTC).rows] == ["1", "2"]
