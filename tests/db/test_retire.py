"""Retention: the oldest blocks leave for a verified archive, and the chain that stays goes on verifying."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError

from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.tenants import archives, seals
from app.tenants import retire as retiring
from app.tenants.archives import ArchiveBroken, Manifest, manifest_of, read_archive
from app.tenants.models import AuditRecord
from app.tenants.retire import ChainBroken, KeptTooShort, NothingToRetire, retire
from app.tenants.seals import AUDIT, SealReport, verify_chain
from tests.db.test_anchors import owner
from tests.db.test_seals import as_owner, first_record
from tests.db.test_seals import seal as seal_all
from tests.factories.supply import pay
from tests.factories.world import World, build_world

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OLD = datetime(2026, 1, 5, tzinfo=UTC)
BY = Actor.system("operator-cli")


@pytest.fixture
def aged(db: Database, business_clock: object, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two blocks of January and one of today, each with two records."""
    world = build_world(db, spaces=1)
    for day in (OLD, OLD + timedelta(days=1), NOW):
        monkeypatch.setattr(seals, "wall_now", lambda day=day: day)
        pay(world, 100)
        pay(world, 200)
        seal_all(world)
    monkeypatch.setattr(retiring, "wall_now", lambda: NOW)
    return world


@pytest.fixture
def send(aged: World, owner_url: str, tmp_path: Path) -> Callable[..., tuple[Path, Manifest]]:
    """Retire what was sealed before February, as the owner, into a folder of the test."""

    def now(before: datetime = datetime(2026, 2, 1, tzinfo=UTC), keep_days: int = 180) -> tuple[Path, Manifest]:
        with owner(owner_url, aged) as session:
            return retire(session, before=before, keep_days=keep_days, folder=tmp_path / "archive", by=BY)

    return now


def report(world: World) -> SealReport:
    with unit_of_work(world.tenant_id) as session:
        return verify_chain(session, AUDIT)


def records(world: World) -> int:
    with unit_of_work(world.tenant_id) as session:
        return session.scalar(select(func.count()).select_from(AuditRecord)) or 0


def test_the_oldest_blocks_leave_and_the_chain_goes_on_verifying(
    aged: World, send: Callable[..., tuple[Path, Manifest]]
) -> None:
    path, manifest = send()
    assert (manifest.first_block, manifest.last_block, manifest.records) == (1, 2, 4)
    assert read_archive(path) == manifest
    seal_all(aged)
    found = report(aged)
    assert (found.intact, found.blocks, found.sealed, found.archived, found.unsealed) == (True, 4, 3, 4, 0)
    with unit_of_work(aged.tenant_id) as session:
        told = session.scalars(select(AuditRecord.facts).where(AuditRecord.deed == "audit:log:retire")).one()
    assert (told["records"], told["sha256"]) == (4, manifest.sha256)
    with pytest.raises(NothingToRetire):
        send()


def test_the_archive_holds_every_record_as_it_was(aged: World, send: Callable[..., tuple[Path, Manifest]]) -> None:
    with unit_of_work(aged.tenant_id) as session:
        before = {r.id: (r.deed, r.actor, r.facts) for r in session.scalars(select(AuditRecord))}
    path, _ = send()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = {r["id"]: (r["deed"], r["actor"], r["facts"]) for r in (line.get("record") for line in lines) if r}
    assert kept == {id_: before[id_] for id_ in sorted(before)[:4]}


@pytest.mark.parametrize(("keep_days", "before"), [(180, NOW - timedelta(days=179)), (400, OLD), (1, NOW)])
def test_what_must_be_kept_stays(
    aged: World, send: Callable[..., tuple[Path, Manifest]], keep_days: int, before: datetime
) -> None:
    with pytest.raises(KeptTooShort):
        send(before, keep_days)
    assert records(aged) == 6


def test_nothing_leaves_a_chain_that_is_not_whole(
    aged: World, send: Callable[..., tuple[Path, Manifest]], owner_url: str, tmp_path: Path
) -> None:
    first = first_record(aged, "audit")
    as_owner(owner_url, aged, f"UPDATE audit_records SET actor = 'user:99' WHERE id = {first}")
    with pytest.raises(ChainBroken):
        send()
    assert not (tmp_path / "archive").exists()


def test_an_archive_is_never_overwritten(
    aged: World, send: Callable[..., tuple[Path, Manifest]], tmp_path: Path
) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / f"audit-{aged.tenant_id}-1-2.jsonl").write_text("of somebody else")
    with pytest.raises(FileExistsError):
        send()
    assert records(aged) == 6


def test_nothing_is_deleted_when_the_archive_does_not_read_back(
    aged: World, send: Callable[..., tuple[Path, Manifest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = archives._digest
    monkeypatch.setattr(archives, "_digest", lambda path: "00" * 32 if manifest_of(path).exists() else honest(path))
    with pytest.raises(ArchiveBroken):
        send()
    assert (records(aged), report(aged).archived) == (6, 0)


TAMPERING = {
    "a_record": lambda path, _: path.write_text(path.read_text().replace('"amount_fen":100', '"amount_fen":999')),
    "a_line_removed": lambda path, _: path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1])),
    "manifest": lambda _, manifest: manifest.write_text(manifest.read_text().replace('"records":4', '"records":3')),
    "no_manifest": lambda _, manifest: manifest.unlink(),
    "no_json": lambda _, manifest: manifest.write_text("…"),
}


@pytest.mark.parametrize("tamper", TAMPERING)
def test_an_archive_that_was_edited_is_named(send: Callable[..., tuple[Path, Manifest]], tamper: str) -> None:
    path, _ = send()
    TAMPERING[tamper](path, manifest_of(path))
    with pytest.raises(ArchiveBroken):
        read_archive(path)


def test_who_deletes_records_and_calls_it_an_archive_is_found(aged: World, owner_url: str) -> None:
    with owner(owner_url, aged) as session:
        session.execute(text("DELETE FROM sealed_records WHERE chain = 'audit' AND block_no = 1"))
        session.execute(
            text(
                "UPDATE seal_blocks SET archive_digest = '\\x00', archive_mac = '\\x00' WHERE block_no = 1 AND chain = 'audit'"
            )
        )
    assert report(aged).first_bad_block_no == 1


def test_who_puts_something_into_an_archived_block_is_found(
    aged: World, owner_url: str, send: Callable[..., tuple[Path, Manifest]]
) -> None:
    send()
    row = "'audit', 1, 1, 0, '\\x00'"
    as_owner(
        owner_url,
        aged,
        "INSERT INTO sealed_records (tenant_id, chain, record_id, block_no, position, row_hash)"
        f" VALUES ({aged.tenant_id}, {row})",
    )
    assert report(aged).first_bad_block_no == 1


def test_the_runtime_role_cannot_retire(aged: World, db: Database, tmp_path: Path) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), unit_of_work(aged.tenant_id, db=db) as session:
        retire(session, before=datetime(2026, 2, 1, tzinfo=UTC), keep_days=180, folder=tmp_path / "archive", by=BY)
