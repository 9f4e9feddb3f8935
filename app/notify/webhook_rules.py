"""What a webhook is on the wire: the shape of Standard Webhooks, its signature, and when to try again.

webhook-id          the delivery's own id, the same on every attempt: the receiver's idempotency key
webhook-timestamp   seconds since 1970 of this attempt
webhook-signature   v1,<base64 of HMAC-SHA-256 over "id.timestamp.body">, one for each secret that is good, by blanks
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32

#: Events that may be told outside, in the order of the form. `app.jobs.table` says who hears them inside.
KINDS = ("payments.succeeded", "supply.level_changed", "commands.ended", "meters.relay_changed", "notices.failed")
PING = "webhook.ping"

#: After the n-th failure; the eighth attempt is the last, about 23 hours after the first.
BACK_OFF = tuple(
    timedelta(seconds=s) for s in (30, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, int(7.5 * 3600), 8 * 3600)
)  # fmt: skip
ATTEMPTS_MAX = len(BACK_OFF) + 1
#: An endpoint is switched off when so many deliveries in a row were given up.
DEAD_MAX = 5
#: How long the secret before the present one still signs.
OLD_SECRET_LASTS = timedelta(hours=24)


def body_of(kind: str, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    """What is told: kind, when it happened, ids and figures."""
    return {"type": kind, "timestamp": at.isoformat(timespec="milliseconds"), "data": dict(data)}


def written(body: Mapping[str, Any]) -> bytes:
    """The one spelling of a body: what is signed is what is sent, on every attempt."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def signature(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,<base64>` under one secret as it was shown. Raises ValueError for one that is none."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def signed_headers(secrets: Iterable[str], *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of an attempt, signed with every secret that is good."""
    signatures = [signature(s, message_id=message_id, timestamp=timestamp, body=body) for s in secrets]
    return {
        "Content-Type": "application/json",
        ID: message_id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: " ".join(signatures),
    }


def next_try(attempts: int, now: datetime) -> datetime | None:
    """When to try again after so many failures; None when it is given up."""
    return now + BACK_OFF[attempts - 1] if attempts < ATTEMPTS_MAX else None
