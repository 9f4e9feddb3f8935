"""The residents' blueprint and its guard: another door than the console's, with a key of its own.

Whatever an operator's cookie says is not read here, and a resident's cookie is not read on the console. The order is: plain
text → the property's page is open → forgery → signed in here. What is not theirs and what is not there answer 404 alike.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from flask import Blueprint, abort, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import AnonymousUserMixin

from app.kernel.actor import Actor
from app.kernel.db import database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.residents import find_resident, place_of_page, tenant_of_page, touch_session
from app.web.guards import SAFE, csrf, keep_open, refuse_controls
from app.web.resident.cookies import session_token

View = TypeVar("View", bound=Callable[..., Any])
#: What a view names that is for residents of the place.
RESIDENT = "resident"

resident = Blueprint("resident", __name__, url_prefix="/r/<uuid:place>")


def residents_only(view: View) -> View:
    """Only who signed in as a resident of this property; others are sent to the phone number."""
    view.permission = RESIDENT  # type: ignore[attr-defined]
    return view


def by_resident() -> Actor:
    """Who looks, as the audit log knows them."""
    return Actor(RESIDENT, g.resident.homes.parties[0].id, address=request.remote_addr)


@resident.url_value_preprocessor
def _pull_place(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    g.place_id = (values or {}).pop("place", None)


@resident.url_defaults
def _push_place(_endpoint: str, values: dict[str, Any]) -> None:
    if "place_id" in g:
        values.setdefault("place", g.place_id)


@resident.before_request
def _admit() -> ResponseReturnValue | None:
    g._login_user = AnonymousUserMixin()
    view = current_app.view_functions[str(request.endpoint)]
    if not hasattr(view, "permission"):
        abort(403, f"{request.endpoint} names nobody")
    refuse_controls(request.args.items(multi=True))
    _open_place()
    if request.method not in SAFE:
        refuse_controls(request.form.items(multi=True))
        csrf.protect()
    if view.permission == RESIDENT and g.resident is None:
        return redirect(url_for("resident.sign_in_page"), 303)
    return None


def _open_place() -> None:
    """The property, its tenant and who looks, in the request's unit of work. Raises NotFound."""
    g.tenant_id = tenant_of_page(database(), public_id=g.place_id)
    stack = ExitStack()
    g.session = stack.enter_context(unit_of_work(g.tenant_id))
    keep_open(stack)
    g.place = place_of_page(g.session, public_id=g.place_id)
    token = session_token()
    g.resident = find_resident(g.session, place=g.place, token=token) if token else None
    if g.resident is not None and g.resident.is_stale:
        with database().session() as own, own.begin():  # a GET rolls its unit of work back
            touch_session(own, session_id=g.resident.session_id)
