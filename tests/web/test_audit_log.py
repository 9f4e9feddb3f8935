"""The audit log on the screen and as a file: who sees what, how it is found, what a file may not do to a spreadsheet."""

import csv
import io
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import openpyxl
import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.approval_models import Approval
from app.permissions.policy import Role
from app.reports import audit_log
from app.reports.audit_log import Wanted, each_record, records
from app.tenants import audit
from app.tenants.anchor_files import AnchorFiles
from app.tenants.anchors import anchor_heads, use_anchor_sink
from app.tenants.models import AuditRecord
from app.tenants.seals import AUDIT, seal_chain
from app.web.console import audit as page
from app.web.console.audit import AuditExportTooLarge
from tests.conftest import MovableClock
from tests.factories.world import World, add_property
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]
WORKER = Actor.system("worker")


def leave(db: Database, world: World, deed: str, **facts: object) -> int:
    """One record more; returns its id."""
    with unit_of_work(world.tenant_id, db=db) as session:
        audit.record(session, **{"deed": deed, "subject": "users:1", "actor": WORKER, **facts})  # type: ignore[arg-type]
        return session.scalars(select(AuditRecord.id).order_by(AuditRecord.id.desc()).limit(1)).one()


def shown(page: str) -> set[int]:
    """The records a list shows."""
    return {int(id_) for id_ in re.findall(r'href="/audit/(\d+)"', page)}


@pytest.fixture
def logged(world: World, db: Database, business_clock: MovableClock) -> dict[str, int]:
    """One record of the property, one of a sibling, one of the whole group, on three days."""
    with unit_of_work(world.tenant_id, db=db) as session:
        sibling = add_property(session, world, name="邻区")
    now = business_clock.now()
    own = leave(
        db, world, "supply:stop:order", property_id=world.property_id, reason="余额用尽 100%_核对", subject="stops:7"
    )
    business_clock.set(now + timedelta(days=1))
    other = leave(db, world, "money:topup:sell", property_id=sibling, reason="邻区", result="refused")
    business_clock.set(now + timedelta(days=2))
    group = leave(db, world, "user:policy:change", before={"audit_keep_days": 180}, after={"audit_keep_days": 400})
    return {"own": own, "other": other, "group": group}


@pytest.mark.parametrize(
    ("role", "seen"),
    [(Role.GROUP_ADMINISTRATOR, {"own", "other", "group"}), (Role.PROPERTY_MANAGER, {"own"})],
)
def test_everybody_sees_the_records_of_their_properties_and_headquarters_all(
    visit: Visit, world: World, logged: dict[str, int], role: Role, seen: set[str]
) -> None:
    visitor = visit(world, role)
    listed = shown(visitor.text("/audit"))
    assert {name for name, id_ in logged.items() if id_ in listed} == seen
    assert {name for name, id_ in logged.items() if visitor.get(f"/audit/{id_}").status_code == 200} == seen
    bodies = {visitor.get(f"/audit/{id_}").status_code for name, id_ in logged.items() if name not in seen}
    assert bodies <= {404}
    assert visitor.get("/audit/9223372036854775807").status_code == 404
    assert visitor.get("/audit/99999999999999999999").status_code == 404


def test_another_group_and_those_without_the_right_see_nothing(
    visit: Visit, make_world: Callable[..., World], world: World, logged: dict[str, int]
) -> None:
    stranger = visit(make_world())
    assert not shown(stranger.text("/audit")) & set(logged.values())
    assert {stranger.get(f"/audit/{id_}").status_code for id_ in logged.values()} == {404}
    assert visit(world, Role.CASHIER).get("/audit").status_code == 403


FOUND = [
    ("deed=supply:stop:order", {"own"}),
    ("deed=no:such:deed", set()),
    ("subject=stops:7", {"own"}),
    ("result=refused", {"other"}),
    ("result=done&deed=money:topup:sell", set()),
    ("words=核对", {"own"}),
    ("words=100%25_", {"own"}),
    ("words=%25", {"own"}),
    ("words=_核", {"own"}),
    ("words=%5C", set()),
    ("who=system:worker", {"own", "other", "group"}),
    ("who=nobody.at.all", set()),
    ("since=2026-07-16&until=2026-07-16", {"other"}),
    ("since=2026-07-17", {"group"}),
    ("until=2026-07-15", {"own"}),
    ("since=soon&until=9999-12-31", {"own", "other", "group"}),
    ("before=nonsense", {"own", "other", "group"}),
    ("before=99999999999999999999-1", {"own", "other", "group"}),
]


@pytest.mark.parametrize(("address", "names"), FOUND, ids=[row[0] for row in FOUND])
def test_records_are_found_by_each_condition(
    visit: Visit, world: World, logged: dict[str, int], address: str, names: set[str]
) -> None:
    listed = shown(visit(world).text(f"/audit?{address}"))
    assert {name for name, id_ in logged.items() if id_ in listed} == names


