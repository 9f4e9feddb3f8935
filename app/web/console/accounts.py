"""The supply account page 用能户: what is left, what the relay does, what happened, and the evidence."""

from datetime import timedelta
from typing import Any

from flask import g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.engine import Row

from app.billing.arrears import Level, forecast_hours
from app.energy.series import usage_by_day, usage_by_hour
from app.kernel.clock import business_now, day_start
from app.kernel.errors import NotFound
from app.permissions.policy import Permission
from app.reports.accounts import (
    account_days,
    account_header,
    accounts_list,
    command_history,
    day_cost_microfen,
    notice_history,
    statement,
)
from app.reports.charts import Chart, Heat, Mark, Series
from app.reports.giving import papers_of
from app.reports.room_states import STATES
from app.web.console.blueprint import console
from app.web.console.books import kind_words
from app.web.console.next_event import next_event, readings_stay_away
from app.web.console.parts import live_part
from app.web.console.posting_working import workings_of
from app.web.console.stop_outlook import StopOutlook, stop_outlook
from app.web.console.tables import csv_answer, summable
from app.web.guards import requires
from app.web.places import place, scope, today
from app.web.words import ZONE, _, clock_time, moment

PAGE = 50
STATEMENT_ROWS = 40
HEAT_DAYS = 14


@console.get("/accounts")
@requires(Permission.ACCOUNT_SUPPLY_READ)
def accounts() -> ResponseReturnValue:
    """Every account in view, filtered by state; the filter is in the address."""
    here = place(Permission.ACCOUNT_SUPPLY_READ)
    state = request.args.get("state") if request.args.get("state") in STATES else None
    rows = accounts_list(
        g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, state=state,
        after=request.args.get("after", 0, type=int), most=PAGE + 1,
    )  # fmt: skip
    following = url_for("console.accounts", state=state, after=rows[PAGE - 1].id) if len(rows) > PAGE else None
    return render_template(
        "console/accounts.html", rows=rows[:PAGE], state=state, states=STATES[:-1], following=following
    )


@console.get("/accounts/<uuid:public_id>")
@requires(Permission.ACCOUNT_SUPPLY_READ)
def account(public_id: object) -> ResponseReturnValue:
    """One account. Raises NotFound for "not there" and "not yours" alike."""
    a = access_account(public_id, Permission.ACCOUNT_SUPPLY_READ)
    return render_template("console/account.html", **_live(a), balance=_balance_chart(a), usage=_usage_chart(a),
                           heat=_heat(a),
                           papers=papers_of(g.session, tenant_id=g.tenant_id, account_id=a.id))  # fmt: skip


@console.get("/accounts/<uuid:public_id>/live")
@requires(Permission.ACCOUNT_SUPPLY_READ)
def account_live(public_id: object) -> ResponseReturnValue:
    """The figures and the time line again, if they changed. Raises NotFound."""
    return live_part("console/_account_live.html", **_live(access_account(public_id, Permission.ACCOUNT_SUPPLY_READ)))


@console.get("/accounts/<uuid:public_id>/statement")
@requires(Permission.ACCOUNT_SUPPLY_READ)
def account_statement(public_id: object) -> ResponseReturnValue:
    """The whole statement, page by page, or as a file. Raises NotFound."""
    a = access_account(public_id, Permission.ACCOUNT_SUPPLY_READ)
    before = request.args.get("before", type=int)
    rows = statement(g.session, tenant_id=g.tenant_id, wallet_id=a.wallet_id or 0, before=before, most=PAGE + 1)
    if request.args.get("format") == "csv":
        return _statement_csv(a, rows[:PAGE])
    following = None
    if len(rows) > PAGE:
        following = url_for("console.account_statement", public_id=a.public_id, before=rows[PAGE - 1].version)
    return render_template(
        "console/statement.html",
        a=a,
        rows=rows[:PAGE],
        kinds=kind_words(),
        following=following,
        workings=workings_of(a.id, rows),
    )


def access_account(public_id: object, permission: Permission) -> Row[Any]:
    """The account's header within the scope of a permission. Raises NotFound."""
    found = account_header(
        g.session,
        tenant_id=g.tenant_id,
        property_ids=scope(permission),
        public_id=str(public_id),
        now=business_now(),
    )
    if found is None:
        raise NotFound
    return found


