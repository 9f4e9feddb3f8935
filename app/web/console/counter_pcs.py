"""Counter PCs: which shared computers may change people by PIN."""

import uuid

from flask import flash, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.kernel.errors import AppError, NotFound
from app.permissions.counter_pcs import list_pcs, register_pc, revoke_pc
from app.permissions.policy import Permission
from app.web.console.blueprint import console
from app.web.counter_cookie import keep_pc
from app.web.guards import requires
from app.web.places import actor, operator, place, scope
from app.web.words import _, locale


@console.get("/counter-pcs")
@requires(Permission.SECURITY_SETTING_READ)
def counter_pcs() -> ResponseReturnValue:
    """The registered computers of the properties in scope."""
    return _page(None)


@console.post("/counter-pcs")
@requires(Permission.COUNTER_PC_REGISTER, fresh_factor=True)
def counter_pc_register() -> ResponseReturnValue:
    """Make this very computer a counter PC: its browser gets the cookie. Raises NotFound."""
    nodes, wanted = operator().nodes, request.form.get("property", "")
    ids = [id_ for id_ in scope(Permission.COUNTER_PC_REGISTER) if str(nodes[id_].public_id) == wanted]
    if not ids:
        raise NotFound
    try:
        token = register_pc(g.session, property_id=ids[0], name=request.form.get("name", ""), by=actor())
    except AppError as refused:
        return _page(refused.message(locale())), refused.status
    flash(_("这台电脑已登记。有 PIN 的营业员现在可以在此快速切换。"), "good")
    return keep_pc(make_response(redirect(url_for("console.counter_pcs"), 303)), token)


@console.post("/counter-pcs/<uuid:public_id>/revoke")
@requires(Permission.COUNTER_PC_REGISTER)
def counter_pc_revoke(public_id: uuid.UUID) -> ResponseReturnValue:
    """Take a computer out: sold, stolen, moved. Raises NotFound."""
    revoke_pc(g.session, public_id=public_id, allowed=scope(Permission.COUNTER_PC_REGISTER), by=actor())
    flash(_("已停用，这台电脑上的柜台登录已全部退出。"), "good")
    return redirect(url_for("console.counter_pcs"), 303)


def _page(refused: str | None) -> str:
    here, nodes = place(Permission.SECURITY_SETTING_READ), operator().nodes
    return render_template(
        "console/counter_pcs.html",
        pcs=list_pcs(g.session, allowed=here.property_ids),
        properties=[nodes[id_] for id_ in scope(Permission.COUNTER_PC_REGISTER)],
        chosen=here.property,
        nodes=nodes,
        refused=refused,
    )
