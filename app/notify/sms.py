"""The SMS provider's wire format, both directions, and the client that speaks it.

    POST {base}/v1/messages                        we → provider
      Content-Type: application/json
      Idempotency-Key: <message key>               the same key is one message, however often it is sent
      X-Sms-Timestamp: <seconds since 1970>
      X-Sms-Signature: hex HMAC-SHA256(secret, timestamp + "\\n" + body)
      {"to": "+8613800000000", "text": "…", "reference": "<tenant>.<notice>"}
    200 {"message_id": "m-…"}                      accepted, not delivered
    4xx {"error": "<code>"}                        never deliverable as it is (429: try later)
    5xx, no answer                                 try again with the same key

    POST {report url}                              provider → us, same two signature headers
      {"message_id": "m-…", "reference": "<tenant>.<notice>", "status": "delivered"|"failed",
       "detail": "", "at": "2026-07-15T02:00:00Z"}
    204

A signature is good for five minutes on the wall clock, in both directions.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass

import httpx

from app.kernel.clock import EPOCH, wall_now
from app.kernel.errors import AppError

TIMESTAMP = "X-Sms-Timestamp"
SIGNATURE = "X-Sms-Signature"
SKEW_S_MAX = 300
_TIMEOUT = httpx.Timeout(5.0, connect=2.0)


class SmsRefused(AppError):
    """The provider will never send this message: a bad number, a blocked text."""

    code, status = "sms_refused", 422
    message_zh = "短信服务商拒绝发送（{error}）。请核对手机号后重新通知。"
    message_en = "The SMS provider refused the message ({error}). Check the phone number and notify again."


class SmsUnavailable(AppError):
    """No answer, or one that says later: the same message is sent again with the same key."""

    code, status = "sms_unavailable", 503
    message_zh = "短信服务暂时不可用（{error}），系统会自动重发。"
    message_en = "The SMS provider is away for the moment ({error}). The message is sent again by itself."


class SignatureWrong(AppError):
    """A delivery report that the provider did not sign, signed with another secret, or too long ago."""

    code, status = "sms_signature_wrong", 401
    message_zh = "短信回执签名无效，已拒绝。"
    message_en = "The delivery report is not signed as agreed and was refused."


@dataclass(frozen=True, slots=True)
class Sms:
    """A message to send. `reference` comes back in the delivery report; `key` makes it one message."""

    to: str
    text: str
    key: str
    reference: str


def sign(secret: str, *, timestamp: str, body: bytes) -> str:
    """The signature of a body at a timestamp, hex."""
    return hmac.new(secret.encode(), timestamp.encode() + b"\n" + body, hashlib.sha256).hexdigest()


def signed_headers(secret: str, body: bytes) -> dict[str, str]:
    """The two signature headers for a body sent now."""
    timestamp = str(now_s())
    return {TIMESTAMP: timestamp, SIGNATURE: sign(secret, timestamp=timestamp, body=body)}


def check_signature(secret: str, *, timestamp: str | None, signature: str | None, body: bytes) -> None:
    """Is this body signed with the secret, within five minutes of now? Raises SignatureWrong."""
    stamp = timestamp or ""
    fresh = stamp.isascii() and stamp.isdigit() and len(stamp) < 12 and abs(now_s() - int(stamp)) < SKEW_S_MAX
    good = hmac.compare_digest(sign(secret, timestamp=stamp, body=body).encode(), (signature or "").encode())
    if not (secret and fresh and good):
        raise SignatureWrong()


def now_s() -> int:
    """Whole seconds of the wall clock: what both sides sign."""
    return int((wall_now() - EPOCH).total_seconds())


class HttpSms:
    """A provider that speaks the format above."""

    def __init__(self, base_url: str, secret: str) -> None:
        self._secret = secret
        self._client = httpx.Client(base_url=base_url, timeout=_TIMEOUT, trust_env=False)

    def send(self, sms: Sms) -> str:
        """Hand over a message; returns the provider's message id. Raises SmsRefused, SmsUnavailable."""
        body = json.dumps({"to": sms.to, "text": sms.text, "reference": sms.reference}, ensure_ascii=False).encode()
        headers = signed_headers(self._secret, body) | {
            "Content-Type": "application/json",
            "Idempotency-Key": sms.key,
        }
        try:
            answer = self._client.post("/v1/messages", content=body, headers=headers)
        except httpx.HTTPError as lost:
            raise SmsUnavailable(error=type(lost).__name__) from lost
        return _read(answer)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def _read(answer: httpx.Response) -> str:
    if answer.status_code == 429 or answer.status_code >= 500:
        raise SmsUnavailable(error=str(answer.status_code))
    try:
        said = answer.json()
    except ValueError as garbled:
        raise SmsUnavailable(error="garbled") from garbled
    if answer.status_code != 200:
        raise SmsRefused(error=str(said.get("error", answer.status_code)))
    return str(said["message_id"])