def test_a_person_is_found_by_sign_in_name(visit: Visit, world: World, logged: dict[str, int], db: Database) -> None:
    visitor = visit(world)
    mine = leave(db, world, "plan:price:publish", actor=Actor.user(visitor.user_id, address="10.0.0.9"))
    listed = visitor.text(f"/audit?who={visitor.login.upper()}")
    assert mine in shown(listed)
    assert not shown(listed) & set(logged.values())
    assert "10.0.0.9" in listed


def test_pages_follow_one_another_by_key_without_loss_or_repeat(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    made = {leave(db, world, "money:topup:sell", subject=f"payments:{n}") for n in range(120)}  # all at one instant
    visitor, address, pages = visit(world), "/audit?deed=money:topup:sell", list[set[int]]()
    while address:
        html = visitor.text(address)
        pages.append(shown(html) & made)
        following = re.search(r'class="pager"><a class="btn" href="([^"]+)"', html)
        address = following[1].replace("&amp;", "&") if following else ""
    assert [len(listed) for listed in pages] == [50, 50, 20]
    assert set().union(*pages) == made


def test_a_record_shows_the_difference_and_where_it_is_sealed_and_anchored(
    visit: Visit, world: World, logged: dict[str, int], db: Database, app: Flask
) -> None:
    visitor, address = visit(world), f"/audit/{logged['group']}"
    assert "一分钟内封存" in visitor.text(address)
    with unit_of_work(world.tenant_id, db=db) as session:
        seal_chain(session, AUDIT)
    assert "此服务器上还看不到锚点" in visitor.text(address)
    use_anchor_sink(AnchorFiles(Path(app.config["SETTINGS"].anchor_path)))
    anchor_heads(world.tenant_id)
    use_anchor_sink(None)
    html = visitor.text(address)
    assert "第 1 个区块" in html
    assert "此服务器上还看不到锚点" not in html
    assert "修改安全策略" in html
    assert re.search(r'日志保留天数</td>\s*<td class="flow"><del class="diff-was">180</del></td>', html)
    assert '<ins class="diff-became">400</ins>' in html


def test_a_record_leads_to_the_approval_it_was_done_under(
    visit: Visit, world: World, db: Database, business_clock: MovableClock
) -> None:
    visitor = visit(world, Role.GROUP_AUDITOR, at=world.headquarters_id)
    now = business_clock.now()
    with unit_of_work(world.tenant_id, db=db) as session:
        approval = Approval(
            deed="money:topup:reverse", node_id=world.property_id, subject="payments:1", content={}, content_hash=bytes(32),
            amount=1, reason="错充", requested_by=visitor.user_id, requested_at=now,
            expires_at=now + timedelta(hours=1),
        )  # fmt: skip
        session.add(approval)
        session.flush()
        number, address = approval.id, f"/approvals/{approval.public_id}"
    under = leave(db, world, "money:topup:reverse", approval_id=number)
    assert f'href="{address}"' in visitor.text(f"/audit/{under}")
    gone = leave(db, world, "money:topup:reverse", approval_id=number + 1_000_000)
    assert 'href="/approvals/' not in visitor.text(f"/audit/{gone}")


def take(visitor: Visitor, **form: object) -> tuple[int, bytes, str]:
    answer = visitor.post("/audit/export", form, token_from="/audit")
    taken = answer.status_code, answer.get_data(), answer.headers.get("Content-Disposition", "")
    answer.close()
    return taken


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_file_holds_what_the_page_shows_and_taking_it_is_a_record(
    visit: Visit, world: World, logged: dict[str, int], db: Database, kind: str
) -> None:
    visitor = visit(world)
    status, content, name = take(visitor, format=kind, subject="stops:7", words="余额用尽")
    assert (status, f"audit.{kind}" in name) == (200, True)
    rows = rows_of(kind, content)
    assert [(row[0], row[7], row[11]) for row in rows[1:]] == [
        (str(logged["own"]), "supply:stop:order", "余额用尽 100%_核对")
    ]
    with unit_of_work(world.tenant_id, db=db) as session:
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "audit:log:export")).one()
    assert told.actor == f"user:{visitor.user_id}"
    assert (told.facts["rows"], told.facts["format"], told.facts["conditions"]) == (1, kind, ["subject", "words"])
    assert "余额用尽" not in str(told.facts)


def rows_of(kind: str, content: bytes) -> list[list[str]]:
    """Every row of a file as text."""
    if kind == "csv":
        return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    assert sheet is not None
    assert {cell.data_type for row in sheet.iter_rows() for cell in row if cell.value is not None} == {"s"}
    return [[str(cell.value or "") for cell in row] for row in sheet.iter_rows()]


