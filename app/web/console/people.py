"""People 人员: who signs in, what they may do where and until when, and looking through their eyes."""

import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.billing.approved import change_role
from app.kernel.clock import local_day, wall_now
from app.kernel.errors import AppError, Invalid, NotFound
from app.permissions.approvals import ApprovalNeeded, request_approval
from app.permissions.models import User
from app.permissions.password_links import phone_of_user
from app.permissions.people import access_person, add_person, enable_user, hand_out_link, rename_user, set_phone
from app.permissions.policy import Permission
from app.permissions.service import disable_user, revoke_all
from app.permissions.sessions import list_sessions
from app.permissions.view_as import begin_view
from app.reports.people import grants_of, people_list, person_row
from app.tenants.models import Node
from app.tenants.phones import mask_phone
from app.web.console.blueprint import console
from app.web.console.passwords import link_address
from app.web.console.sign_in import stop_viewing
from app.web.guards import requires, signed_in, while_viewing
from app.web.places import actor, operator
from app.web.role_words import refusal_in_words, roles_to_choose
from app.web.words import ZONE, _

PAGE = 50
STATES = ("no_factor", "disabled")
WORDS_MAX = 60


@console.get("/people")
@requires(Permission.USER_ACCOUNT_READ)
def people() -> ResponseReturnValue:
    """Everybody in view, found by name, role or state; the filter is in the address."""
    asked = {name: request.args.get(name, "")[:WORDS_MAX] for name in ("q", "role", "state")}
    state = asked["state"] if asked["state"] in STATES else ""
    rows = people_list(
        g.session, allowed=_seen(), roots=operator().tree.roots, words=asked["q"], role=asked["role"], state=state,
        after=request.args.get("after", ""), most=PAGE + 1,
    )  # fmt: skip
    following = url_for("console.people", **_kept(asked), after=rows[PAGE - 1].login) if len(rows) > PAGE else None
    return render_template(
        "console/people.html", rows=rows[:PAGE], asked=asked, state=state, roles=roles_to_choose(), following=following,
        nodes=operator().nodes,
    )  # fmt: skip


@console.get("/people/new")
@requires(Permission.USER_ACCOUNT_EDIT)
def person_new() -> ResponseReturnValue:
    """The form for somebody new."""
    return _new_page({}, None)


@console.post("/people/new")
@requires(Permission.USER_ACCOUNT_EDIT, fresh_factor=True)
def person_add() -> ResponseReturnValue:
    """Add somebody with a first role, and show the link behind which they choose a password."""
    form = request.form
    try:
        with g.session.begin_nested():
            user = add_person(
                g.session,
                login=form.get("login", ""),
                name=form.get("name", ""),
                phone=form.get("phone", ""),
                by=actor(),
            )
            said = _give(user)
            link = hand_out_link(g.session, user=user, by=actor())
    except NotFound:
        raise
    except AppError as refused:
        return _new_page(dict(form), refusal_in_words(refused)), refused.status
    flash(_("已添加 %(name)s。", name=user.name) + said, "good")
    return _person_page(user, link=link_address(link)), 201


@console.get("/people/<uuid:public_id>")
@requires(Permission.USER_ACCOUNT_READ)
def person(public_id: uuid.UUID) -> ResponseReturnValue:
    """One person: grants, devices, and what can be done. Raises NotFound."""
    return _person_page(_access(public_id, Permission.USER_ACCOUNT_READ))


@console.post("/people/<uuid:public_id>")
@requires(Permission.USER_ACCOUNT_EDIT, fresh_factor=True)
def person_change(public_id: uuid.UUID) -> ResponseReturnValue:
    """Name and phone; an empty phone leaves the one on file. Raises NotFound."""

    def deed(user: User) -> str:
        rename_user(g.session, user=user, name=request.form.get("name", ""), by=actor())
        phone = request.form.get("phone", "").strip()
        if phone or request.form.get("forget_phone"):
            set_phone(g.session, user=user, phone=phone, by=actor())
        return _("已保存。")

    return _do(public_id, Permission.USER_ACCOUNT_EDIT, deed)


