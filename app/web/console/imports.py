"""Imports: readings by sheet 抄表导入, and the opening of a property 建账导入. First a check, then all or nothing."""

import io
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from flask import Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.billing.approved import import_readings, open_property
from app.billing.onboarding.service import dry_run
from app.billing.onboarding.template import make_template
from app.kernel.errors import AppError, NotFound
from app.meters import sheet
from app.permissions.approvals import ApprovalNeeded
from app.permissions.policy import Permission
from app.web.console.blueprint import console
from app.web.console.uploads import drop, keep, uploaded
from app.web.console.waiting import ask
from app.web.guards import requires
from app.web.places import Place, actor, place, scope
from app.web.words import ZONE, _, locale

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@console.get("/readings/import")
@requires(Permission.READING_IMPORT_LOAD)
def readings_import() -> ResponseReturnValue:
    """The form with its template to download."""
    return render_template("console/readings_import.html", found=None, loaded=None, refused=None)


@console.get("/readings/import/template.xlsx")
@requires(Permission.READING_IMPORT_LOAD)
def readings_template() -> ResponseReturnValue:
    """An empty sheet with the right columns."""
    return _xlsx("readings.xlsx", sheet.template())


@console.post("/readings/import")
@requires(Permission.READING_IMPORT_LOAD)
def readings_load() -> ResponseReturnValue:
    """Check the sheet and show the result of each row; load it when asked to and every row can be read."""
    zone, allowed = ZoneInfo(ZONE), scope(Permission.READING_IMPORT_LOAD)
    try:
        name, content = uploaded()
        if request.form.get("deed") == "load":
            with g.session.begin_nested():
                rows = import_readings(g.session, allowed=allowed, content=content, zone=zone, actor=actor())
            drop(content)
            return render_template("console/readings_import.html", found=None, loaded=rows, refused=None)
        found = sheet.preview(g.session, allowed=allowed, file=io.BytesIO(content), zone=zone)
    except ApprovalNeeded as needed:
        return _ask_for_readings(needed, name, content)
    except AppError as refused:
        return _readings_refused(refused)
    return render_template(
        "console/readings_import.html", found=found, loaded=None, refused=None, digest=keep(content), file_name=name
    )


@console.get("/onboarding")
@requires(Permission.ONBOARDING_IMPORT_COMMIT)
def onboarding() -> ResponseReturnValue:
    """The form with its template to download, for the property of the switcher."""
    return _onboarding_page(_onboarding_place())


@console.get("/onboarding/template.xlsx")
@requires(Permission.ONBOARDING_IMPORT_COMMIT)
def onboarding_template() -> ResponseReturnValue:
    """An empty workbook with the sheets and columns the import reads. Raises NotFound without a property."""
    here = _onboarding_place()
    if here.property is None:
        raise NotFound
    return _xlsx("onboarding.xlsx", make_template())


@console.post("/onboarding")
@requires(Permission.ONBOARDING_IMPORT_COMMIT)
def onboarding_load() -> ResponseReturnValue:
    """Check every row without writing anything, or commit the whole file when every row is good."""
    here = _onboarding_place()
    if here.property is None:
        raise NotFound
    try:
        name, content = uploaded()
        if request.form.get("deed") == "commit":
            return _commit(here, here.property.id, name, content)
        report = dry_run(g.session, property_id=here.property.id, content=content)
    except ApprovalNeeded as needed:
        return _ask_for_opening(here, needed, name, content)
    except AppError as refused:
        return _onboarding_page(here, refused=refused.message(locale())), refused.status
    return _onboarding_page(here, report=report, digest=keep(content), file_name=name)


def _commit(here: Place, property_id: int, name: str, content: bytes) -> ResponseReturnValue:
    with g.session.begin_nested():
        done = open_property(g.session, property_id=property_id, content=content, file_name=name, by=actor())
    drop(content)
    if done.replayed:
        flash(_("这份文件已经导入过，没有重复导入。"), "note")
    else:
        flash(_("已导入 %(file)s：%(counts)s。", file=name, counts=_counted(done.counts)), "good")
    if done.secrets:
        # Shown on the answer itself: a redirect would have to keep them somewhere in clear.
        return _onboarding_page(here, secrets=done.secrets)
    return redirect(url_for("console.onboarding"), 303)


def _ask_for_readings(needed: ApprovalNeeded, name: str, content: bytes) -> ResponseReturnValue:
    """Put the very file before another person; without a reason the page asks for one."""
    digest = keep(content)
    try:
        return ask(needed, reason=request.form.get("reason", ""))
    except AppError as refused:
        page = render_template(
            "console/readings_import.html", found=None, loaded=None, refused=refused.message(locale()),
            needed=True, digest=digest, file_name=name, reason=request.form.get("reason", ""),
        )  # fmt: skip
        return page, refused.status


def _ask_for_opening(here: Place, needed: ApprovalNeeded, name: str, content: bytes) -> ResponseReturnValue:
    digest, reason = keep(content), request.form.get("reason", "")
    try:
        return ask(needed, reason=reason)
    except AppError as refused:
        said = {"refused": refused.message(locale()), "needed": True, "reason": reason}
        return _onboarding_page(here, **said, digest=digest, file_name=name), refused.status


def _onboarding_page(here: Place, **context: Any) -> str:
    given = {
        "report": None,
        "refused": None,
        "digest": "",
        "file_name": "",
        "secrets": {},
        "counted": _counted,
    } | context
    return render_template("console/onboarding.html", **given)


def _onboarding_place() -> Place:
    return place(Permission.ONBOARDING_IMPORT_COMMIT, one=True)


def _counted(counts: Mapping[str, int]) -> str:
    words = {
        "buildings": _("楼栋"), "floors": _("楼层"), "spaces": _("房间"), "parties": _("客户"), "accounts": _("用能户"),
        "supply_accounts": _("用能户"), "meters": _("表计"), "gateways": _("网关"), "balances": _("期初余额"),
    }  # fmt: skip
    return "、".join(f"{words.get(name, name)} {number}" for name, number in counts.items() if number)


def _readings_refused(refused: AppError) -> ResponseReturnValue:
    page = render_template(
        "console/readings_import.html", found=None, loaded=None, refused=refused.message(locale()),
        errors=getattr(refused, "errors", []),
    )  # fmt: skip
    return page, refused.status


def _xlsx(name: str, content: bytes) -> Response:
    return Response(content, mimetype=XLSX, headers={"Content-Disposition": f'attachment; filename="{name}"'})
