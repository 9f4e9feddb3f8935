"""The cookie by which a registered counter PC is known."""

from flask import Response, current_app, request

from app.permissions.counter_pcs import LASTS


def pc_token() -> str:
    """The token of this computer; '' when it was never registered."""
    return request.cookies.get(_name(), "")[:100]


def keep_pc(answer: Response, token: str) -> Response:
    """Let this browser be known as a counter PC."""
    answer.set_cookie(
        _name(), token, max_age=int(LASTS.total_seconds()), samesite="Lax", httponly=True,
        secure=current_app.config["TLS"],
    )  # fmt: skip
    return answer


def drop_pc(answer: Response) -> Response:
    """It is one no longer."""
    answer.delete_cookie(_name(), samesite="Lax", httponly=True, secure=current_app.config["TLS"])
    return answer


def _name() -> str:
    return "__Host-counter-pc" if current_app.config["TLS"] else "counter-pc"
