"""The tenant's data keys: read with the tenant's row, unwrapped by the key store, never written anywhere.

    wrapped, v2:  02 | id of the key-encryption key, 8 bytes | what it sealed       label "data-key|<tenant>|<version>"
    wrapped, v1:  01 | what it sealed                                               label "data-key|<tenant>"

An opened data key is kept in memory for KEK_CACHE_S seconds: that long personal data stay readable after the key
store went away, and no longer.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel.crypto import KEY_BYTES, CipherBroken, DataKey, FieldPlace
from app.kernel.db import current_tenant_id
from app.settings import Settings
from app.tenants.hsm import KeyInModule, Pkcs11Key
from app.tenants.kek import (
    ID_BYTES,
    EnvironmentKey,
    FileKey,
    KeyEncryption,
    KeyEncryptionKeyWrong,
)

OLD_FORMAT, FORMAT = b"\x01", b"\x02"
RING = "data_key"
#: Data keys that one process keeps opened.
KEPT_MAX = 4096


class KeyStore:
    """The key-encryption keys of this process: the first wraps, all of them open what names them."""

    def __init__(self, providers: Sequence[KeyEncryption], *, kept_s: int = 60) -> None:
        self._current = providers[0]
        self._providers = {provider.key_id: provider for provider in reversed(providers)}
        self._kept_s = kept_s
        self._kept: dict[tuple[bytes, int, int], tuple[bytes, float]] = {}

    @property
    def key_id(self) -> str:
        """Which key wraps, for people."""
        return self._current.key_id.hex()

    def new_data_key(self, tenant_id: int, version: int = 1) -> bytes:
        """A fresh data key, wrapped. Raises KeyStoreAway."""
        return self._wrap(os.urandom(KEY_BYTES), tenant_id, version)

    def is_current(self, wrapped: bytes) -> bool:
        """Whether the key that wraps today wrapped it."""
        return self.wrapped_by(wrapped) == self.key_id

    def wrapped_by(self, wrapped: bytes) -> str:
        """Id of the key that a wrapped data key names; "old" for those of before keys had names."""
        return wrapped[1 : 1 + ID_BYTES].hex() if wrapped[:1] == FORMAT else "old"

    def rewrap(self, wrapped: bytes, tenant_id: int, version: int) -> bytes:
        """The same data key under today's key. Raises KeyStoreAway, CipherBroken."""
        return self._wrap(self._open(wrapped, tenant_id, version), tenant_id, version)

    def data_key(self, wrapped: bytes, tenant_id: int, version: int) -> bytes:
        """An opened data key, from memory while it is kept there. Raises KeyStoreAway, CipherBroken."""
        name, now = (wrapped, tenant_id, version), time.monotonic()
        kept = self._kept.get(name)
        if kept is not None and now < kept[1]:
            return kept[0]
        self._kept.pop(name, None)
        raw = self._open(wrapped, tenant_id, version)
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        self._kept[name] = (raw, now + self._kept_s)
        return raw

    def _wrap(self, raw: bytes, tenant_id: int, version: int) -> bytes:
        label = b"data-key|%d|%d" % (tenant_id, version)
        return FORMAT + self._current.key_id + self._current.wrap(raw, label)

    def _open(self, wrapped: bytes, tenant_id: int, version: int) -> bytes:
        if wrapped[:1] == OLD_FORMAT and version == 1:
            return self._open_old(wrapped, tenant_id)
        provider = self._providers.get(wrapped[1 : 1 + ID_BYTES])
        if wrapped[:1] != FORMAT or provider is None:
            raise CipherBroken("tenants", "data_key")
        return provider.unwrap(wrapped[1 + ID_BYTES :], b"data-key|%d|%d" % (tenant_id, version))

    def _open_old(self, wrapped: bytes, tenant_id: int) -> bytes:
        """It names no key, so each soft one is tried: modules did not wrap in those days."""
        for provider in self._providers.values():
            if isinstance(provider, Pkcs11Key):
                continue
            try:
                return provider.unwrap(wrapped[1:], b"data-key|%d" % tenant_id)
            except CipherBroken:
                continue
        raise CipherBroken("tenants", "data_key")


_installed: KeyStore | None = None


