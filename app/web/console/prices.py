"""Price plans 电价方案: what is charged since when, and from when a new price counts."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.billing.approved import change_price
from app.billing.plans import PriceAlreadyInForce, access_plan, create_plan, withdraw_price
from app.billing.tariffs.plans import FlatPrice, change_share, is_large_change
from app.kernel.clock import business_now
from app.kernel.errors import AppError, Invalid, NotFound
from app.permissions.approvals import ApprovalNeeded
from app.permissions.policy import Permission
from app.reports.prices import price_plan, price_plans, price_versions
from app.web.console.blueprint import console
from app.web.console.waiting import ask
from app.web.guards import requires
from app.web.places import actor, place, scope
from app.web.words import ZONE, _, locale, moment, price


@console.get("/plans")
@requires(Permission.PLAN_PRICE_READ)
def plans() -> ResponseReturnValue:
    """Every plan in view with the price in force and the next one."""
    here = place(Permission.PLAN_PRICE_READ)
    rows = price_plans(g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, now=business_now())
    return render_template("console/plans.html", rows=rows)


@console.post("/plans")
@requires(Permission.PLAN_PRICE_PUBLISH)
def add_plan() -> ResponseReturnValue:
    """Make a plan in the property of the switcher; its first price follows on its page."""
    here = place(Permission.PLAN_PRICE_PUBLISH, one=True)
    if here.property is None:
        raise NotFound
    made = create_plan(g.session, property_id=here.property.id, name=request.form.get("name", "").strip())
    flash(_("已新建电价方案“%(name)s”。请填写第一个单价及生效时间。", name=made.name), "good")
    return redirect(url_for("console.plan", public_id=made.public_id), 303)


@console.get("/plans/<uuid:public_id>")
@requires(Permission.PLAN_PRICE_READ)
def plan(public_id: object) -> ResponseReturnValue:
    """One plan, its versions, and the form for a new one. Raises NotFound."""
    return _plan_page(public_id, {}, None)


@console.post("/plans/<uuid:public_id>/versions")
@requires(Permission.PLAN_PRICE_PUBLISH)
def publish(public_id: object) -> ResponseReturnValue:
    """Show what a price would change, then publish it. What was typed is kept when it is refused. Raises NotFound."""
    allowed = scope(Permission.PLAN_PRICE_PUBLISH)
    target = access_plan(g.session, public_id=public_id, allowed=allowed)  # type: ignore[arg-type]
    try:
        wanted, since = _price(request.form.get("price", "")), _instant(request.form.get("effective_from", ""))
        change = _change(target.id, wanted, since)
        if request.form.get("deed") != "publish" or (change["large"] and not request.form.get("large")):
            return _plan_page(public_id, dict(request.form), None, change)
        with g.session.begin_nested():
            change_price(g.session, plan=target, price=wanted, effective_from=since, by=actor())
    except ApprovalNeeded as needed:
        return _ask(public_id, needed, change)
    except AppError as refused:
        return _plan_page(public_id, dict(request.form), refused.message(locale())), refused.status
    flash(_("已发布：自 %(when)s 起 %(price)s 元/kWh。", when=moment(since), price=price(wanted)), "good")
    return redirect(url_for("console.plan", public_id=public_id), 303)


@console.post("/plans/<uuid:public_id>/versions/<int:version_id>/withdraw")
@requires(Permission.PLAN_PRICE_PUBLISH)
def withdraw(public_id: object, version_id: int) -> ResponseReturnValue:
    """Take back a price before it takes effect; say so when it is too late. Raises NotFound."""
    allowed = scope(Permission.PLAN_PRICE_PUBLISH)
    target = access_plan(g.session, public_id=public_id, allowed=allowed)  # type: ignore[arg-type]
    try:
        withdraw_price(g.session, plan=target, price_version_id=version_id, by=actor())
    except PriceAlreadyInForce as refused:
        flash(refused.message(locale()), "bad")
    else:
        flash(_("已撤回：该价格不会生效，仍按原单价计价。"), "good")
    return redirect(url_for("console.plan", public_id=public_id), 303)


def _ask(public_id: object, needed: ApprovalNeeded, change: dict[str, Any]) -> ResponseReturnValue:
    """Put the price before another person; without a reason the page asks for one."""
    try:
        return ask(needed, reason=request.form.get("reason", ""))
    except AppError as refused:
        page = _plan_page(public_id, dict(request.form), refused.message(locale()), {**change, "needed": True})
        return page, refused.status


def _change(plan_id: int, wanted: Decimal, since: datetime) -> dict[str, Any]:
    """What publishing would change. Raises PriceTooFine, PriceNegative, PriceUnreadable."""
    FlatPrice(wanted)
    versions = price_versions(g.session, tenant_id=g.tenant_id, plan_id=plan_id)
    old = next((v.price for v in versions if v.effective_from <= since and not v.withdrawn_at), None)
    share = change_share(old, wanted)
    percent = None if share is None else f"{share * 100:+.0f}%"
    return {"old": old, "new": wanted, "since": since, "percent": percent, "large": is_large_change(old, wanted)}


def _plan_page(
    public_id: object, typed: dict[str, str], refused: str | None, change: dict[str, Any] | None = None
) -> str:
    allowed, now = scope(Permission.PLAN_PRICE_READ), business_now()
    found = price_plan(g.session, tenant_id=g.tenant_id, property_ids=allowed, public_id=str(public_id), now=now)
    if found is None:
        raise NotFound
    versions = price_versions(g.session, tenant_id=g.tenant_id, plan_id=found.id)
    return render_template(
        "console/plan.html", plan=found, versions=versions, typed=typed, refused=refused, change=change, now=now
    )


def _price(text: str) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise Invalid(field=_("单价"), reason=_("请填写数字，例如 0.6083"))
    return value


def _instant(text: str) -> datetime:
    """The civil instant typed in the form, in the property's zone. Raises Invalid."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE))
    except ValueError as broken:
        raise Invalid(field=_("生效时间"), reason=_("请选择日期和时间")) from broken
