"""A tenant's data key is changed while everybody works: readers never fail, and what was done is seen on the rows."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update

from app.kernel.actor import Actor
from app.kernel.crypto import OLD_FORMAT, seal, version_of
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Meter
from app.meters.service import password_of, password_place
from app.permissions.models import User
from app.tenants import keys, rotation
from app.tenants.kek import EnvironmentKey, KeyStoreAway
from app.tenants.keys import KeyStore, data_key, key_store, place, wrapped_keys
from app.tenants.models import AuditRecord, Party, Tenant, TenantKey
from app.tenants.parties import find_parties, phone_of, register_party
from app.tenants.personal_data import change_phone
from app.tenants.rotation import RotationUnderWay, begin_rotation, continue_rotation, key_uses, rewrap_keys
from tests.factories.world import World

BY = Actor.system("tests")
AT_ONCE = timedelta(0)


def people(db: Database, world: World, count: int = 12) -> list[int]:
    """Parties with phones 13900000000 and on."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return [
            register_party(session, property_id=world.property_id, name=f"住户{n}", phone=f"139{n:08d}").id
            for n in range(count)
        ]


def versions(db: Database, world: World) -> set[int]:
    with unit_of_work(world.tenant_id, db=db) as session:
        return {version_of(blob) for blob in session.scalars(select(Party.phone_cipher)) if blob}


def begin(db: Database, world: World, *, blinds: bool = False) -> int:
    with unit_of_work(world.tenant_id, db=db) as session:
        return begin_rotation(session, by=BY, blinds=blinds, reason="例行更换")


def found(db: Database, world: World, words: str) -> list[int]:
    with unit_of_work(world.tenant_id, db=db) as session:
        return [party.id for party in find_parties(session, text=words, allowed=[world.property_id])]


def phone(db: Database, world: World, party_id: int) -> str | None:
    with unit_of_work(world.tenant_id, db=db) as session:
        return phone_of(session, party=session.scalars(select(Party).where(Party.id == party_id)).one())


def test_every_kind_of_field_is_written_anew_and_reads_as_before(world: World, db: Database) -> None:
    ids = people(db, world, 3)
    with unit_of_work(world.tenant_id, db=db) as session:
        meter = session.scalars(select(Meter).where(Meter.id == world.meter_ids[0])).one()
        meter.password_cipher = data_key(session).encrypt("02987654", password_place(meter))
        user = User(login="rotated", name="x", password_hash="x")
        session.add(user)
        session.flush()
        where = place(table="users", column="phone_cipher", row=user.public_id)
        user.phone_cipher = data_key(session).encrypt("+8613911112222", where)
    begin(db, world)
    told = continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)
    assert told == rotation.Rotated(version=2, written=5, broken=0, finished=True)
    with unit_of_work(world.tenant_id, db=db) as session:
        assert {(use.column.table, use.version) for use in key_uses(session)} == {
            ("meters", 2), ("parties", 2), ("users", 2),
        }  # fmt: skip
        meter = session.scalars(select(Meter).where(Meter.id == world.meter_ids[0])).one()
        user = session.scalars(select(User).where(User.login == "rotated")).one()
        assert password_of(session, meter=meter) == "02987654"
        assert data_key(session).decrypt(user.phone_cipher or b"", where) == "+8613911112222"
    assert [phone(db, world, id_) for id_ in ids] == [f"+86139{n:08d}" for n in range(3)]
    assert found(db, world, "13900000001") == [ids[1]]
    assert continue_rotation(world.tenant_id, by=BY, db=db) is None
    with unit_of_work(world.tenant_id, db=db) as session:
        deeds = session.scalars(select(AuditRecord.deed).where(AuditRecord.deed.like("platform:key%"))).all()
    assert deeds == ["platform:key:rotate", "platform:key:rotated"]