def use_key_store(store: KeyStore) -> None:
    """Let this process wrap and open data keys with this store."""
    global _installed
    _installed = store


def key_store() -> KeyStore:
    """The installed store; the one of the settings when none was installed. Raises KeyEncryptionKeyWrong."""
    if _installed is None:
        use_key_store(store_of(Settings.from_env()))
    assert _installed is not None
    return _installed


def store_of(settings: Settings) -> KeyStore:
    """The store that the settings describe. KEY_PROVIDER names who wraps; what else is set only opens.

    Raises KeyEncryptionKeyWrong.
    """
    known: dict[str, tuple[str, Callable[[], KeyEncryption]]] = {
        "environment": ("KEY_ENCRYPTION_KEY", lambda: EnvironmentKey(settings.key_encryption_key)),
        "file": ("KEY_ENCRYPTION_FILE", lambda: FileKey(Path(settings.key_encryption_file))),
        "pkcs11": ("KEK_PKCS11_MODULE", lambda: Pkcs11Key(_in_module(settings, settings.kek_pkcs11_key))),
    }
    if settings.key_provider not in known:
        raise KeyEncryptionKeyWrong("KEY_PROVIDER is none of environment, file, pkcs11")
    given = {"environment": settings.key_encryption_key, "file": settings.key_encryption_file,
             "pkcs11": settings.kek_pkcs11_module}  # fmt: skip
    current = known.pop(settings.key_provider)[1]()
    others = [make() for name, (_, make) in known.items() if given[name]]
    return KeyStore([current, *others, *_old_keys(settings)], kept_s=int(settings.kek_cache_s))


def _old_keys(settings: Settings) -> list[KeyEncryption]:
    soft: list[KeyEncryption] = [EnvironmentKey(value) for value in _listed(settings.key_encryption_keys_old)]
    return soft + [Pkcs11Key(_in_module(settings, name)) for name in _listed(settings.kek_pkcs11_keys_old)]


def _listed(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _in_module(settings: Settings, key: str) -> KeyInModule:
    return KeyInModule(settings.kek_pkcs11_module, settings.kek_pkcs11_token, key, Path(settings.kek_pkcs11_pin_file))


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as it lies in the database."""

    version: int
    wrapped: bytes
    #: Digests derive from it.
    blinds: bool = False
    #: Not every field is under it yet.
    under_way: bool = False


def data_key(session: Session) -> DataKey:
    """The data keys of the session's tenant.

    Raises KeyStoreAway, and CipherBroken when the key-encryption key is another one.
    """
    tenant_id = current_tenant_id()
    found = session.info.get(RING)
    if found is None:
        found = session.info[RING] = wrapped_keys(session)
    store = key_store()
    raw = {key.version: store.data_key(key.wrapped, tenant_id, key.version) for key in found}
    return DataKey(raw, _blind_versions(found))


def _blind_versions(found: Sequence[WrappedKey]) -> tuple[int, ...]:
    """The newest that digests derive from; while they are being written anew also the one before."""
    own = [key for key in reversed(found) if key.blinds]
    return tuple(key.version for key in own[: 2 if own[0].under_way else 1])


def wrapped_keys(session: Session) -> list[WrappedKey]:
    """Every data key of the session's tenant, the first one first."""
    rows = session.execute(_KEYS, {"tenant": current_tenant_id()})
    return [WrappedKey(version, bytes(wrapped), blinds, under_way) for version, wrapped, blinds, under_way in rows]


def forget_keys(session: Session) -> None:
    """Read the tenant's data keys anew at the next use: one was made or wrapped anew in this transaction."""
    session.info.pop(RING, None)


def place(*, table: str, column: str, row: object) -> FieldPlace:
    """Where a ciphertext of the current tenant lives; `row` is the row's public id or another name that never
    changes.
    """
    return FieldPlace(tenant_id=current_tenant_id(), table=table, column=column, row=str(row))


_KEYS = text("""
    SELECT 1 AS version, data_key, true, false FROM tenants WHERE id = :tenant
    UNION ALL SELECT version, wrapped, blinds, rotated_at IS NULL FROM tenant_keys WHERE tenant_id = :tenant
    ORDER BY version
""")
