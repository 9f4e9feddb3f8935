"""Browsers that somebody signed in with before: what strangers try from the same office must not keep their owner waiting.

A signed cookie names, for at most eight people, a random number of this browser for each. Failures of such a browser are
counted under its number and those of everybody else under their address.
"""

import secrets
from typing import Any

from flask import Response, current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer

from app.permissions.sessions import KEPT
from app.permissions.sign_in import SignInDone, person_key

PEOPLE_MAX = 8
LENGTH_MAX = 1_500


def known_here() -> dict[str, str]:
    """This browser's number by person, as `sign_in` takes it; nothing for a cookie that is not ours or too old."""
    try:
        said: Any = _signer().loads(request.cookies.get(_name(), "")[:LENGTH_MAX], max_age=int(KEPT.total_seconds()))
        return {str(person): str(number)[:32] for person, number in said}
    except (BadData, ValueError, TypeError):
        return {}


def remember_browser(answer: Response, done: SignInDone) -> Response:
    """From now on this browser is one of the person's."""
    known = known_here()
    person = person_key(done.tenant_id, done.user_id)
    number = known.pop(person, secrets.token_hex(8))
    latest = [*known.items(), (person, number)][-PEOPLE_MAX:]
    answer.set_cookie(
        _name(), _signer().dumps(latest), max_age=int(KEPT.total_seconds()), samesite="Lax", httponly=True,
        secure=current_app.config["TLS"],
    )  # fmt: skip
    return answer


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.config["SECRET_KEY"]), salt="known-browser")


def _name() -> str:
    return "__Host-known" if current_app.config["TLS"] else "known"
