"""Files from people's desks: looked at first, then taken whole or not at all, and never lost between the two."""

import io
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import openpyxl
import pytest
from sqlalchemy import func, select
from werkzeug.datastructures import FileStorage

from app.billing.plans import create_plan
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Meter, Reading
from app.meters.sheet_file import HEADINGS
from app.permissions.policy import Role
from app.tenants.kept_files import KEPT_S, sweep_files
from app.tenants.models import Space
from tests.conftest import MovableClock
from tests.factories.workbook import good_rows, workbook
from tests.factories.world import World, add_property
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]


def upload(name: str, content: bytes) -> FileStorage:
    """A file as a browser sends it."""
    return FileStorage(io.BytesIO(content), filename=name)


def sheet(*rows: tuple[object, ...]) -> bytes:
    """A readings sheet below its headings."""
    book = openpyxl.Workbook()
    book.active.append(list(HEADINGS))
    for row in rows:
        book.active.append(list(row))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def stored(db: Database, world: World) -> int:
    """How many readings the world has."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(Reading)) or 0


def spaces(db: Database, world: World) -> int:
    """How many spaces the world has."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(Space)) or 0


@pytest.fixture
def readings(world: World, db: Database, business_clock: MovableClock) -> bytes:
    """A good sheet for two meters of the world."""
    with unit_of_work(world.tenant_id, db=db) as session:
        numbers = session.scalars(select(Meter.number).order_by(Meter.id)).all()
    at = (business_clock.now() + timedelta(hours=7)).replace(tzinfo=None)
    return sheet((numbers[0], at, 101.5), (numbers[1], at, 102.25))


def digest_on(page: str) -> str:
    """The digest of the checked file in the import button's form."""
    return page.split('name="digest" value="')[1].split('"')[0]


def test_readings_are_checked_then_loaded_without_choosing_the_file_again(
    visit: Visit, world: World, db: Database, readings: bytes
) -> None:
    visitor = visit(world, Role.PROPERTY_MANAGER)
    answer = visitor.post("/readings/import", {"deed": "check", "file": upload("七月.xlsx", readings)})
    page = answer.get_data(as_text=True)
    assert "可以导入" in page
    assert "101.50" in page
    assert stored(db, world) == 0
    form = {"deed": "load", "digest": digest_on(page), "file_name": "七月.xlsx"}
    done = visitor.post("/readings/import", form).get_data(as_text=True)
    assert "已导入" in done
    assert stored(db, world) == 2


def test_one_unreadable_row_keeps_the_whole_sheet_out(
    visit: Visit, world: World, db: Database, readings: bytes
) -> None:
    book = openpyxl.load_workbook(io.BytesIO(readings))
    book.active.append(["no-such-meter", "2026-07-15 09:00", "12.00"])
    book.active.append(["x", "yesterday", "-"])
    out = io.BytesIO()
    book.save(out)
    visitor = visit(world, Role.PROPERTY_MANAGER)
    looked = visitor.post("/readings/import", {"deed": "check", "file": upload("a.xlsx", out.getvalue())})
    assert "还不能导入" in looked.get_data(as_text=True)
    assert "第 4 行" in looked.get_data(as_text=True)
    loaded = visitor.post("/readings/import", {"deed": "load", "file": upload("a.xlsx", out.getvalue())})
    assert loaded.status_code == 422
    assert "第 4 行" in loaded.get_data(as_text=True)
    assert stored(db, world) == 0


@pytest.mark.parametrize("address", ["/readings/import", "/onboarding"])
@pytest.mark.parametrize(
    "content", [b"", b"not a workbook", b"PK\x03\x04 broken", "姓名,电话".encode(), b"\x00" * 5000], ids=repr
)
def test_what_is_no_workbook_is_named_and_nothing_happens(
    visit: Visit, world: World, address: str, content: bytes
) -> None:
    visitor = visit(world, Role.PROPERTY_MANAGER)
    answer = visitor.post(address, {"deed": "check", "file": upload("x.xlsx", content)})
    assert answer.status_code in (413, 422)
    assert "没有导入" in answer.get_data(as_text=True)


@pytest.mark.parametrize("address", ["/readings/import", "/onboarding"])
@pytest.mark.parametrize("digest", ["", "0" * 64, "../../etc/passwd"])
def test_no_file_is_said_plainly(visit: Visit, world: World, address: str, digest: str) -> None:
    visitor = visit(world, Role.PROPERTY_MANAGER)
    answer = visitor.post(address, {"deed": "load", "digest": digest})
    assert answer.status_code == 422
    assert "请选择要导入的 .xlsx 文件" in answer.get_data(as_text=True)


