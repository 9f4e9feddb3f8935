"""Where in the tree a page stands: the property in the address, else the one last looked at, else all in scope."""

from dataclasses import dataclass
from datetime import date
from typing import cast
from urllib.parse import urlsplit

from flask import Response, current_app, g, request
from flask_login import current_user

from app.kernel.actor import Actor
from app.kernel.clock import business_now, local_day
from app.kernel.errors import NotFound
from app.permissions.policy import Permission
from app.tenants.models import Node
from app.web.operators import Operator
from app.web.words import ZONE

ALL = "all"
COOKIE = "property"


@dataclass(frozen=True, slots=True)
class Place:
    """The property a page is about (None: all in scope) and the ids every query of the page is bound to."""

    property: Node | None
    property_ids: list[int]


def operator() -> Operator:
    """The signed-in person behind this request."""
    return cast(Operator, current_user)


def place(permission: Permission, *, one: bool = False) -> Place:
    """The place of this request for a permission. With `one`, the first property stands in for "all".

    Raises NotFound when the address names a property outside the scope.
    """
    ids = operator().property_ids(permission)
    chosen = _chosen(ids)
    if chosen is None and one and ids:
        chosen = operator().nodes[ids[0]]
    g.here = Place(chosen, [chosen.id] if chosen else ids)
    return cast(Place, g.here)


def scope(permission: Permission) -> list[int]:
    """Every property at which the permission is held, whatever the switcher says."""
    return operator().property_ids(permission)


def actor() -> Actor:
    """The person behind the request as entries and the audit log know them."""
    return Actor.user(operator().found.user_id, name=operator().name, address=request.remote_addr)


def local_address(address: str | None) -> str | None:
    """An address on this site only: a path, no scheme, no host, no backslash; None for anything else."""
    if not address or not address.startswith("/") or address.startswith("//") or "\\" in address:
        return None
    parts = urlsplit(address)
    return None if parts.scheme or parts.netloc else address


def today() -> date:
    """The civil day of the business clock in the properties' zone."""
    return local_day(business_now(), ZONE)


def remember_place(response: Response) -> Response:
    """Keep the property named in the address for the next page that names none."""
    wanted = request.args.get("p")
    if wanted and request.endpoint != "static" and response.status_code < 400:
        response.set_cookie(COOKIE, wanted[:40], samesite="Lax", httponly=True, secure=current_app.config["TLS"])
    return response


def _chosen(ids: list[int]) -> Node | None:
    wanted = request.args.get("p")
    name = wanted or request.cookies.get(COOKIE)
    if not name or name == ALL:
        return None
    for node_id in ids:
        if str(operator().nodes[node_id].public_id) == name:
            return operator().nodes[node_id]
    if wanted:
        raise NotFound
    return None
