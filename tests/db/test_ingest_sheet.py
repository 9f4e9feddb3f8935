"""Readings by hand: a sheet is looked at first, then taken whole or not at all."""

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from sqlalchemy import func, select

from app.kernel import xlsx
from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.outbox import register_consumers
from app.kernel.unit_of_work import unit_of_work
from app.meters import sheet_file
from app.meters.models import Reading
from app.meters.sheet import SheetRefused, load, preview
from app.meters.sheet_file import (
    HEADINGS,
    SheetEmpty,
    SheetHeadingsWrong,
    SheetTooLarge,
    SheetTooLong,
    SheetUnreadable,
    read_sheet,
    template,
)
from tests.conftest import MovableClock
from tests.factories.world import World

ZONE = ZoneInfo("Asia/Shanghai")
CLERK = Actor.system("tests")


@pytest.fixture(autouse=True)
def _listeners(business_clock: MovableClock) -> None:
    register_consumers({"readings.arrived": ["pricing"]})


def book(*rows: tuple[Any, ...], headings: tuple[str, ...] = HEADINGS) -> io.BytesIO:
    """A workbook with these rows below its headings."""
    made = openpyxl.Workbook()
    assert made.active is not None
    for row in (headings, *rows):
        made.active.append(row)
    stream = io.BytesIO()
    made.save(stream)
    stream.seek(0)
    return stream


def stored(db: Database, world: World) -> int:
    """Readings of the tenant."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(Reading)) or 0


GOOD = ("000000000001", datetime(2026, 7, 15, 9, 0), 120.5)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ((None, datetime(2026, 7, 15, 9, 0), 120.5), "meter_number_missing"),
        (("000000000001", "yesterday", 120.5), "read_at_unreadable"),
        (("000000000001", None, 120.5), "read_at_unreadable"),
        (("000000000001", datetime(2026, 7, 15, 9, 0), "12o.5"), "register_unreadable"),
        (("000000000001", datetime(2026, 7, 15, 9, 0), "=1+1"), "register_unreadable"),
        (("000000000001", datetime(2026, 7, 15, 9, 0), -3), "register_unreadable"),
        (("000000000001", datetime(2026, 7, 15, 9, 0), "1.23456"), "register_too_fine"),
        (("999999999999", datetime(2026, 7, 15, 9, 0), 120.5), "meter_unknown"),
    ],
)
def test_each_bad_row_is_listed_and_nothing_is_taken(
    db: Database, world: World, row: tuple[Any, ...], code: str
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        looked = preview(session, allowed=[world.property_id], file=book(GOOD, row), zone=ZONE)
        with pytest.raises(SheetRefused) as refused:
            load(session, allowed=[world.property_id], file=book(GOOD, row), zone=ZONE, actor=CLERK)
    assert [(fault.line, fault.error.code) for fault in looked.errors] == [(3, code)]
    assert looked.errors[0].message("en") != looked.errors[0].message("zh")
    assert (looked.ok, refused.value.errors[0].line, stored(db, world)) == (False, 3, 0)


def test_looking_keeps_nothing_and_loading_keeps_everything(db: Database, world: World) -> None:
    rows = [GOOD, ("000000000002", "2026/07/15 09:30", "98.00")]
    with unit_of_work(world.tenant_id, db=db) as session:
        looked = preview(session, allowed=[world.property_id], file=book(*rows), zone=ZONE)
    assert stored(db, world) == 0
    assert [(row.status, row.flag) for row in looked.rows] == [("stored", "first")] * 2
    with unit_of_work(world.tenant_id, db=db) as session:
        done = load(session, allowed=[world.property_id], file=book(*rows), zone=ZONE, actor=CLERK)
    assert (done[0].read_at, done[0].register_wh) == (datetime(2026, 7, 15, 1, 0, tzinfo=UTC), 120_500)
    assert stored(db, world) == 2


def test_a_sheet_loaded_twice_counts_once(db: Database, world: World) -> None:
    for _ in range(2):
        with unit_of_work(world.tenant_id, db=db) as session:
            done = load(session, allowed=[world.property_id], file=book(GOOD), zone=ZONE, actor=CLERK)
    assert (done[0].status, stored(db, world)) == ("duplicate", 1)


def test_a_meter_outside_ones_scope_is_unknown(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        looked = preview(session, allowed=[], file=book(GOOD), zone=ZONE)
    assert looked.errors[0].error.code == "meter_unknown"


def _bomb() -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * (xlsx.UNPACKED_BYTES_MAX + 1))
    stream.seek(0)
    return stream


def _with_entities() -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("xl/workbook.xml", b'<!DOCTYPE x [<!ENTITY a "aa">]><workbook/>')
    stream.seek(0)
    return stream


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda: io.BytesIO(b"\0" * (sheet_file.BYTES_MAX + 1)), SheetTooLarge),
        (_bomb, SheetTooLarge),
        (_with_entities, SheetUnreadable),
        (lambda: io.BytesIO(b"not a workbook"), SheetUnreadable),
        (lambda: io.BytesIO(book(GOOD).getvalue()[:-200]), SheetUnreadable),
        (lambda: book(GOOD, headings=("a", "b", "c")), SheetHeadingsWrong),
        (lambda: io.BytesIO(template()), SheetEmpty),
    ],
)
def test_what_is_wrong_with_the_file_has_a_name(make: Callable[[], io.BytesIO], refusal: type[AppError]) -> None:
    with pytest.raises(refusal):
        read_sheet(make(), ZONE)


def test_a_sheet_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_file, "ROWS_MAX", 2)
    with pytest.raises(SheetTooLong):
        read_sheet(book(GOOD, GOOD, GOOD), ZONE)
