"""Stopping or giving back many supplies from the room wall: choose floors and rooms, look over the list, say why.

The second factor is always fresh; above one's limit another person sees the same list first.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from flask import g, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.engine import Row

from app.billing.approved import control_many
from app.billing.mass_control import MassDeed, MassLine, MassNothingChosen
from app.kernel.errors import AppError, NotFound
from app.permissions.approvals import ApprovalNeeded
from app.permissions.policy import Permission
from app.reports.mass import switchable_rooms
from app.web.console.blueprint import console
from app.web.console.waiting import ask
from app.web.guards import requires
from app.web.mass_words import line_words
from app.web.places import actor, place
from app.web.words import locale


@console.get("/rooms/mass")
@requires(Permission.METER_COMMAND_MASS)
def mass_page() -> ResponseReturnValue:
    """Floors and rooms to choose from. Raises NotFound."""
    return _choose(_rooms())


@console.post("/rooms/mass")
@requires(Permission.METER_COMMAND_MASS, fresh_factor=True)
def mass() -> ResponseReturnValue:
    """Show the chosen rooms; then switch them, or ask another person. Raises NotFound."""
    rooms = _rooms()
    chosen = _chosen(rooms)
    step = request.form.get("deed", "")
    if step not in set(MassDeed):
        refused = None if chosen else MassNothingChosen()
        return (_choose(rooms, refused), refused.status) if refused else _look_over(chosen)
    return _switch(rooms, chosen, MassDeed(step))


def _switch(rooms: Sequence[Row[Any]], chosen: list[Row[Any]], deed: MassDeed) -> ResponseReturnValue:
    reason = request.form.get("reason", "").strip()
    try:
        with g.session.begin_nested():
            lines = control_many(
                g.session, property_id=g.here.property.id, account_ids=[room.id for room in chosen], deed=deed.value,
                reason=reason, actor=actor(),
            )  # fmt: skip
    except ApprovalNeeded as needed:
        if not request.form.get("ask"):
            return _look_over(chosen, needed=deed)
        return _ask(chosen, needed, deed, reason)
    except MassNothingChosen as refused:
        return _choose(rooms, refused), refused.status
    except AppError as refused:
        return _look_over(chosen, refused), refused.status
    return _results(chosen, lines, deed)


def _ask(chosen: list[Row[Any]], needed: ApprovalNeeded, deed: MassDeed, reason: str) -> ResponseReturnValue:
    try:
        return ask(needed, reason=reason)
    except AppError as refused:
        return _look_over(chosen, refused, needed=deed), refused.status


def _rooms() -> Sequence[Row[Any]]:
    here = place(Permission.METER_COMMAND_MASS, one=True)
    if here.property is None:
        raise NotFound
    return switchable_rooms(g.session, tenant_id=g.tenant_id, property_ids=here.property_ids)


def _chosen(rooms: Sequence[Row[Any]]) -> list[Row[Any]]:
    floors, accounts = set(request.form.getlist("floor")), set(request.form.getlist("account"))
    return [room for room in rooms if str(room.floor_id) in floors or room.public_id in accounts]


def _choose(rooms: Sequence[Row[Any]], refused: AppError | None = None) -> str:
    floors = [
        (key, list(group)) for key, group in groupby(rooms, key=lambda room: (room.building, room.floor_id, room.floor))
    ]
    said = refused.message(locale()) if refused else None
    return render_template("console/mass.html", floors=floors, refused=said)


def _look_over(chosen: list[Row[Any]], refused: AppError | None = None, needed: MassDeed | None = None) -> str:
    return render_template(
        "console/mass_check.html",
        chosen=chosen,
        needed=needed.value if needed else None,
        refused=refused.message(locale()) if refused else None,
        typed=request.form,
    )


def _results(chosen: list[Row[Any]], lines: Sequence[MassLine], deed: MassDeed) -> str:
    rooms = {room.id: room for room in chosen}
    rows = [(rooms[line.supply_account_id], line.done, line_words(line)) for line in lines]
    return render_template("console/mass_done.html", rows=rows, deed=deed.value, done=sum(line.done for line in lines))