def test_a_field_of_the_first_format_is_written_anew_too(world: World, db: Database) -> None:
    (id_,) = people(db, world, 1)
    with unit_of_work(world.tenant_id, db=db) as session:
        party = session.scalars(select(Party).where(Party.id == id_)).one()
        label = place(table="parties", column="phone", row=party.public_id).label()
        party.phone_cipher = OLD_FORMAT + seal(data_key(session).raw_by_version[1], b"+8613977778888", label)
    assert phone(db, world, id_) == "+8613977778888"
    begin(db, world)
    continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)
    assert (versions(db, world), phone(db, world, id_)) == ({2}, "+8613977778888")


def test_batches_stop_and_go_on_where_they_were(world: World, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    people(db, world)
    begin(db, world)
    column = next(one for one in rotation.SEALED_COLUMNS if one.said == "phone")
    with unit_of_work(world.tenant_id, db=db) as session:
        first = rotation.rotate_batch(session, column=column, after=0, limit=5)
    assert (first.written, versions(db, world)) == (5, {1, 2})
    with pytest.raises(RotationUnderWay):
        begin(db, world)
    told = continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)
    assert told is not None
    assert (told.written, told.finished, versions(db, world)) == (7, True, {2})
    assert begin(db, world) == 3


def test_batches_hold_at_most_five_hundred_rows() -> None:
    assert rotation.BATCH <= 500


def test_it_is_done_only_when_nobody_can_write_under_the_older_key_any_more(world: World, db: Database) -> None:
    ids = people(db, world, 2)
    with unit_of_work(world.tenant_id, db=db) as slow:  # has read its keys, and writes later
        party = slow.scalars(select(Party).where(Party.id == ids[0])).one()
        data_key(slow)
        other = threading.Thread(target=begin, args=(db, world))
        other.start()
        other.join(30)
        told = continue_in_thread(db, world)
        change_phone(slow, party=party, phone="13955556666")
    assert told is not None
    assert (told.written, told.finished) == (2, False)
    assert versions(db, world) == {1, 2}
    last = continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)
    assert last is not None
    assert (last.written, last.finished, versions(db, world)) == (1, True, {2})
    assert found(db, world, "13955556666") == [ids[0]]


def continue_in_thread(db: Database, world: World) -> rotation.Rotated | None:
    """A run of a worker beside an open transaction."""
    told: list[rotation.Rotated | None] = []
    other = threading.Thread(target=lambda: told.append(continue_rotation(world.tenant_id, by=BY, db=db)))
    other.start()
    other.join(30)
    return told[0]


def test_digests_change_when_asked_and_everybody_is_found_at_every_moment(world: World, db: Database) -> None:
    ids = people(db, world, 4)
    with unit_of_work(world.tenant_id, db=db) as session:
        before = session.scalars(select(Party.phone_blind).where(Party.id.in_(ids)).order_by(Party.id)).all()
    begin(db, world, blinds=True)
    column = next(one for one in rotation.SEALED_COLUMNS if one.said == "phone")
    for after, done in ((0, 2), (ids[1], 4)):
        with unit_of_work(world.tenant_id, db=db) as session:
            rotation.rotate_batch(session, column=column, after=after, limit=2)
            blinds = session.scalars(select(Party.phone_blind).where(Party.id.in_(ids)).order_by(Party.id)).all()
        assert [one != other for one, other in zip(blinds, before, strict=True)] == [n < done for n in range(4)]
        assert [found(db, world, f"139{n:08d}") for n in range(4)] == [[id_] for id_ in ids]
        assert found(db, world, "0003") == [ids[3]]
    continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)
    assert [found(db, world, f"139{n:08d}") for n in range(4)] == [[id_] for id_ in ids]
    with unit_of_work(world.tenant_id, db=db) as session:
        assert len(data_key(session).blinds("phone", "x")) == 1


def test_digests_stay_when_nobody_asked(world: World, db: Database) -> None:
    people(db, world, 2)
    every = select(Party.phone_blind, Party.phone_last4_blind).order_by(Party.id)
    with unit_of_work(world.tenant_id, db=db) as session:
        before = session.execute(every).all()
    begin(db, world)
    continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.execute(every).all() == before


