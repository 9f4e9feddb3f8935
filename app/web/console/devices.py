"""Meters and gateways: who answers, since when not, and what was last said."""

from datetime import timedelta

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.kernel.clock import business_now
from app.kernel.errors import NotFound
from app.meters.cases import settle_case
from app.permissions.policy import Permission
from app.reports.accounts import command_history
from app.reports.charts import Chart, Series
from app.reports.devices import cases, gateways, meters, readings
from app.reports.devices import gateway as find_gateway
from app.reports.devices import meter as find_meter
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.places import actor, local_address, place, scope
from app.web.words import _, moment

PAGE = 50
READINGS_SINCE = timedelta(days=7)


@console.get("/meters")
@requires(Permission.METER_METER_READ)
def devices() -> ResponseReturnValue:
    """Gateways, cases for a human, and the meters, page by page."""
    here = place(Permission.METER_METER_READ)
    where = {"tenant_id": g.tenant_id, "property_ids": here.property_ids}
    online = {"1": True, "0": False}.get(request.args.get("online", ""))
    after = request.args.get("after", 0, type=int)
    rows = meters(g.session, online=online, after=after, most=PAGE + 1, **where)
    following = None
    if len(rows) > PAGE:
        following = url_for("console.devices", online=request.args.get("online"), after=rows[PAGE - 1].id)
    return render_template(
        "console/devices.html",
        gateways=gateways(g.session, **where),
        cases=cases(g.session, **where),
        meters=rows[:PAGE],
        online=online,
        following=following,
    )


@console.get("/gateways/<uuid:public_id>")
@requires(Permission.GATEWAY_GATEWAY_READ)
def gateway(public_id: object) -> ResponseReturnValue:
    """One gateway and the meters behind it. Raises NotFound."""
    ids = scope(Permission.GATEWAY_GATEWAY_READ)
    found = find_gateway(g.session, tenant_id=g.tenant_id, property_ids=ids, public_id=str(public_id))
    if found is None:
        raise NotFound
    behind = meters(g.session, tenant_id=g.tenant_id, property_ids=ids, gateway_id=found.id, most=500)
    return render_template("console/gateway.html", gw=found, meters=behind)


@console.get("/meters/<uuid:public_id>")
@requires(Permission.METER_METER_READ)
def meter(public_id: object) -> ResponseReturnValue:
    """One meter: model, mount, readings, commands with their frames. Raises NotFound."""
    ids = scope(Permission.METER_METER_READ)
    found = find_meter(g.session, tenant_id=g.tenant_id, property_ids=ids, public_id=str(public_id))
    if found is None:
        raise NotFound
    since = business_now() - READINGS_SINCE
    rows = readings(g.session, tenant_id=g.tenant_id, meter_id=found.id, since=since, most=200)
    return render_template(
        "console/meter.html",
        m=found,
        readings=rows,
        cases=cases(g.session, tenant_id=g.tenant_id, property_ids=ids, meter_id=found.id),
        commands=command_history(g.session, tenant_id=g.tenant_id, meter_id=found.id),
        register=_register_chart(rows),
    )


@console.post("/cases/<int:case_id>/settle")
@requires(Permission.READING_IMPORT_LOAD)
def case_settled(case_id: int) -> ResponseReturnValue:
    """A doubtful reading was looked at; the reason is kept. Raises NotFound, CaseReasonMissing."""
    allowed, reason = scope(Permission.READING_IMPORT_LOAD), request.form.get("reason", "").strip()
    settle_case(g.session, case_id=case_id, allowed=allowed, reason=reason, by=actor())
    flash(_("已核对完毕。该示数不计入用量，也不再阻止停供判断。"), "good")
    return redirect(local_address(request.form.get("back")) or url_for("console.devices"), 303)


def _register_chart(rows: object) -> Chart:
    found = list(reversed(rows))  # type: ignore[call-overload]
    return Chart(
        "lines", "kWh", 1000, _("时间"), [moment(row.read_at)[5:] for row in found],
        [Series(_("总示数"), [row.register_wh for row in found])], teach=_("第一次抄表之后，这里会画出示数。"),
    )  # fmt: skip