@pytest.mark.parametrize("address", ["/readings/import/template.xlsx", "/onboarding/template.xlsx"])
def test_templates_open_in_a_spreadsheet(visit: Visit, world: World, address: str) -> None:
    answer = visit(world).get(address)
    assert "attachment" in answer.headers["Content-Disposition"]
    assert openpyxl.load_workbook(io.BytesIO(answer.data)).sheetnames


def test_a_property_is_opened_from_one_file_checked_first_and_only_once(
    visit: Visit, world: World, db: Database
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        elsewhere = add_property(session, world, name="翠湖天地")
        create_plan(session, property_id=elsewhere, name="居民合表")
    rows = good_rows(3)
    content = workbook(rows)
    visitor = visit(world, Role.PROPERTY_MANAGER, at=elsewhere)
    before = spaces(db, world)
    looked = visitor.post("/onboarding", {"deed": "check", "file": upload("翠湖.xlsx", content)}).get_data(as_text=True)
    assert "可以导入" in looked
    assert spaces(db, world) == before
    form = {"deed": "commit", "digest": digest_on(looked), "file_name": "翠湖.xlsx"}
    number = rows["meters"][0]["gateway"]
    done = visitor.post("/onboarding", form)
    shown = re.search(rf"{number},([0-9a-f]{{20}})<", done.get_data(as_text=True))
    assert shown
    assert "已导入 翠湖.xlsx" in done.get_data(as_text=True)
    assert done.headers["Cache-Control"] == "no-store"
    assert shown[1] not in visitor.text("/onboarding")
    assert spaces(db, world) == before + 3
    again = {"deed": "commit", "file": upload("翠湖.xlsx", content)}
    assert visitor.post("/onboarding", again).status_code == 303
    assert "已经导入过" in visitor.text("/onboarding")
    assert spaces(db, world) == before + 3
    assert "A座-0001" in visitor.text("/rooms")


def test_every_bad_row_is_listed_with_its_reason(visit: Visit, world: World, db: Database) -> None:
    rows = good_rows(2)
    rows["balances"][0]["balance_fen"] = "五十"
    rows["parties"][1]["phone"] = "12"
    visitor = visit(world, Role.PROPERTY_MANAGER)
    before = spaces(db, world)
    answer = visitor.post("/onboarding", {"deed": "check", "file": upload("a.xlsx", workbook(rows))})
    page = answer.get_data(as_text=True)
    assert "有 2 处需要改" in page
    assert "五十" in page
    committed = visitor.post("/onboarding", {"deed": "commit", "file": upload("a.xlsx", workbook(rows))})
    assert committed.status_code == 422
    assert spaces(db, world) == before


def test_a_checked_file_belongs_to_the_person_who_checked_it(visit: Visit, world: World, readings: bytes) -> None:
    mine, other = visit(world, Role.PROPERTY_MANAGER), visit(world, Role.PROPERTY_MANAGER)
    page = mine.post("/readings/import", {"deed": "check", "file": upload("a.xlsx", readings)}).get_data(as_text=True)
    stolen = other.post("/readings/import", {"deed": "load", "digest": digest_on(page)})
    assert stolen.status_code == 422
    assert KEPT_S == 3_600


def kept(folder: Path) -> list[Path]:
    """The files kept between check and import."""
    return [path for path in (folder / "var" / "uploads").rglob("*") if path.is_file()]


def test_a_checked_file_is_sealed_for_its_owner_and_gone_once_imported(
    visit: Visit, world: World, readings: bytes, tmp_path: Path
) -> None:
    visitor = visit(world, Role.PROPERTY_MANAGER)
    looked = visitor.post("/readings/import", {"deed": "check", "file": upload("a.xlsx", readings)})
    (path,) = kept(tmp_path)
    assert b"xl/worksheets" in readings
    assert b"xl/worksheets" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in list(path.parents)[:3]} == {0o700}
    form = {"deed": "load", "digest": digest_on(looked.get_data(as_text=True))}
    assert visitor.post("/readings/import", form).status_code == 200
    assert kept(tmp_path) == []


def test_files_nobody_came_back_for_go_whosever_they_are(
    visit: Visit, world: World, readings: bytes, tmp_path: Path
) -> None:
    visit(world, Role.PROPERTY_MANAGER).post("/readings/import", {"deed": "check", "file": upload("a.xlsx", readings)})
    (path,) = kept(tmp_path)
    sweep_files(tmp_path / "var")
    assert kept(tmp_path) == [path]
    old_s = path.stat().st_mtime - KEPT_S - 1
    os.utime(path, (old_s, old_s))
    visit(world, Role.PROPERTY_MANAGER).post(
        "/readings/import", {"deed": "check", "file": upload("b.xlsx", sheet(("x",)))}
    )
    assert path not in kept(tmp_path)
