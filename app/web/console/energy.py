"""Usage analysis: how much each day, which property, who used most."""

from datetime import date, timedelta

from flask import g, render_template, request
from flask.typing import ResponseReturnValue

from app.energy.series import largest_users, usage_by_property, usage_total_by_day
from app.permissions.policy import Permission
from app.reports.charts import Chart, Series
from app.web.console.blueprint import console
from app.web.console.tables import csv_answer
from app.web.guards import requires
from app.web.places import Place, place, today
from app.web.words import _

SPANS = (7, 31, 92)


@console.get("/energy")
@requires(Permission.OVERVIEW_GROUP_READ)
def energy() -> ResponseReturnValue:
    """The last days of the properties in view; every chart has its table and its download."""
    here, days = place(Permission.OVERVIEW_GROUP_READ), _days()
    since, until = today() - timedelta(days=days - 1), today()
    if request.args.get("format") == "csv":
        by_day = _by_day(here, days, "%Y-%m-%d")
        return csv_answer(f"usage-{since}-{until}.csv", by_day.columns, by_day.rows())
    where = {"tenant_id": g.tenant_id, "property_ids": here.property_ids, "since": since, "until": until}
    return render_template(
        "console/energy.html",
        by_day=_by_day(here, days, "%m-%d"),
        by_property=_by_property(here, since, until),
        largest=largest_users(g.session, **where),
        days=days,
        spans=SPANS,
    )


def _days() -> int:
    wanted = request.args.get("days", type=int)
    return wanted if wanted in SPANS else SPANS[1]


def _by_day(here: Place, days: int, dates: str) -> Chart:
    found = usage_total_by_day(
        g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, today=today(), days=days
    )
    return Chart(
        "bars", "kWh", 1000, _("日期"), [day.strftime(dates) for day, _wh in found],
        [Series(_("用电量"), [wh for _day, wh in found])], teach=_("表计上报读数并计价之后，这里会显示每天的用电量。"),
    )  # fmt: skip


def _by_property(here: Place, since: date, until: date) -> Chart:
    found = usage_by_property(
        g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, since=since, until=until
    )
    return Chart(
        "bars", "kWh", 1000, _("项目"), [name for name, _wh in found], [Series(_("用电量"), [wh for _name, wh in found])],
        teach=_("表计上报读数并计价之后，这里会比较各项目的用电。"),
    )  # fmt: skip
