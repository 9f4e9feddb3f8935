"""Field encryption and digests.

    key-encryption key (environment)  --wraps-->  one data key per tenant  --encrypts-->  fields

A ciphertext is AES-256-GCM bound to tenant, table, column and row, so it cannot be moved to another place. Searching
goes through blind indexes: keyed digests of the full value and of its last four characters.

    field:  01 | nonce, 12 bytes | ciphertext + tag, 16 bytes
"""

import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
NONCE_BYTES = 12


class CipherBroken(Exception):
    """A ciphertext was altered, moved to another row, or belongs to another key."""


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
    """A tenant's unwrapped data key: 32 bytes, with separate keys derived for digests."""

    raw: bytes

    def encrypt(self, text: str, place: FieldPlace) -> bytes:
        """Encrypt one field for its place."""
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + AESGCM(self.raw).encrypt(nonce, text.encode(), place.label())

    def decrypt(self, blob: bytes, place: FieldPlace) -> str:
        """Read one field back. Raises CipherBroken."""
        try:
            return AESGCM(self.raw).decrypt(blob[1 : 1 + NONCE_BYTES], blob[1 + NONCE_BYTES :], place.label()).decode()
        except (InvalidTag, ValueError) as broken:
            raise CipherBroken(place.table, place.column) from broken

    def blind(self, kind: str, value: str) -> bytes:
        """A keyed digest for exact search, 16 bytes; `kind` separates columns."""
        key = hmac.digest(self.raw, b"blind|" + kind.encode(), "sha256")
        return hmac.digest(key, value.encode(), "sha256")[:16]


def new_wrapped_key(key_encryption_key: bytes, tenant_id: int) -> bytes:
    """Make a data key for a tenant and return it wrapped."""
    nonce = os.urandom(NONCE_BYTES)
    return VERSION + nonce + AESGCM(key_encryption_key).encrypt(nonce, os.urandom(32), b"data-key|%d" % tenant_id)


def unwrap_key(key_encryption_key: bytes, tenant_id: int, wrapped: bytes) -> DataKey:
    """Open a tenant's wrapped data key. Raises CipherBroken for a wrong key-encryption key."""
    try:
        nonce, sealed = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
        return DataKey(AESGCM(key_encryption_key).decrypt(nonce, sealed, b"data-key|%d" % tenant_id))
    except (InvalidTag, ValueError) as broken:
        raise CipherBroken("tenants", "data_key") from broken


def directory_digest(kind: str, value: str) -> bytes:
    """The key under which the directory finds a tenant: SHA-256 over kind and value, 32 bytes.

    Values with little entropy (sign-in names) are no personal data by rule; session and API tokens are random.
    """
    return hashlib.sha256(f"{kind}|{value}".encode()).digest()
