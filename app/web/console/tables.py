"""Tables as files: what the page shows is what the file holds."""

import csv
import io
from collections.abc import Iterable, Sequence

from flask import Response, g, request

from app.kernel.unit_of_work import unit_of_work
from app.tenants.audit import record
from app.web.places import actor

#: A cell that begins like a formula is text: spreadsheets must not run what somebody typed as a name.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_answer(file_name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Response:
    """A CSV download; that somebody took it is a record, in a transaction of its own because pages are asked for by GET."""
    with unit_of_work(g.tenant_id) as own:
        record(
            own, deed="report:table:export", subject=f"routes:{str(request.endpoint).removeprefix('console.')}",
            actor=actor(), facts={"rows": len(rows), "format": "csv"},
        )  # fmt: skip
    return csv_file(file_name, columns, rows)


def csv_file(file_name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """A CSV file that Excel opens in the right encoding."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([plain(cell) for cell in columns])
    writer.writerows([plain(cell) for cell in row] for row in rows)
    headers = {"Content-Disposition": f'attachment; filename="{file_name}"'}
    return Response("﻿" + out.getvalue(), mimetype="text/csv; charset=utf-8", headers=headers)


def summable(fen: int) -> str:
    """An amount in yuan as a spreadsheet adds it: no sign of the currency, no thousands."""
    whole, fraction = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{whole}.{fraction:02d}"


def plain(cell: object) -> str:
    """The cell as text that no spreadsheet takes for a formula; numbers stay numbers."""
    said = "" if cell is None else str(cell)
    is_number = said.replace(",", "").replace(".", "", 1).removeprefix("-").isdigit()
    return "'" + said if said.startswith(FORMULA_STARTS) and not is_number else said
