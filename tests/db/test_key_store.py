"""Where the key-encryption key lies makes no difference: every provider sits the same examination."""

import importlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.kernel import db as kernel_db
from app.kernel.crypto import CipherBroken
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_life import Kind
from app.meters.delivery import claim_commands
from app.meters.models import Meter
from app.meters.service import password_place
from app.notify.models import Notice
from app.notify.sender import send_waiting, use_provider
from app.notify.service import queue_notice
from app.notify.sms import Sms
from app.settings import Settings
from app.tenants import hsm, keys
from app.tenants.hsm import KeyInModule, Pkcs11Key
from app.tenants.kek import EnvironmentKey, FileKey, KeyEncryption, KeyEncryptionKeyWrong, KeyStoreAway
from app.tenants.keys import KeyStore, data_key, store_of
from app.tenants.parties import find_parties, register_party
from tests.factories.site import order
from tests.factories.world import World

KEK = "3c" * 32
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
NO_MODULE = "PKCS#11 TESTS SKIPPED: no SoftHSM on this machine. Cure: sudo apt-get install softhsm2"
PIN = "4711"


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], KeyInModule]]:
    """Makes keys in a token of this run; the module reads where its tokens lie once per process."""
    if shutil.which("softhsm2-util") is None or not Path(MODULE).exists():
        pytest.skip(NO_MODULE)  # allow: skip - said loudly
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    pin = folder / "pin"
    pin.touch(mode=0o600)
    pin.write_text(PIN + "\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    init = ["softhsm2-util", "--init-token", "--free", "--label", "tallyhouse", "--so-pin", "0000", "--pin", PIN]
    subprocess.run(init, check=True, capture_output=True, timeout=60)

    def make() -> KeyInModule:
        pkcs11 = importlib.import_module("pkcs11")
        label = f"kek-{uuid.uuid4().hex[:8]}"
        token = pkcs11.lib(MODULE).get_token(token_label="tallyhouse")
        try:
            session = token.open(rw=True, user_pin=PIN)
        except pkcs11.UserAlreadyLoggedIn:
            session = token.open(rw=True)
        session.generate_key(pkcs11.KeyType.AES, 256, label=label, store=True)
        session.close()
        return KeyInModule(MODULE, "tallyhouse", label, pin)

    yield make
    os.environ.pop("SOFTHSM2_CONF")
    if before is not None:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture(params=["environment", "file", "pkcs11"])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> KeyEncryption:
    """Each of the three."""
    if request.param == "environment":
        return EnvironmentKey(KEK)
    if request.param == "file":
        return FileKey(key_file(tmp_path))
    return Pkcs11Key(request.getfixturevalue("softhsm")())


def key_file(folder: Path, digits: str = KEK) -> Path:
    """A key as an operator would lay it down."""
    path = folder / "kek"
    path.touch(mode=0o600)
    path.write_text(digits + "\n")
    return path


def test_what_was_wrapped_opens_again(provider: KeyEncryption) -> None:
    wrapped = provider.wrap(b"k" * 32, b"data-key|1|1")
    assert provider.unwrap(wrapped, b"data-key|1|1") == b"k" * 32
    assert b"k" * 8 not in wrapped


def test_the_same_key_wraps_differently_each_time(provider: KeyEncryption) -> None:
    assert provider.wrap(b"k" * 32, b"x") != provider.wrap(b"k" * 32, b"x")


def test_another_label_opens_nothing(provider: KeyEncryption) -> None:
    wrapped = provider.wrap(b"k" * 32, b"data-key|1|1")
    with pytest.raises(CipherBroken):
        provider.unwrap(wrapped, b"data-key|2|1")
    assert provider.unwrap(wrapped, b"data-key|1|1") == b"k" * 32  # and the provider goes on


@pytest.mark.parametrize("position", [0, 11, 12, 30, -1])
def test_a_flipped_bit_opens_nothing(provider: KeyEncryption, position: int) -> None:
    wrapped = bytearray(provider.wrap(b"k" * 32, b"x"))
    wrapped[position] ^= 1
    with pytest.raises(CipherBroken):
        provider.unwrap(bytes(wrapped), b"x")


@pytest.mark.parametrize("short", [b"", b"1", b"1" * 12, b"1" * 20])
def test_a_stump_opens_nothing(provider: KeyEncryption, short: bytes) -> None:
    with pytest.raises(CipherBroken):
        provider.unwrap(short, b"x")


def test_the_name_of_a_key_stays_and_tells_nothing(provider: KeyEncryption) -> None:
    assert provider.key_id == provider.key_id
    assert len(provider.key_id) == 8
    assert provider.key_id.hex() not in KEK


def test_a_store_works_the_same_with_each(provider: KeyEncryption) -> None:
    store = KeyStore([provider], kept_s=0)
    wrapped = store.new_data_key(5, 3)
    assert store.is_current(wrapped)
    assert len(store.data_key(wrapped, 5, 3)) == 32
    other = KeyStore([EnvironmentKey("77" * 32), provider], kept_s=0)
    moved = other.rewrap(wrapped, 5, 3)
    assert (other.is_current(wrapped), other.is_current(moved)) == (False, True)
    assert other.data_key(moved, 5, 3) == store.data_key(wrapped, 5, 3)
    with pytest.raises(CipherBroken):  # who knows another key only is told so, and tries nothing
        store.data_key(moved, 5, 3)


@pytest.mark.parametrize("bad", ["", "ab" * 31, "ab" * 33, "zz" * 32])
def test_a_key_encryption_key_of_another_shape_is_refused(bad: str, tmp_path: Path) -> None:
    with pytest.raises(KeyEncryptionKeyWrong, match="KEY_ENCRYPTION_KEY"):
        EnvironmentKey(bad)
    with pytest.raises(KeyEncryptionKeyWrong, match="KEY_ENCRYPTION_FILE"):
        FileKey(key_file(tmp_path, bad))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path)
    path.chmod(mode)
    with pytest.raises(KeyEncryptionKeyWrong, match="chmod 600"):
        FileKey(path)


