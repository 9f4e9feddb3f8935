"""Webhooks 事件推送: which of the group's own systems hear of what, and every attempt to tell them."""

import json
from typing import Any

from flask import current_app, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.kernel.clock import wall_now
from app.kernel.errors import AppError
from app.notify import webhook_log, webhooks
from app.notify.webhook_models import WebhookDelivery, WebhookEndpoint
from app.notify.webhook_rules import ATTEMPTS_MAX, DEAD_MAX, KINDS, PING
from app.permissions.policy import Permission
from app.settings import Settings
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.node_choices import chosen_node, node_choices
from app.web.places import actor, operator
from app.web.words import _, locale

MANAGE, READ = Permission.API_WEBHOOK_MANAGE, Permission.SECURITY_SETTING_READ
STATES = ("waiting", "delivered", "dead")


@console.get("/webhooks")
@requires(Permission.SECURITY_SETTING_READ)
def webhooks_page() -> ResponseReturnValue:
    """Every endpoint at the places in view; who manages them finds the form for another."""
    return _list()


@console.post("/webhooks")
@requires(Permission.API_WEBHOOK_MANAGE, fresh_factor=True)
def webhook_add() -> ResponseReturnValue:
    """Register an endpoint; its secret stands on this answer only. Raises NotFound."""
    form, node_id = request.form, chosen_node(MANAGE, request.form.get("place", ""))
    try:
        with g.session.begin_nested():
            made, secret = webhooks.add_endpoint(
                g.session, node_id=node_id, name=form.get("name", ""), url=form.get("url", ""),
                kinds=form.getlist("kinds"), by=actor(), settings=_settings(),
            )  # fmt: skip
    except AppError as refused:
        return _list(
            typed=form.to_dict(), chosen=form.getlist("kinds"), refused=refused.message(locale())
        ), refused.status
    return _one(made, secret=secret)


@console.get("/webhooks/<uuid:public_id>")
@requires(Permission.SECURITY_SETTING_READ)
def webhook_page(public_id: Any) -> ResponseReturnValue:
    """One endpoint and its delivery log. Raises NotFound."""
    return _one(_access(public_id, READ))


@console.post("/webhooks/<uuid:public_id>")
@requires(Permission.API_WEBHOOK_MANAGE, fresh_factor=True)
def webhook_change(public_id: Any) -> ResponseReturnValue:
    """Change name, address and events. Raises NotFound."""
    form, endpoint = request.form, _access(public_id)
    try:
        with g.session.begin_nested():
            webhooks.change_endpoint(
                g.session, endpoint=endpoint, name=form.get("name", ""), url=form.get("url", ""),
                kinds=form.getlist("kinds"), by=actor(), settings=_settings(),
            )  # fmt: skip
    except AppError as refused:
        return _one(endpoint, refused=refused.message(locale())), refused.status
    return _back(endpoint, _("已保存。"))


@console.post("/webhooks/<uuid:public_id>/secret")
@requires(Permission.API_WEBHOOK_MANAGE, fresh_factor=True)
def webhook_rotate(public_id: Any) -> ResponseReturnValue:
    """A new secret, shown on this answer only. Raises NotFound."""
    endpoint = _access(public_id)
    return _one(endpoint, secret=webhooks.rotate_secret(g.session, endpoint=endpoint, by=actor()))


@console.post("/webhooks/<uuid:public_id>/off")
@requires(Permission.API_WEBHOOK_MANAGE)
def webhook_off(public_id: Any) -> ResponseReturnValue:
    """Tell it nothing more. Raises NotFound."""
    endpoint = _access(public_id)
    webhooks.switch_off(g.session, endpoint=endpoint, why="person", by=actor())
    return _back(endpoint, _("已停用，不再推送。"))


@console.post("/webhooks/<uuid:public_id>/on")
@requires(Permission.API_WEBHOOK_MANAGE)
def webhook_on(public_id: Any) -> ResponseReturnValue:
    """Tell it again. Raises NotFound."""
    endpoint = _access(public_id)
    webhooks.switch_on(g.session, endpoint=endpoint, by=actor())
    return _back(endpoint, _("已启用，等待中的推送会先发出。"))


