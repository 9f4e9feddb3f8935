"""Delivery reports of the SMS provider: `POST /webhooks/sms`, signed by the provider, no session and no CSRF.

The tenant is in the reference that we gave the provider with the message; a report counts only with a good signature.
204 recorded (or known already) · 401 not signed as agreed · 404 no such message · 422 unreadable.
"""

import json

from flask import Blueprint, Response, current_app, request

from app.kernel.errors import AppError, NotFound
from app.kernel.unit_of_work import unit_of_work
from app.notify.service import DeliveryReport, record_report
from app.notify.sms import SIGNATURE, TIMESTAMP, check_signature
from app.web.guards import public

blueprint = Blueprint("sms", __name__)


class ReportUnreadable(AppError):
    """A signed report that does not speak the agreed format."""

    code, status = "sms_report_unreadable", 422
    message_zh = "短信回执格式不正确。"
    message_en = "The delivery report is not in the agreed format."


@blueprint.errorhandler(AppError)
def refuse(error: AppError) -> tuple[dict[str, str], int]:
    """Answer the provider's machine, in its language."""
    return {"error": error.code, "message": error.message("en")}, error.status


@blueprint.post("/webhooks/sms")
@public
def take_report() -> Response:
    """Record one delivery report."""
    body = request.get_data(cache=False)
    stamp, signature = request.headers.get(TIMESTAMP), request.headers.get(SIGNATURE)
    secret = current_app.config["SETTINGS"].sms_secret
    check_signature(secret, timestamp=stamp, signature=signature, body=body)
    tenant_id, report = read_report(body)
    with unit_of_work(tenant_id) as session:
        record_report(session, report=report)
    return Response(status=204)


def read_report(body: bytes) -> tuple[int, DeliveryReport]:
    """The tenant and the report in a signed body. Raises ReportUnreadable, NotFound for a reference that is not ours."""
    try:
        said = json.loads(body)
        reference, status = str(said["reference"]), str(said["status"])
        message_id, detail, at = _text(said["message_id"]), _text(said.get("detail", "")), _text(said["at"])[:40]
    except (ValueError, TypeError, KeyError, RecursionError) as wrong:
        raise ReportUnreadable from wrong
    if status not in ("delivered", "failed"):
        raise ReportUnreadable
    tenant, _, notice = reference.partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in (tenant, notice)):
        raise NotFound(thing="notice")
    return int(tenant), DeliveryReport(int(notice), message_id, status == "delivered", at, detail)


def _text(value: object) -> str:
    """At most 80 characters that PostgreSQL can keep and a page can show."""
    return "".join(letter for letter in str(value)[:80] if letter.isprintable())
