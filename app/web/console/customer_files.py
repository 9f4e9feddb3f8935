"""One person's data as a file for that person: a workbook to read and JSON to take elsewhere, in one ZIP."""

import io
import json
import zipfile

import xlsxwriter

from app.reports.customer_export import Table
from app.web.words import _


def customer_zip(tables: dict[str, Table]) -> bytes:
    """`data.xlsx` and `data.json`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.json", json.dumps(tables, ensure_ascii=False, indent=2))
        archive.writestr("data.xlsx", _workbook(tables))
    return packed.getvalue()


def sheet_words() -> dict[str, str]:
    """What is in the file, table by table."""
    return {
        "person": _("基本资料"),
        "roles": _("与房间的关系"),
        "accounts": _("用能户"),
        "statements": _("账目明细"),
        "payments": _("付款与收据"),
        "notices": _("发送的通知"),
        "unmaskings": _("查看完整号码的记录"),
    }


def _workbook(tables: dict[str, Table]) -> bytes:
    file = io.BytesIO()
    # Every cell is text: none a formula, none a link.
    with xlsxwriter.Workbook(file, {"strings_to_formulas": False, "strings_to_urls": False, "in_memory": True}) as book:
        for name, rows in tables.items():
            sheet = book.add_worksheet(sheet_words()[name][:31])
            columns = list(rows[0]) if rows else []
            for number, column in enumerate(columns):
                sheet.write_string(0, number, column)
            for line, row in enumerate(rows, 1):
                for number, column in enumerate(columns):
                    value = row[column]
                    sheet.write_string(line, number, "" if value is None else str(value))
    return file.getvalue()
