"""Entries 凭证: both sides of every posting, the document behind it, the block that sealed it."""

from datetime import date

from flask import g, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.kernel.errors import NotFound
from app.permissions.policy import Permission
from app.reports.books import entries as find_entries
from app.reports.books import entry as find_entry
from app.web.console.blueprint import console
from app.web.console.tables import csv_answer, summable
from app.web.guards import requires
from app.web.places import place, scope
from app.web.words import _, moment

PAGE = 50
KINDS = ("opening", "top_up", "usage_day", "reversal", "refund")


@console.get("/entries")
@requires(Permission.LEDGER_ENTRY_READ)
def entries() -> ResponseReturnValue:
    """Entries of the books in view, newest first; kind and day are in the address."""
    here = place(Permission.LEDGER_ENTRY_READ)
    kind = request.args.get("kind") or None
    day = _day(request.args.get("day"))
    before = request.args.get("before", type=int)
    rows = find_entries(
        g.session,
        tenant_id=g.tenant_id,
        property_ids=here.property_ids,
        kind=kind,
        day=day,
        before=before,
        most=PAGE + 1,
    )
    if request.args.get("format") == "csv":
        return _csv(rows[:PAGE])
    following = url_for("console.entries", kind=kind, day=day, before=rows[PAGE - 1].id) if len(rows) > PAGE else None
    return render_template(
        "console/entries.html", rows=rows[:PAGE], kind=kind, day=day, kinds=kind_words(), following=following
    )


@console.get("/entries/<uuid:public_id>")
@requires(Permission.LEDGER_ENTRY_READ)
def entry(public_id: object) -> ResponseReturnValue:
    """One entry with its postings. Raises NotFound."""
    found = find_entry(
        g.session, tenant_id=g.tenant_id, property_ids=scope(Permission.LEDGER_ENTRY_READ), public_id=str(public_id)
    )
    if found is None:
        raise NotFound
    return render_template("console/entry.html", view=found, e=found.entry, kinds=kind_words(), codes=code_words())


def kind_words() -> dict[str, str]:
    """Kinds of entries in words."""
    return {
        "opening": _("期初"), "top_up": _("充值"), "usage_day": _("用量日结"), "reversal": _("冲正"), "refund": _("退款"),
        "waiver": _("减免"), "adjustment": _("调账"), "transfer": _("转账"), "hold": _("冻结"), "closing": _("结清"),
    }  # fmt: skip


def code_words() -> dict[str, str]:
    """Ledger accounts in words."""
    return {
        "cash": _("库存现金"), "bank": _("银行存款"), "clearing:wechat": _("微信待结算"), "clearing:alipay": _("支付宝待结算"),
        "clearing:stripe": _("Stripe 待结算"), "clearing:pos": _("POS 待结算"), "wallet": _("预付余额"),
        "advance": _("预收款"), "receivable": _("应收款"), "deposit": _("押金"),
        "revenue:electricity": _("电费收入"), "revenue:water": _("水费收入"), "revenue:rent": _("租金收入"),
        "revenue:service_fee": _("服务费收入"), "revenue:other": _("其他收入"), "owners_fund": _("业主共有资金"),
        "vat_payable": _("应交增值税"), "due_to_headquarters": _("应付总部"), "due_from_headquarters": _("应收总部"),
        "rounding": _("尾差"), "opening": _("期初转入"), "cash_over_short": _("现金长短款"),
        "waivers": _("减免"), "adjustments": _("调账"),
    }  # fmt: skip


def _csv(rows: object) -> ResponseReturnValue:
    words = kind_words()
    columns = [_("凭证号"), _("记账日"), _("发生时间"), _("类别"), _("项目"), _("金额（元）"), _("经办")]
    table = [
        (
            r.id,
            r.booked_on,
            moment(r.event_at),
            words.get(r.kind, r.kind),
            r.property,
            summable(r.amount_fen),
            r.person or r.actor,
        )
        for r in rows  # type: ignore[attr-defined]
    ]
    return csv_answer("entries.csv", columns, table)


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