@console.post("/webhooks/<uuid:public_id>/remove")
@requires(Permission.API_WEBHOOK_MANAGE, fresh_factor=True)
def webhook_remove(public_id: Any) -> ResponseReturnValue:
    """Forget it with its log. Raises NotFound."""
    webhooks.remove_endpoint(g.session, endpoint=_access(public_id), by=actor())
    flash(_("已移除推送地址。"), "good")
    return redirect(url_for("console.webhooks_page"), 303)


@console.post("/webhooks/<uuid:public_id>/ping")
@requires(Permission.API_WEBHOOK_MANAGE)
def webhook_ping(public_id: Any) -> ResponseReturnValue:
    """Queue a test message. Raises NotFound."""
    endpoint = _access(public_id)
    try:
        webhooks.ping(g.session, endpoint=endpoint, by=actor())
    except webhooks.WebhookDisabled as refused:
        return _one(endpoint, refused=refused.message(locale())), refused.status
    return _back(endpoint, _("测试消息已排队，结果见下方记录。"))


@console.post("/webhooks/deliveries/<uuid:public_id>/again")
@requires(Permission.API_WEBHOOK_MANAGE)
def webhook_again(public_id: Any) -> ResponseReturnValue:
    """Try a delivery anew. Raises NotFound."""
    delivery = webhook_log.access_delivery(g.session, public_id=public_id, allowed=_nodes(MANAGE))
    endpoint = g.session.get_one(WebhookEndpoint, (delivery.tenant_id, delivery.endpoint_id))
    try:
        webhooks.send_again(g.session, delivery=delivery, by=actor())
    except webhooks.WebhookDisabled as refused:
        return _one(endpoint, refused=refused.message(locale())), refused.status
    return _back(endpoint, _("已排队重发，消息编号不变。"))


def kind_words() -> dict[str, str]:
    """Events in words."""
    return {
        "payments.succeeded": _("收到一笔款"),
        "supply.level_changed": _("用能户余额级别变化"),
        "commands.ended": _("控制命令有了结果"),
        "meters.relay_changed": _("电表继电器状态变化"),
        "notices.failed": _("通知未能送达"),
        PING: _("测试消息"),
    }


def _back(endpoint: WebhookEndpoint, said: str) -> ResponseReturnValue:
    flash(said, "good")
    return redirect(url_for("console.webhook_page", public_id=endpoint.public_id), 303)


def _access(public_id: Any, permission: Permission = MANAGE) -> WebhookEndpoint:
    return webhooks.access_endpoint(g.session, public_id=public_id, allowed=_nodes(permission))


def _nodes(permission: Permission) -> frozenset[int]:
    return operator().scope.nodes(permission)


def _settings() -> Settings:
    found: Settings = current_app.config["SETTINGS"]
    return found


def _list(**context: Any) -> str:
    given: dict[str, Any] = {"typed": {}, "chosen": list(KINDS), "refused": None} | context
    endpoints = webhooks.list_endpoints(g.session, allowed=_nodes(READ))
    return render_template(
        "console/webhooks.html", endpoints=endpoints, nodes=operator().nodes, places=node_choices(MANAGE), kinds=KINDS,
        kind_words=kind_words(), dead_max=DEAD_MAX, **given,
    )  # fmt: skip


def _one(endpoint: WebhookEndpoint, **context: Any) -> str:
    given: dict[str, Any] = {"secret": "", "refused": None} | context
    state = request.args.get("state") if request.args.get("state") in STATES else None
    before = request.args.get("before", "")
    rows = webhook_log.list_deliveries(
        g.session, endpoint_id=endpoint.id, state=state, before_id=int(before) if before.isdecimal() else None
    )
    page, more = rows[: webhook_log.PAGE], len(rows) > webhook_log.PAGE
    return render_template(
        "console/webhook.html", endpoint=endpoint, place=operator().nodes[endpoint.node_id].name, deliveries=page,
        next_before=page[-1].id if more else None, state=state, states=STATES, kinds=KINDS, kind_words=kind_words(),
        attempts_max=ATTEMPTS_MAX, dead_max=DEAD_MAX, pretty=_pretty, live=any(_is_fresh(d) for d in page), now=wall_now(),
        **given,
    )  # fmt: skip


def _is_fresh(delivery: WebhookDelivery) -> bool:
    """Whether an attempt is about to be made: then the log looks again by itself."""
    return delivery.state == "waiting" and delivery.attempts == 0


def _pretty(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, indent=2)
