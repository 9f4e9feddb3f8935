"""Sign-in, sign-out and what a person likes to see: language and light."""

from flask import current_app, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from app.demo.signins import SIGN_INS, demo_allowed, is_closed, password_of
from app.kernel.db import database
from app.permissions.policy import Permission
from app.permissions.sign_in import SignInDelayed, SignInRefused, end_session
from app.permissions.sign_in import sign_in as open_session
from app.web.console.blueprint import console
from app.web.frame import role_words
from app.web.guards import public
from app.web.places import local_address, operator
from app.web.words import LOCALES, THEMES, locale

#: Where a person lands: the first page of this list that their role opens.
LANDINGS = (
    (Permission.OVERVIEW_GROUP_READ, "console.today"),
    (Permission.MONEY_TOPUP_SELL, "console.counter"),
    (Permission.PROPERTY_WALL_READ, "console.wall"),
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
    session.pop("_user_id", None)  # whoever was signed in here is not any more, whatever comes of this
    login = request.form.get("login", "").strip()
    password, address = request.form.get("password", ""), request.remote_addr or ""
    try:
        if is_closed(database(), login):
            raise SignInRefused()
        done = open_session(database(), login=login, password=password, address=address)
    except (SignInRefused, SignInDelayed) as refused:
        return _form(login, refused.message(locale())), refused.status
    session.clear()
    session["_user_id"] = done.token
    return redirect(local_address(request.args.get("next")) or url_for("console.home"))


@console.post("/sign-out")
@public
def sign_out() -> ResponseReturnValue:
    """End the session on the server; the cookie is worth nothing afterwards."""
    if current_user.is_authenticated:
        end_session(g.session, token=operator().token)
    session.clear()
    return redirect(url_for("console.sign_in_page"))


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
    return next(url_for(endpoint) for permission, endpoint in LANDINGS if operator().may(permission))


def _demo_sign_ins() -> list[dict[str, str]]:
    """What a visitor of the demo signs in with; nothing once a real group lives in the database."""
    settings = current_app.config["SETTINGS"]
    if not settings.clock_file or not demo_allowed(database()):
        return []
    roles = role_words()
    password = password_of(settings)
    return [{"role": roles[s.role], "site": s.site, "login": s.login, "password": password} for s in SIGN_INS]


def _form(login: str, refused: str | None) -> str:
    back = local_address(request.args.get("next"))
    return render_template("sign_in.html", login=login, refused=refused, next=back, demo_sign_ins=_demo_sign_ins())
