"""From a screen to a request: what is above one's limit is put before another person."""

from pathlib import Path

from flask import current_app, flash, g, redirect, url_for
from flask.typing import ResponseReturnValue

from app.permissions.approvals import ApprovalNeeded, request_approval
from app.tenants.kept_files import hold_file
from app.web.places import actor, operator
from app.web.words import _


def ask(needed: ApprovalNeeded, *, reason: str) -> ResponseReturnValue:
    """File the request, keep its file for as long as it waits, and show it. Raises as `request_approval`."""
    row = request_approval(g.session, wish=needed.wish, reason=reason, by=actor())
    if "file" in row.content:
        user_id = operator().found.user_id
        hold_file(var=kept_under(), user_id=user_id, digest=row.content["file"], until=row.expires_at)
    flash(_("已提交审批，还没有执行。另一人同意后立即执行，结果会显示在这里。"), "note")
    return redirect(url_for("console.approval", public_id=row.public_id), 303)


def kept_under() -> Path:
    """Folder of kept files."""
    var: Path = current_app.config["SETTINGS"].var_path
    return var
