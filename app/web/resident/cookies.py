"""The two cookies of a resident's phone: the session, and the code that is waited for."""

from datetime import timedelta

from flask import Response, current_app, request

from app.permissions.resident_codes import CODE_LASTS
from app.permissions.residents import SESSION_LASTS

SESSION, CODE = "resident", "resident-code"
TOKEN_LENGTH_MAX = 100


def session_token() -> str:
    """The token of this phone's session; '' for none."""
    return request.cookies.get(_name(SESSION), "")[:TOKEN_LENGTH_MAX]


def code_token() -> str:
    """The token of the code this phone waits for; '' for none."""
    return request.cookies.get(_name(CODE), "")[:TOKEN_LENGTH_MAX]


def keep_session(answer: Response, token: str) -> Response:
    """Signed in; the code's cookie has done its work."""
    answer.delete_cookie(_name(CODE), samesite="Lax", httponly=True, secure=current_app.config["TLS"])
    return _keep(answer, SESSION, token, SESSION_LASTS)


def keep_code(answer: Response, token: str) -> Response:
    """A code was asked for."""
    return _keep(answer, CODE, token, CODE_LASTS)


def drop_session(answer: Response) -> Response:
    """Signed out."""
    answer.delete_cookie(_name(SESSION), samesite="Lax", httponly=True, secure=current_app.config["TLS"])
    return answer


def _keep(answer: Response, name: str, token: str, lasts: timedelta) -> Response:
    answer.set_cookie(
        _name(name), token, max_age=int(lasts.total_seconds()), samesite="Lax", httponly=True,
        secure=current_app.config["TLS"],
    )  # fmt: skip
    return answer


def _name(name: str) -> str:
    return f"__Host-{name}" if current_app.config["TLS"] else name