def test_a_field_that_does_not_open_is_left_and_keeps_the_change_from_ending(world: World, db: Database) -> None:
    ids = people(db, world, 3)
    with unit_of_work(world.tenant_id, db=db) as session:  # moved from one row to another
        other = select(Party.phone_cipher).where(Party.id == ids[0]).scalar_subquery()
        session.execute(update(Party).where(Party.id == ids[1]).values(phone_cipher=other))
    begin(db, world)
    for _ in range(2):
        told = continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)
        assert told is not None
        assert (told.broken, told.finished) == (1, False)
    assert [phone(db, world, id_) for id_ in (ids[0], ids[2])] == ["+8613900000000", "+8613900000002"]


def test_while_the_store_is_away_the_change_waits(world: World, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    people(db, world, 2)
    begin(db, world)

    def away(*_: object) -> bytes:
        raise KeyStoreAway()

    with monkeypatch.context() as patched, pytest.raises(KeyStoreAway):
        patched.setattr(KeyStore, "data_key", away)
        continue_rotation(world.tenant_id, by=BY, db=db)
    assert versions(db, world) == {1}
    continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)
    assert versions(db, world) == {2}


def test_readers_and_writers_go_on_during_a_change(world: World, db: Database) -> None:
    ids = people(db, world, 60)
    failures: list[BaseException] = []
    over = threading.Event()

    def read_and_write() -> None:
        n = 0
        while not over.is_set():
            try:
                with unit_of_work(world.tenant_id, db=db) as session:
                    party = session.scalars(select(Party).where(Party.id == ids[n % 60])).one()
                    assert phone_of(session, party=party) == f"+86139{n % 60:08d}"
                    change_phone(session, party=party, phone=f"139{n % 60:08d}")
            except BaseException as failure:  # whatever it is, the test must hear of it
                failures.append(failure)
                return
            n += 1

    threads = [threading.Thread(target=read_and_write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        begin(db, world)
        while not (told := continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)) or not told.finished:
            continue
    over.set()
    for thread in threads:
        thread.join(60)
    assert failures == []
    continue_stragglers(db, world)
    assert [phone(db, world, id_) for id_ in ids] == [f"+86139{n:08d}" for n in range(60)]


def continue_stragglers(db: Database, world: World) -> None:
    """Whatever version a writer used, an older key is never thrown away."""
    assert versions(db, world) <= {1, 2, 3, 4}


def test_data_keys_are_wrapped_anew_under_another_key(
    make_world: Callable[..., World], db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    ids = people(db, world, 2)
    begin(db, world)
    before = key_store()
    newer = EnvironmentKey("5a" * 32)
    monkeypatch.setattr(keys, "_installed", KeyStore([newer, before._current], kept_s=0))
    with unit_of_work(world.tenant_id, db=db) as session:
        assert rewrap_keys(session, by=BY) == 2
        assert rewrap_keys(session, by=BY) == 0
    monkeypatch.setattr(keys, "_installed", KeyStore([newer], kept_s=0))  # the old one is thrown away
    assert [phone(db, world, id_) for id_ in ids] == ["+8613900000000", "+8613900000001"]
    with unit_of_work(world.tenant_id, db=db) as session:
        assert all(key_store().is_current(key.wrapped) for key in wrapped_keys(session))
        session.execute(update(Tenant).where(Tenant.id == world.tenant_id).values(data_key=Tenant.data_key))
    assert found(db, world, "13900000001") == [ids[1]]


def test_the_older_versions_stay(world: World, db: Database) -> None:
    begin(db, world)
    continue_rotation(world.tenant_id, by=BY, db=db, settled=AT_ONCE)
    with unit_of_work(world.tenant_id, db=db) as session:
        assert [key.version for key in wrapped_keys(session)] == [1, 2]
        assert session.scalar(select(func.count()).select_from(TenantKey)) == 1
        assert session.scalar(text("SELECT count(*) FROM tenants WHERE data_key <> ''")) != 0
