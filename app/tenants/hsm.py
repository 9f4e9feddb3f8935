"""A key-encryption key inside a PKCS#11 module: data keys go in to be wrapped, the key itself never comes out.

The session is opened at first use and thrown away at any failure, so that a module that comes back is used again
without a restart. A child process opens its own: a forked one is not valid.
"""

import hashlib
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from app.kernel.crypto import NONCE_BYTES, CipherBroken
from app.tenants.kek import ID_BYTES, OTHERS, KeyEncryptionKeyWrong, KeyStoreAway

TAG_BITS = 128
#: What a module says of a ciphertext that does not fit; anything else means that it is away.
_BROKEN = ("EncryptedDataInvalid", "EncryptedDataLenRange", "AEADDecryptFailed", "DataInvalid", "GeneralError")


@dataclass(frozen=True, slots=True)
class KeyInModule:
    """Which key: path of the module, label of the token, label of the key, file of the PIN (mode 0600)."""

    module: str
    token: str
    key: str
    pin_file: Path


class Pkcs11Key:
    """AES-256-GCM in the module. Raises KeyEncryptionKeyWrong when the package `python-pkcs11` is not installed."""

    def __init__(self, where: KeyInModule) -> None:
        try:
            self._pkcs11: Any = importlib.import_module("pkcs11")
        except ImportError as absent:
            raise KeyEncryptionKeyWrong(
                "KEK_PKCS11_MODULE is set and python-pkcs11 is absent: pip install -r requirements-pkcs11.txt"
            ) from absent
        self._where = where
        self._lock = RLock()
        self._pid = 0
        self._session: Any = None
        self._key: Any = None

    @property
    def key_id(self) -> bytes:
        """From token and label: a module tells nothing else about a key that it keeps."""
        return hashlib.sha256(f"pkcs11|{self._where.token}|{self._where.key}".encode()).digest()[:ID_BYTES]

    def wrap(self, raw: bytes, label: bytes) -> bytes:
        """Raises KeyStoreAway."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + bytes(self._ask("encrypt", raw, nonce, label))

    def unwrap(self, sealed: bytes, label: bytes) -> bytes:
        """Raises KeyStoreAway, CipherBroken."""
        if len(sealed) <= NONCE_BYTES:
            raise CipherBroken("tenants", "data_key")
        return bytes(self._ask("decrypt", sealed[NONCE_BYTES:], sealed[:NONCE_BYTES], label))

    def _ask(self, deed: str, data: bytes, nonce: bytes, label: bytes) -> bytes:
        """Asked twice: the first session may have ended since, and a module says "general error" to a wrong tag, too."""
        how = {
            "mechanism": self._pkcs11.Mechanism.AES_GCM,
            "mechanism_param": self._pkcs11.GCMParams(nonce, label, TAG_BITS),
        }
        with self._lock:
            try:
                return self._once(deed, data, how)
            except self._pkcs11.PKCS11Error:
                self._drop()
            try:
                return self._once(deed, data, how)
            except self._pkcs11.PKCS11Error as failure:
                self._drop()
                if type(failure).__name__ in _BROKEN:
                    raise CipherBroken("tenants", "data_key") from failure
                raise KeyStoreAway() from failure

    def _once(self, deed: str, data: bytes, how: dict[str, Any]) -> bytes:
        answer: bytes = getattr(self._open(), deed)(data, **how)
        return answer

    def _open(self) -> Any:
        if self._key is not None and self._pid == os.getpid():
            return self._key
        try:
            self._session = self._signed_in(self._loaded().get_token(token_label=self._where.token))
            self._key = self._session.get_key(label=self._where.key, object_class=self._pkcs11.ObjectClass.SECRET_KEY)
        except (self._pkcs11.PKCS11Error, OSError, RuntimeError) as failure:
            self._drop()
            raise KeyStoreAway() from failure
        return self._key

    def _signed_in(self, token: Any) -> Any:
        """A module signs a process in once per token: a second key of it shares the sign-in."""
        try:
            return token.open(user_pin=self._pin())
        except self._pkcs11.UserAlreadyLoggedIn:
            return token.open()

    def _loaded(self) -> Any:
        library = self._pkcs11.lib(self._where.module)
        if self._pid not in (0, os.getpid()):
            library.reinitialize()
        self._pid = os.getpid()
        return library

    def _pin(self) -> str:
        if self._where.pin_file.stat().st_mode & OTHERS:
            raise KeyStoreAway()
        return self._where.pin_file.read_text().strip()

    def _drop(self) -> None:
        session, self._session, self._key = self._session, None, None
        try:
            if session is not None:
                session.close()
        except self._pkcs11.PKCS11Error:
            return  # gone already
