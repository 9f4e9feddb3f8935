"""Authenticators made of software: an app that shows codes, and a key that answers WebAuthn challenges like a browser."""

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from app.kernel import clock
from app.kernel.clock import wall_now
from app.permissions import totp

ORIGIN, RP_ID = "https://tally.example", "tally.example"
PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def stand_mid_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock stand in the middle of a thirty-second step, so that no test depends on where in it it began."""
    step_us = totp.STEP_S * 1_000_000
    now_us = clock.wall_us() // step_us * step_us + step_us // 2
    monkeypatch.setattr(clock, "wall_us", lambda: now_us)


def code(secret: str, *, steps: int = 0) -> str:
    """What the app shows now, or so many steps from now."""
    return totp.code_at(secret, totp.step_at(wall_now()) + steps)


def b64(raw: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw(text: str) -> bytes:
    """The bytes of base64url."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class SoftKey:
    """A passkey on P-256."""

    origin: str = ORIGIN
    rp_id: str = RP_ID
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    handle: bytes = b""
    count: int = 0
    verifies: bool = True

    def create(self, options: dict[str, Any], **wrong: Any) -> str:
        """The answer to `navigator.credentials.create`; `wrong` replaces parts of the client data."""
        self.handle = raw(options["user"]["id"])
        attestation = cbor2.dumps(
            {"fmt": "none", "attStmt": {}, "authData": self._auth_data(ATTESTED) + self._public()}
        )
        client = self._client("webauthn.create", options["challenge"], wrong)
        return self._said({"clientDataJSON": b64(client), "attestationObject": b64(attestation)})

    def get(self, options: dict[str, Any], **wrong: Any) -> str:
        """The answer to `navigator.credentials.get`, the counter one higher each time."""
        self.count += 1
        client, data = self._client("webauthn.get", options["challenge"], wrong), self._auth_data(0)
        signature = self.private.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        response = {"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature)}
        return self._said(response | {"userHandle": b64(self.handle)})

    def _client(self, kind: str, challenge: str, wrong: dict[str, Any]) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False} | wrong
        return json.dumps(said).encode()

    def _auth_data(self, flags: int) -> bytes:
        flags |= PRESENT | (VERIFIED if self.verifies else 0)
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _public(self) -> bytes:
        numbers = self.private.public_key().public_numbers()
        key = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        return bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(key)

    def _said(self, response: dict[str, str]) -> str:
        name = b64(self.credential_id)
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})
