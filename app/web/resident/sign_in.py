"""A resident signs in: a phone number, six digits, thirty days on this phone."""

from typing import cast

from flask import Response, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.kernel.db import database
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.permissions.resident_codes import ResidentCodeOver, ask_code, enter_code
from app.permissions.residents import end_session
from app.web.guards import public, release_work
from app.web.resident.blueprint import by_resident, resident, residents_only
from app.web.resident.cookies import code_token, drop_session, keep_code, keep_session
from app.web.words import locale

PHONE_LENGTH_MAX, CODE_LENGTH_MAX = 30, 12


@resident.get("/sign-in")
@public
def sign_in_page() -> ResponseReturnValue:
    """Asks for the phone number."""
    return render_template("resident/sign_in.html", phone="", refused=None)


@resident.post("/sign-in")
@public
def sign_in_ask() -> ResponseReturnValue:
    """Leave word for a worker; the answer is the same whoever has the number."""
    release_work()
    phone = request.form.get("phone", "").strip()[:PHONE_LENGTH_MAX]
    try:
        with unit_of_work(g.tenant_id) as session:
            token = ask_code(session, place=g.place, phone=phone, address=request.remote_addr or "")
    except AppError as refused:
        page = render_template("resident/sign_in.html", phone=phone, refused=refused.message(locale()))
        return page, refused.status
    return keep_code(_to("resident.sign_in_code_page"), token)


@resident.get("/sign-in/code")
@public
def sign_in_code_page() -> ResponseReturnValue:
    """Asks for the six digits."""
    if not code_token():
        return redirect(url_for("resident.sign_in_page"), 303)
    return render_template("resident/code.html", refused=None)


@resident.post("/sign-in/code")
@public
def sign_in_code() -> ResponseReturnValue:
    """The digits; right ones open a session on this phone."""
    release_work()
    typed = "".join(request.form.get("code", "").split())[:CODE_LENGTH_MAX]
    try:
        token = enter_code(
            database(), tenant_id=g.tenant_id, place=g.place, token=code_token(), typed=typed,
            address=request.remote_addr or "",
        )  # fmt: skip
    except ResidentCodeOver as over:
        page = render_template("resident/sign_in.html", phone="", refused=over.message(locale()))
        return page, over.status
    except AppError as refused:
        return render_template("resident/code.html", refused=refused.message(locale())), refused.status
    return keep_session(_to("resident.home"), token)


@resident.post("/sign-out")
@residents_only
def sign_out() -> ResponseReturnValue:
    """Here, or on every phone of this number."""
    everywhere = request.form.get("everywhere") == "1"
    end_session(g.session, resident=g.resident, by=by_resident(), everywhere=everywhere)
    return drop_session(_to("resident.sign_in_page"))


def _to(endpoint: str) -> Response:
    return cast(Response, redirect(url_for(endpoint), 303))
