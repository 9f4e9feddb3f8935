"""Money given back at the supply account: refund 退款, waiver 减免, adjustment 调账, and their papers.

Above one's limit the form comes back and asks whether another person shall be asked; that second step wants a fresh
second factor.
"""

import secrets
import uuid
from collections.abc import Callable

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from app.billing.approved import give_adjustment, give_refund, give_waiver, take_back
from app.billing.giving_back import CODES, WAYS
from app.billing.giving_models import MoneyGiven
from app.billing.models import SupplyAccount
from app.billing.supply_accounts import access_supply_account
from app.kernel.errors import AppError, Invalid, NotFound
from app.kernel.money import parse_yuan
from app.permissions.approvals import ApprovalNeeded
from app.permissions.policy import Permission
from app.reports.giving import given_paper
from app.tenants.access import or_not_found, within
from app.tenants.audit import record
from app.web.console.accounts import access_account
from app.web.console.blueprint import console
from app.web.console.waiting import ask
from app.web.giving_words import FILTERS, giving_words
from app.web.guards import requires
from app.web.places import actor, scope
from app.web.words import _, locale, yuan

KEY_MAX = 64
P = Permission
PERMISSIONS = {"refund": P.MONEY_REFUND_GIVE, "waiver": P.MONEY_WAIVER_GIVE, "adjustment": P.MONEY_ADJUSTMENT_MAKE}

for _filter in FILTERS:
    console.add_app_template_filter(_filter)


@console.get("/accounts/<uuid:public_id>/refund")
@requires(Permission.MONEY_REFUND_GIVE)
def refund_page(public_id: uuid.UUID) -> ResponseReturnValue:
    """The form of a refund. Raises NotFound."""
    return _form("refund", public_id)


@console.post("/accounts/<uuid:public_id>/refund")
@requires(Permission.MONEY_REFUND_GIVE)
def refund(public_id: uuid.UUID) -> ResponseReturnValue:
    """Give money back, or offer to ask another person. Raises NotFound."""
    return _give("refund", public_id)


@console.post("/accounts/<uuid:public_id>/refund/ask")
@requires(Permission.MONEY_REFUND_GIVE, fresh_factor=True)
def ask_refund(public_id: uuid.UUID) -> ResponseReturnValue:
    """Put a refund above one's limit before another person. Raises NotFound."""
    return _give("refund", public_id, asking=True)


@console.get("/accounts/<uuid:public_id>/waiver")
@requires(Permission.MONEY_WAIVER_GIVE)
def waiver_page(public_id: uuid.UUID) -> ResponseReturnValue:
    """The form of a waiver. Raises NotFound."""
    return _form("waiver", public_id)


@console.post("/accounts/<uuid:public_id>/waiver")
@requires(Permission.MONEY_WAIVER_GIVE)
def waiver(public_id: uuid.UUID) -> ResponseReturnValue:
    """Give up what is owed, or offer to ask another person. Raises NotFound."""
    return _give("waiver", public_id)


@console.post("/accounts/<uuid:public_id>/waiver/ask")
@requires(Permission.MONEY_WAIVER_GIVE, fresh_factor=True)
def ask_waiver(public_id: uuid.UUID) -> ResponseReturnValue:
    """Put a waiver above one's limit before another person. Raises NotFound."""
    return _give("waiver", public_id, asking=True)


@console.get("/accounts/<uuid:public_id>/adjustment")
@requires(Permission.MONEY_ADJUSTMENT_MAKE)
def adjustment_page(public_id: uuid.UUID) -> ResponseReturnValue:
    """The form of an adjustment. Raises NotFound."""
    return _form("adjustment", public_id)


@console.post("/accounts/<uuid:public_id>/adjustment")
@requires(Permission.MONEY_ADJUSTMENT_MAKE)
def adjustment(public_id: uuid.UUID) -> ResponseReturnValue:
    """Put a wallet right, or offer to ask another person. Raises NotFound."""
    return _give("adjustment", public_id)


@console.post("/accounts/<uuid:public_id>/adjustment/ask")
@requires(Permission.MONEY_ADJUSTMENT_MAKE, fresh_factor=True)
def ask_adjustment(public_id: uuid.UUID) -> ResponseReturnValue:
    """Put an adjustment above one's limit before another person. Raises NotFound."""
    return _give("adjustment", public_id, asking=True)


@console.get("/given/<uuid:public_id>")
@requires(Permission.MONEY_RECEIPT_READ)
def given(public_id: uuid.UUID) -> ResponseReturnValue:
    """The paper of a refund, a waiver or an adjustment. Raises NotFound."""
    return _paper(public_id)


@console.post("/given/<uuid:public_id>/print")
@requires(Permission.MONEY_RECEIPT_PRINT)
def print_given(public_id: uuid.UUID) -> ResponseReturnValue:
    """Count the print and open the browser's dialogue; from the second time on it says 副本. Raises NotFound."""
    row = _access(public_id, Permission.MONEY_RECEIPT_PRINT)
    row.prints += 1
    record(
        g.session, deed="money:paper:print", subject=f"money_given:{row.id}", actor=actor(),
        property_id=row.property_id, facts={"prints": row.prints},
    )  # fmt: skip
    return _paper(public_id, is_copy=row.prints > 1, printing=True)