def hours_left(a: Row[Any]) -> int | None:
    """How long the wallet lasts at the pace of the last seven days; None without a pace or while readings stay away."""
    if readings_stay_away(a, business_now()):
        return None
    cost = day_cost_microfen(g.session, tenant_id=g.tenant_id, account_id=a.id, today=today())
    if a.available_fen is None or cost <= 0:
        return None
    return forecast_hours(a.available_fen, [max(cost // 1_000_000, 1)])


def _live(a: Row[Any]) -> dict[str, Any]:
    hours = hours_left(a)
    rows = statement(g.session, tenant_id=g.tenant_id, wallet_id=a.wallet_id or 0, most=STATEMENT_ROWS)
    commands = command_history(g.session, tenant_id=g.tenant_id, meter_id=a.meter_id) if a.meter_id else []
    return {
        "a": a,
        "hours": hours,
        "next": next_event(a, hours, business_now()),
        "outlook": _outlook(a),
        "rows": rows,
        "kinds": kind_words(),
        "workings": workings_of(a.id, rows),
        "days": account_days(g.session, tenant_id=g.tenant_id, account_id=a.id, most=14),
        "commands": commands,
        "notices": notice_history(g.session, tenant_id=g.tenant_id, account_id=a.id),
        "latest": commands[0].command if commands else None,
    }


def _outlook(a: Row[Any]) -> StopOutlook | None:
    """Why nothing has been stopped, where somebody would wonder: an open account at zero without a stop."""
    wondered_at = a.account_state == "open" and a.stop_state is None and a.meter_id is not None
    if not wondered_at or a.available_fen is None or (a.available_fen > 0 and a.alarm_level < Level.ZERO):
        return None
    return stop_outlook(a, business_now())


def _balance_chart(a: Row[Any]) -> Chart:
    rows = list(reversed(statement(g.session, tenant_id=g.tenant_id, wallet_id=a.wallet_id or 0, most=120)))
    instants = [f"{moment(row.event_at)[:10]}T{clock_time(row.event_at)}" for row in rows]
    values = [row.balance_fen for row in rows]
    if rows:
        instants.append(f"{moment(business_now())[:10]}T{clock_time(business_now())}")
        values.append(a.available_fen)
    marks = [
        Mark(_("一级预警"), a.alarm_1_fen, "--th-amber"),
        Mark(_("停供线"), -a.overdraft_fen_max, "--th-red"),
    ]
    return Chart(
        "steps", _("元"), 100, _("时间"), instants, [Series(_("余额"), values)], marks,
        teach=_("第一笔充值之后，这里会画出余额的变化。"),
    )  # fmt: skip


def _usage_chart(a: Row[Any]) -> Chart:
    days = usage_by_day(g.session, tenant_id=g.tenant_id, supply_account_id=a.id, today=today())
    return Chart(
        "bars", "kWh", 1000, _("日期"), [d.day.strftime("%m-%d") for d in days],
        [Series(_("用电量"), [d.usage_wh for d in days], [d.spread for d in days])],
        teach=_("收到两次示数之后，这里会显示每天的用电量。"),
    )  # fmt: skip


def _heat(a: Row[Any]) -> Heat:
    since = today() - timedelta(days=HEAT_DAYS - 1)
    found = usage_by_hour(
        g.session, tenant_id=g.tenant_id, supply_account_id=a.id, since=since, from_at=day_start(since, ZONE), zone=ZONE
    )
    days = [since + timedelta(days=n) for n in range(HEAT_DAYS)]
    cells = [((u.day - since).days, u.hour, u.usage_wh) for u in found if 0 <= (u.day - since).days < HEAT_DAYS]
    return Heat(
        "kWh", 1000, [d.strftime("%m-%d") for d in days], cells, _("日期"),
        teach=_("按小时抄表之后，这里会显示一天里什么时候用电最多。"),
    )  # fmt: skip


def _statement_csv(a: Row[Any], rows: Any) -> ResponseReturnValue:
    words = kind_words()
    columns = [_("时间"), _("类别"), _("说明"), _("金额（元）"), _("余额（元）"), _("凭证号")]
    table = [
        (
            r.booked_on.isoformat() if r.kind == "usage_day" else moment(r.event_at), words.get(r.kind, r.kind), r.memo,
            summable(r.delta_fen), summable(r.balance_fen), r.entry_id,
        )
        for r in rows
    ]  # fmt: skip
    return csv_answer(f"statement-{a.number}.csv", columns, table)
