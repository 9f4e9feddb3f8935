"""What somebody with the owner's password might do to the audit log, and how it is named.

The chains name what was altered; the anchors, outside the database, name what is no longer there.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.cli import main
from app.cli.surroundings import here
from app.jobs.handlers import run_due
from app.jobs.schedule import due
from app.kernel import db as kernel_db
from app.kernel.db import Database
from app.kernel.outbox import send_hints_to
from app.kernel.unit_of_work import unit_of_work
from app.meters import wake
from app.tenants import anchors as anchoring
from app.tenants import seals as sealing
from app.tenants.anchor_files import AnchorFiles
from app.tenants.anchors import anchor_heads, anchored_at, check_anchors, read_anchors, use_anchor_sink, write_anchors
from app.tenants.audit_keys import AuditKeys, audit_keys, key_id_of, use_audit_keys
from app.tenants.chain import Header, content_hash, genesis, seal
from app.tenants.models import SealBlock, SealedRecord
from app.tenants.seals import AUDIT, verify_chain
from tests.conftest import MovableClock
from tests.db.test_seals import as_owner, first_record
from tests.db.test_seals import seal as seal_all
from tests.factories.supply import pay
from tests.factories.world import World, build_world

NOON = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)
FORGERS_KEY = AuditKeys(((key_id_of(b"f" * 32), b"f" * 32),))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnchorFiles]:
    """The anchors of a test, whose clock on the wall stands at noon: no day ends while it runs."""
    for module in (anchoring, sealing):
        monkeypatch.setattr(module, "wall_now", lambda: NOON)
    kept = AnchorFiles(tmp_path / "anchors")
    use_anchor_sink(kept)
    yield kept
    use_anchor_sink(None)


@pytest.fixture
def sealed(db: Database, business_clock: MovableClock, files: AnchorFiles) -> World:
    """Three blocks of two records each in both chains, each anchored, in a tenant that is about to be tampered with."""
    world = build_world(db, spaces=1)
    for _ in range(3):
        pay(world, 100)
        pay(world, 200)
        seal_all(world)
        assert anchor_heads(world.tenant_id) == 2
    return world


@pytest.fixture
def keys() -> Iterator[Callable[[str, str], None]]:
    """Install other audit keys for the length of a test."""
    before = audit_keys()
    yield use_audit_keys
    anchoring._known.clear()
    ring = [raw.hex() for _, raw in before.ring]
    use_audit_keys(ring[0], ",".join(ring[1:]))


def faults_of(world: World, files: AnchorFiles, chain: str = "audit") -> list[tuple[str, str, str]]:
    """(what, where, details) of everything wrong with the anchors of a chain."""
    anchors, faults = read_anchors(files.lines())
    with unit_of_work(world.tenant_id) as session:
        faults += check_anchors(session, chain, anchors)
    return [(fault.what, fault.place.split(":")[-1], fault.details) for fault in faults]


def report(world: World) -> tuple[int | None, int | None]:
    """(first bad record, first bad block) of the audit chain."""
    with unit_of_work(world.tenant_id) as session:
        found = verify_chain(session, AUDIT)
    return found.first_bad_record_id, found.first_bad_block_no


def day_file(files: AnchorFiles) -> Path:
    """The one file of anchors."""
    [path] = files.folder.iterdir()
    return path


def test_what_nobody_touched_is_whole(sealed: World, files: AnchorFiles) -> None:
    assert report(sealed) == (None, None)
    assert [faults_of(sealed, files, chain) for chain in ("audit", "ledger")] == [[], []]
    heads = [anchor.head for anchor in read_anchors(files.lines())[0] if anchor.head.chain == "audit"]
    assert [(head.block_no, head.records) for head in heads] == [(1, 2), (2, 4), (3, 6)]


def test_an_altered_record_is_named(sealed: World, owner_url: str) -> None:
    first = first_record(sealed, "audit")
    as_owner(owner_url, sealed, f"UPDATE audit_records SET reason = 'nothing' WHERE id = {first + 2}")
    assert report(sealed) == (first + 2, None)


def test_records_deleted_together_with_their_block_are_named_by_the_anchors(
    sealed: World, owner_url: str, files: AnchorFiles
) -> None:
    first = first_record(sealed, "audit")
    with owner(owner_url, sealed) as session:
        session.execute(text(f"DELETE FROM audit_records WHERE id >= {first + 4}"))
        session.execute(text("DELETE FROM sealed_records WHERE chain = 'audit' AND block_no = 3"))
        session.execute(text("DELETE FROM seal_blocks WHERE chain = 'audit' AND block_no = 3"))
    assert report(sealed) == (None, None)  # what is left fits: only the anchors know better
    [(what, line, details)] = faults_of(sealed, files)
    assert (what, line) == ("block_missing", "5")
    assert f"audit block 3 was sealed with records up to {first + 5} and is gone; 6 records" in details


def test_records_in_another_order_are_named(sealed: World, owner_url: str) -> None:
    with owner(owner_url, sealed) as session:
        for position, moved in ((0, 9), (1, 0), (9, 1)):
            session.execute(
                text(
                    f"UPDATE sealed_records SET position = {moved} WHERE chain = 'audit' AND block_no = 2"
                    f" AND position = {position}"
                )
            )
    assert report(sealed) == (None, 2)


@pytest.mark.parametrize("named", ["the forger's own key", "the key in force"])
def test_a_chain_computed_anew_without_the_key_is_named_at_its_first_block(
    sealed: World, owner_url: str, files: AnchorFiles, named: str
) -> None:
    first = first_record(sealed, "audit")
    key_id = FORGERS_KEY.current_id if named == "the forger's own key" else audit_keys().current_id
    forge(sealed, owner_url, first, key_id)
    assert report(sealed) == (first, 1)
    assert ("block_altered", "1", "audit block 1 is another one today") in faults_of(sealed, files)


def forge(world: World, owner_url: str, record_id: int, key_id: str) -> None:
    """Alter a record and make every hash after it anew, as somebody would who knows this code and not the key."""
    key = FORGERS_KEY.mac
    with owner(owner_url, world) as session:
        session.execute(text(f"UPDATE audit_records SET actor = 'user:99' WHERE id = {record_id}"))
        for table in ("audit_records", "seal_blocks"):
            session.execute(text(f"UPDATE {table} SET key_id = '{key_id}'"))
        previous = genesis(world.tenant_id, "audit")
        for block in session.query(SealBlock).filter_by(chain="audit").order_by(SealBlock.block_no):
            rows = session.query(SealedRecord).filter_by(chain="audit", block_no=block.block_no)
            for row in rows:
                row.row_hash = key("record", str(row.record_id).encode())  # type: ignore[arg-type]
            us = (block.sealed_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
            content = content_hash((r.record_id, r.row_hash) for r in rows.order_by(SealedRecord.position))
            block.previous_hash, block.content_hash = previous, content
            block.block_hash = seal(b"f" * 32, previous, Header(block.block_no, block.size, us, content))
            previous = block.block_hash


@contextmanager
def owner(owner_url: str, world: World) -> Iterator[Session]:
    """A unit of work as the owner of the tables."""
    database = Database(owner_url)
    try:
        with unit_of_work(world.tenant_id, db=database) as session:
            yield session
    finally:
        database.engine.dispose()


LINES: list[tuple[str, Callable[[list[str]], list[str]], tuple[str, str]]] = [
    ("edited", lambda ls: [ls[0], ls[1].replace('"records":2', '"records":1'), *ls[2:]], ("line_altered", "2")),
    ("other_block", lambda ls: [*ls[:5], ls[5].replace('"block_no":3', '"block_no":2')], ("line_altered", "6")),
    ("other_time", lambda ls: [re.sub('"at":"....', '"at":"1999', ls[0]), *ls[1:]], ("line_altered", "1")),
    ("unreadable", lambda ls: [*ls[:5], ls[5][:40]], ("line_altered", "6")),
    ("torn_midway", lambda ls: [ls[0], ls[1][:40], *ls[2:]], ("line_altered", "2")),
    ("first_removed", lambda ls: ls[1:], ("line_missing", "1")),
    ("middle_removed", lambda ls: [*ls[:2], *ls[3:]], ("line_missing", "3")),
    ("swapped", lambda ls: [ls[0], ls[2], ls[1], *ls[3:]], ("line_missing", "2")),
    ("twice", lambda ls: [ls[0], ls[0], *ls[1:]], ("line_missing", "2")),
    ("not_an_object", lambda ls: [*ls, "[]"], ("line_altered", "7")),
]


@pytest.mark.parametrize(("tamper", "found"), [row[1:] for row in LINES], ids=[row[0] for row in LINES])
def test_an_anchor_file_that_was_edited_is_named_by_line(
    sealed: World, files: AnchorFiles, tamper: Callable[[list[str]], list[str]], found: tuple[str, str]
) -> None:
    path = day_file(files)
    path.write_text("\n".join(tamper(path.read_text().splitlines())) + "\n")
    assert found in [(what, line) for what, line, _ in faults_of(sealed, files)]


def test_a_line_torn_by_a_dead_computer_is_forgiven_when_the_next_follows(sealed: World, files: AnchorFiles) -> None:
    with day_file(files).open("a") as file:
        file.write('{"at":"2026-07-')
    assert [what for what, _, _ in faults_of(sealed, files)] == ["line_altered"]
    pay(sealed, 300)
    seal_all(sealed)
    anchor_heads(sealed.tenant_id)
    assert faults_of(sealed, files) == []


def test_anchors_that_end_too_early_are_named_after_a_quarter_of_an_hour(
    sealed: World, files: AnchorFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = day_file(files)
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:2]))
    assert faults_of(sealed, files) == []
    later = NOON + timedelta(minutes=16)
    monkeypatch.setattr(anchoring, "wall_now", lambda: later)
    assert faults_of(sealed, files) == [("not_anchored", "", "audit block 2 and 1 after it")]


def test_heads_are_written_when_they_move_and_every_ten_minutes(
    sealed: World, files: AnchorFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert anchor_heads(sealed.tenant_id) == 0
    later = NOON + timedelta(minutes=9, seconds=59)
    monkeypatch.setattr(anchoring, "wall_now", lambda: later)
    assert anchor_heads(sealed.tenant_id) == 2
    assert faults_of(sealed, files) == []


def test_days_have_files_of_their_own_and_one_chain(sealed: World, files: AnchorFiles) -> None:
    head = read_anchors(files.lines())[0][-1].head
    for day in (1, 2, -3):  # a clock that was set back
        write_anchors([head], at=NOON + timedelta(days=day))
    assert len(list(files.folder.iterdir())) == 3
    assert faults_of(sealed, files) == []
    assert len(read_anchors(files.lines())[0]) == 9
    sorted(files.folder.iterdir())[1].unlink()
    assert [what for what, _, _ in faults_of(sealed, files)] == ["line_missing"]


def test_a_line_holds_nothing_that_ends_it(sealed: World, files: AnchorFiles) -> None:
    head = read_anchors(files.lines())[0][-1].head
    write_anchors([head], at=NOON, restored='恢复\r\n{"mac":1}\x1b[2J\u2028')
    lines = day_file(files).read_bytes().decode("ascii").splitlines()
    assert len(lines) == 7
    assert json.loads(lines[-1])["restored"].startswith("恢复\r\n")


def test_sealing_and_anchoring_go_on_while_the_demo_clock_stands(
    sealed: World, files: AnchorFiles, business_clock: MovableClock
) -> None:
    deeds = {deed.kind: period for deed, period in due(business_clock.now())}
    assert deeds["seal"] == deeds["anchor"] != deeds["expire_holds"]
    pay(sealed, 300)
    assert run_due(sealed.tenant_id, [("seal", deeds["seal"]), ("anchor", deeds["anchor"])]) == 2
    assert max(a.head.block_no for a in read_anchors(files.lines())[0]) == 4


def test_when_a_block_was_written_down_is_found_from_its_day_on(sealed: World, files: AnchorFiles) -> None:
    asked = {"tenant_id": sealed.tenant_id, "chain": "audit", "since": NOON}
    first, second, none = (anchored_at(files, block_no=no, **asked) for no in (1, 2, 4))  # type: ignore[arg-type]
    assert (first, second, none) == (NOON, NOON, None)
    day_file(files).write_text(day_file(files).read_text().replace('"records":2', '"records":1'))
    assert anchored_at(files, block_no=1, **asked) == NOON  # type: ignore[arg-type]


def test_after_a_change_of_keys_all_verifies_and_the_old_key_seals_no_more(
    sealed: World, files: AnchorFiles, keys: Callable[[str, str], None]
) -> None:
    old = audit_keys().ring[0][1].hex()
    keys("bb" * 32, old)
    pay(sealed, 300)
    seal_all(sealed)
    anchor_heads(sealed.tenant_id)
    assert (report(sealed), faults_of(sealed, files)) == ((None, None), [])
    keys(old, "bb" * 32)
    pay(sealed, 400)
    seal_all(sealed)
    keys("bb" * 32, old)
    assert report(sealed) == (None, 5)
    keys("cc" * 32, "")
    assert report(sealed) == (first_record(sealed, "audit"), 1)
    assert {what for what, _, _ in faults_of(sealed, files)} == {"line_altered"}


@pytest.fixture
def run(db: Database, files: AnchorFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, str]]]:
    """Run the command as it is typed; returns its exit status and what it printed."""
    monkeypatch.setenv("DATABASE_URL", os.environ["TALLYHOUSE_TEST_DATABASE_URL"])
    monkeypatch.setenv("ANCHOR_DIR", str(files.folder))
    monkeypatch.setattr(kernel_db, "_database", db)

    def typed(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, [str(word) for word in words])
        return done.exit_code, done.output

    here.cache_clear()
    yield typed
    around = here()
    here.cache_clear()
    around.database.engine.dispose()
    around.transport.redis.close()
    send_hints_to(None)
    wake.use_redis("")


def test_the_command_verifies_a_group_and_names_what_is_wrong(
    sealed: World, owner_url: str, run: Callable[..., tuple[int, str]]
) -> None:
    status, said = run("audit", "verify", sealed.tenant_id)
    assert (status, said.count("intact")) == (0, 2), said
    assert f"group {sealed.tenant_id}: audit: block 3, 6 records" in run("audit", "anchors")[1]
    first = first_record(sealed, "audit")
    as_owner(owner_url, sealed, f"UPDATE audit_records SET deed = 'money:topup:gift' WHERE id = {first}")
    status, said = run("audit", "verify", sealed.tenant_id)
    assert (status, f"BROKEN at record {first}, block None" in said) == (1, True), said
    assert run("audit", "verify", 2**31 - 1)[0] == 1


def test_after_a_restore_that_was_written_down_the_lost_blocks_are_named_and_forgiven(
    sealed: World, owner_url: str, run: Callable[..., tuple[int, str]], files: AnchorFiles
) -> None:
    with owner(owner_url, sealed) as session:
        for chain in ("audit", "ledger"):
            session.execute(text(f"DELETE FROM sealed_records WHERE chain = '{chain}' AND block_no = 3"))
            session.execute(text(f"DELETE FROM seal_blocks WHERE chain = '{chain}' AND block_no = 3"))
    assert "blocks are MISSING" in run("audit", "verify", sealed.tenant_id)[1]
    assert run("audit", "restored", sealed.tenant_id, "--reason", "备份恢复到 07-15 09:00")[0] == 0
    status, said = run("audit", "verify", sealed.tenant_id)
    assert (status, said.count("block 3 was lost by a restore")) == (0, 2), said
    seal_all(sealed)
    anchor_heads(sealed.tenant_id)
    assert faults_of(sealed, files) == []
