"""Roles 角色 and permissions 权限: what each lets a person do, the group's own copies, who holds what, the security policy."""

from typing import Any

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.billing.approved import edit_role
from app.kernel.errors import AppError, NotFound
from app.permissions.approvals import ApprovalNeeded
from app.permissions.models import OwnRole
from app.permissions.policy import PLATFORM_ONLY, ROLES, SELLING, Permission, Role, known
from app.permissions.roles import copy_role, find_role, own_roles, withdraw_role_definition
from app.permissions.security_policies import (
    BOUNDS,
    Asked,
    PolicyOutOfBounds,
    change_security_policy,
    security_policy,
)
from app.reports.people import Holder, holders
from app.web.console.blueprint import console
from app.web.console.waiting import ask
from app.web.guards import factor_facts, requires
from app.web.permission_words import apart_in_words, by_area
from app.web.places import actor, operator
from app.web.role_words import refusal_in_words, role_words
from app.web.words import _, locale

#: How many holders of a permission the overview names; the rest stand on its own page.
NAMED = 6


@console.get("/roles")
@requires(Permission.USER_ACCOUNT_READ)
def roles() -> ResponseReturnValue:
    """The standard roles and the group's own, each with what it lets a person do."""
    standard = [(role, words, by_area(ROLES[role])) for role, words in role_words().items()]
    own = [(role, by_area(known(role.permissions))) for role in own_roles(g.session)]
    return render_template("console/roles.html", standard=standard, own=own, words=role_words(), apart=apart_in_words())


@console.get("/roles/new")
@requires(Permission.USER_ROLE_EDIT)
def role_new() -> ResponseReturnValue:
    """The form for a copy of a standard role. Raises NotFound."""
    based_on = _standard(request.args.get("from", ""))
    return _role_page(None, based_on, "", {p.value for p in ROLES[based_on]}, None)


@console.post("/roles/new")
@requires(Permission.USER_ROLE_EDIT)
def role_copy() -> ResponseReturnValue:
    """Make an own role. Raises NotFound."""
    based_on, name, ticked = _standard(request.form.get("from", "")), request.form.get("name", ""), _ticked()
    try:
        with g.session.begin_nested():
            made = copy_role(g.session, based_on=based_on, name=name, permissions=ticked, by=actor())
    except AppError as refused:
        return _role_page(None, based_on, name, ticked, refusal_in_words(refused)), refused.status
    flash(_("已新建角色“%(name)s”，可以在人员页面授予。", name=made.name), "good")
    return redirect(url_for("console.roles"), 303)


@console.get("/roles/<code>")
@requires(Permission.USER_ROLE_EDIT)
def role(code: str) -> ResponseReturnValue:
    """The form for an own role. Raises NotFound."""
    found = find_role(g.session, code=code)
    return _role_page(found, Role(found.based_on), found.name, set(found.permissions), None)


@console.post("/roles/<code>")
@requires(Permission.USER_ROLE_EDIT)
def role_change(code: str) -> ResponseReturnValue:
    """Change an own role; whoever holds it signs in anew. Raises NotFound."""
    found, name, ticked = find_role(g.session, code=code), request.form.get("name", ""), _ticked()
    try:
        with g.session.begin_nested():
            edit_role(g.session, role=found, name=name, permissions=ticked, by=actor())
    except ApprovalNeeded as above:
        return ask(above, reason=request.form.get("reason", "").strip() or _("扩大已授予角色的权限"))
    except AppError as refused:
        g.session.refresh(found)
        return _role_page(found, Role(found.based_on), name, ticked, refusal_in_words(refused)), refused.status
    flash(_("已保存角色“%(name)s”，持有者需要重新登录。", name=found.name), "good")
    return redirect(url_for("console.roles"), 303)


@console.post("/roles/<code>/withdraw")
@requires(Permission.USER_ROLE_EDIT)
def role_withdraw(code: str) -> ResponseReturnValue:
    """Nobody holds anything of this role any more. Raises NotFound."""
    found = find_role(g.session, code=code)
    try:
        with g.session.begin_nested():
            withdraw_role_definition(g.session, role=found, by=actor())
    except AppError as refused:
        page = _role_page(found, Role(found.based_on), found.name, set(found.permissions), refusal_in_words(refused))
        return page, refused.status
    flash(_("已停用角色“%(name)s”，持有者不再有其中的权限。", name=found.name), "good")
    return redirect(url_for("console.roles"), 303)


