"""The key of the audit log: outside the database, so that who can write there cannot forge a chain that fits.

Every hash names the key it was made with by the key's id, eight hex digits of its SHA-256. AUDIT_KEY makes new hashes;
AUDIT_KEYS_OLD, newest first, only verifies old ones. Each use has a key of its own, derived from the installed one.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from app.kernel.errors import StartRefused
from app.settings import Settings

KEY_BYTES = 32
_CURE = "{name} is not {what}: take it from the key store, or let `make run` make one"


class Use(StrEnum):
    """What is authenticated; a code of one use says nothing about another."""

    RECORD = "record"
    BLOCK = "block"
    ANCHOR = "anchor"
    ARCHIVE = "archive"


class AuditKeyWrong(StartRefused):
    """AUDIT_KEY is not 64 hex digits, or one of AUDIT_KEYS_OLD is not."""


@dataclass(frozen=True, slots=True, repr=False)
class AuditKeys:
    """(key id, key) of every known key, the newest first."""

    ring: tuple[tuple[str, bytes], ...]

    @property
    def current_id(self) -> str:
        """The id of the key that makes new hashes."""
        return self.ring[0][0]

    def age(self, key_id: str) -> int | None:
        """0 for the present key, 1 for the one before; None for a key nobody knows."""
        return next((age for age, (known, _) in enumerate(self.ring) if known == key_id), None)

    def key(self, use: Use, key_id: str | None = None) -> bytes | None:
        """The key of a use; of the present key when none is named. None for a key nobody knows."""
        age = 0 if key_id is None else self.age(key_id)
        return None if age is None else _derived(self.ring[age][1], use)

    def mac(self, use: Use, body: bytes) -> bytes:
        """HMAC-SHA-256 of a body under the present key, 32 bytes."""
        return hmac.digest(_derived(self.ring[0][1], use), body, "sha256")

    def mac_of(self, use: Use, key_id: str, body: bytes) -> bytes | None:
        """What the named key makes of a body; None for a key nobody knows."""
        key = self.key(use, key_id)
        return None if key is None else hmac.digest(key, body, "sha256")


def key_id_of(raw: bytes) -> str:
    """How records and blocks name a key: it says nothing about the key itself."""
    return hashlib.sha256(b"tallyhouse-audit-key|" + raw).hexdigest()[:8]


_installed: AuditKeys | None = None


def use_audit_keys(current: str, old: str = "") -> None:
    """Install the keys of this process: the present one, and those that only verify, newest first, by commas.

    Raises AuditKeyWrong.
    """
    global _installed
    raws = [_read("AUDIT_KEY", "64 hex digits", current)]
    raws += [_read("AUDIT_KEYS_OLD", "keys of 64 hex digits", key.strip()) for key in old.split(",") if key.strip()]
    _installed = AuditKeys(tuple((key_id_of(raw), raw) for raw in raws))


def audit_keys() -> AuditKeys:
    """The installed keys; the settings' when none were installed. Raises AuditKeyWrong."""
    if _installed is None:
        settings = Settings.from_env()
        use_audit_keys(settings.audit_key, settings.audit_keys_old)
    assert _installed is not None
    return _installed


def _read(name: str, what: str, hex_digits: str) -> bytes:
    try:
        raw = bytes.fromhex(hex_digits)
    except ValueError as broken:
        raise AuditKeyWrong(_CURE.format(name=name, what=what)) from broken
    if len(raw) != KEY_BYTES:
        raise AuditKeyWrong(_CURE.format(name=name, what=what))
    return raw


@lru_cache(maxsize=64)
def _derived(raw: bytes, use: Use) -> bytes:
    return hmac.digest(raw, b"tallyhouse-audit|" + use.encode(), "sha256")
