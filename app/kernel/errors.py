"""Expected refusals: each has a name, a code, an HTTP status and words in both languages.

A refusal is raised by the code that decides it and is declared beside that code. The shells turn it into a page, an API
body or a line on the terminal; nothing below them formats one.
"""

from typing import ClassVar


class AppError(Exception):
    """Base of every expected refusal. `message_zh` and `message_en` are `str.format` templates over the details."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    message_zh: ClassVar[str] = "操作未完成。"
    message_en: ClassVar[str] = "The operation was not carried out."

    def __init__(self, **details: object) -> None:
        """`details` fill the message templates and travel with the API error body; they hold no personal data."""
        super().__init__(self.code)
        self.details = details

    def message(self, locale: str = "zh") -> str:
        """The sentence for a person: what happened and what to do. Unknown locales read Chinese."""
        template = self.message_en if locale.startswith("en") else self.message_zh
        return template.format(**self.details)

    def __str__(self) -> str:
        return f"{self.code}: {self.message('en')}"


class NotFound(AppError):
    """Not there, or not yours: both answer alike, so that an answer tells nothing about others."""

    code = "not_found"
    status = 404
    message_zh = "找不到该记录，可能已被移除或不在您的权限范围内。请返回上一页重新选择。"
    message_en = "Nothing was found here. It may have been removed or lie outside your scope. Go back and choose again."


class Forbidden(AppError):
    """The actor is known and lacks the permission for the deed."""

    code = "forbidden"
    status = 403
    message_zh = "您没有此项权限（{permission}）。请联系集团管理员授权。"
    message_en = "You do not hold this permission ({permission}). Ask your group administrator."


class Invalid(AppError):
    """A value that cannot be accepted; `field` names it and `reason` says why."""

    code = "invalid"
    status = 422
    message_zh = "{field}：{reason}"
    message_en = "{field}: {reason}"


class StartRefused(Exception):
    """A process must not run like this; the message says in one line what to do."""