@console.post("/people/<uuid:public_id>/grants")
@requires(Permission.USER_GRANT_EDIT, fresh_factor=True)
def grant_give(public_id: uuid.UUID) -> ResponseReturnValue:
    """Give a role at a place. Raises NotFound."""
    return _do(public_id, Permission.USER_GRANT_EDIT, _give)


@console.post("/people/<uuid:public_id>/grants/withdraw")
@requires(Permission.USER_GRANT_EDIT)
def grant_withdraw(public_id: uuid.UUID) -> ResponseReturnValue:
    """Take a role back. Raises NotFound."""
    return _do(public_id, Permission.USER_GRANT_EDIT, lambda user: _change_role(user, give=False, ends_at=None))


@console.post("/people/<uuid:public_id>/state")
@requires(Permission.USER_ACCOUNT_EDIT)
def person_state(public_id: uuid.UUID) -> ResponseReturnValue:
    """Disable somebody at once, or let them in again. Raises NotFound, Invalid."""

    def deed(user: User) -> str:
        wanted = request.form.get("deed")
        if wanted == "disable":
            disable_user(g.session, user=user, by=actor())
            return _("已停用 %(name)s，所有登录已结束。", name=user.name)
        if wanted == "enable":
            enable_user(g.session, user=user, by=actor())
            return _("已启用 %(name)s。", name=user.name)
        raise Invalid(field=_("操作"), reason=_("请选择停用或启用"))

    return _do(public_id, Permission.USER_ACCOUNT_EDIT, deed)


@console.post("/people/<uuid:public_id>/sessions/end")
@requires(Permission.USER_SESSION_MANAGE)
def person_sessions_end(public_id: uuid.UUID) -> ResponseReturnValue:
    """End every session of somebody: a lost phone, a suspicion. Raises NotFound."""

    def deed(user: User) -> str:
        revoke_all(g.session, user=user, by=actor())
        return _("已结束 %(name)s 的所有登录。", name=user.name)

    return _do(public_id, Permission.USER_SESSION_MANAGE, deed)


@console.post("/people/<uuid:public_id>/link")
@requires(Permission.USER_ACCOUNT_EDIT, fresh_factor=True)
def person_link(public_id: uuid.UUID) -> ResponseReturnValue:
    """A link to choose a password with, shown once. Raises NotFound."""
    user = _access(public_id, Permission.USER_ACCOUNT_EDIT)
    try:
        with g.session.begin_nested():
            link = hand_out_link(g.session, user=user, by=actor())
    except AppError as refused:
        return _person_page(user, refused=refusal_in_words(refused)), refused.status
    return _person_page(user, link=link_address(link))


@console.post("/people/<uuid:public_id>/view-as")
@requires(Permission.USER_VIEW_AS)
def view_as(public_id: uuid.UUID) -> ResponseReturnValue:
    """See the console as this person would, and change nothing meanwhile. Raises NotFound."""
    user = _access(public_id, Permission.USER_VIEW_AS)
    try:
        begin_view(g.session, token=operator().token, user=user, by=actor())
    except NotFound:
        raise
    except AppError as refused:
        return _person_page(user, refused=refusal_in_words(refused)), refused.status
    return redirect(url_for("console.home"), 303)


@console.post("/view-as/end")
@signed_in
@while_viewing
def view_as_end() -> ResponseReturnValue:
    """Be oneself again; whoever is so already stays so."""
    stop_viewing()
    return redirect(url_for("console.home"), 303)


def _do(public_id: uuid.UUID, permission: Permission, deed: Callable[[User], str]) -> ResponseReturnValue:
    """Do something to a person in view and say what was done, or show the page again with the refusal."""
    user = _access(public_id, permission)
    try:
        with g.session.begin_nested():
            said = deed(user)
    except NotFound:
        raise
    except AppError as refused:
        return _person_page(user, refused=refusal_in_words(refused)), refused.status
    flash(said, "good")
    return redirect(url_for("console.person", public_id=public_id), 303)


