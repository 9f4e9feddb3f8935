"""Readings by hand from a sheet: first a look at what would become of each row, then all of them or none."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.meters.ingest import NewReading, take_readings
from app.meters.models import Meter
from app.meters.sheet_file import RowFault, Sheet, SheetRow, read_sheet, template
from app.tenants import audit

__all__ = ["MeterUnknown", "Preview", "PreviewRow", "SheetRefused", "load", "preview", "read_sheet", "template"]


class MeterUnknown(AppError):
    """No meter of this number in the properties one may load readings for."""

    code, status = "meter_unknown", 422
    message_zh = "找不到表号 {number}，或不在您的权限范围内。请核对表号。"
    message_en = "There is no meter {number} in your scope. Check the number."


class SheetRefused(AppError):
    """Some rows cannot be taken, so none was."""

    code, status = "sheet_refused", 422
    message_zh = "有 {bad} 行无法导入，全部未导入。请按提示改正后重新上传。"
    message_en = "{bad} rows cannot be taken, so nothing was loaded. Correct them and upload the file again."

    def __init__(self, errors: list[RowFault]) -> None:
        super().__init__(bad=len(errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A row and what becomes of it: stored | duplicate | case | refused, its flag, or its error."""

    line: int
    meter_number: str
    read_at: datetime
    register_wh: int
    status: str
    flag: str
    error: AppError | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """The dry run of a sheet. `digest` names the file that was looked at."""

    rows: list[PreviewRow]
    errors: list[RowFault]
    digest: str

    @property
    def ok(self) -> bool:
        """Can every row be taken?"""
        return not self.errors


def preview(session: Session, *, allowed: Collection[int], file: BinaryIO, zone: tzinfo) -> Preview:
    """What would become of each row; nothing is kept. Raises the refusals of `read_sheet`."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    sheet, meters = _read(session, allowed, file, zone)
    trial = session.begin_nested()
    rows = _take(session, sheet.rows, meters)
    trial.rollback()
    return Preview(rows, sheet.errors, digest)


def load(
    session: Session,
    *,
    allowed: Collection[int],
    file: BinaryIO,
    zone: tzinfo,
    actor: Actor,
    admit: Callable[[Mapping[int, int]], None] | None = None,
    approval_id: int | None = None,
) -> list[PreviewRow]:
    """Take every row, or none.

    `admit` is told how many rows go to each property, and raises when they may not; people come through `approved`.
    Raises SheetRefused, what `admit` raises, and the refusals of `read_sheet`.
    """
    sheet, meters = _read(session, allowed, file, zone)
    if sheet.errors:
        raise SheetRefused(sheet.errors)
    if admit is not None:
        admit(_rows_by_property(session, sheet.rows, meters))
    rows = _take(session, sheet.rows, meters)
    audit.record(
        session,
        deed="meters:readings:load",
        subject=f"readings:{len(rows)}",
        actor=actor,
        approval_id=approval_id,
        facts={"rows": len(rows), "stored": sum(row.status == "stored" for row in rows)},
    )
    return rows


def _read(session: Session, allowed: Collection[int], file: BinaryIO, zone: tzinfo) -> tuple[Sheet, Mapping[str, int]]:
    """The sheet with rows of unknown meters moved to its errors, and the ids of the known ones."""
    sheet = read_sheet(file, zone)
    numbers = {row.meter_number for row in sheet.rows}
    asked = select(Meter.number, Meter.id).where(Meter.number.in_(numbers), Meter.property_id.in_(allowed))
    meters = {number: meter_id for number, meter_id in session.execute(asked)}
    unknown = [row for row in sheet.rows if row.meter_number not in meters]
    errors = [*sheet.errors, *(RowFault(row.line, MeterUnknown(number=row.meter_number)) for row in unknown)]
    known = [row for row in sheet.rows if row.meter_number in meters]
    return Sheet(known, sorted(errors, key=lambda fault: fault.line)), meters


def _rows_by_property(session: Session, rows: Sequence[SheetRow], meters: Mapping[str, int]) -> Mapping[int, int]:
    homes = select(Meter.id, Meter.property_id).where(Meter.id.in_(set(meters.values())))
    property_of = {meter_id: property_id for meter_id, property_id in session.execute(homes)}
    return Counter(property_of[meters[row.meter_number]] for row in rows)


def _take(session: Session, rows: Sequence[SheetRow], meters: Mapping[str, int]) -> list[PreviewRow]:
    new = [NewReading(meters[row.meter_number], row.read_at, row.register_wh) for row in rows]
    results = take_readings(session, rows=new, source="sheet")
    return [
        PreviewRow(row.line, row.meter_number, row.read_at, row.register_wh, result.status, result.flag)
        for row, result in zip(rows, results, strict=True)
    ]
