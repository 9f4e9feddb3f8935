"""After the password: the second factor, or setting one up; and a passkey in place of both."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import segno
from flask import Response, flash, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from app.kernel.clock import wall_us
from app.kernel.db import database
from app.kernel.errors import AppError, NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions import totp
from app.permissions.factor_models import SignInStep
from app.permissions.factors import list_factors, secret_of, unconfirmed_totp
from app.permissions.models import User
from app.permissions.passkeys import assertion_options, registration_options
from app.permissions.sign_in import (
    PasskeyUnknown,
    SignInDone,
    answer_enrolment,
    answer_step,
    sign_in_with_passkey,
    step_of,
)
from app.permissions.steps import STEP_LASTS, StepOver, new_challenge
from app.web.console.blueprint import console
from app.web.guards import public
from app.web.known_browsers import remember_browser
from app.web.places import local_address
from app.web.step_cookie import drop_step, party, step_token, visitor
from app.web.words import _, locale

CHALLENGE = "passkey"


@console.get("/sign-in/factor")
@public
def factor_page() -> ResponseReturnValue:
    """Asks for the second factor of the person whose password was right."""
    return _factor_form(None)


@console.post("/sign-in/factor")
@public
def factor() -> ResponseReturnValue:
    """Take a code, a recovery code or a passkey's answer; open the session."""
    try:
        done, going = answer_step(
            database(), token=step_token(), answer=request.form.get("answer", ""), party=party(), visitor=visitor()
        )
    except StepOver as over:
        return start_again(over)
    except AppError as refused:
        return _factor_form(refused)
    return enter(done, going)


@console.get("/sign-in/enrol")
@public
def enrol_page() -> ResponseReturnValue:
    """Shows the key of an authenticator app, and offers a passkey instead."""
    return _enrol_form(None)


@console.post("/sign-in/enrol")
@public
def enrol() -> ResponseReturnValue:
    """Take the first code or a new passkey; open the session and show the recovery codes, once."""
    form = request.form
    session.pop("_user_id", None)  # whoever was signed in at this browser has no part in it
    try:
        done, going, codes = answer_enrolment(
            database(), token=step_token(), answer=form.get("answer", ""),
            name=form.get("name", "").strip() or _("我的验证方式"), party=party(), visitor=visitor(),
        )  # fmt: skip
    except (StepOver, NotFound) as over:
        return start_again(over)
    except AppError as refused:
        return _enrol_form(refused)
    onward = enter(done, going).location or url_for("console.home")
    page = make_response(render_template("sign_in_codes.html", codes=codes, onward=onward))
    return drop_step(remember_browser(page, done))


@console.post("/sign-in/passkey/options")
@public
def passkey_options() -> ResponseReturnValue:
    """What the browser asks of an authenticator, for whoever is about to show a passkey alone. Raises NotFound."""
    own = party()
    if own is None:
        raise NotFound
    challenge = new_challenge()
    session[CHALLENGE] = [urlsafe_b64encode(challenge).decode(), wall_us()]
    return json_answer(assertion_options(own, challenge=challenge, held=[], alone=True))


@console.post("/sign-in/passkey")
@public
def passkey_alone() -> ResponseReturnValue:
    """Take a passkey in place of name, password and code."""
    own, challenge, answer = party(), _asked(), request.form.get("answer", "")
    try:
        if own is None or challenge is None:
            raise PasskeyUnknown
        done = sign_in_with_passkey(database(), answer=answer, challenge=challenge, party=own, visitor=visitor())
    except PasskeyUnknown as refused:
        return start_again(refused)
    return enter(done, request.args.get("next"))


def enter(done: SignInDone, going: str | None) -> Response:
    """Give the browser its session, under a token nobody saw before, and go where the person wanted to go."""
    session.clear()
    session["_user_id"] = done.token
    answer = make_response(redirect(local_address(going) or url_for("console.home")))
    return drop_step(remember_browser(answer, done))


def start_again(over: AppError) -> Response:
    """Back to name and password, with the reason."""
    flash(over.message(locale()), "bad")
    return drop_step(make_response(redirect(url_for("console.sign_in_page"), 303)))


def json_answer(options: str) -> Response:
    """Options of a passkey for the page's script."""
    return Response(options, content_type="application/json")


def qr_code(secret: str, login: str) -> str:
    """The key of an authenticator app as a picture inside the page."""
    uri = totp.provisioning_uri(secret, login=login)
    return str(segno.make(uri, error="m").svg_data_uri(scale=5, border=3, light="#fff"))


def _asked() -> bytes | None:
    """The challenge this browser was given, for five minutes and one answer."""
    kept = session.pop(CHALLENGE, None)
    if not kept or wall_us() - kept[1] > STEP_LASTS.total_seconds() * 1_000_000:
        return None
    return urlsafe_b64decode(kept[0])


def _factor_form(refused: AppError | None) -> ResponseReturnValue:
    try:
        tenant_id, step = step_of(database(), token=step_token(), purpose="second_factor")
    except StepOver as over:
        return start_again(over)
    own = party()
    with unit_of_work(tenant_id) as work:
        kinds = {held.kind for held in list_factors(work, user_id=step.user_id or 0)}
        keys = list_factors(work, user_id=step.user_id or 0, kind="passkey")
        options = (
            assertion_options(own, challenge=step.challenge, held=keys) if own and keys and step.challenge else None
        )
    page = render_template(
        "sign_in_factor.html", kinds=kinds, options=json.loads(options) if options else None,
        refused=refused.message(locale()) if refused else None,
    )  # fmt: skip
    return page, refused.status if refused else 200


def _enrol_form(refused: AppError | None) -> ResponseReturnValue:
    try:
        tenant_id, step = step_of(database(), token=step_token(), purpose="enrol")
        secret, login, options = _offers(tenant_id, step)
    except (StepOver, NotFound) as over:
        return start_again(over)
    page = render_template(
        "sign_in_enrol.html", qr=qr_code(secret, login), key=totp.spaced(secret),
        options=json.loads(options) if options else None, refused=refused.message(locale()) if refused else None,
    )  # fmt: skip
    return page, refused.status if refused else 200


def _offers(tenant_id: int, step: SignInStep) -> tuple[str, str, str | None]:
    """(secret of the app, sign-in name, options of a passkey). Raises NotFound."""
    own = party()
    with unit_of_work(tenant_id) as work:
        user = work.scalars(select(User).where(User.id == step.user_id)).one()
        secret = secret_of(work, unconfirmed_totp(work, user_id=user.id))
        options = (
            registration_options(own, user=user, challenge=step.challenge, held=[]) if own and step.challenge else None
        )
    return secret, user.login, options
