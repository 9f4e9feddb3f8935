"""Receipts 收据: on the screen at once, on paper by the browser, as PDF when the worker has made it."""

from pathlib import Path
from typing import Any

from flask import current_app, flash, g, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.engine import Row

from app.billing.approved import reverse_sale
from app.billing.models import Payment, Receipt
from app.billing.payments.receipts import access_receipt, print_receipt
from app.billing.restore import paid_not_delivered
from app.kernel.clock import business_now, wall_now
from app.kernel.errors import AppError, NotFound
from app.permissions.approvals import ApprovalNeeded, ApprovalReasonMissing
from app.permissions.policy import Permission
from app.reports.approvals import request_on
from app.reports.receipt_files import receipt_path
from app.reports.receipts import payments_of, progress_of
from app.reports.receipts import receipt as find_receipt
from app.reports.takings import takings_by_channel
from app.web.console.blueprint import console
from app.web.console.parts import live_part
from app.web.console.waiting import ask
from app.web.guards import requires
from app.web.inbox import reader
from app.web.places import actor, place, scope, today
from app.web.refusals import say_refused
from app.web.words import _, locale, yuan


@console.get("/payments")
@requires(Permission.MONEY_RECEIPT_READ)
def payments() -> ResponseReturnValue:
    """What came in today and was reversed today, each with its receipt, and the net totals by way of paying."""
    here = place(Permission.MONEY_RECEIPT_READ)
    rows = payments_of(g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, day=today(), most=500)
    totals = takings_by_channel(g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, day=today())
    return render_template("console/payments.html", rows=rows, totals=totals, day=today())


@console.get("/receipts/<uuid:public_id>")
@requires(Permission.MONEY_RECEIPT_READ)
def receipt(public_id: object) -> ResponseReturnValue:
    """The receipt as it will print, and how far the light has come. Raises NotFound."""
    return _receipt_page(public_id)


def _receipt_page(public_id: object) -> str:
    r = _receipt(public_id)
    reversible = r.received_on == today() and r.reversed_by is None
    asked = _asked_for(r) if reversible else None
    seen = {"is_copy": r.prints > 0, "printing": False, "reversible": reversible, "asked": asked}
    return render_template("console/receipt.html", r=r, **seen, **_progress(r))


def _asked_for(r: Row[Any]) -> Row[Any] | None:
    """The request for its reversal that waits for another person."""
    subject = f"payments:{r.payment_id}"
    return request_on(g.session, reader=reader(), deed="reversal", subject=subject, now=wall_now())


@console.post("/receipts/<uuid:public_id>/print")
@requires(Permission.MONEY_RECEIPT_PRINT)
def print_paper(public_id: object) -> ResponseReturnValue:
    """Count the print and open the browser's print dialogue; from the second time on it says 副本. Raises NotFound."""
    printed = _print(public_id)
    r = _receipt(public_id, Permission.MONEY_RECEIPT_PRINT)
    return render_template("console/receipt.html", r=r, is_copy=printed, printing=True, **_progress(r))


@console.post("/receipts/<uuid:public_id>/pdf")
@requires(Permission.MONEY_RECEIPT_PRINT)
def print_pdf(public_id: object) -> ResponseReturnValue:
    """The PDF, counted like a print; while the worker is still making it, the page says so. Raises NotFound."""
    r = _receipt(public_id, Permission.MONEY_RECEIPT_PRINT)
    path = receipt_path(_folder(), g.tenant_id, r.public_id, is_copy=r.prints > 0)
    if not path.exists():
        flash(_("PDF 正在生成，通常几秒钟。请稍候再点一次；也可直接打印本页。"), "note")
        return redirect(url_for("console.receipt", public_id=r.public_id), 303)
    _print(public_id)
    return send_file(
        path.resolve(), mimetype="application/pdf", as_attachment=True, download_name=f"{r.till}-{r.number:06d}.pdf"
    )


@console.post("/receipts/<uuid:public_id>/reverse")
@requires(Permission.MONEY_TOPUP_REVERSE)
def reverse(public_id: object) -> ResponseReturnValue:
    """Reverse a sale of today, or ask another person for it when it is above what one may do alone. Raises NotFound."""
    row = access_receipt(g.session, public_id=public_id, allowed=scope(Permission.MONEY_TOPUP_REVERSE))  # type: ignore[arg-type]
    payment = g.session.get_one(Payment, (row.tenant_id, row.payment_id))
    reason = request.form.get("reason", "").strip()
    try:
        if not reason:
            raise ApprovalReasonMissing
        with g.session.begin_nested():
            reverse_sale(g.session, payment=payment, reason=reason, actor=actor(), idempotency_key=str(row.public_id))
    except ApprovalNeeded as needed:
        return _ask(row, needed, reason)
    except AppError as refused:
        return _not_reversed(row, refused)
    flash(_("已冲正 %(amount)s，从余额中扣回。", amount=yuan(payment.amount_fen)), "good")
    return redirect(url_for("console.receipt", public_id=row.public_id), 303)


def _ask(row: Receipt, needed: ApprovalNeeded, reason: str) -> ResponseReturnValue:
    try:
        return ask(needed, reason=reason)
    except AppError as refused:
        return _not_reversed(row, refused)


def _not_reversed(row: Receipt, refused: AppError) -> ResponseReturnValue:
    say_refused(refused.code, refused.status)
    flash(_("没有冲正：%(why)s", why=refused.message(locale())), "bad")
    return _receipt_page(row.public_id), refused.status


@console.get("/receipts/<uuid:public_id>/progress")
@requires(Permission.MONEY_RECEIPT_READ)
def receipt_progress(public_id: object) -> ResponseReturnValue:
    """已收款 → 正在送电 → 已恢复, again when it changed. Raises NotFound."""
    r = _receipt(public_id)
    return live_part("console/_progress.html", r=r, **_progress(r))


def _folder() -> Path:
    folder: Path = current_app.config["SETTINGS"].var_path
    return folder


def _receipt(public_id: object, permission: Permission = Permission.MONEY_RECEIPT_READ) -> Row[Any]:
    found = find_receipt(g.session, tenant_id=g.tenant_id, property_ids=scope(permission), public_id=str(public_id))
    if found is None:
        raise NotFound
    return found


def _print(public_id: object) -> bool:
    allowed = scope(Permission.MONEY_RECEIPT_PRINT)
    row = access_receipt(g.session, public_id=public_id, allowed=allowed)  # type: ignore[arg-type]
    return print_receipt(g.session, receipt=row).is_copy


def _progress(r: Row[Any]) -> dict[str, Any]:
    found = progress_of(g.session, tenant_id=g.tenant_id, account_id=r.account_id, payment_id=r.payment_id)
    if found is None or found.state == "lifted":
        return {"progress": found, "how": None}
    waiting = paid_not_delivered(g.session, property_ids=[r.property_id], now=business_now())
    return {"progress": found, "how": next((w.how for w in waiting if w.supply_account_id == r.account_id), "command")}
