"""The residents' page of a property: open it, close it, print its address for the notice board."""

import segno
from flask import current_app, flash, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from app.kernel.errors import NotFound
from app.permissions.policy import Permission
from app.permissions.residents import close_page, find_page, open_page
from app.web.console.blueprint import console
from app.web.guards import requires
from app.web.places import actor, place, scope
from app.web.words import _


@console.get("/residents")
@requires(Permission.PROPERTY_WALL_READ)
def resident_page() -> ResponseReturnValue:
    """The address as a QR code, for paper."""
    here = place(Permission.PROPERTY_WALL_READ, one=True)
    if here.property is None:
        return render_template("console/resident_page.html", page=None, address="", picture="")
    address = f"{current_app.config['SETTINGS'].public_address}/r/{here.property.public_id}"
    return render_template(
        "console/resident_page.html", page=find_page(g.session, property_id=here.property.id), address=address,
        picture=segno.make(address, error="m").svg_data_uri(scale=8, border=4, light="#fff"),
    )  # fmt: skip


@console.post("/residents/open")
@requires(Permission.RESIDENT_PAGE_OPEN)
def resident_page_open() -> ResponseReturnValue:
    """From now on the residents of the property may look. Raises NotFound."""
    open_page(g.session, property_id=_here(), by=actor(), allowed=scope(Permission.RESIDENT_PAGE_OPEN))
    flash(_("住户页面已开放。打印二维码贴在公告栏即可。"), "good")
    return redirect(url_for("console.resident_page"), 303)


@console.post("/residents/close")
@requires(Permission.RESIDENT_PAGE_OPEN)
def resident_page_close() -> ResponseReturnValue:
    """Nobody may look any more, and who was signed in is signed out. Raises NotFound."""
    close_page(g.session, property_id=_here(), by=actor(), allowed=scope(Permission.RESIDENT_PAGE_OPEN))
    flash(_("住户页面已关闭，所有住户已退出登录。"), "good")
    return redirect(url_for("console.resident_page"), 303)


def _here() -> int:
    """The property that the page showed. Raises NotFound."""
    chosen = place(Permission.RESIDENT_PAGE_OPEN, one=True).property
    if chosen is None:
        raise NotFound
    return chosen.id
