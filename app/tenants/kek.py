"""Where the key-encryption key lies, and the only two things it does: wrap a data key and open a wrapped one.

    environment   KEY_ENCRYPTION_KEY, 64 hex digits
    file          KEY_ENCRYPTION_FILE, the same in a file that only its owner may read
    pkcs11        a key that never leaves its module (`tenants.hsm`)

Every wrapped key names the key that wrapped it, and only that one is asked to open it: when it is away, it is away.
"""

import hashlib
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag

from app.kernel.crypto import KEY_BYTES, CipherBroken, seal, unseal
from app.kernel.errors import AppError, StartRefused

ID_BYTES = 8
#: Bits of a file's mode that open it to others than its owner.
OTHERS = 0o077


class KeyStoreAway(AppError):
    """The key-encryption key cannot be reached: personal data and meter passwords stay closed, the rest goes on."""

    code, status = "key_store_away", 503
    message_zh = (
        "密钥服务暂时不可用，个人信息和表计密码无法读取，其他功能不受影响。请稍后再试；如持续出现，请联系系统管理员。"
    )
    message_en = (
        "The key store cannot be reached: personal data and meter passwords stay closed, everything else goes on."
        " Try again later, and tell the administrator if it lasts."
    )


class KeyEncryptionKeyWrong(StartRefused):
    """What the settings name is no key-encryption key."""


class KeyEncryption(Protocol):
    """One key-encryption key. `label` says what is wrapped and is authenticated with it."""

    @property
    def key_id(self) -> bytes:
        """Eight bytes that name the key and tell nothing about it."""

    def wrap(self, raw: bytes, label: bytes) -> bytes:
        """Wrap a data key. Raises KeyStoreAway."""

    def unwrap(self, sealed: bytes, label: bytes) -> bytes:
        """Open a wrapped data key. Raises KeyStoreAway, CipherBroken."""


class EnvironmentKey:
    """A key given as 64 hex digits. Raises KeyEncryptionKeyWrong for another shape."""

    def __init__(self, hex_digits: str) -> None:
        self._raw = key_from_hex(hex_digits, "KEY_ENCRYPTION_KEY")

    @property
    def key_id(self) -> bytes:
        """From the key itself."""
        return soft_key_id(self._raw)

    def wrap(self, raw: bytes, label: bytes) -> bytes:
        """Never away."""
        return seal(self._raw, raw, label)

    def unwrap(self, sealed: bytes, label: bytes) -> bytes:
        """Raises CipherBroken."""
        return _opened(self._raw, sealed, label)


class FileKey:
    """A key in a file of mode 0600, read anew each time: taking the file away closes what it opens.

    Raises KeyEncryptionKeyWrong while it is being set up.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._id = soft_key_id(self._read())
        except KeyStoreAway as away:
            raise KeyEncryptionKeyWrong(
                f"KEY_ENCRYPTION_FILE: {path} cannot be read, or others than its owner may read it: chmod 600 it"
            ) from away

    @property
    def key_id(self) -> bytes:
        """Of the key that lay there at the start."""
        return self._id

    def wrap(self, raw: bytes, label: bytes) -> bytes:
        """Raises KeyStoreAway."""
        return seal(self._same(), raw, label)

    def unwrap(self, sealed: bytes, label: bytes) -> bytes:
        """Raises KeyStoreAway, CipherBroken."""
        return _opened(self._same(), sealed, label)

    def _same(self) -> bytes:
        raw = self._read()
        if soft_key_id(raw) != self._id:
            raise KeyStoreAway()  # another key lies there now: what names the old one must not be tried with it
        return raw

    def _read(self) -> bytes:
        try:
            if self._path.stat().st_mode & OTHERS:
                raise KeyStoreAway()
            text = self._path.read_text()
        except OSError as gone:
            raise KeyStoreAway() from gone
        return key_from_hex(text.strip(), "KEY_ENCRYPTION_FILE")


def key_from_hex(hex_digits: str, name: str) -> bytes:
    """Raises KeyEncryptionKeyWrong unless these are 64 hex digits."""
    try:
        raw = bytes.fromhex(hex_digits)
    except ValueError as broken:
        raise KeyEncryptionKeyWrong(_cure(name)) from broken
    if len(raw) != KEY_BYTES:
        raise KeyEncryptionKeyWrong(_cure(name))
    return raw


def soft_key_id(raw: bytes) -> bytes:
    """A digest of a random key of 32 bytes."""
    return hashlib.sha256(b"key-encryption-key|" + raw).digest()[:ID_BYTES]


def _opened(key: bytes, sealed: bytes, label: bytes) -> bytes:
    try:
        return unseal(key, sealed, label)
    except (InvalidTag, ValueError) as broken:
        raise CipherBroken("tenants", "data_key") from broken


def _cure(name: str) -> str:
    return f"{name} is not 64 hex digits: take it from the key store, or let `make run` make one"