def test_a_file_that_goes_or_opens_or_changes_closes_what_it_opened(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    key = FileKey(path)
    wrapped = key.wrap(b"k" * 32, b"x")
    path.chmod(0o644)
    with pytest.raises(KeyStoreAway):
        key.unwrap(wrapped, b"x")
    path.chmod(0o600)
    path.write_text("99" * 32)
    with pytest.raises(KeyStoreAway):
        key.unwrap(wrapped, b"x")
    path.unlink()
    with pytest.raises(KeyStoreAway):
        key.wrap(b"k" * 32, b"x")
    key_file(tmp_path)
    assert key.unwrap(wrapped, b"x") == b"k" * 32


def test_a_module_that_is_not_there_is_away_and_never_replaced(
    softhsm: Callable[[], KeyInModule], tmp_path: Path
) -> None:
    where = softhsm()
    store = KeyStore([Pkcs11Key(where), EnvironmentKey(KEK)], kept_s=0)
    wrapped = store.new_data_key(1, 1)
    for gone in (
        KeyInModule("/nowhere/module.so", where.token, where.key, where.pin_file),
        KeyInModule(where.module, "no such token", where.key, where.pin_file),
        KeyInModule(where.module, where.token, where.key, tmp_path / "no pin"),
    ):
        key = Pkcs11Key(gone)
        with pytest.raises(KeyStoreAway):
            key.wrap(b"k" * 32, b"x")
        with pytest.raises(KeyStoreAway):
            key.unwrap(bytes(60), b"x")
    assert len(store.data_key(wrapped, 1, 1)) == 32


def test_a_module_is_opened_anew_after_it_was_lost(softhsm: Callable[[], KeyInModule]) -> None:
    key = Pkcs11Key(softhsm())
    wrapped = key.wrap(b"k" * 32, b"x")
    key._session.close()  # as a module does that was restarted
    assert key.unwrap(wrapped, b"x") == b"k" * 32


def test_without_the_package_the_module_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(hsm.importlib, "import_module", absent)
    with pytest.raises(KeyEncryptionKeyWrong, match="requirements-pkcs11"):
        Pkcs11Key(KeyInModule("m", "t", "k", tmp_path))


class Patient:
    """A provider that can be switched off."""

    def __init__(self) -> None:
        self.inside, self.away = EnvironmentKey(KEK), False
        self.key_id = b"patient!"

    def wrap(self, raw: bytes, label: bytes) -> bytes:
        self._answer()
        return self.inside.wrap(raw, label)

    def unwrap(self, sealed: bytes, label: bytes) -> bytes:
        self._answer()
        return self.inside.unwrap(sealed, label)

    def _answer(self) -> None:
        if self.away:
            raise KeyStoreAway()


def test_while_the_store_is_away_only_personal_data_is_closed(
    world: World, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = Patient()
    # The soft key that wrapped the tenant's key is known as well: it must not be used for what names the other.
    store = KeyStore([patient, EnvironmentKey(os.environ["KEY_ENCRYPTION_KEY"]), EnvironmentKey(KEK)], kept_s=0)
    monkeypatch.setattr(keys, "_installed", store)
    with unit_of_work(world.tenant_id, db=db) as session:
        party = register_party(session, property_id=world.property_id, name="何晓燕", phone="13800001111")
        named = party.id
    moved = store.new_data_key(world.tenant_id)
    monkeypatch.setattr(keys, "wrapped_keys", lambda _session: [keys.WrappedKey(1, moved, blinds=True)])
    patient.away = True
    with unit_of_work(world.tenant_id, db=db) as session:
        with pytest.raises(KeyStoreAway) as refused:
            data_key(session)
        assert refused.value.status == 503
        found = find_parties(session, text="何晓燕", allowed=[world.property_id])
        assert [party.id for party in found] == [named]
    patient.away = False
    with unit_of_work(world.tenant_id, db=db) as session:
        assert data_key(session).version == 1


def test_what_was_opened_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    patient, now = Patient(), [100.0]
    monkeypatch.setattr(keys.time, "monotonic", lambda: now[0])
    store = KeyStore([patient], kept_s=60)
    wrapped = store.new_data_key(1, 1)
    raw = store.data_key(wrapped, 1, 1)
    patient.away, now[0] = True, 159.0
    assert store.data_key(wrapped, 1, 1) == raw
    now[0] = 160.0
    with pytest.raises(KeyStoreAway):
        store.data_key(wrapped, 1, 1)


def test_the_settings_say_who_wraps_and_what_else_opens(tmp_path: Path) -> None:
    def store(**wishes: str) -> KeyStore:
        env = {"DATABASE_URL": "x", "REDIS_URL": "x", "SECRET_KEY": "x", "AUDIT_KEY": "x"}
        return store_of(Settings.from_env(env | wishes))

    path = str(key_file(tmp_path))
    first = store(KEY_ENCRYPTION_KEY="11" * 32)
    wrapped = first.new_data_key(1)
    by_file = store(KEY_PROVIDER="file", KEY_ENCRYPTION_FILE=path, KEY_ENCRYPTION_KEY="11" * 32)
    assert by_file.key_id != first.key_id
    assert by_file.data_key(wrapped, 1, 1) == first.data_key(wrapped, 1, 1)
    newer = store(KEY_ENCRYPTION_KEY="22" * 32, KEY_ENCRYPTION_KEYS_OLD="33" * 32 + " , " + "11" * 32)
    assert newer.data_key(wrapped, 1, 1) == first.data_key(wrapped, 1, 1)
    for wrong in ({"KEY_PROVIDER": "cloud"}, {"KEY_PROVIDER": "file"}, {}):
        with pytest.raises(KeyEncryptionKeyWrong):
            store(**wrong)


def test_words_to_meters_with_passwords_wait_for_the_store_and_others_leave(
    world: World, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        guarded = session.scalars(select(Meter).where(Meter.id == world.meter_ids[0])).one()
        guarded.password_cipher = data_key(session).encrypt("02123456", password_place(guarded))
    first, second = (order(db, world, Kind.READ_TOTAL, which) for which in (0, 1))

    def claimed() -> list[int]:
        with unit_of_work(world.tenant_id, db=db) as session:
            return [
                one.command_id
                for one in claim_commands(session, lease_epochs={world.gateway_id: 1}, in_flight=[second])
            ]

    def away(*_: object) -> bytes:
        raise KeyStoreAway()

    with monkeypatch.context() as patched:
        patched.setattr(KeyStore, "data_key", away)
        assert claimed() == [second]
    with unit_of_work(world.tenant_id, db=db) as session:
        moved = session.scalars(select(Meter.password_cipher).where(Meter.id == guarded.id)).one()
        session.execute(update(Meter).where(Meter.id == guarded.id).values(password_cipher=bytes(40)))
    assert claimed() == []  # one that is broken holds up nobody else, and is never sent with another password
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Meter).where(Meter.id == guarded.id).values(password_cipher=moved))
    assert claimed() == [first]


def test_messages_wait_for_the_store_and_one_broken_number_holds_up_nobody(
    world: World, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_db, "_database", db)
    with unit_of_work(world.tenant_id, db=db) as session:
        broken, sound = (
            register_party(session, property_id=world.property_id, name="住户", phone=f"1390000000{n}") for n in (1, 2)
        )
        broken.phone_cipher = sound.phone_cipher
        for party in (broken, sound):
            queue_notice(
                session, kind="zero", property_id=world.property_id, party_id=party.id, message_key=f"k{party.id}",
                subject=f"supply_account:{world.supply_account_ids[0]}",
                params={"episode": 1, "account_number": "1", "available_fen": -1, "overdraft_fen": 2_000},
            )  # fmt: skip
    provider = Provider()
    use_provider(provider)  # type: ignore[arg-type]

    def away(*_: object) -> bytes:
        raise KeyStoreAway()

    try:
        with monkeypatch.context() as patched:
            patched.setattr(KeyStore, "data_key", away)
            assert send_waiting(world.tenant_id) == 0
        assert notice_states(db, world) == ["queued", "queued"]
        assert send_waiting(world.tenant_id) == 2
    finally:
        use_provider(None)
    assert provider.told == ["+8613900000002"]
    assert notice_states(db, world) == ["undeliverable", "sent"]


class Provider:
    """Takes every message."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def send(self, sms: Sms) -> str:
        self.told.append(sms.to)
        return f"m-{len(self.told)}"


def notice_states(db: Database, world: World) -> list[str]:
    with unit_of_work(world.tenant_id, db=db) as session:
        return list(session.scalars(select(Notice.state).order_by(Notice.id)))
