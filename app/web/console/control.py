"""Stopping and restoring by hand: through the same gate as everything else, with a reason and an audit record."""

from collections.abc import Sequence

from flask import flash, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from app.billing.cutoff import order_stop
from app.billing.models import SupplyAccount
from app.billing.restore import confirm_appliances_off, paid_not_delivered, report_closed_by_hand, restore_supply
from app.billing.restore_policy import RestoreHow, RestoreVerdict, explain_restore
from app.billing.stop_policy import Basis
from app.billing.supply_accounts import access_supply_account
from app.kernel.clock import business_now
from app.kernel.errors import Invalid, NotFound
from app.permissions.policy import Permission
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.places import actor, local_address, scope
from app.web.vocabulary import refusal
from app.web.words import _, locale


@console.post("/accounts/<uuid:public_id>/supply")
@requires(Permission.METER_COMMAND_ORDER)
def order_supply(public_id: object) -> ResponseReturnValue:
    """Ask for a stop or a restore; say what will happen, or why not. Raises NotFound, Invalid."""
    account = _account(public_id, Permission.METER_COMMAND_ORDER)
    deed = request.form.get("deed")
    if deed == "stop":
        _stop(account.id, request.form.get("reason", "").strip())
    elif deed == "restore":
        verdicts = restore_supply(
            g.session, supply_account_id=account.id, actor=actor(), by_person=True, appliances_off=True
        )
        _say_restored(verdicts)
    else:
        raise Invalid(field=_("操作"), reason=_("请选择停供或送电"))
    return redirect(url_for("console.account", public_id=public_id), 303)


@console.post("/accounts/<uuid:public_id>/appliances-off")
@requires(Permission.SUPPLY_APPLIANCES_CONFIRM)
def appliances_off(public_id: object) -> ResponseReturnValue:
    """The resident says that cookers and heaters are off: what waited for it closes now. Raises NotFound."""
    account = _account(public_id, Permission.SUPPLY_APPLIANCES_CONFIRM)
    _say_restored(confirm_appliances_off(g.session, supply_account_id=account.id, actor=actor()))
    return redirect(local_address(request.form.get("back")) or url_for("console.deliveries"), 303)


@console.post("/stops/<int:stop_id>/closed-by-hand")
@requires(Permission.METER_COMMAND_ORDER)
def closed_by_hand(stop_id: int) -> ResponseReturnValue:
    """The duty task is done: somebody closed the breaker on site. Raises NotFound."""
    allowed = scope(Permission.METER_COMMAND_ORDER)
    waiting = paid_not_delivered(g.session, property_ids=allowed, now=business_now())
    if stop_id not in {row.stop_id for row in waiting}:
        raise NotFound
    report_closed_by_hand(g.session, stop_id=stop_id, actor=actor())
    flash(_("已登记现场合闸，停供结束，并已通知住户。"), "good")
    return redirect(url_for("console.deliveries"), 303)


def _account(public_id: object, permission: Permission) -> SupplyAccount:
    return access_supply_account(g.session, public_id=public_id, allowed=scope(permission))  # type: ignore[arg-type]


def _stop(account_id: int, reason: str) -> None:
    outcome = order_stop(g.session, supply_account_id=account_id, basis=Basis.MANUAL, actor=actor(), reason=reason)
    if outcome.ordered:
        flash(_("已下达停供指令。表计执行并回读后生效，本页会自动更新。"), "warn")
    else:
        flash(_("没有停供：%(why)s", why=refusal(outcome.verdict, outcome.next_at, outcome.edge_at)), "bad")


def _say_restored(verdicts: Sequence[RestoreVerdict]) -> None:
    if not verdicts:
        flash(_("该户没有正在停供的表计，未执行任何操作。"), "note")
    for verdict in verdicts:
        if verdict.refusal is not None:
            flash(explain_restore(verdict, locale()), "warn")
        elif verdict.how is RestoreHow.DUTY_TASK:
            flash(_("此开关须现场合闸：已列入“已付未送达”，请派人前往。"), "warn")
        else:
            flash(_("已请求送电。表计回读确认后恢复，本页会自动更新。"), "good")
