"""The audit log 审计日志: who did what, when, from where; found by any of these, each record with its seal, as a file.

Somebody who reads the log for a property sees that property's records. Records of the whole group are for those who hold
the right at headquarters.
"""

from datetime import datetime, timedelta
from typing import Any

from flask import current_app, g, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue

from app.kernel.clock import EPOCH, MICROSECOND, day_start
from app.kernel.errors import AppError, NotFound
from app.permissions.policy import Permission
from app.reports.audit_log import RESULTS, Wanted, each_record, people
from app.reports.audit_log import record as find_record
from app.reports.audit_log import records as find_records
from app.tenants.anchor_files import AnchorFiles
from app.tenants.anchors import anchored_at
from app.tenants.audit import record as leave_record
from app.web.audit_words import changes, deed_groups, fact_rows, result_words
from app.web.console.audit_files import CSV, XLSX, write_csv, write_xlsx
from app.web.console.blueprint import console
from app.web.guards import factor_facts, requires
from app.web.places import actor, operator, place, scope
from app.web.words import ZONE

PAGE = 50
#: What a spreadsheet still opens on an office computer.
EXPORT_MAX = 100_000


class AuditExportTooLarge(AppError):
    """More records than one file should hold."""

    code, status = "audit_export_too_large", 422
    message_zh = "符合条件的记录超过 {most} 条。请缩短时间范围或增加条件后再导出。"
    message_en = "More than {most} records match. Choose a shorter period or more conditions, then export again."


@console.get("/audit")
@requires(Permission.AUDIT_LOG_READ)
def audit_log() -> ResponseReturnValue:
    """Records that match what the address says, newest first."""
    wanted = _wanted(Permission.AUDIT_LOG_READ)
    rows = find_records(g.session, tenant_id=g.tenant_id, wanted=wanted, most=PAGE + 1) if wanted else []
    return render_template(
        "console/audit_log.html",
        rows=rows[:PAGE],
        said=_said(),
        deeds=deed_groups(),
        results={result: result_words(result) for result in RESULTS},
        following=_following(rows[PAGE - 1]) if len(rows) > PAGE else None,
        whole=_is_whole(Permission.AUDIT_LOG_READ),
        most=EXPORT_MAX,
    )


@console.get("/audit/<int:id_>")
@requires(Permission.AUDIT_LOG_READ)
def audit_record(id_: int) -> ResponseReturnValue:
    """One record: what changed, under which approval, sealed and anchored when. Raises NotFound."""
    wanted = Wanted(None if _is_whole(Permission.AUDIT_LOG_READ) else tuple(scope(Permission.AUDIT_LOG_READ)))
    found = find_record(g.session, tenant_id=g.tenant_id, wanted=wanted, id_=id_) if id_ < 2**63 else None
    if found is None:
        raise NotFound
    return render_template(
        "console/audit_record.html",
        r=found,
        changes=changes(found.before, found.after),
        facts=fact_rows(found.facts),
        anchored=_anchored(found),
    )


@console.post("/audit/export")
@requires(Permission.AUDIT_LOG_EXPORT, fresh_factor=True)
def audit_export() -> ResponseReturnValue:
    """The records that match, as a workbook or CSV; that somebody took them is a record too.

    Raises AuditExportTooLarge.
    """
    wanted = _wanted(Permission.AUDIT_LOG_EXPORT)
    rows = each_record(g.session, tenant_id=g.tenant_id, wanted=wanted, most=EXPORT_MAX + 1) if wanted else iter(())
    kind = XLSX if request.form.get("format") == "xlsx" else CSV
    write = write_xlsx if kind is XLSX else write_csv
    file, count = write(rows)
    if count > EXPORT_MAX:
        file.close()
        raise AuditExportTooLarge(most=EXPORT_MAX)
    # What was typed to search by stays out: it may be somebody's name.
    conditions = sorted(name for name, value in _said().items() if value)
    facts = {"rows": count, "format": kind.ending, "conditions": conditions, **factor_facts()}
    leave_record(g.session, deed="audit:log:export", subject="audit_records:*", actor=actor(), facts=facts)
    return send_file(file, mimetype=kind.mimetype, as_attachment=True, download_name=f"audit.{kind.ending}")


def _said() -> dict[str, str]:
    """What the form says, each field at most as long as what it is compared with."""
    source = request.form if request.method == "POST" else request.args
    longest = {"since": 10, "until": 10, "who": 80, "deed": 60, "subject": 80, "result": 8, "words": 80}
    return {name: source.get(name, "").strip()[:most] for name, most in longest.items()}


def _wanted(permission: Permission) -> Wanted | None:
    """What is looked for within the scope; None when a person is named whom nobody knows."""
    said, here = _said(), place(permission)
    found_actor = _actor(said["who"]) if said["who"] else None
    if said["who"] and found_actor is None:
        return None
    whole = here.property is None and _is_whole(permission)
    return Wanted(
        property_ids=None if whole else tuple(here.property_ids),
        since=_day(said["since"]),
        until=_day(said["until"], after=1),
        actor=found_actor,
        deed=said["deed"] or None,
        subject=said["subject"] or None,
        result=said["result"] if said["result"] in RESULTS else None,
        words=said["words"] or None,
        before=_key(request.args.get("before", "")),
    )


def _is_whole(permission: Permission) -> bool:
    """Whether the right is held at headquarters: then records of no property are seen, too."""
    nodes = operator().nodes.values()
    return any(node.parent_id is None and operator().may(permission, node.id) for node in nodes)


def _actor(who: str) -> str | None:
    """How records name whoever was typed: a sign-in name, a name, or as the log itself says it (`api_token:3`)."""
    if ":" in who:
        return who
    found = people(g.session, tenant_id=g.tenant_id, words=who)
    return found[0] if found else None


def _day(typed: str, *, after: int = 0) -> datetime | None:
    try:
        return day_start(datetime.strptime(typed, "%Y-%m-%d").date() + timedelta(days=after), ZONE)
    except (ValueError, OverflowError):
        return None


def _key(typed: str) -> tuple[datetime, int] | None:
    """Where the page before ended: microseconds and id."""
    at_us, _dash, id_ = typed.partition("-")
    if not (at_us.isdecimal() and id_.isdecimal() and len(at_us) < 18 and len(id_) < 19):
        return None
    return EPOCH + MICROSECOND * int(at_us), int(id_)


def _following(row: Any) -> str:
    said = {name: value for name, value in _said().items() if value}
    given: dict[str, Any] = {**said, "before": f"{(row.at - EPOCH) // MICROSECOND}-{row.id}"}
    return url_for("console.audit_log", **given)


def _anchored(row: Any) -> datetime | None:
    if row.block_no is None:
        return None
    files = AnchorFiles(current_app.config["SETTINGS"].anchor_path)
    given = {"tenant_id": g.tenant_id, "chain": "audit", "block_no": row.block_no}
    return anchored_at(files, since=row.sealed_at, **given)
