"""Approvals 审批: what waits for one's yes, what one has asked for, and what became of it."""

import uuid
from collections.abc import Callable

from flask import flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.billing.approved import Desk, executor
from app.kernel.clock import wall_now
from app.kernel.errors import AppError, NotFound
from app.permissions import approvals as deeds
from app.permissions.approval_models import Approval
from app.permissions.deeds import DEEDS
from app.permissions.policy import Permission
from app.reports.approvals import request_row, requests_listed, votes_of, waiting_count
from app.tenants.access import or_not_found
from app.web.approval_words import FILTERS, Told, failure_of, tell
from app.web.console.blueprint import console
from app.web.console.waiting import kept_under
from app.web.guards import factor_facts, requires
from app.web.inbox import reader
from app.web.places import actor, operator
from app.web.refusals import say_refused
from app.web.words import _, locale

PAGE = 50
PARTS = ("waiting", "mine", "ended")

for _filter in FILTERS:
    console.add_app_template_filter(_filter)


@console.get("/approvals")
@requires(Permission.APPROVAL_REQUEST_READ)
def approvals() -> ResponseReturnValue:
    """The inbox: waiting for me, asked by me, ended; the part is in the address."""
    part = request.args.get("part", "waiting")
    part = part if part in PARTS else "waiting"
    seen = reader()
    wanted = request.args.get("before", 0, type=int)
    before = wanted if 0 < wanted < 2**62 else None
    rows = requests_listed(g.session, reader=seen, part=part, now=wall_now(), before=before, most=PAGE + 1)
    following = url_for("console.approvals", part=part, before=rows[PAGE - 1].Approval.id) if len(rows) > PAGE else None
    return render_template(
        "console/approvals.html",
        rows=rows[:PAGE],
        part=part,
        waiting=waiting_count(g.session, reader=seen, now=wall_now()),
        following=following,
    )


@console.get("/approvals/<uuid:public_id>")
@requires(Permission.APPROVAL_REQUEST_READ)
def approval(public_id: uuid.UUID) -> ResponseReturnValue:
    """One request: what exactly would happen, who asks and why, and what was said. Raises NotFound."""
    return _page(public_id)


@console.post("/approvals/<uuid:public_id>/approve")
@requires(Permission.APPROVAL_REQUEST_READ, fresh_factor=True)
def approve(public_id: uuid.UUID) -> ResponseReturnValue:
    """Say yes to what is shown; the last needed yes carries it out at once. Raises NotFound."""
    desk = Desk(kept_under())

    def yes(seen: bytes, reason: str) -> Approval:
        return deeds.approve(
            g.session,
            public_id=public_id,
            by=actor(),
            seen=seen,
            reason=reason,
            execute=executor(desk),
            facts=factor_facts(),
        )

    answer = _decide(public_id, yes)
    # Shown on the answer itself: a redirect would have to keep them somewhere in clear.
    return _page(public_id, secrets=desk.secrets) if desk.secrets else answer


@console.post("/approvals/<uuid:public_id>/refuse")
@requires(Permission.APPROVAL_REQUEST_READ, fresh_factor=True)
def refuse(public_id: uuid.UUID) -> ResponseReturnValue:
    """Say no, and why. Raises NotFound."""
    return _decide(
        public_id,
        lambda seen, reason: deeds.refuse(g.session, public_id=public_id, by=actor(), seen=seen, reason=reason),
    )


@console.post("/approvals/<uuid:public_id>/withdraw")
@requires(Permission.APPROVAL_REQUEST_READ)
def withdraw_request(public_id: uuid.UUID) -> ResponseReturnValue:
    """Take back what one asked for. Raises NotFound."""
    return _decide(public_id, lambda _seen, _reason: deeds.withdraw(g.session, public_id=public_id, by=actor()))


def _decide(public_id: uuid.UUID, deed: Callable[[bytes, str], Approval]) -> ResponseReturnValue:
    """Do it, and say on the request's page what came of it. Who may not see the request hears that it is not there."""
    or_not_found(request_row(g.session, reader=reader(), public_id=str(public_id)))
    try:
        with g.session.begin_nested():
            row = deed(_seen(), request.form.get("reason", ""))
    except NotFound:
        raise
    except AppError as refused:
        say_refused(refused.code, refused.status)
        flash(refused.message(locale()), "bad")
        return _page(public_id), refused.status
    flash(*_outcome(row))
    return redirect(url_for("console.approval", public_id=public_id), 303)


def _seen() -> bytes:
    """The fingerprint the form was printed with; anything else is not what was seen."""
    try:
        return bytes.fromhex(request.form.get("seen", ""))
    except ValueError:
        return b""


def _outcome(row: Approval) -> tuple[str, str]:
    if row.state == "failed":
        return _("已同意，但没有执行：%(why)s", why=failure_of(row.outcome)), "bad"
    words = {
        "done": _("已同意，并已按所示内容执行。"), "waiting": _("已记下您的同意，还需要另一位审批人。"),
        "refused": _("未同意，没有执行。申请人会看到您写的原因。"), "withdrawn": _("已撤回，没有执行。"),
    }  # fmt: skip
    return words[row.state], "good" if row.state == "done" else "note"


def _page(public_id: uuid.UUID, *, secrets: dict[str, str] | None = None) -> str:
    seen = reader()
    found = or_not_found(request_row(g.session, reader=seen, public_id=str(public_id)))
    row: Approval = found.Approval
    votes = votes_of(g.session, approval_id=row.id)
    me = seen.user_id
    concerned = me in {row.requested_by, *row.content["concerned"]}
    may = operator().scope.allows(DEEDS[row.deed].decide, row.node_id)
    told, lost = _told(row)
    return render_template(
        "console/approval.html",
        r=row,
        found=found,
        told=told,
        lost=lost,
        votes=votes,
        mine=row.requested_by == me,
        concerned=concerned,
        decides=may and not concerned and me not in {vote.user_id for vote in votes},
        failure=failure_of(row.outcome) if row.state == "failed" else "",
        secrets=secrets or {},
    )


def _told(row: Approval) -> tuple[Told, str]:
    """What would happen, and why not when its file is gone: then nobody can see it, and nobody decides on it."""
    try:
        return tell(row, kept_under()), ""
    except AppError as lost:
        return Told(""), lost.message(locale())
