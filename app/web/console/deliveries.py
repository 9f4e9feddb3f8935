"""已付未送达: the money is here and the light is not back."""

from flask import g, render_template
from flask.typing import ResponseReturnValue

from app.billing.restore import paid_not_delivered
from app.kernel.clock import business_now
from app.permissions.policy import Permission
from app.reports.overview import held_by_person, undelivered
from app.web.console.blueprint import console
from app.web.console.parts import live_part
from app.web.guards import requires
from app.web.places import place


@console.get("/deliveries")
@requires(Permission.PROPERTY_WALL_READ)
def deliveries() -> ResponseReturnValue:
    """Every paid and undelivered supply with its age, oldest first."""
    return render_template("console/deliveries.html", **_queue())


@console.get("/deliveries/live")
@requires(Permission.PROPERTY_WALL_READ)
def deliveries_live() -> ResponseReturnValue:
    """The queue again, if it changed."""
    return live_part("console/_deliveries.html", **_queue())


def _queue() -> dict[str, object]:
    here, now = place(Permission.PROPERTY_WALL_READ), business_now()
    waiting = paid_not_delivered(g.session, property_ids=here.property_ids, now=now)
    rows = undelivered(g.session, tenant_id=g.tenant_id, property_ids=here.property_ids)
    held = held_by_person(g.session, tenant_id=g.tenant_id, property_ids=here.property_ids)
    return {"rows": rows, "held": held, "how": {row.stop_id: row.how for row in waiting}}
