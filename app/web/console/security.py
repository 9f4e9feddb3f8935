"""One's own security: password, second factors, recovery codes, sessions, recent sign-ins."""

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from app.kernel.db import database
from app.kernel.errors import AppError, NotFound
from app.permissions import totp
from app.permissions.factors import (
    begin_totp,
    list_factors,
    must_have_factor,
    remove_factor,
    rename_factor,
    renew_codes,
    secret_of,
    unconfirmed_totp,
)
from app.permissions.models import User
from app.permissions.passkeys import registration_options
from app.permissions.password_links import choose_password
from app.permissions.pins import PinNotEnough
from app.permissions.recovery import codes_left
from app.permissions.sessions import begin_session, list_sessions, revoke_others, revoke_session
from app.permissions.sign_in_log import recent_sign_ins
from app.permissions.step_up import add_factor, ask_passkey, check_password
from app.web.agents import agent
from app.web.console.blueprint import console
from app.web.console.sign_in_steps import json_answer, qr_code
from app.web.console.step_up import here
from app.web.guards import SIGNED_IN, requires, signed_in
from app.web.places import actor, operator
from app.web.step_cookie import party
from app.web.words import _, locale

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])


def not_by_pin(view: View) -> View:
    """Six digits and a shared computer never change what guards the account. The view then raises PinNotEnough."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        if operator().found.opened_by == "pin":
            raise PinNotEnough
        return view(*args, **kwargs)

    return guarded  # type: ignore[return-value]


@console.get("/security")
@signed_in
def security() -> ResponseReturnValue:
    """Everything about one's own account that keeps it one's own."""
    return _page()


@console.post("/security/password")
@signed_in
@not_by_pin
def security_password() -> ResponseReturnValue:
    """Choose another password; every other session ends, this one goes on under a new token."""
    form, own, found = request.form, here(), operator().found
    try:
        if form.get("password", "") != form.get("again", ""):
            return _page(password_refused=_("两次输入的新密码不一致，请重新输入。")), 422
        check_password(database(), own, password=form.get("old", ""))
        user = _me()
        with g.session.begin_nested():
            choose_password(g.session, user=user, password=form.get("password", ""), by=actor())
    except AppError as refused:
        return _page(password_refused=refused.message(locale())), refused.status
    session["_user_id"] = begin_session(
        g.session, user=user, address=own.address, agent=agent(), opened_by=found.opened_by, factor_at=found.factor_at,
        counter_pc_id=found.counter_pc_id,
    )  # fmt: skip
    flash(_("密码已修改，其他设备上的登录已全部退出。"), "good")
    return redirect(url_for("console.security"), 303)


@console.post("/security/totp")
@requires(SIGNED_IN, fresh_factor=True)
@not_by_pin
def security_totp_begin() -> ResponseReturnValue:
    """Make the key of an authenticator app; it counts for nothing until its first code."""
    try:
        begin_totp(g.session, user=_me(), name=request.form.get("name", ""), by=actor())
    except AppError as refused:
        return _page(factor_refused=refused.message(locale())), refused.status
    return redirect(url_for("console.security_totp_page"), 303)


@console.get("/security/totp")
@signed_in
def security_totp_page() -> ResponseReturnValue:
    """The key as a picture and in letters."""
    return _totp_form(None)


@console.post("/security/totp/confirm")
@requires(SIGNED_IN, fresh_factor=True)
@not_by_pin
def security_totp_confirm() -> ResponseReturnValue:
    """The first code makes the app a second factor."""
    return _add(request.form.get("code", ""), "", _totp_form)


@console.post("/security/passkeys/options")
@requires(SIGNED_IN, fresh_factor=True)
@not_by_pin
def security_passkey_options() -> ResponseReturnValue:
    """What the browser asks of a new authenticator. Raises NotFound, FactorTriesSpent."""
    asked, own = party(), here()
    if asked is None:
        raise NotFound
    held = list_factors(g.session, user_id=own.user_id, kind="passkey")
    challenge = ask_passkey(database(), own, purpose="enrol")
    return json_answer(registration_options(asked, user=_me(), challenge=challenge, held=held))


@console.post("/security/passkeys")
@requires(SIGNED_IN, fresh_factor=True)
@not_by_pin
def security_passkey_add() -> ResponseReturnValue:
    """Keep a new passkey."""

    def refused_page(refused: AppError | None) -> ResponseReturnValue:
        said = refused or NotFound()
        return _page(factor_refused=said.message(locale())), said.status

    return _add(request.form.get("answer", "") or "{}", request.form.get("name", ""), refused_page)


@console.post("/security/factors/<uuid:public_id>/rename")
@signed_in
@not_by_pin
def security_factor_rename(public_id: uuid.UUID) -> ResponseReturnValue:
    """Call a factor something else. Raises NotFound."""
    try:
        name = request.form.get("name", "")
        rename_factor(g.session, user_id=here().user_id, public_id=public_id, name=name, by=actor())
    except NotFound:
        raise
    except AppError as refused:
        return _page(factor_refused=refused.message(locale())), refused.status
    flash(_("名称已修改。"), "good")
    return redirect(url_for("console.security"), 303)


@console.post("/security/factors/<uuid:public_id>/remove")
@requires(SIGNED_IN, fresh_factor=True)
@not_by_pin
def security_factor_remove(public_id: uuid.UUID) -> ResponseReturnValue:
    """A lost phone, an old key. Raises NotFound."""
    try:
        remove_factor(g.session, user_id=here().user_id, public_id=public_id, by=actor())
    except NotFound:
        raise
    except AppError as refused:
        return _page(factor_refused=refused.message(locale())), refused.status
    flash(_("已移除，该验证方式不能再用于登录。"), "good")
    return redirect(url_for("console.security"), 303)


@console.post("/security/recovery-codes")
@requires(SIGNED_IN, fresh_factor=True)
@not_by_pin
def security_codes() -> ResponseReturnValue:
    """Ten new codes, shown on this answer and never again. Raises NotFound for who has no factor."""
    if not operator().found.factor_kinds:
        raise NotFound
    return render_template("console/codes.html", codes=renew_codes(g.session, user_id=here().user_id, by=actor()))


@console.post("/security/sessions/<uuid:public_id>/end")
@signed_in
def security_session_end(public_id: uuid.UUID) -> ResponseReturnValue:
    """Sign one's own other browser out. Raises NotFound."""
    revoke_session(g.session, user_id=here().user_id, public_id=public_id, by=actor())
    flash(_("该设备已退出。"), "good")
    return redirect(url_for("console.security"), 303)


