"""How large and how deep what is sent may be. What is larger is refused by what it says of itself, or where it goes on too
long; nothing of it is kept. Files go to disk from half a megabyte on.
"""

from typing import Any

from flask import Flask, request

from app.kernel.errors import AppError

MIB = 1024 * 1024
#: Every form without a file: a thousand times what people type.
FORM_MAX = MIB
#: View → bytes, where another size is meant (docs/api.md).
BODY_MAX = {
    "api.take": 8 * MIB,
    "console.readings_load": 8 * MIB,
    "console.onboarding_load": 8 * MIB,
    "sms.take_report": 128 * 1024,
}
#: A batch has three levels: itself, its list, its rows.
DEPTH_MAX = 8


class BodyTooDeep(AppError):
    """Brackets within brackets beyond what anybody means."""

    code, status = "body_too_deep", 400
    message_zh = "请求体嵌套过深（最多 {depth_max} 层）。请按 /api/v1/openapi.json 修改。"
    message_en = "The body is nested too deeply ({depth_max} levels at most); see /api/v1/openapi.json."


def install_bodies(app: Flask) -> None:
    """Bound every request before anything of it is read. Called before the guards are installed."""
    app.before_request(_bound)


def _bound() -> None:
    request.max_content_length = BODY_MAX.get(request.endpoint or "", FORM_MAX)


def refuse_deep(said: Any) -> None:
    """Raises BodyTooDeep for a document of more levels than DEPTH_MAX."""
    level = [said] if isinstance(said, (dict, list)) else []
    for _depth in range(DEPTH_MAX):
        if not level:
            return
        inner = [part.values() if isinstance(part, dict) else part for part in level]
        level = [value for values in inner for value in values if isinstance(value, (dict, list))]
    if level:
        raise BodyTooDeep(depth_max=DEPTH_MAX)
