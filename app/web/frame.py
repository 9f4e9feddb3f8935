"""The frame around every page: navigation by task, the place, the person, the demo bar."""

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask, current_app, g, has_request_context, request, url_for
from flask_login import current_user
from sqlalchemy import exists, select

from app.kernel.clock import business_now, clock_rate
from app.permissions.policy import Permission
from app.reports.overview import undelivered_count
from app.tenants.models import Tenant
from app.web.counter_cookie import pc_token
from app.web.inbox import waiting_here
from app.web.places import Place, remember_place
from app.web.role_words import roles_in_words
from app.web.words import _, locale, theme

HTMX = {
    "includeIndicatorStyles": False,
    "allowEval": False,
    "selfRequestsOnly": True,
    "historyCacheSize": 0,
    "scrollIntoViewOnBoost": False,
    "responseHandling": [
        {"code": "204", "swap": False},
        {"code": "[23]..", "swap": True},
        {"code": "[45]..", "swap": True, "error": True},
    ],
}


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of the navigation."""

    label: str
    icon: str
    href: str
    here: bool
    count: int = 0
    count_means: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Entries that belong to one task."""

    label: str
    links: list[Link]


def install_frame(app: Flask) -> None:
    """Give every template its frame."""
    app.context_processor(_frame)
    app.after_request(remember_place)
    app.jinja_env.globals.update(asset=asset, htmx_config=json.dumps(HTMX))
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True


def asset(name: str) -> str:
    """The address of a static file with its digest, so that a browser may keep it and never keeps an old one."""
    return url_for("static", filename=name, v=_digest(Path(str(current_app.static_folder)) / name))


@cache
def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:10] if path.exists() else "0"


def demo_here() -> bool:
    """Whether the clock panel exists: a movable clock is set and demo groups are alone in the database."""
    if not current_app.config["SETTINGS"].clock_file or current_user.found.tenant_kind != "demo":
        return False
    return not g.session.scalar(select(exists().where(Tenant.kind != "demo")))


def _frame() -> dict[str, Any]:
    if not has_request_context():
        return {}
    shared = {
        "locale": locale(),
        "theme": theme(),
        "nonce": g.get("nonce", ""),
        "business_now": business_now(),
        "counter_pc": bool(pc_token()),
        "_": _,
    }
    if "reference" in g:
        # An error page asks the database nothing more: its transaction may be broken.
        return shared
    if not current_user or not current_user.is_authenticated:
        return shared | {"actor": None, "navigation": [], "here": Place(None, []), "demo": False}
    demo = demo_here() and current_user.may(Permission.DEMO_CLOCK_MOVE)
    return shared | {
        "actor": _Person(current_user.name, _roles_held()),
        "viewing": current_user.found.view_as_name,
        "tenant_name": current_user.found.tenant_name,
        "navigation": [] if request.headers.get("HX-Request") else _navigation(),
        "here": g.get("here", Place(None, [])),
        "may": current_user.may,
        "P": Permission,
        "demo": demo,
        "clock_rate": clock_rate() if demo else 1,
    }


@dataclass(frozen=True, slots=True)
class _Person:
    name: str
    role_words: str


def _roles_held() -> str:
    grants = current_user.found.view_as_grants if current_user.viewing else current_user.found.grants
    return roles_in_words(grants)


def _navigation() -> list[Group]:
    """Only what the person may open is listed; the blueprint's own tests prove that every link answers."""
    plan: list[tuple[str, list[tuple[str, str, str, Permission]]]] = [
        ("", [
            (_("今日"), "home", "console.today", Permission.OVERVIEW_GROUP_READ),
            (_("审批"), "check", "console.approvals", Permission.APPROVAL_REQUEST_READ),
        ]),
        (_("房间"), [
            (_("房态图"), "layout-grid", "console.wall", Permission.PROPERTY_WALL_READ),
            (_("用能户"), "users", "console.accounts", Permission.ACCOUNT_SUPPLY_READ),
            (_("应急供电"), "bolt", "console.emergency", Permission.SUPPLY_EMERGENCY_GIVE),
            (_("客户"), "user", "console.customers", Permission.ACCOUNT_SUPPLY_READ),
        ]),
        (_("收费"), [
            (_("充值柜台"), "cash", "console.counter", Permission.MONEY_TOPUP_SELL),
            (_("今日收款"), "receipt", "console.payments", Permission.MONEY_RECEIPT_READ),
            (_("催缴名单"), "message", "console.collection", Permission.COLLECTION_CALL_READ),
            (_("已付未送达"), "truck-delivery", "console.deliveries", Permission.PROPERTY_WALL_READ),
        ]),
        (_("表计"), [
            (_("表计与网关"), "router", "console.devices", Permission.METER_METER_READ),
            (_("抄表导入"), "file-import", "console.readings_import", Permission.READING_IMPORT_LOAD),
        ]),
        (_("财务"), [
            (_("凭证"), "file-invoice", "console.entries", Permission.LEDGER_ENTRY_READ),
        ]),
        (_("能耗"), [
            (_("用量分析"), "chart-bar", "console.energy", Permission.OVERVIEW_GROUP_READ),
        ]),
        (_("人员与安全"), [
            (_("企业登录"), "building", "console.sso_providers", Permission.SECURITY_SETTING_READ),
            (_("柜台电脑"), "device-desktop", "console.counter_pcs", Permission.SECURITY_SETTING_READ),
            (_("人员"), "user", "console.people", Permission.USER_ACCOUNT_READ),
            (_("角色"), "list-details", "console.roles", Permission.USER_ACCOUNT_READ),
            (_("权限一览"), "shield-check", "console.permissions", Permission.USER_ACCOUNT_READ),
            (_("审批限额"), "adjustments-horizontal", "console.limits", Permission.SECURITY_SETTING_READ),
            (_("安全策略"), "lock", "console.security_policy_page", Permission.SECURITY_SETTING_READ),
            (_("审计日志"), "clipboard-list", "console.audit_log", Permission.AUDIT_LOG_READ),
            (_("查看完整号码"), "search", "console.unmaskings", Permission.AUDIT_LOG_READ),
            (_("数据密钥"), "lock", "console.keys", Permission.PLATFORM_KEY_ROTATE),
            (_("API 令牌"), "plug-connected", "console.tokens", Permission.SECURITY_SETTING_READ),
            (_("事件推送"), "external-link", "console.webhooks_page", Permission.SECURITY_SETTING_READ),
        ]),
        (_("设置"), [
            (_("电价方案"), "coin", "console.plans", Permission.PLAN_PRICE_READ),
            (_("建账导入"), "database-import", "console.onboarding", Permission.ONBOARDING_IMPORT_COMMIT),
        ]),
    ]  # fmt: skip
    groups = [
        Group(label, [_link(*entry[:3]) for entry in links if current_user.may(entry[3])]) for label, links in plan
    ]
    return [group for group in groups if group.links]


def _link(label: str, icon: str, endpoint: str) -> Link:
    here = (request.endpoint or "").removesuffix("_page") == endpoint
    if endpoint == "console.approvals":
        return Link(label, icon, url_for(endpoint), here, waiting_here(), _("等我审批"))
    if endpoint != "console.deliveries":
        return Link(label, icon, url_for(endpoint), here)
    ids = current_user.property_ids(Permission.PROPERTY_WALL_READ)
    waiting = undelivered_count(g.session, tenant_id=g.tenant_id, property_ids=ids)
    return Link(label, icon, url_for(endpoint), here, waiting, _("已付款、尚未恢复供电"))
