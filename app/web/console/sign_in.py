"""Sign-in, sign-out and what a person likes to see: language and light."""

from flask import current_app, g, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from app.demo.signins import SIGN_INS, demo_allowed, is_closed, password_of
from app.kernel.db import database
from app.permissions.passwords import SignInBusy
from app.permissions.policy import Permission
from app.permissions.sessions import end_session, end_token
from app.permissions.sign_in import SignInDelayed, SignInDone, SignInRefused
from app.permissions.sign_in import sign_in as open_session
from app.permissions.view_as import end_view
from app.web.agents import agent
from app.web.console.blueprint import console
from app.web.console.sign_in_steps import enter
from app.web.guards import public
from app.web.known_browsers import known_here
from app.web.places import actor, local_address, operator
from app.web.role_words import role_words
from app.web.step_cookie import keep_step, party
from app.web.words import LOCALES, THEMES, _, locale

#: Where a person lands: the first page of this list that their role opens.
LANDINGS = (
    (Permission.OVERVIEW_GROUP_READ, "console.today"),
    (Permission.MONEY_TOPUP_SELL, "console.counter"),
    (Permission.SUPPLY_EMERGENCY_GIVE, "console.emergency"),
    (Permission.PROPERTY_WALL_READ, "console.wall"),
    (Permission.METER_METER_READ, "console.devices"),
    (Permission.COLLECTION_CALL_READ, "console.collection"),
    (Permission.USER_ACCOUNT_READ, "console.people"),
)
PREFERENCE_LASTS_S = 365 * 86_400


@console.get("/sign-in")
@public
def sign_in_page() -> ResponseReturnValue:
    """The form, or straight on for who is signed in already."""
    if current_user.is_authenticated:
        return redirect(landing())
    return _form("", None)


@console.post("/sign-in")
@public
def sign_in() -> ResponseReturnValue:
    """Check the password, open a server-side session, go where the person wanted to go."""
    leave_old_session()  # whoever was signed in here is not any more, whatever comes of this
    login, going = request.form.get("login", "").strip(), local_address(request.args.get("next"))
    try:
        if is_closed(database(), login):
            raise SignInRefused()
        done = open_session(
            database(), login=login, password=request.form.get("password", ""), address=request.remote_addr or "",
            agent=agent(), going=going, known=known_here(),
        )  # fmt: skip
    except (SignInRefused, SignInDelayed, SignInBusy) as refused:
        answer = make_response(_form(login, refused.message(locale())), refused.status)
        if "wait_s" in refused.details:
            answer.headers["Retry-After"] = str(refused.details["wait_s"])
        return answer
    if isinstance(done, SignInDone):
        return enter(done, going)
    session.clear()
    page = "console.factor_page" if done.purpose == "second_factor" else "console.enrol_page"
    return keep_step(make_response(redirect(url_for(page), 303)), done.step)


@console.post("/sign-out")
@public
def sign_out() -> ResponseReturnValue:
    """End the session on the server; the cookie is worth nothing afterwards."""
    if current_user.is_authenticated:
        stop_viewing()
        end_session(g.session, token=operator().token)
    session.clear()
    return redirect(url_for("console.sign_in_page"))


def stop_viewing() -> None:
    """End looking through somebody else's eyes, and note that it ended."""
    viewed = operator().found.view_as_user_id
    if viewed is not None:
        end_view(g.session, token=operator().token, user_id=viewed, by=actor())


def leave_old_session() -> None:
    """End what this browser was signed in with, on the server too, before anybody is looked up."""
    token = session.pop("_user_id", None)
    if token:
        end_token(database(), token=str(token))


@console.post("/preferences")
@public
def preferences() -> ResponseReturnValue:
    """Remember language or light on this computer, and go back to the page."""
    answer = redirect(local_address(request.form.get("back")) or url_for("console.home"))
    for name, known in (("locale", LOCALES), ("theme", THEMES)):
        chosen = request.form.get(name, "")
        if chosen in known:
            answer.set_cookie(
                name,
                chosen,
                max_age=PREFERENCE_LASTS_S,
                samesite="Lax",
                httponly=True,
                secure=current_app.config["TLS"],
            )
    return answer


@console.get("/home")
@public
def home() -> ResponseReturnValue:
    """The first page of one's role."""
    return redirect(landing() if current_user.is_authenticated else url_for("console.sign_in_page"))


def landing() -> str:
    """The address of the first page the person's role opens."""
    mine = (url_for(endpoint) for permission, endpoint in LANDINGS if operator().may(permission))
    return next(mine, url_for("console.security"))


def _demo_sign_ins() -> dict[str, object]:
    """What a visitor of the demo signs in with; nothing once a real group lives in the database."""
    settings = current_app.config["SETTINGS"]
    if not settings.clock_file or not demo_allowed(database()):
        return {}
    roles = role_words()
    rows = [{"role": roles[s.role], "site": s.site or _("总部"), "login": s.login} for s in SIGN_INS]
    return {"demo_sign_ins": rows, "demo_password": password_of(settings)}


def _form(login: str, refused: str | None) -> str:
    back = local_address(request.args.get("next"))
    return render_template(
        "sign_in.html",
        login=login,
        refused=refused,
        next=back,
        passkeys=party() is not None,
        **_demo_sign_ins(),
    )
