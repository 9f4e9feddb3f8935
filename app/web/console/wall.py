"""The room wall 房态图 with its side panel."""

from typing import Any

from flask import Response, g, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from app.kernel.errors import NotFound
from app.permissions.policy import Permission
from app.reports.room_states import STATES
from app.reports.wall import FloorRow, Wall, room_panel, room_wall
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.places import Place, place, scope
from app.web.words import letter, state_words

MARK = Markup('<span class="mark mark-{state}" aria-hidden="true">{letter}</span>')


@console.get("/rooms")
@requires(Permission.PROPERTY_WALL_READ)
def wall() -> ResponseReturnValue:
    """Floors as rows, spaces as tiles; the legend is the filter and the filter is in the address."""
    here = place(Permission.PROPERTY_WALL_READ, one=True)
    return render_template("console/wall.html", wall=_wall(here), only=_only(), **_tile_words())


@console.get("/rooms/live")
@requires(Permission.PROPERTY_WALL_READ)
def wall_live() -> ResponseReturnValue:
    """The floors that changed since the page last looked; 204 when none did."""
    here = place(Permission.PROPERTY_WALL_READ, one=True)
    found = _wall(here)
    shown = dict(pair.split(":", 1) for pair in request.args.get("floors", "").split(",") if ":" in pair)
    if set(shown) != {str(floor.id) for floor in found.floors}:
        return _whole(found)
    changed: list[FloorRow] = [floor for floor in found.floors if shown[str(floor.id)] != floor.digest]
    if not changed:
        return Response(status=204)
    return render_template("console/_wall_changes.html", floors=changed, wall=found, only=_only(), **_tile_words())


@console.get("/rooms/<uuid:space>/panel")
@requires(Permission.PROPERTY_WALL_READ)
def wall_panel(space: object) -> ResponseReturnValue:
    """Meter, last reading, last payment of one space, without leaving the wall. Raises NotFound."""
    room: Any = room_panel(
        g.session, tenant_id=g.tenant_id, property_ids=scope(Permission.PROPERTY_WALL_READ), space=str(space)
    )
    if room is None:
        raise NotFound
    return render_template("console/_wall_panel.html", room=room)


def _wall(here: Place) -> Wall:
    if here.property is None:
        return Wall((), dict.fromkeys(STATES, 0))
    return room_wall(g.session, tenant_id=g.tenant_id, property_id=here.property.id, only=_only())


def _only() -> str | None:
    wanted = request.args.get("state")
    return wanted if wanted in STATES else None


def _tile_words() -> dict[str, Any]:
    """Looked up once for a wall, not once for each of its tiles."""
    return {
        "state_names": {state: state_words(state) for state in STATES},
        "state_marks": {state: MARK.format(state=state, letter=letter(state)) for state in STATES},
        "offline_name": state_words("offline"),
        "tile_href": url_for("console.wall") + "/",
    }


def _whole(found: Wall) -> ResponseReturnValue:
    answer = make_response(render_template("console/_wall_floors.html", wall=found, **_tile_words()))
    answer.headers.update({"HX-Retarget": "#wall", "HX-Reswap": "innerHTML"})
    return answer
