"""Files that are no workbook of ours, cells of every kind, and anything at all: named, whole, nothing half done."""

import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.billing.models import Agreement, ImportBatch, SupplyAccount
from app.billing.onboarding.columns import HEADING_ROWS, ROWS_MAX, SHEETS
from app.billing.onboarding.reasons import REASONS
from app.billing.onboarding.service import (
    Report,
    commit_import,
    dry_run,
)
from app.billing.onboarding.template import make_template
from app.billing.onboarding.workbook import (
    BYTES_MAX,
    FileTooLarge,
    HeadingsWrong,
    SheetMissing,
    TooManyRows,
    WorkbookEmpty,
    WorkbookUnpacksTooLarge,
    WorkbookUnreadable,
    read_workbook,
)
from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Gateway, Meter, Mount
from app.tenants.models import AuditRecord, Building, Floor, Party, PartyRole, Space
from tests.factories.workbook import good_rows, saved, workbook
from tests.factories.world import World

CLERK = Actor.user(7, name="周经理")
WRITTEN = (
    Building,
    Floor,
    Space,
    Party,
    PartyRole,
    Gateway,
    Meter,
    Mount,
    SupplyAccount,
    Agreement,
    ImportBatch,
    AuditRecord,
)


def tried(db: Database, world: World, content: bytes) -> Report:
    with unit_of_work(world.tenant_id, db=db) as session:
        return dry_run(session, property_id=world.property_id, content=content)


def counted(db: Database, world: World) -> dict[str, int]:
    with unit_of_work(world.tenant_id, db=db) as session:
        return {table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0 for table in WRITTEN}


def edited(content: bytes, edit: Callable[[openpyxl.Workbook], None]) -> bytes:
    """The workbook as somebody saved it again."""
    book = openpyxl.load_workbook(io.BytesIO(content))
    edit(book)
    return saved(book)


# --- what is no workbook of ours ---