@console.post("/given/<uuid:public_id>/undo")
@requires(Permission.MONEY_ADJUSTMENT_MAKE)
def undo_given(public_id: uuid.UUID) -> ResponseReturnValue:
    """Undo what somebody else gave, or ask another person for it. Raises NotFound."""
    row = _access(public_id, Permission.MONEY_ADJUSTMENT_MAKE)
    reason = request.form.get("reason", "").strip()
    try:
        with g.session.begin_nested():
            take_back(g.session, given=row, reason=reason, actor=actor(), idempotency_key=str(row.public_id))
    except ApprovalNeeded as needed:
        return _ask_undo(row, needed, reason)
    except AppError as refused:
        flash(_("没有冲正：%(why)s", why=refused.message(locale())), "bad")
        return _paper(public_id), refused.status
    flash(_("已冲正这笔%(kind)s。", kind=giving_words(row.kind)), "good")
    return redirect(url_for("console.given", public_id=public_id), 303)


def _ask_undo(row: MoneyGiven, needed: ApprovalNeeded, reason: str) -> ResponseReturnValue:
    try:
        return ask(needed, reason=reason)
    except AppError as refused:
        flash(_("没有冲正：%(why)s", why=refused.message(locale())), "bad")
        return _paper(row.public_id), refused.status


def _give(kind: str, public_id: uuid.UUID, *, asking: bool = False) -> ResponseReturnValue:
    account = access_supply_account(g.session, public_id=public_id, allowed=scope(PERMISSIONS[kind]))
    try:
        with g.session.begin_nested():
            made = _DEEDS[kind](account)
    except ApprovalNeeded as needed:
        return _ask(kind, public_id, needed) if asking else _form(kind, public_id, needed=True)
    except AppError as refused:
        return _form(kind, public_id, refused=refused.message(locale())), refused.status
    flash(_("已办理%(kind)s %(amount)s。", kind=giving_words(kind), amount=yuan(made.amount_fen)), "good")
    if made.property_id in scope(Permission.MONEY_RECEIPT_READ):
        return redirect(url_for("console.given", public_id=made.public_id), 303)
    return redirect(url_for("console.account", public_id=public_id), 303)


def _ask(kind: str, public_id: uuid.UUID, needed: ApprovalNeeded) -> ResponseReturnValue:
    try:
        return ask(needed, reason=request.form.get("reason", "").strip())
    except AppError as refused:
        return _form(kind, public_id, refused=refused.message(locale()), needed=True), refused.status


def _refund(account: SupplyAccount) -> MoneyGiven:
    return give_refund(
        g.session, account=account, amount_fen=_amount(), way=request.form.get("code", ""), reason=_reason(),
        actor=actor(), idempotency_key=_key(),
    )  # fmt: skip


def _waiver(account: SupplyAccount) -> MoneyGiven:
    return give_waiver(
        g.session, account=account, amount_fen=_amount(), reason=_reason(), actor=actor(), idempotency_key=_key()
    )


def _adjustment(account: SupplyAccount) -> MoneyGiven:
    signs = {"up": 1, "down": -1}
    sign = signs.get(request.form.get("direction", ""))
    if sign is None:
        raise Invalid(field=_("方向"), reason=_("请选择调增或调减"))
    return give_adjustment(
        g.session, account=account, amount_fen=sign * _amount(), code=request.form.get("code", ""), reason=_reason(),
        actor=actor(), idempotency_key=_key(),
    )  # fmt: skip


_DEEDS: dict[str, Callable[[SupplyAccount], MoneyGiven]] = {
    "refund": _refund, "waiver": _waiver, "adjustment": _adjustment,
}  # fmt: skip


def _amount() -> int:
    return parse_yuan(request.form.get("amount", ""))


def _reason() -> str:
    return request.form.get("reason", "").strip()


def _key() -> str:
    wanted = request.form.get("key", "")
    if not wanted or len(wanted) > KEY_MAX:
        raise Invalid(field=_("请求编号"), reason=_("页面不完整，请从用能户页面重新打开"))
    return f"console:{wanted}"


def _form(kind: str, public_id: uuid.UUID, *, refused: str | None = None, needed: bool = False) -> str:
    typed = request.form.to_dict() if request.method == "POST" else {}
    return render_template(
        "console/giving.html",
        a=access_account(public_id, PERMISSIONS[kind]),
        kind=kind,
        typed=typed,
        key=typed.get("key") or secrets.token_urlsafe(18),
        refused=refused,
        needed=needed,
        ways=WAYS,
        codes=CODES,
    )


def _access(public_id: uuid.UUID, permission: Permission) -> MoneyGiven:
    mine = within(MoneyGiven.property_id, scope(permission))
    found: MoneyGiven | None = g.session.scalar(select(MoneyGiven).where(MoneyGiven.public_id == public_id, mine))
    return or_not_found(found)


def _paper(public_id: uuid.UUID, *, is_copy: bool | None = None, printing: bool = False) -> str:
    allowed = sorted(
        {*scope(Permission.MONEY_RECEIPT_READ), *scope(Permission.MONEY_RECEIPT_PRINT)}
        | {*scope(Permission.MONEY_ADJUSTMENT_MAKE)}
    )
    r = given_paper(g.session, tenant_id=g.tenant_id, property_ids=allowed, public_id=str(public_id))
    if r is None:
        raise NotFound
    copy = r.prints > 0 if is_copy is None else is_copy
    mine = r.actor == str(actor())
    return render_template("console/given.html", r=r, is_copy=copy, printing=printing, mine=mine)
