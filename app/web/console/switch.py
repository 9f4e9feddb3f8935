"""The quick switch at a shared counter: who was here is gone from the server, who comes types six digits."""

import uuid

from flask import flash, g, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import select

from app.kernel.db import database
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.permissions.counter_pcs import CounterPcUnknown, KnownPc, faces_at, find_pc, take_over
from app.permissions.models import User
from app.permissions.pins import DIGITS, remove_pin, set_pin
from app.web.console.blueprint import console
from app.web.console.sign_in import leave_old_session
from app.web.console.sign_in_steps import enter
from app.web.counter_cookie import drop_pc, pc_token
from app.web.guards import SIGNED_IN, public, requires, signed_in
from app.web.places import actor, operator
from app.web.step_cookie import visitor
from app.web.words import _, locale


@console.get("/switch")
@public
def switch_page() -> ResponseReturnValue:
    """The faces of this counter; a computer that is not registered signs in as usual."""
    return _form(None, None)


@console.post("/switch/leave")
@public
def switch_leave() -> ResponseReturnValue:
    """End whoever is signed in, before anybody else is asked."""
    leave_old_session()
    session.clear()
    return redirect(url_for("console.switch_page"), 303)


@console.post("/switch/<uuid:person>")
@public
def switch(person: uuid.UUID) -> ResponseReturnValue:
    """Take over with a PIN. The session before it is over on the server, whatever comes of this."""
    leave_old_session()
    try:
        done = take_over(
            database(), token=pc_token(), person=person, pin=request.form.get("pin", "")[:20], visitor=visitor()
        )
    except CounterPcUnknown as unknown:
        return _unknown(unknown)
    except AppError as refused:
        return _form(person, refused)
    return enter(done, url_for("console.counter"))


@console.get("/security/pin")
@signed_in
def pin_page() -> ResponseReturnValue:
    """Choose or remove one's own counter PIN."""
    return _pin_form(None)


@console.post("/security/pin")
@requires(SIGNED_IN, fresh_factor=True)
def pin() -> ResponseReturnValue:
    """Keep the PIN, typed twice; or leave the quick switch. A session by PIN cannot change it."""
    form, user = request.form, _me()
    if operator().found.opened_by == "pin":
        return _pin_form(_("请用登录名和密码登录后再修改 PIN。")), 403
    try:
        if form.get("deed") == "remove":
            remove_pin(g.session, user=user, by=actor())
        elif form.get("pin") != form.get("again"):
            return _pin_form(_("两次输入的 PIN 不一致，请重新输入。")), 422
        else:
            set_pin(g.session, user=user, pin=form.get("pin", ""), by=actor())
    except AppError as refused:
        return _pin_form(refused.message(locale())), refused.status
    flash(_("已保存。在登记过的柜台电脑上，用这个 PIN 就能接班。") if user.pin_hash else _("PIN 已删除。"), "good")
    return redirect(url_for("console.pin_page"), 303)


def _me() -> User:
    return g.session.scalars(select(User).where(User.id == operator().found.user_id)).one()  # type: ignore[no-any-return]


def _pin_form(refused: str | None) -> str:
    return render_template("console/pin.html", has_pin=_me().pin_hash is not None, refused=refused, digits=DIGITS)


def _form(chosen: uuid.UUID | None, refused: AppError | None) -> ResponseReturnValue:
    try:
        pc = find_pc(database(), token=pc_token())
    except CounterPcUnknown as unknown:
        return _unknown(unknown)
    page = render_template(
        "switch.html", pc=pc, faces=_faces(pc), chosen=chosen, digits=DIGITS,
        refused=refused.message(locale()) if refused else None,
    )  # fmt: skip
    return page, refused.status if refused else 200


def _faces(pc: KnownPc) -> list[object]:
    if current_user.is_authenticated:
        return list(faces_at(g.session, pc)) if g.tenant_id == pc.tenant_id else []
    with unit_of_work(pc.tenant_id) as work:
        return list(faces_at(work, pc))


def _unknown(unknown: CounterPcUnknown) -> ResponseReturnValue:
    flash(unknown.message(locale()), "bad")
    return drop_pc(make_response(redirect(url_for("console.sign_in_page"), 303)))
