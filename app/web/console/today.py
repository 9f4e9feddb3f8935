"""Today: a work list first, figures and pictures beside it."""

from datetime import timedelta

from flask import g, render_template
from flask.typing import ResponseReturnValue
from flask_login import current_user

from app.energy.series import usage_by_property
from app.kernel.clock import business_now
from app.notify.webhooks import count_given_up
from app.permissions.policy import Permission
from app.reports.charts import Chart, Series
from app.reports.overview import collections_by_day, overview_figures, work_list
from app.web.console.blueprint import console
from app.web.console.parts import live_part
from app.web.console.stop_outlook import stop_outlook
from app.web.guards import requires
from app.web.inbox import waiting_here
from app.web.places import Place, place
from app.web.places import today as business_day
from app.web.words import _


@console.get("/")
@requires(Permission.OVERVIEW_GROUP_READ)
def today() -> ResponseReturnValue:
    """The group overview, or one property's when the switcher says so."""
    here = place(Permission.OVERVIEW_GROUP_READ)
    return render_template(
        "console/today.html",
        **_live(here),
        collections=_collections_chart(here),
        energy=_energy_chart(here),
        properties=len(here.property_ids),
    )


@console.get("/today/live")
@requires(Permission.OVERVIEW_GROUP_READ)
def today_live() -> ResponseReturnValue:
    """The work list and the figures again, if they changed."""
    return live_part("console/_today_live.html", **_live(place(Permission.OVERVIEW_GROUP_READ)))


@console.get("/properties")
@requires(Permission.PROPERTY_WALL_READ)
def properties() -> ResponseReturnValue:
    """The property switcher's list, loaded when it is opened."""
    ids = current_user.property_ids(Permission.PROPERTY_WALL_READ)
    tree, nodes = current_user.tree, current_user.nodes
    listed = [(nodes[i], [nodes[up].name for up in tree.path(i)[1:-1]]) for i in ids]
    return render_template("console/_properties.html", listed=listed)


def _live(here: Place) -> dict[str, object]:
    where = {"tenant_id": g.tenant_id, "property_ids": here.property_ids}
    figures, now = overview_figures(g.session, today=business_day(), **where), business_now()
    work = work_list(g.session, now=now, **where)
    low = {row.id: stop_outlook(row, now) for kind in work if kind.kind == "about_to_stop" for row in kind.rows}
    return {"figures": figures, "work": work, "outlooks": low, "approvals": _approvals(), "deaf": _deaf()}


def _approvals() -> int:
    return waiting_here() if current_user.may(Permission.APPROVAL_REQUEST_READ) else 0


def _deaf() -> int:
    """Endpoints of webhooks that were switched off because nobody answered."""
    allowed = current_user.scope.nodes(Permission.API_WEBHOOK_MANAGE)
    return count_given_up(g.session, allowed=allowed) if allowed else 0


def _collections_chart(here: Place) -> Chart:
    days = collections_by_day(g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, today=business_day())
    values = [fen for _day, fen in days]
    return Chart(
        "bars", _("元"), 100, _("日期"), [day.strftime("%m-%d") for day, _fen in days],
        [Series(_("收款"), values if any(values) else [])], teach=_("第一笔收款之后，这里会显示每天收了多少。"),
    )  # fmt: skip


def _energy_chart(here: Place) -> Chart:
    day = business_day()
    found = usage_by_property(
        g.session, tenant_id=g.tenant_id, property_ids=here.property_ids, since=day - timedelta(days=6), until=day
    )
    return Chart(
        "bars", "kWh", 1000, _("项目"), [name for name, _wh in found], [Series(_("近 7 天用电"), [wh for _name, wh in found])],
        teach=_("表计上报读数并计价之后，这里会比较各项目的用电。"),
    )  # fmt: skip
