"""The tenant's data key: read with the tenant's row, unwrapped by the key-encryption key, never written
anywhere.
"""

from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.crypto import DataKey, FieldPlace, unwrap_key
from app.kernel.db import current_tenant_id
from app.kernel.errors import StartRefused
from app.settings import Settings
from app.tenants.models import Tenant

KEY_BYTES = 32
_CURE = "KEY_ENCRYPTION_KEY is not 64 hex digits: take it from the key store, or let `make run` make one"


class KeyEncryptionKeyWrong(StartRefused):
    """KEY_ENCRYPTION_KEY is not 64 hex digits."""


_installed: bytes | None = None


def use_key_encryption_key(hex_digits: str) -> None:
    """Install the key-encryption key of this process. Raises KeyEncryptionKeyWrong."""
    global _installed
    try:
        raw = bytes.fromhex(hex_digits)
    except ValueError as broken:
        raise KeyEncryptionKeyWrong(_CURE) from broken
    if len(raw) != KEY_BYTES:
        raise KeyEncryptionKeyWrong(_CURE)
    _installed = raw


def key_encryption_key() -> bytes:
    """The installed key; the setting KEY_ENCRYPTION_KEY when none was installed.

    Raises KeyEncryptionKeyWrong.
    """
    if _installed is None:
        use_key_encryption_key(Settings.from_env().key_encryption_key)
    assert _installed is not None
    return _installed


def data_key(session: Session) -> DataKey:
    """The data key of the session's tenant.

    Raises CipherBroken when the key-encryption key is another one.
    """
    tenant_id = current_tenant_id()
    wrapped = session.info.get("wrapped_data_key")
    if wrapped is None:
        wrapped = session.scalars(select(Tenant.data_key).where(Tenant.id == tenant_id)).one()
        session.info["wrapped_data_key"] = wrapped
    return _unwrapped(key_encryption_key(), tenant_id, wrapped)


def place(*, table: str, column: str, row: object) -> FieldPlace:
    """Where a ciphertext of the current tenant lives; `row` is the row's public id or another name that never
    changes.
    """
    return FieldPlace(tenant_id=current_tenant_id(), table=table, column=column, row=str(row))


@lru_cache(maxsize=1024)
def _unwrapped(kek: bytes, tenant_id: int, wrapped: bytes) -> DataKey:
    return unwrap_key(kek, tenant_id, wrapped)
