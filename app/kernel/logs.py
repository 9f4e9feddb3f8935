"""Lines of the log: one record, one line; no control character, no personal number, no value that somebody typed.

What people type never belongs into a message. This is the second belt: what slips into one, or into an exception that was
not foreseen, cannot begin a line that looks like another's, and carries no phone, ID or account number.
"""

import logging
import re
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

#: Loggers of servers that carry the product, with handlers of their own.
CARRIERS = ("gunicorn.error", "rq.worker", "rq.job")
FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"

#: Everything that ends a line, moves a cursor or turns text around.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
#: Mobile numbers, ID numbers, account numbers: eleven digits that begin like a mobile, or fifteen and more.
_PERSONAL = re.compile(r"(?<![0-9A-Za-z])(?:1[3-9]\d{9}|\d{17}[\dXx]|\d{15,19})(?![0-9A-Za-z])")
#: Exceptions whose message repeats the value they choke on.
_REPEATS = re.compile(
    r"^((?:[\w.]+\.)?(?:ValueError|KeyError|\w*UnicodeError|\w*(?:Decode|Encode)Error|InvalidOperation|DataError|StatementError"
    r"|IntegrityError|\w+Violation|\w*InvalidTextRepresentation|StringDataRightTruncation|NumericValueOutOfRange)): .*",
    re.DOTALL,
)
#: Lines in which PostgreSQL repeats values.
_DETAIL = re.compile(r"^(DETAIL|CONTEXT|HINT|LINE \d+): .*")


def plain(text: str) -> str:
    """The text on one line, control characters spelled out, personal numbers cut to their last two digits."""
    spelled = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return _PERSONAL.sub(lambda found: f"…{found[0][-2:]}", spelled)


class LineFormatter(logging.Formatter):
    """Message and traceback in a form that can be read line by line; continued lines are indented and marked."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(FORM)

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a marked line for each of a traceback."""
        said = logging.makeLogRecord(record.__dict__)
        said.msg, said.args, said.exc_text = plain(record.getMessage()), None, None
        return super().format(said)

    def formatException(self, ei: Any) -> str:
        """The traceback without the values that exceptions repeat."""
        return "\n".join(f"  | {plain(line)}" for line in _lines(traceback.format_exception(*ei)))

    def formatStack(self, stack_info: str) -> str:
        """As a traceback."""
        return "\n".join(f"  | {plain(line)}" for line in stack_info.split("\n"))


def install_logs(level: str) -> None:
    """Let this process log through LineFormatter to standard error. Whoever has handlers already keeps them."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(LineFormatter())
        root.addHandler(handler)
        root.setLevel(logging.WARNING)
        logging.getLogger("app").setLevel(level)
    for name in CARRIERS:
        for carried in logging.getLogger(name).handlers:
            carried.setFormatter(LineFormatter())


def _lines(parts: list[str]) -> Iterator[str]:
    for part in parts:
        said = _REPEATS.sub(r"\1: (value not logged)", part.rstrip("\n"))
        yield from (_DETAIL.sub(r"\1: (not logged)", line) for line in said.split("\n"))