def bomb() -> bytes:
    """Forty megabytes of zeros in forty kilobytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * (41 * 1024 * 1024))
    return buffer.getvalue()


def many_parts() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(201):
            archive.writestr(f"part{number}.xml", b"<x/>")
    return buffer.getvalue()


def entities() -> bytes:
    buffer = io.BytesIO(workbook(good_rows(1)))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("xl/more.xml", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>')
    return buffer.getvalue()


def without_sheet() -> bytes:
    return edited(workbook(good_rows(1)), lambda book: book.remove(book["表计"]))


def chart_sheet() -> bytes:
    def edit(book: openpyxl.Workbook) -> None:
        book.remove(book["表计"])
        book.create_chartsheet("表计")

    return edited(workbook(good_rows(1)), edit)


def headed(*headings: str) -> bytes:
    def edit(book: openpyxl.Workbook) -> None:
        for position, heading in enumerate(headings, start=1):
            book["期初余额"].cell(1, position, heading)

    return edited(workbook(good_rows(1)), edit)


def too_many() -> bytes:
    rows = good_rows(1)
    rows["balances"] = [{"account": str(n), "balance_fen": "1"} for n in range(ROWS_MAX + 1)]
    return workbook(rows)


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda: b"x" * (BYTES_MAX + 1), FileTooLarge),
        (lambda: b"", WorkbookUnreadable),
        (lambda: b"PK\x03\x04 not really", WorkbookUnreadable),
        (lambda: "楼栋,房间".encode(), WorkbookUnreadable),
        (lambda: workbook(good_rows(1))[:-200], WorkbookUnreadable),
        (entities, WorkbookUnreadable),
        (bomb, WorkbookUnpacksTooLarge),
        (many_parts, WorkbookUnpacksTooLarge),
        (without_sheet, SheetMissing),
        (chart_sheet, WorkbookUnreadable),
        (lambda: headed("户号", "钱"), HeadingsWrong),
        (lambda: headed("户号", "户号"), HeadingsWrong),
        (lambda: headed("户号", "余额", "备注"), HeadingsWrong),
        (lambda: headed(" ", " "), HeadingsWrong),
        (too_many, TooManyRows),
        (make_template, WorkbookEmpty),
        (lambda: workbook({form.key: [] for form in SHEETS}), WorkbookEmpty),
    ],
)
def test_a_file_that_is_not_our_workbook_is_refused_by_name(
    make: Callable[[], bytes], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        read_workbook(make())


def test_a_template_filled_in_by_hand_is_taken(db: Database, world: World) -> None:
    rows = good_rows(1)

    def fill_in(book: openpyxl.Workbook) -> None:
        for form in SHEETS:
            for position, column in enumerate(form.columns, start=1):
                book[form.title].cell(HEADING_ROWS + 1, position, rows[form.key][0].get(column.key))

    assert tried(db, world, edited(make_template(), fill_in)).ok


def test_columns_may_stand_in_another_order_and_blank_rows_between(db: Database, world: World) -> None:
    def turn(book: openpyxl.Workbook) -> None:
        sheet = book["期初余额"]
        sheet.move_range("A1:A3", cols=2)
        sheet.insert_rows(3, amount=5)

    assert tried(db, world, edited(workbook(good_rows(1)), turn)).ok


def test_numbers_dates_and_formulas_typed_as_such_are_understood_or_named(db: Database, world: World) -> None:
    def type_in(book: openpyxl.Workbook) -> None:
        book["楼栋房间"]["B3"] = 3
        book["楼栋房间"]["E3"] = 89.6
        book["客户"]["E3"] = 13800000001
        book["客户"]["H3"] = date(2026, 1, 1)
        book["期初余额"]["B3"] = 0.1 + 0.2

    assert tried(db, world, edited(workbook(good_rows(1)), type_in)).bad == ()

    def type_wrong(book: openpyxl.Workbook) -> None:
        book["楼栋房间"]["B3"] = datetime(2026, 3, 1, 12)
        book["客户"]["F3"] = 110105194912310021
        book["客户"]["C3"] = True
        book["表计"]["I3"] = "=1+1"
        book["期初余额"]["B3"] = "#N/A"

    bad = tried(db, world, edited(workbook(good_rows(1)), type_wrong)).bad
    assert [(row.column, row.code) for row in bad] == [
        ("楼层", "date_in_text"),
        ("客户名称", "cell_error"),
        ("证件号", "number_cut"),
        ("起始示数", "formula"),
        ("余额", "cell_error"),
    ]


def test_merged_cells_are_named_where_they_hide_a_value(db: Database, world: World) -> None:
    content = edited(workbook(good_rows(2)), lambda book: book["楼栋房间"].merge_cells("A3:A4"))
    assert [(bad.row, bad.column, bad.code) for bad in tried(db, world, content).bad] == [
        (4, "楼栋", "missing"),
        (4, "房间号", "space_unknown"),
        (4, "房间号", "space_unknown"),
    ]


# --- anything at all ---

cells: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.text(max_size=40).filter(lambda text: not openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE.search(text)),
    st.sampled_from(
        ["=1/0", "=SUM(A:A)", "#REF!", "_x0000_", "_xD800_", "1e400", "-0", "９９", "٣", "NaN", "x" * 5_000]
    ),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.dates(date(1900, 1, 2), date(2100, 1, 1)),
    st.datetimes(datetime(1900, 1, 2), datetime(2100, 1, 1)),
    st.times(),
)
places = st.sampled_from([(form.key, column.key) for form in SHEETS for column in form.columns])


@given(changes=st.lists(st.tuples(places, st.integers(0, 2), cells), min_size=1, max_size=6))
def test_any_cell_made_anything_is_taken_whole_or_named_and_nothing_is_half_done(
    db: Database, make_world: Callable[..., World], changes: list[tuple[tuple[str, str], int, Any]]
) -> None:
    world = _fuzz_world(make_world)
    rows = good_rows(3)
    for (sheet, key), row, value in changes:
        rows[sheet][row][key] = value
    before = counted(db, world)
    report = tried(db, world, workbook(rows))
    assert all(bad.reason("zh") and bad.reason("en") and bad.code in REASONS for bad in report.bad)
    taken = _refusal_rolled_back(db, world, workbook(rows))
    assert taken == ("taken" if report.ok else "import_has_bad_rows")
    assert counted(db, world) == before


@given(noise=st.binary(max_size=300), at=st.integers(0, 10_000), cut=st.integers(0, 400))
def test_a_damaged_file_is_refused_or_read_but_never_breaks(noise: bytes, at: int, cut: int) -> None:
    content = workbook(good_rows(1))
    place = at % len(content)
    damaged = content[:place] + noise + content[place + cut :]
    said = "read"
    try:
        read_workbook(damaged)
    except AppError as refused:
        said = refused.code
    assert said == "read" or said.startswith("import_")


_worlds: list[World] = []


def _fuzz_world(make_world: Callable[..., World]) -> World:
    """One world for all examples: nothing they do stays."""
    if not _worlds:
        _worlds.append(make_world())
    return _worlds[0]


class _Undo(Exception):
    """Takes a good import back."""


def _refusal_rolled_back(db: Database, world: World, content: bytes) -> str:
    try:
        with unit_of_work(world.tenant_id, db=db) as session:
            commit_import(session, property_id=world.property_id, content=content, file_name="x", by=CLERK)
            raise _Undo
    except _Undo:
        return "taken"
    except AppError as refused:
        return refused.code
