"""Nothing typed begins a line of the log, and no personal number stands in one."""

import logging
import sys

import pytest

from app.kernel.logs import LineFormatter, plain


@pytest.mark.parametrize(
    ("typed", "logged"),
    [
        ("账户 A-0101", "账户 A-0101"),
        ("a\r\nb", "a\\u000d\\u000ab"),
        ("\x1b[31mred\x07", "\\u001b[31mred\\u0007"),
        ("a\u2028b\u0085c\u202ed", "a\\u2028b\\u0085c\\u202ed"),
        ("tel 13912345678.", "tel …78."),
        ("id 11010519491231002X", "id …2X"),
        ("card 6222020200112230123", "card …23"),
        ("meter 202607150001", "meter 202607150001"),
        ("tenant 7, 1790000000 s", "tenant 7, 1790000000 s"),
        ("0a13912345678bc", "0a13912345678bc"),
    ],
)
def test_a_message_is_one_line_without_personal_numbers(typed: str, logged: str) -> None:
    assert plain(typed) == logged


def line_of(message: str, *arguments: object, failure: Exception | None = None) -> str:
    """A record as it is written."""
    info = None
    if failure is not None:
        try:
            raise failure
        except type(failure):
            info = sys.exc_info()
    return LineFormatter().format(logging.LogRecord("app.web", logging.WARNING, "", 0, message, arguments, info))


def test_a_forged_line_stays_inside_its_own() -> None:
    said = line_of("refused %s", "x\n2026-07-15 10:00:00 INFO app.web: user:1 signed in")
    assert said.count("\n") == 0
    assert " WARNING app.web: refused x\\u000a2026" in said


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("invalid literal for int(): '张三 13912345678'\n2026 INFO forged"),
        KeyError("张三"),
        UnicodeEncodeError("utf-8", "张三", 0, 1, "surrogates not allowed"),
    ],
)
def test_an_exception_that_repeats_its_value_is_logged_without_it(failure: Exception) -> None:
    said = line_of("unexpected", failure=failure)
    assert type(failure).__name__ in said
    for typed in ("张三", "13912345678", "forged"):
        assert typed not in said.split("Error: ")[-1]
    assert all(line.startswith("  | ") for line in said.split("\n")[1:])


def test_what_the_database_repeats_is_not_logged() -> None:
    said = line_of("unexpected", failure=RuntimeError("refused\nDETAIL: Key (login)=(zhang.san) already exists."))
    assert "zhang.san" not in said.split("RuntimeError")[-1]
    assert "DETAIL: (not logged)" in said
