"""Audit records as files, written row after row to disk: a year of them never stands in memory."""

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import xlsxwriter

from app.web.audit_words import deed_words, result_words
from app.web.console.evidence import actor_words
from app.web.console.tables import plain
from app.web.words import _, clock_time, moment

#: Kept in memory up to here, on disk beyond.
SPOOL_BYTES = 1 << 20
#: What a cell of a workbook takes.
CELL_MAX = 32_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A form of file."""

    ending: str
    mimetype: str


CSV = Kind("csv", "text/csv; charset=utf-8")
XLSX = Kind("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")


def write_csv(rows: Iterable[Any]) -> tuple[IO[bytes], int]:
    """(file at its beginning, number of records) as CSV that a spreadsheet opens in the right encoding."""
    file = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 - the answer closes it when it was sent
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    writer, count = csv.writer(text), 0
    writer.writerow(columns())
    for cells in _cells(rows):
        writer.writerow([plain(cell) for cell in cells])
        count += 1
    text.detach()
    file.seek(0)
    return file, count


def write_xlsx(rows: Iterable[Any]) -> tuple[IO[bytes], int]:
    """(file at its beginning, number of records) as a workbook; every cell is text, none a formula or a link."""
    file, count = tempfile.SpooledTemporaryFile(SPOOL_BYTES), 0  # noqa: SIM115 - the answer closes it when it was sent
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(file, options) as book:
        sheet = book.add_worksheet(_("审计日志"))
        sheet.freeze_panes(1, 0)
        for number, name in enumerate(columns()):
            sheet.write_string(0, number, name)
        for cells in _cells(rows):
            count += 1
            for number, cell in enumerate(cells):
                sheet.write_string(count, number, plain(cell)[:CELL_MAX])
    file.seek(0)
    return file, count


def columns() -> list[str]:
    """Heads of the columns, in the reader's language."""
    return [
        _("编号"),
        _("时间"),
        _("实际时间"),
        _("操作人"),
        _("操作人编号"),
        _("请求来源"),
        _("操作"),
        _("操作代码"),
        _("对象"),
        _("项目"),
        _("结果"),
        _("原因"),
        _("审批编号"),
        _("变更前"),
        _("变更后"),
        _("其他事实"),
    ]


def _cells(rows: Iterable[Any]) -> Iterator[list[object]]:
    for r in rows:
        yield [
            r.id,
            f"{moment(r.at)}:{clock_time(r.at)[-2:]}",
            f"{moment(r.wall_at)}:{clock_time(r.wall_at)[-2:]}",
            actor_words(r.actor, r.person),
            r.actor,
            r.address,
            deed_words(r.deed),
            r.deed,
            r.subject,
            r.property,
            result_words(r.result),
            r.reason,
            r.approval_id,
            _json(r.before),
            _json(r.after),
            _json(r.facts),
        ]


def _json(said: object) -> str:
    return "" if not said else json.dumps(said, ensure_ascii=False, sort_keys=True)
