"""Refusals of weight leave a record: a right that is missing, an act that may not be, a form that was not ours.

The request's own transaction is rolled back by then, so the record is written in one of its own. What was merely typed wrong
is no refusal of weight, and what was not found says nothing about anybody.
"""

from flask import Flask, Response, g, request
from flask_login import current_user

from app.kernel.unit_of_work import unit_of_work
from app.tenants.audit import record
from app.web.places import actor

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Forbidden; at odds with what is there; locked. The last two only for requests that would have done something.
WEIGHTY = frozenset({403, 409, 423})
SUBJECT_MAX = 80


def install_refusals(app: Flask) -> None:
    """Look at every answer, after the guards have settled the request's work. Called before install_guards."""
    app.after_request(_note)


def say_refused(code: str, status: int) -> None:
    """For handlers and views that answer a refusal with a page of their own: which refusal it was."""
    g.refusal = (code, status)


def _note(response: Response) -> Response:
    code, status = g.get("refusal") or ("", response.status_code)
    if status not in WEIGHTY or (request.method in SAFE and status != 403) or "tenant_id" not in g:
        return response
    if not current_user or not current_user.is_authenticated or g.get("refusal_noted"):
        return response
    g.refusal_noted = True
    facts = {"code": code or f"http_{status}", "method": request.method, "status": status}
    with unit_of_work(g.tenant_id) as session:
        record(
            session,
            deed="access:deed:refuse",
            subject=f"routes:{str(request.endpoint).removeprefix('console.')}"[:SUBJECT_MAX],
            actor=actor(),
            facts=facts,
            result="refused",
        )
    return response