@console.get("/permissions")
@requires(Permission.USER_ACCOUNT_READ)
def permissions() -> ResponseReturnValue:
    """Every permission in a sentence, and who holds it through which role where."""
    held = _holders()
    return render_template(
        "console/permissions.html", areas=by_area(Permission), held=held, named=NAMED, nodes=operator().nodes
    )


@console.get("/permissions/<name>")
@requires(Permission.USER_ACCOUNT_READ)
def permission(name: str) -> ResponseReturnValue:
    """One permission and everybody in view who holds it. Raises NotFound."""
    if name not in set(Permission):
        raise NotFound
    wanted = Permission(name)
    ((area,),) = (by_area([wanted]),)
    return render_template(
        "console/permission.html", said=area.said[0], area=area.label, held=_holders()[wanted], nodes=operator().nodes
    )


@console.get("/security-policy")
@requires(Permission.SECURITY_SETTING_READ)
def security_policy_page() -> ResponseReturnValue:
    """What the group asks of its people."""
    return _policy_page(security_policy(g.session), None)


@console.post("/security-policy")
@requires(Permission.USER_POLICY_EDIT, fresh_factor=True)
def security_policy_change() -> ResponseReturnValue:
    """Let other figures hold from the next request on."""
    form = request.form
    figures = {field: form.get(field, type=int) or 0 for field in BOUNDS}
    asked = Asked(form.get("second_factor_required") == "1", **figures)
    try:
        change_security_policy(g.session, asked=asked, by=actor(), facts=factor_facts())
    except PolicyOutOfBounds as refused:
        named = PolicyOutOfBounds(**{**refused.details, "field": _figure_words()[str(refused.details["field"])][0]})
        return _policy_page(asked, named.message(locale())), refused.status
    flash(_("安全策略已保存，从下一次请求起生效。"), "good")
    return redirect(url_for("console.security_policy_page"), 303)


def _holders() -> dict[Permission, list[Holder]]:
    return holders(g.session, allowed=operator().scope.nodes(Permission.USER_ACCOUNT_READ))


def _standard(name: str) -> Role:
    if name not in set(Role) or name == Role.PLATFORM_OPERATOR:
        raise NotFound
    return Role(name)


def _ticked() -> set[str]:
    return set(request.form.getlist("permission"))


def _role_page(found: OwnRole | None, based_on: Role, name: str, ticked: set[str], refused: str | None) -> str:
    return render_template(
        "console/role.html",
        found=found,
        based_on=based_on,
        based_on_words=role_words()[based_on],
        name=name,
        ticked=ticked,
        areas=by_area(frozenset(Permission) - PLATFORM_ONLY),
        givable=_givable(),
        apart=apart_in_words(),
        refused=refused,
    )


def _givable() -> frozenset[Permission]:
    """What the editor may put into a role: what they hold at headquarters, and selling."""
    who = operator()
    return SELLING | {p for p in Permission if all(who.scope.allows(p, root) for root in who.tree.roots)}


def _figure_words() -> dict[str, tuple[str, str, str]]:
    """Field → label, unit, what it means."""
    return {
        "session_hours_max": (_("登录最长"), _("小时"), _("到时须重新登录，不管是否在使用。")),
        "session_idle_min": (_("无操作退出"), _("分钟"), _("超过这段时间没有操作，须重新登录。")),
        "approval_hours_max": (_("审批最长等待"), _("小时"), _("到时没有审批的申请自动失效。")),
        "audit_keep_days": (_("审计记录保留"), _("天"), _("不少于 180 天，到期的记录归档后移出。")),
    }


def _policy_page(asked: Asked, refused: str | None) -> str:
    facts: dict[str, Any] = {"asked": asked, "bounds": BOUNDS, "figures": _figure_words(), "refused": refused}
    return render_template("console/security_policy.html", **facts)
