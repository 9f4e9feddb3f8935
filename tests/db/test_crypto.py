"""Personal data is ciphertext from the first row: bound to its place, found by blind index, useless when moved."""

from collections.abc import Callable

import pytest
from sqlalchemy import select, text

from app.kernel.crypto import NONCE_BYTES, OLD_FORMAT, CipherBroken, DataKey, FieldPlace, seal
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.tenants import keys
from app.tenants.kek import EnvironmentKey
from app.tenants.keys import KeyStore, data_key
from app.tenants.models import Party
from app.tenants.parties import phone_of, register_party
from tests.factories.world import World

KEK = bytes(range(32))
PLACE = FieldPlace(tenant_id=1, table="parties", column="phone", row="a")


def test_a_field_is_read_back_at_its_place() -> None:
    key = DataKey.of(KEK)
    assert key.decrypt(key.encrypt("+8613812345678", PLACE), PLACE) == "+8613812345678"


def test_a_field_of_the_first_format_is_still_read() -> None:
    old = OLD_FORMAT + seal(KEK, b"+8613812345678", PLACE.label())
    assert DataKey({1: KEK, 2: bytes(32)}).decrypt(old, PLACE) == "+8613812345678"


def test_the_newest_key_writes_and_every_older_one_reads() -> None:
    older, both = DataKey.of(KEK), DataKey({1: KEK, 2: bytes(32)})
    assert (older.encrypt("x", PLACE)[:3], both.encrypt("x", PLACE)[:3]) == (b"\2\0\1", b"\2\0\2")
    assert both.decrypt(older.encrypt("x", PLACE), PLACE) == "x"
    with pytest.raises(CipherBroken):  # whoever has only the older key reads nothing of the newer one
        older.decrypt(both.encrypt("x", PLACE), PLACE)
    assert older.blind("phone", "138") == both.blind("phone", "138")


def test_digests_change_only_when_asked_and_are_found_under_both_keys_meanwhile() -> None:
    older, changing = DataKey.of(KEK), DataKey({1: KEK, 2: bytes(32)}, (2, 1))
    assert changing.blind("phone", "138") != older.blind("phone", "138")
    assert changing.blinds("phone", "138") == [changing.blind("phone", "138"), older.blind("phone", "138")]


@pytest.mark.parametrize("blob", [b"", b"\1", b"\2", b"\2\0\1", b"\3" * 40, bytes(NONCE_BYTES)])
def test_what_is_no_field_is_broken_and_nothing_worse(blob: bytes) -> None:
    with pytest.raises(CipherBroken) as refused:
        DataKey.of(KEK).decrypt(blob, PLACE)
    assert "parties.phone" in refused.value.message("en")


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
    key = DataKey.of(KEK)
    with pytest.raises(CipherBroken):
        key.decrypt(key.encrypt("+8613812345678", PLACE), elsewhere)


def test_every_flipped_bit_is_noticed() -> None:
    key = DataKey.of(KEK)
    blob = key.encrypt("138", PLACE)
    for position in range(len(blob)):
        bent = blob[:position] + bytes([blob[position] ^ 1]) + blob[position + 1 :]
        with pytest.raises(CipherBroken):
            key.decrypt(bent, PLACE)


def test_the_same_number_looks_different_each_time_and_is_found_all_the_same() -> None:
    key = DataKey.of(KEK)
    assert key.encrypt("138", PLACE) != key.encrypt("138", PLACE)
    assert key.blind("phone", "138") == key.blind("phone", "138")
    assert key.blind("phone", "138") != key.blind("id_number", "138")
    assert key.blind("phone", "138") != DataKey.of(bytes(32)).blind("phone", "138")


def test_a_key_never_shows_itself() -> None:
    assert KEK.hex() not in repr(DataKey.of(KEK))
    assert "raw" not in repr(DataKey.of(KEK))


def test_a_wrapped_key_opens_for_its_tenant_and_version_only() -> None:
    store = KeyStore([EnvironmentKey(KEK.hex())], kept_s=0)
    wrapped = store.new_data_key(1, 2)
    assert len(store.data_key(wrapped, 1, 2)) == 32
    for tenant_id, version in ((2, 2), (1, 3), (1, 1)):
        with pytest.raises(CipherBroken):
            store.data_key(wrapped, tenant_id, version)


def test_a_key_wrapped_before_keys_had_names_still_opens() -> None:
    store = KeyStore([EnvironmentKey("11" * 32), EnvironmentKey(KEK.hex())])
    assert store.data_key(OLD_FORMAT + seal(KEK, bytes(32), b"data-key|7"), 7, 1) == bytes(32)


def test_with_another_key_encryption_key_nothing_opens(
    world: World, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_installed", KeyStore([EnvironmentKey("ab" * 32)]))
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
