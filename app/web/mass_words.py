"""Switching many supplies in words: what is asked for, and what came of each account."""

from datetime import datetime
from typing import Any

from flask import g

from app.billing.mass_control import NOTHING_STOPPED, STOPPED_ALREADY, MassLine
from app.billing.restore_policy import RestoreHow, RestoreRefusal, RestoreVerdict, explain_restore
from app.permissions.approval_models import Approval
from app.reports.approvals import node_name
from app.reports.mass import mass_lines, switchable_rooms
from app.web.vocabulary import refusal
from app.web.words import _, count, locale, state_words, yuan


def line_words(line: MassLine) -> str:
    """What came of one account."""
    if line.answer == STOPPED_ALREADY:
        return _("已经停供，未重复下达")
    if line.answer == NOTHING_STOPPED:
        return _("没有停供，无需送电")
    if line.answer in set(RestoreRefusal):
        verdict = RestoreVerdict(RestoreHow.NOTHING, RestoreRefusal(line.answer), line.pay_fen)
        return explain_restore(verdict, locale())
    if line.answer == RestoreHow.DUTY_TASK:
        return _("须现场合闸：已列入“已付未送达”")
    if line.answer in set(RestoreHow):
        return _("已请求送电")
    return _("已下达停供指令") if line.done else refusal(line.answer, line.next_at, line.edge_at)


def line_of(said: dict[str, Any]) -> MassLine:
    """A line as the audit record keeps it."""
    instants = {name: datetime.fromisoformat(said[name]) if said[name] else None for name in ("next_at", "edge_at")}
    return MassLine(**(said | instants))


def tell_mass(row: Approval, most: int) -> tuple[str, list[str], list[tuple[str, ...]], int]:
    """What a request would do: a sentence, columns, rows, how many there are; once done, what came of each."""
    said = row.content
    rooms = switchable_rooms(
        g.session, tenant_id=g.tenant_id, property_ids=[row.node_id], only=said["account_ids"]
    )  # fmt: skip
    place, number = node_name(g.session, row.node_id), count(len(said["account_ids"]))
    if said["deed"] == "stop":
        words = _(
            "停止向 %(property)s 的 %(num)s 户供电。每一户仍经停供判定，不允许的不会停。", property=place, num=number
        )
    else:
        words = _("恢复向 %(property)s 的 %(num)s 户供电。", property=place, num=number)
    came = {each["supply_account_id"]: line_words(line_of(each)) for each in mass_lines(g.session, approval_id=row.id)}
    if came:
        columns = [_("房间"), _("户号"), _("结果")]
        rows: list[tuple[str, ...]] = [(f"{r.building} {r.space}", r.number, came.get(r.id, "–")) for r in rooms[:most]]
        return words, columns, rows, len(rooms)
    columns = [_("房间"), _("户号"), _("状态"), _("可用余额")]
    rows_now: list[tuple[str, ...]] = [
        (f"{r.building} {r.space}", r.number, state_words(r.state), yuan(r.available_fen)) for r in rooms[:most]
    ]
    return words, columns, rows_now, len(rooms)
