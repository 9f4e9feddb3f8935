"""The second factor once more, before a deed of weight: a code, a recovery code or a passkey, good for five minutes."""

import json

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.kernel.db import database
from app.kernel.errors import AppError, NotFound
from app.permissions.factors import list_factors
from app.permissions.passkeys import assertion_options
from app.permissions.step_up import Here, ask_passkey, show_factor
from app.web.console.blueprint import console
from app.web.console.sign_in_steps import json_answer
from app.web.guards import KEPT_LENGTH_MAX, signed_in
from app.web.places import local_address, operator
from app.web.step_cookie import party
from app.web.words import _, locale


@console.get("/step-up")
@signed_in
def step_up_page() -> ResponseReturnValue:
    """Asks for the factor; who has none is led to where one is set up."""
    return _form(local_address(request.args.get("next")), "", None)


@console.post("/step-up")
@signed_in
def step_up() -> ResponseReturnValue:
    """Take the factor, then go back: to the page asked for, or to a button that sends the kept form again."""
    back, kept = local_address(request.form.get("next")), request.form.get("kept", "")
    own = here()
    try:
        show_factor(database(), own, answer=request.form.get("answer", ""), party=party())
    except AppError as refused:
        return _form(back, kept, refused)
    fields = kept_fields(kept)
    if back and fields is not None:
        return render_template("console/step_up_again.html", back=back, fields=fields)
    if request.form.get("sent"):
        flash(_("已验证。请再提交一次刚才的操作。"), "note")
    return redirect(back or url_for("console.home"), 303)


@console.post("/step-up/options")
@signed_in
def step_up_options() -> ResponseReturnValue:
    """What the browser asks of the person's passkeys. Raises NotFound, FactorTriesSpent."""
    asked, own = party(), here()
    if asked is None:
        raise NotFound
    keys = list_factors(g.session, user_id=own.user_id, kind="passkey")
    challenge = ask_passkey(database(), own, purpose="step_up")
    return json_answer(assertion_options(asked, challenge=challenge, held=keys))


def here() -> Here:
    """The person and session behind this request."""
    found = operator().found
    return Here(found.tenant_id, found.user_id, operator().token, request.remote_addr or "")


def kept_fields(kept: str) -> list[tuple[str, str]] | None:
    """The form that was sent before the factor was asked for; None where there was none, or none that can be read."""
    try:
        said = json.loads(kept) if 0 < len(kept) <= KEPT_LENGTH_MAX else None
        return None if said is None else [(str(name), str(value)) for name, value in said]
    except (ValueError, TypeError, RecursionError):
        return None


def _form(back: str | None, kept: str, refused: AppError | None) -> ResponseReturnValue:
    kinds = operator().found.factor_kinds
    if not kinds:
        return redirect(url_for("console.security"), 303)
    page = render_template(
        "console/step_up.html",
        back=back,
        kept=kept,
        kinds=kinds,
        refused=refused.message(locale()) if refused else None,
    )
    return page, refused.status if refused else 200
