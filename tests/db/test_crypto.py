"""Personal data is ciphertext from the first row: bound to its place, found by blind index, useless when moved."""

from collections.abc import Callable

import pytest
from sqlalchemy import select, text

from app.kernel.crypto import CipherBroken, DataKey, FieldPlace, new_wrapped_key, unwrap_key
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.tenants import keys
from app.tenants.keys import KeyEncryptionKeyWrong, data_key, key_encryption_key, use_key_encryption_key
from app.tenants.models import Party
from app.tenants.parties import phone_of, register_party
from tests.factories.world import World

KEK = bytes(range(32))
PLACE = FieldPlace(tenant_id=1, table="parties", column="phone", row="a")


def test_a_field_is_read_back_at_its_place() -> None:
    key = unwrap_key(KEK, 1, new_wrapped_key(KEK, 1))
    assert key.decrypt(key.encrypt("+8613812345678", PLACE), PLACE) == "+8613812345678"


@pytest.mark.parametrize(
    "elsewhere",
    [
        FieldPlace(2, "parties", "phone", "a"),
        FieldPlace(1, "users", "phone", "a"),
        FieldPlace(1, "parties", "id_number", "a"),
        FieldPlace(1, "parties", "phone", "b"),
    ],
)
def test_a_ciphertext_moved_elsewhere_is_worth_nothing(elsewhere: FieldPlace) -> None:
    key = DataKey(KEK)
    with pytest.raises(CipherBroken):
        key.decrypt(key.encrypt("+8613812345678", PLACE), elsewhere)


def test_every_flipped_bit_is_noticed() -> None:
    key = DataKey(KEK)
    blob = key.encrypt("138", PLACE)
    for position in range(1, len(blob)):
        bent = blob[:position] + bytes([blob[position] ^ 1]) + blob[position + 1 :]
        with pytest.raises(CipherBroken):
            key.decrypt(bent, PLACE)


def test_the_same_number_looks_different_each_time_and_is_found_all_the_same() -> None:
    key = DataKey(KEK)
    assert key.encrypt("138", PLACE) != key.encrypt("138", PLACE)
    assert key.blind("phone", "138") == key.blind("phone", "138")
    assert key.blind("phone", "138") != key.blind("id_number", "138")
    assert key.blind("phone", "138") != DataKey(bytes(32)).blind("phone", "138")


def test_a_key_never_shows_itself() -> None:
    assert KEK.hex() not in repr(DataKey(KEK))
    assert "raw" not in repr(DataKey(KEK))


def test_a_data_key_opens_only_with_its_key_and_for_its_tenant() -> None:
    wrapped = new_wrapped_key(KEK, 1)
    with pytest.raises(CipherBroken):
        unwrap_key(KEK, 2, wrapped)
    with pytest.raises(CipherBroken):
        unwrap_key(bytes(32), 1, wrapped)


@pytest.mark.parametrize("bad", ["", "ab" * 31, "ab" * 33, "zz" * 32])
def test_a_key_encryption_key_of_another_shape_is_refused(bad: str) -> None:
    with pytest.raises(KeyEncryptionKeyWrong):
        use_key_encryption_key(bad)


def test_with_another_key_encryption_key_nothing_opens(
    world: World, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = key_encryption_key()
    monkeypatch.setattr(keys, "_installed", bytes(b ^ 1 for b in good))
    with unit_of_work(world.tenant_id, db=db) as session, pytest.raises(CipherBroken):
        data_key(session)


def test_no_table_holds_a_phone_or_id_number_in_clear(world: World, db: Database) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        party = register_party(
            session, property_id=world.property_id, name="王小明", phone="138 9999 8888", id_number="11010519491231002X"
        )
        assert phone_of(session, party=party) == "+8613899998888"
        row = session.execute(text("SELECT parties::text FROM parties WHERE id = :id"), {"id": party.id}).scalar_one()
    for secret in ("13899998888", "11010519491231002X", b"13899998888".hex(), b"11010519491231002X".hex()):
        assert secret not in row


def test_two_tenants_cannot_tell_that_they_know_the_same_person(make_world: Callable[..., World], db: Database) -> None:
    blinds = []
    for one in (make_world(), make_world()):
        with unit_of_work(one.tenant_id, db=db) as session:
            register_party(session, property_id=one.property_id, name="王小明", phone="13899998888")
            blinds.append(session.scalars(select(Party.phone_blind).where(Party.phone_blind.is_not(None))).one())
    assert blinds[0] != blinds[1]
