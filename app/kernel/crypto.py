"""Field encryption and digests.

    key-encryption key (key store)  --wraps-->  the tenant's data keys, versions 1, 2, 3 …  --encrypt-->  fields

A ciphertext is AES-256-GCM bound to tenant, table, column and row, so it cannot be moved to another place. Searching
goes through blind indexes: keyed digests of the full value and of its last four characters. Their key is derived from
one version of the data key and changes only when that is asked for.

    field, v2:  02 | version of the data key, 2 bytes | nonce, 12 bytes | ciphertext + tag, 16 bytes
    field, v1:  01 | nonce, 12 bytes | ciphertext + tag, 16 bytes                    version 1; read, never written
"""

import hashlib
import hmac
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.kernel.errors import AppError

log = logging.getLogger(__name__)
OLD_FORMAT, FORMAT = b"\x01", b"\x02"
VERSION_BYTES = 2
NONCE_BYTES = 12
KEY_BYTES = 32


class CipherBroken(AppError):
    """A ciphertext was altered, moved to another row, or belongs to another key."""

    code, status = "cipher_broken", 500
    message_zh = (
        "加密数据（{table}.{column}）无法解开：内容被改动、移动过，或密钥不符。请联系系统管理员核查，不要重新录入覆盖。"
    )
    message_en = (
        "Encrypted data ({table}.{column}) cannot be opened: it was altered or moved, or the key is another one."
        " Have the administrator look into it before anybody types it anew."
    )

    def __init__(self, table: str, column: str) -> None:
        super().__init__(table=table, column=column)


@dataclass(frozen=True, slots=True)
class FieldPlace:
    """Where a ciphertext lives; part of what is authenticated. `row` is the row's public id or another fixed name."""

    tenant_id: int
    table: str
    column: str
    row: str

    def label(self) -> bytes:
        """The associated data of this place."""
        return f"{self.tenant_id}|{self.table}|{self.column}|{self.row}".encode()


@dataclass(frozen=True, slots=True, repr=False)
class DataKey:
    """A tenant's unwrapped data keys by version, 32 bytes each: the newest encrypts, all of them decrypt.

    `blind_versions` are those that digests are derived from: one, or while digests are being changed the new one and
    the one before.
    """

    raw_by_version: Mapping[int, bytes]
    blind_versions: tuple[int, ...] = (1,)

    @classmethod
    def of(cls, raw: bytes) -> "DataKey":
        """A tenant's first key, alone."""
        return cls({1: raw})

    @property
    def version(self) -> int:
        """The version that encrypts."""
        return max(self.raw_by_version)

    def encrypt(self, text: str, place: FieldPlace) -> bytes:
        """Encrypt one field for its place, under the newest version."""
        head = FORMAT + self.version.to_bytes(VERSION_BYTES, "big")
        return head + seal(self.raw_by_version[self.version], text.encode(), head + place.label())

    def decrypt(self, blob: bytes, place: FieldPlace) -> str:
        """Read one field back, whichever version wrote it. Raises CipherBroken."""
        size = 1 if blob[:1] == OLD_FORMAT else 1 + VERSION_BYTES
        head, sealed = blob[:size], blob[size:]
        try:
            raw = self.raw_by_version[version_of(blob)]
            return unseal(raw, sealed, place.label() if size == 1 else head + place.label()).decode()
        except (InvalidTag, ValueError, KeyError) as broken:
            log.warning("%s.%s of row %s does not open", place.table, place.column, place.row)
            raise CipherBroken(place.table, place.column) from broken

    def blind(self, kind: str, value: str) -> bytes:
        """A keyed digest for exact search as it is written today, 16 bytes; `kind` separates columns."""
        return self.blinds(kind, value)[0]

    def blinds(self, kind: str, value: str) -> list[bytes]:
        """Every digest under which the value may be found today; the one that is written comes first."""
        keys = [hmac.digest(self.raw_by_version[v], b"blind|" + kind.encode(), "sha256") for v in self.blind_versions]
        return [hmac.digest(key, value.encode(), "sha256")[:16] for key in keys]


def version_of(blob: bytes) -> int:
    """The version of the data key that a field names. Raises ValueError for another format."""
    if blob[:1] == OLD_FORMAT:
        return 1
    if blob[:1] != FORMAT or len(blob) <= VERSION_BYTES:
        raise ValueError("not a field")
    return int.from_bytes(blob[1 : 1 + VERSION_BYTES], "big")


def seal(key: bytes, secret: bytes, label: bytes) -> bytes:
    """Nonce, ciphertext and tag of a secret, bound to a label."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, secret, label)


def unseal(key: bytes, sealed: bytes, label: bytes) -> bytes:
    """What was sealed. Raises InvalidTag or ValueError."""
    return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], label)


def directory_digest(kind: str, value: str) -> bytes:
    """The key under which the directory finds a tenant: SHA-256 over kind and value, 32 bytes.

    Values with little entropy (sign-in names) are no personal data by rule; session and API tokens are random.
    """
    return hashlib.sha256(f"{kind}|{value}".encode()).digest()
