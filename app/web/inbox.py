"""The signed-in person before the inbox: what they may decide on, and how much waits for them."""

from flask import g

from app.kernel.clock import wall_now
from app.permissions.deeds import DEEDS
from app.permissions.policy import Permission
from app.reports.approvals import Reader, waiting_count
from app.web.places import operator


def reader() -> Reader:
    """Where the person decides on what, and where they read everything."""
    scope = operator().scope
    rights = {deed.decide for deed in DEEDS.values()}
    decides = {right: scope.nodes(right) for right in sorted(rights) if scope.nodes(right)}
    return Reader(operator().found.user_id, decides, scope.nodes(Permission.AUDIT_LOG_READ))


def waiting_here() -> int:
    """How many requests wait for the person behind this request; asked once, and not for who decides on nothing."""
    if "requests_waiting" not in g:
        who = reader()
        g.requests_waiting = waiting_count(g.session, reader=who, now=wall_now()) if who.decides else 0
    return int(g.requests_waiting)