STRANGE = ("=cmd|'/c calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", 'a\r\nb,"c"', "http://evil.example/", "{=1}")


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_no_cell_of_a_file_is_a_formula_a_link_or_a_further_row(
    visit: Visit, world: World, db: Database, kind: str
) -> None:
    for reason in STRANGE:
        leave(db, world, "stop:switch:halt", reason=reason, subject="properties:1")
    _, content, _ = take(visit(world), format=kind, deed="stop:switch:halt")
    rows = rows_of(kind, content)
    assert len(rows) == 1 + len(STRANGE)
    cells = [cell for row in rows[1:] for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "-2"))] == []
    assert b"<hyperlink" not in content


def test_a_property_reader_takes_only_what_they_see_and_needs_the_right_to(
    visit: Visit, world: World, logged: dict[str, int]
) -> None:
    _, content, _ = take(visit(world, Role.GROUP_AUDITOR), format="csv")
    assert {str(logged["own"])} <= {row[0] for row in rows_of("csv", content)}
    assert not {str(logged["other"]), str(logged["group"])} & {row[0] for row in rows_of("csv", content)}
    assert take(visit(world, Role.PROPERTY_MANAGER), format="csv")[0] == 403


def test_more_than_a_file_should_hold_is_refused_and_leaves_no_record_of_an_export(
    visit: Visit, world: World, logged: dict[str, int], db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "EXPORT_MAX", 2)
    status, content, _ = take(visit(world), format="csv")
    assert status == AuditExportTooLarge.status
    assert "超过 2 条" in content.decode()
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalars(select(AuditRecord.id).where(AuditRecord.deed == "audit:log:export")).all() == []


def test_a_file_is_read_in_pieces(world: World, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        leave(db, world, "money:topup:sell", subject=f"payments:{n}", property_id=world.property_id) for n in range(7)
    ]
    monkeypatch.setattr(audit_log, "PIECE", 3)
    with unit_of_work(world.tenant_id, db=db) as session:
        for scope in (None, (world.property_id,)):
            wanted = Wanted(scope, deed="money:topup:sell")
            for most, count in ((100, 7), (6, 6), (4, 4), (0, 0)):
                read = [row.id for row in each_record(session, tenant_id=world.tenant_id, wanted=wanted, most=most)]
                assert read == made[::-1][:count]


INDEXES = [
    (Wanted(None), "ix_audit_records_at"),
    (Wanted(None, before=(datetime.fromisoformat("2026-07-01T00:00:00Z"), 5)), "ix_audit_records_at"),
    (Wanted(None, actor="user:3"), "ix_audit_records_actor"),
    (Wanted(None, deed="user:grant:give"), "ix_audit_records_deed"),
    (Wanted(None, subject="payments:5"), "ix_audit_records_subject"),
    (Wanted((3, 5)), "ix_audit_records_property"),
    (Wanted(None, result="refused"), "ix_audit_records_refused"),
    (Wanted((3, 5), words="nothing"), "ix_audit_records_reason"),
]


@pytest.fixture
def many(db: Database, world: World, owner_url: str) -> World:
    """Twenty thousand records, known to the planner."""
    owner = Database(owner_url)
    with unit_of_work(world.tenant_id, db=owner) as session:
        session.execute(text(_MANY), {"t": world.tenant_id})
        session.execute(text("ANALYZE audit_records"))
    owner.engine.dispose()
    return world


_MANY = """
    INSERT INTO audit_records (tenant_id, at, wall_at, actor, deed, subject, property_id, reason, row_hash, key_id, result)
    SELECT :t, s.at, s.at, 'user:' || i % 40, CASE WHEN i % 500 = 0 THEN 'user:grant:give' ELSE 'money:topup:sell' END,
           'payments:' || i, i % 30, CASE WHEN i % 100 = 0 THEN 'why ' || i END, '\\x00', '00000000',
           CASE WHEN i % 400 = 0 THEN 'refused' ELSE 'done' END
      FROM (SELECT i, timestamptz '2026-06-01' + i * interval '1 minute' AS at FROM generate_series(1, 20000) AS i) s
"""


@pytest.mark.parametrize(
    ("wanted", "index"), INDEXES, ids=[index[17:] + str(n) for n, (_, index) in enumerate(INDEXES)]
)
def test_every_way_in_reads_an_index_in_its_order(db: Database, many: World, wanted: Wanted, index: str) -> None:
    with unit_of_work(many.tenant_id, db=db) as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = plan_of(session, many.tenant_id, wanted)
        assert index in plan, plan
        assert len(records(session, tenant_id=many.tenant_id, wanted=wanted, most=51)) <= 51


def plan_of(session: Session, tenant_id: int, wanted: Wanted) -> str:
    """What the planner makes of the list's query."""
    query, given = audit_log.statement(tenant_id=tenant_id, wanted=wanted, most=51)
    return "\n".join(session.scalars(text(f"EXPLAIN {query}"), given))
