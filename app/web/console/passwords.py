"""A forgotten password: asking for a link, and choosing a new one behind it."""

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.demo.signins import is_closed
from app.kernel.db import database
from app.kernel.errors import AppError
from app.permissions.password_links import LinkOver, ask_link, is_open, use_link
from app.web.console.blueprint import console
from app.web.console.sign_in import leave_old_session
from app.web.guards import public
from app.web.words import _, locale


@console.get("/password")
@public
def password_ask_page() -> ResponseReturnValue:
    """Asks for the sign-in name."""
    return render_template("password_ask.html", asked=False)


@console.post("/password")
@public
def password_ask() -> ResponseReturnValue:
    """Leave word for a worker; the answer is the same for every name."""
    login = request.form.get("login", "").strip()[:80]
    if login and not is_closed(database(), login):
        ask_link(database(), login=login, address=request.remote_addr or "")
    return render_template("password_ask.html", asked=True)


@console.get("/password/<token>")
@public
def password_link_page(token: str) -> ResponseReturnValue:
    """The form behind a link; looking at it does not use it up."""
    if not is_open(database(), token=token):
        return _over(LinkOver())
    return render_template("password_new.html", token=token, refused=None)


@console.post("/password/<token>")
@public
def password_link(token: str) -> ResponseReturnValue:
    """Choose the password; every session of the person ends, this browser's too."""
    form = request.form
    leave_old_session()
    try:
        if form.get("password", "") != form.get("again", ""):
            return _form(token, _("两次输入的新密码不一致，请重新输入。"), 422)
        use_link(database(), token=token, password=form.get("password", ""), address=request.remote_addr or "")
    except LinkOver as over:
        return _over(over)
    except AppError as refused:
        return _form(token, refused.message(locale()), refused.status)
    flash(_("新密码已生效，请登录。所有设备上原来的登录都已退出。"), "good")
    return redirect(url_for("console.sign_in_page"), 303)


def link_address(token: str) -> str:
    """The whole address of a link, from the setting PUBLIC_URL: a request's Host header never gets into it."""
    return f"{current_app.config['SETTINGS'].public_address}/password/{token}"


def _form(token: str, refused: str, status: int) -> ResponseReturnValue:
    return render_template("password_new.html", token=token, refused=refused), status


def _over(over: LinkOver) -> ResponseReturnValue:
    return render_template("password_ask.html", asked=False, refused=over.message(locale())), over.status