def _give(user: User) -> str:
    return _change_role(user, give=True, ends_at=_last_moment(request.form.get("until", "")))


def _change_role(user: User, *, give: bool, ends_at: datetime | None) -> str:
    """Give or take a role, or ask another person for it when it is above what one may do alone. Returns what was done."""
    form = request.form
    role, node, reason = form.get("role", ""), _node(form.get("at", "")), form.get("reason", "").strip()
    try:
        change_role(
            g.session,
            user=user,
            role=role,
            node_id=node.id,
            give=give,
            by=actor(),
            ends_at=ends_at,
            reason=reason or None,
        )
    except ApprovalNeeded as above:
        request_approval(g.session, wish=above.wish, reason=reason, by=actor())
        return _("此项授权变更超出可独自办理的范围，已提交审批；审批通过后自动生效。")
    return _("授权已生效。") if give else _("授权已收回，登录已结束。")


def _seen() -> frozenset[int]:
    return operator().scope.nodes(Permission.USER_ACCOUNT_READ)


def _access(public_id: uuid.UUID, permission: Permission) -> User:
    who = operator()
    return access_person(g.session, public_id=public_id, allowed=who.scope.nodes(permission), roots=who.tree.roots)


def _node(public_id: str) -> Node:
    """A place where the person may give roles. Raises NotFound."""
    who = operator()
    allowed = who.scope.nodes(Permission.USER_GRANT_EDIT)
    found = next((who.nodes[id_] for id_ in allowed if str(who.nodes[id_].public_id) == public_id), None)
    if found is None:
        raise NotFound
    return found


def _last_moment(text: str) -> datetime | None:
    """The end of the last day named in a form, None for no end. Raises Invalid."""
    if not text:
        return None
    try:
        following = date.fromisoformat(text) + timedelta(days=1)
    except (ValueError, OverflowError) as broken:
        raise Invalid(field=_("最后一天"), reason=_("请选择日期")) from broken
    return datetime.combine(following, time(), ZoneInfo(ZONE))


def _places() -> list[tuple[Node, int]]:
    """Where roles may be given, as the tree stands, each with its depth below the topmost in view."""
    who = operator()
    allowed = who.scope.nodes(Permission.USER_GRANT_EDIT)
    listed: list[tuple[Node, int]] = []

    def walk(node_id: int, depth: int) -> None:
        if node_id in allowed:
            listed.append((who.nodes[node_id], depth))
        for below in sorted(who.tree.children(node_id), key=lambda id_: who.nodes[id_].name):
            walk(below, depth + (node_id in allowed))

    for root in who.tree.roots:
        walk(root, 0)
    return listed


def _kept(asked: dict[str, str]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value}


def _choices() -> dict[str, Any]:
    return {"roles": roles_to_choose(operator().scope.permissions), "places": _places(), "first_day": _today()}


def _today() -> date:
    return local_day(wall_now(), ZONE)


def _new_page(typed: dict[str, str], refused: str | None) -> str:
    return render_template("console/person_new.html", typed=typed, refused=refused, **_choices())


def _person_page(user: User, *, refused: str | None = None, link: str | None = None) -> str:
    seen = _seen()
    phone = phone_of_user(g.session, user=user)
    return render_template(
        "console/person.html",
        user=user,
        row=person_row(g.session, user_id=user.id, allowed=seen),
        phone=mask_phone(phone) if phone else None,
        grants=grants_of(g.session, user_id=user.id, allowed=seen, now=wall_now()),
        sessions=list_sessions(g.session, user_id=user.id),
        nodes=operator().nodes,
        myself=user.id == operator().found.user_id,
        refused=refused,
        link=link,
        typed=request.form,
        **_choices(),
    )
