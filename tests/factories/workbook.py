"""Onboarding workbooks for tests: a good one to start from, and any cell of it made bad."""

import io
from typing import Any

import openpyxl

from app.billing.onboarding.columns import SHEETS
from tests.factories.world import unique

Rows = dict[str, list[dict[str, Any]]]


def good_rows(homes: int = 2, *, building: str = "A座", prefix: str = "9", gateway: str = "") -> Rows:
    """Rows of a small property: each home with a party, a meter, a supply account and an opening balance.

    Gateway numbers are unique over all tenants, so each call takes a new one unless told which.
    """
    gateway = gateway or unique("IMP-")
    rows: Rows = {form.key: [] for form in SHEETS}
    for number in range(1, homes + 1):
        place = {"building": building, "space": f"{building}-{number:04d}"}
        digits = f"{prefix}{number:011d}"
        rows["spaces"].append(place | {"level": str((number - 1) // 8 + 1), "usage_class": "住宅", "area_cm2": "89.60"})
        rows["parties"].append(
            place
            | {"name": f"住户{number}", "kind": "个人", "phone": f"138{number:08d}", "role": "签约人"}
            | {"began_on": "2026-01-01"}
        )
        rows["meters"].append(
            place
            | {"number": digits, "address": digits, "model": "DDSY-60A", "account": f"{prefix}{number:07d}"}
            | {"gateway": f"{gateway}-{(number - 1) // 30 + 1:04d}", "register_wh": "120.50", "plan": "居民合表"}
            | {"agreement": f"XY-{number:04d}", "signed_on": "2026-01-01"}
        )
        rows["balances"].append({"account": f"{prefix}{number:07d}", "balance_fen": "56.80"})
    return rows


def workbook(rows: Rows) -> bytes:
    """The rows as XLSX bytes, below headings in both languages."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for form in SHEETS:
        sheet = book.create_sheet(form.title)
        sheet.append([column.zh for column in form.columns])
        sheet.append([column.en for column in form.columns])
        for row in rows[form.key]:
            sheet.append([row.get(column.key) for column in form.columns])
    return saved(book)


def saved(book: openpyxl.Workbook) -> bytes:
    """The bytes of a workbook."""
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()