@console.post("/security/sessions/end-others")
@signed_in
def security_sessions_end() -> ResponseReturnValue:
    """Sign out everywhere but here."""
    found = operator().found
    revoke_others(g.session, user_id=found.user_id, keep=found.session_id, by=actor())
    flash(_("其他设备已全部退出。"), "good")
    return redirect(url_for("console.security"), 303)


def opened_words() -> dict[str, str]:
    """How a session was opened, in words."""
    return {"password": _("密码"), "pin": _("柜台 PIN"), "passkey": _("通行密钥"), "sso": _("企业登录")}


def refusal_words() -> dict[str, str]:
    """Why a sign-in was refused, in words."""
    return {
        "password": _("密码错误"), "factor": _("验证码错误"), "passkey": _("通行密钥未通过"), "delayed": _("等待期内重试"),
        "disabled": _("账号已停用"),
    }  # fmt: skip


def _add(answer: str, name: str, refused_page: Callable[[AppError | None], ResponseReturnValue]) -> ResponseReturnValue:
    own = here()
    name = name if answer.lstrip().startswith("{") else "-"
    try:
        codes = add_factor(database(), own, answer=answer, name=name, party=party())
    except AppError as refused:
        return refused_page(refused)
    if codes:
        return render_template("console/codes.html", codes=codes)
    flash(_("已添加，下次登录即可使用。"), "good")
    return redirect(url_for("console.security"), 303)


def _totp_form(refused: AppError | None) -> ResponseReturnValue:
    try:
        secret = secret_of(g.session, unconfirmed_totp(g.session, user_id=here().user_id))
    except NotFound:
        return redirect(url_for("console.security"), 303)
    page = render_template(
        "console/totp.html", qr=qr_code(secret, operator().found.login), key=totp.spaced(secret),
        refused=refused.message(locale()) if refused else None,
    )  # fmt: skip
    return page, refused.status if refused else 200


def _me() -> User:
    return g.session.scalars(select(User).where(User.id == here().user_id)).one()  # type: ignore[no-any-return]


def _page(**context: Any) -> str:
    found = operator().found
    given: dict[str, Any] = {"password_refused": None, "factor_refused": None}
    return render_template(
        "console/security.html",
        factors=list_factors(g.session, user_id=found.user_id),
        codes_left=codes_left(g.session, user_id=found.user_id),
        sessions=list_sessions(g.session, user_id=found.user_id),
        this_session=found.session_id,
        attempts=recent_sign_ins(g.session, user_id=found.user_id),
        required=must_have_factor(g.session, user_id=found.user_id),
        passkeys=party() is not None,
        opened_words=opened_words(),
        refusal_words=refusal_words(),
        **(given | context),
    )
