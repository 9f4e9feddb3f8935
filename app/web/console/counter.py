"""Top-up at the counter 充值: search, amount, paid, receipt, next customer. Keys are printed on the buttons."""

import secrets
from typing import Any

from flask import g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.engine import Row

from app.billing.models import Receipt, SupplyAccount
from app.billing.payments.counter import take_payment
from app.billing.supply_accounts import access_supply_account
from app.kernel.errors import AppError, Invalid
from app.kernel.money import parse_yuan
from app.permissions.policy import Permission
from app.reports.accounts import day_cost_microfen
from app.reports.receipts import payments_of
from app.web.console.accounts import access_account, hours_left
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.places import actor, operator, place, scope, today
from app.web.words import _, locale

#: Presets in yuan that every account offers; the pace of the account adds a week and a month.
PRESETS_YUAN = (50, 100, 200, 500)
CHANNELS = ("cash", "bank", "pos")
FEN_PER_MICROFEN = 1_000_000
TEN_YUAN_FEN = 1_000
KEY_MAX = 64


@console.get("/counter")
@requires(Permission.MONEY_TOPUP_SELL)
def counter() -> ResponseReturnValue:
    """The search box, focused, and what this counter took today."""
    here = place(Permission.MONEY_TOPUP_SELL)
    rows = payments_of(g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, day=today(), most=12)
    return render_template("console/counter.html", rows=rows)


@console.get("/counter/<uuid:public_id>")
@requires(Permission.MONEY_TOPUP_SELL)
def counter_account(public_id: object) -> ResponseReturnValue:
    """The account with the amount field focused. Raises NotFound."""
    return _page(access_account(public_id, Permission.MONEY_TOPUP_SELL), {}, None)


@console.post("/counter/<uuid:public_id>")
@requires(Permission.MONEY_TOPUP_SELL)
def top_up(public_id: object) -> ResponseReturnValue:
    """Take the money once per key: a repeated POST shows the same receipt. Raises NotFound."""
    account = access_supply_account(
        g.session, public_id=public_id, allowed=scope(Permission.MONEY_TOPUP_SELL)  # type: ignore[arg-type]
    )  # fmt: skip
    try:
        with g.session.begin_nested():
            receipt = _take(account)
    except AppError as refused:
        header = access_account(public_id, Permission.MONEY_TOPUP_SELL)
        return _page(header, dict(request.form), refused.message(locale())), refused.status
    return redirect(url_for("console.receipt", public_id=receipt.public_id, fresh=1), 303)


def _take(account: SupplyAccount) -> Receipt:
    return take_payment(
        g.session,
        supply_account=account,
        amount_fen=parse_yuan(request.form.get("amount", "")),
        channel=_channel(),
        till=f"T{operator().found.user_id}",
        actor=actor(),
        idempotency_key=f"counter:{_key()}",
    )


def _page(a: Row[Any], typed: dict[str, str], refused: str | None) -> str:
    cost = day_cost_microfen(g.session, tenant_id=g.tenant_id, account_id=a.id, today=today())
    return render_template(
        "console/counter_account.html",
        a=a,
        hours=hours_left(a),
        presets=_presets(cost),
        channels=CHANNELS,
        key=typed.get("key") or secrets.token_urlsafe(18),
        typed=typed,
        refused=refused,
    )


def _presets(cost_microfen: int) -> list[tuple[str, int]]:
    """(label, yuan): round sums, and what this account uses in a week and in a month, rounded up to ten yuan."""
    round_sums = [(f"¥{yuan}", yuan) for yuan in PRESETS_YUAN]
    if cost_microfen <= 0:
        return round_sums
    week, month = (-(-cost_microfen * days // (FEN_PER_MICROFEN * TEN_YUAN_FEN)) * 10 for days in (7, 30))
    return [*round_sums, (_("约一周 ¥%(yuan)s", yuan=week), week), (_("约一月 ¥%(yuan)s", yuan=month), month)]


def _channel() -> str:
    wanted = request.form.get("channel", "")
    if wanted not in CHANNELS:
        raise Invalid(field=_("收款方式"), reason=_("请选择现金、银行转账或刷卡"))
    return wanted


def _key() -> str:
    wanted = request.form.get("key", "")
    if not wanted or len(wanted) > KEY_MAX:
        raise Invalid(field=_("请求编号"), reason=_("页面不完整，请从柜台重新打开此户"))
    return wanted
