"""Codes of an authenticator app: RFC 6238, six digits, thirty seconds, SHA-1. Arithmetic only."""

import hmac
from datetime import datetime

import pyotp

ISSUER = "Tallyhouse"
DIGITS, STEP_S = 6, 30
#: Clocks of phones are off by a little: the step before and the one after count too.
WINDOW = (0, -1, 1)


def new_secret() -> str:
    """A shared secret of 160 bits, base32."""
    return pyotp.random_base32()


def provisioning_uri(secret: str, *, login: str) -> str:
    """What the QR code says."""
    return pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name=ISSUER)


def spaced(secret: str) -> str:
    """The secret for typing, in groups of four."""
    return " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))


def code_at(secret: str, step: int) -> str:
    """The code of a step."""
    return pyotp.HOTP(secret).at(step)


def step_at(instant: datetime) -> int:
    """The thirty-second step an instant lies in."""
    return int(instant.timestamp()) // STEP_S


def plain_code(typed: str) -> str | None:
    """Six ASCII digits, blanks between them forgiven; None for anything else."""
    code = "".join(typed.split())
    return code if len(code) == DIGITS and code.isascii() and code.isdigit() else None


def find_step(secret: str, code: str, *, now: datetime, last_step: int | None) -> int | None:
    """The step a code is of, later than the last one taken; None when it is of none within the window."""
    current, found = step_at(now), None
    for offset in WINDOW:
        step = current + offset
        # All three are compared, so that the time says nothing about which one it was.
        if hmac.compare_digest(code_at(secret, step), code) and (last_step is None or step > last_step):
            found = step if found is None else found
    return found
