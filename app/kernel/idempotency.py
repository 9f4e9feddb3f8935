"""Key and fingerprint: the same request twice has one effect and the same answer; another request is refused."""

import hashlib
import json
from typing import Any

from app.kernel.errors import AppError


class KeyReused(AppError):
    """An idempotency key came back with another request."""

    code = "idempotency_key_reused"
    status = 409
    message_zh = "同一请求编号已用于另一笔内容不同的操作，本次未执行。请刷新页面后重新提交。"
    message_en = (
        "This request number was already used for a different request; nothing was done. Reload and submit again."
    )


def fingerprint(**facts: Any) -> bytes:
    """SHA-256 of the canonical JSON of what makes a request that request. Dates and UUIDs count as their text."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).digest()
