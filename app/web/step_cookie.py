"""The cookie of a sign-in that is half done, and what this installation is to passkeys."""

from flask import Response, current_app, request

from app.permissions.passkeys import RelyingParty, is_number, relying_party
from app.permissions.sign_in import Visitor
from app.permissions.steps import STEP_LASTS
from app.web.agents import agent


def party() -> RelyingParty | None:
    """Whom passkeys are made for: by the setting, whatever the request says. None where there can be none: where the
    setting allows none, and for whoever came by a number, for which browsers make none either.
    """
    return None if is_number(request.host) else relying_party(current_app.config["SETTINGS"].public_address)


def visitor() -> Visitor:
    """Where this request comes from."""
    return Visitor(request.remote_addr or "", agent())


def step_token() -> str:
    """The token of the step this browser has begun; '' for none."""
    return request.cookies.get(_name(), "")[:100]


def keep_step(answer: Response, token: str) -> Response:
    """Let the browser hold the step's token while the step lives."""
    answer.set_cookie(
        _name(), token, max_age=int(STEP_LASTS.total_seconds()), samesite="Lax", httponly=True,
        secure=current_app.config["TLS"],
    )  # fmt: skip
    return answer


def drop_step(answer: Response) -> Response:
    """The step is over."""
    answer.delete_cookie(_name(), samesite="Lax", httponly=True, secure=current_app.config["TLS"])
    return answer


def _name() -> str:
    return "__Host-step" if current_app.config["TLS"] else "step"
