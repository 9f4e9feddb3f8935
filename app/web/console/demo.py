"""The demo's clock panel: pause, ×60, a day on, gateway off and on. Only while demo groups are alone in the database."""

from datetime import timedelta

from flask import current_app, flash, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from app.demo.clock import jump, set_gateway, set_rate
from app.kernel.errors import AppError, NotFound
from app.meters.service import access_gateway
from app.permissions.policy import Permission
from app.web.console.blueprint import console
from app.web.frame import demo_here
from app.web.guards import release_work, requires
from app.web.places import local_address, scope
from app.web.words import _, moment

RATES = {"pause": 0, "run": 1, "x60": 60}
ONE_DAY = timedelta(days=1)


class StreetAbsent(AppError):
    """The simulated street does not answer on its control socket."""

    code, status = "street_absent", 503
    message_zh = "模拟街区没有运行，网关状态未改变。请用 make run 启动演示后再试。"
    message_en = "The simulated street is not running; the gateway was left as it is. Start the demo with make run."


@console.post("/demo/clock")
@requires(Permission.DEMO_CLOCK_MOVE)
def demo_clock() -> ResponseReturnValue:
    """Move the business clock of all processes. Raises NotFound outside a demo."""
    _only_in_a_demo()
    deed = request.form.get("deed", "")
    release_work()  # the clock belongs to every tenant of the demo, not to this one's transaction
    if deed == "day":
        now = jump(ONE_DAY).at
        flash(_("演示时钟已前进一天：现在是 %(now)s。", now=moment(now)), "note")
    elif deed in RATES:
        set_rate(RATES[deed])
    return _back()


@console.post("/demo/gateways/<uuid:public_id>")
@requires(Permission.DEMO_CLOCK_MOVE)
def demo_gateway(public_id: object) -> ResponseReturnValue:
    """Cut a simulated gateway off, or bring it back. Raises NotFound, StreetAbsent."""
    _only_in_a_demo()
    allowed = scope(Permission.DEMO_CLOCK_MOVE)
    found = access_gateway(g.session, public_id=public_id, allowed=allowed)  # type: ignore[arg-type]
    if not found.simulated:
        raise NotFound
    number, offline = found.number, request.form.get("deed") == "off"
    release_work()
    switch(number, offline=offline)
    said = _("网关 %(number)s 已断开。", number=number) if offline else _("网关 %(number)s 已恢复。", number=number)
    flash(said, "note")
    return _back()


def switch(number: str, *, offline: bool) -> None:
    """Tell the street. Raises StreetAbsent, DemoNotAlone."""
    host, _colon, port = current_app.config["SETTINGS"].street_control.rpartition(":")
    if not port.isdigit():
        raise StreetAbsent
    try:
        set_gateway(number, offline=offline, control=(host, int(port)))
    except OSError as absent:
        raise StreetAbsent from absent


def _only_in_a_demo() -> None:
    if not demo_here():
        raise NotFound


def _back() -> ResponseReturnValue:
    return redirect(local_address(request.form.get("back")) or url_for("console.home"), 303)
