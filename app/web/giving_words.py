"""Refunds, waivers and adjustments in words: kinds, codes, papers, and what a request would do."""

from flask import g

from app.billing.giving_back import paper_number
from app.permissions.approval_models import Approval
from app.reports.giving import account_facts
from app.web.vocabulary import channel_words
from app.web.words import _, yuan


def giving_words(kind: str) -> str:
    """What was given."""
    return {"refund": _("退款"), "waiver": _("减免"), "adjustment": _("调账")}.get(kind, kind)


def adjustment_words(code: str) -> str:
    """Why a wallet was put right."""
    words = {
        "misposted": _("错户更正"), "meter": _("计量差错"), "price": _("计价差错"), "goodwill": _("补偿"), "other": _("其他"),
    }  # fmt: skip
    return words.get(code, code)


def paper_words(kind: str, number: int) -> str:
    """The number of a paper."""
    return paper_number(kind, number)


def tell_giving(row: Approval) -> tuple[str, list[tuple[str, str]], list[tuple[str, str, str]]]:
    """What a request would do: a sentence, its facts, and (label, before, after) while it waits."""
    said = row.content
    found = account_facts(g.session, tenant_id=g.tenant_id, account_id=said["supply_account_id"])
    room = f"{found.building} {found.space}" if found else "–"
    facts = [(_("户号"), found.number if found else "–"), (_("类别"), giving_words(said["kind"]))]
    if said["kind"] == "refund":
        facts.append((_("退款方式"), channel_words(said["code"])))
    if said["kind"] == "adjustment":
        facts.append((_("调账类别"), adjustment_words(said["code"])))
    change_fen = _change_fen(said["kind"], said["amount_fen"], undo="undo_id" in said)
    changes = []
    if row.state == "waiting" and found is not None:
        left = int(found.available_fen)
        changes = [(_("可用余额"), yuan(left), yuan(left + change_fen))]
    return _sentence(said["kind"], room, change_fen, undo="undo_id" in said), facts, changes


def _change_fen(kind: str, amount_fen: int, *, undo: bool) -> int:
    change_fen = -amount_fen if kind == "refund" else amount_fen
    return -change_fen if undo else change_fen


def _sentence(kind: str, room: str, change_fen: int, *, undo: bool) -> str:
    amount = yuan(abs(change_fen))
    if undo:
        return _(
            "冲正 %(room)s 的一笔%(kind)s %(amount)s：凭证反向记账，单号保留。",
            room=room,
            kind=giving_words(kind),
            amount=amount,
        )
    if kind == "refund":
        return _("退给 %(room)s %(amount)s：先结清全部用量，再从可用余额中退出。", room=room, amount=amount)
    if kind == "waiver":
        return _("免去 %(room)s 的欠费 %(amount)s，由核算主体承担。", room=room, amount=amount)
    if change_fen > 0:
        return _("为 %(room)s 调增余额 %(amount)s。", room=room, amount=amount)
    return _("为 %(room)s 调减余额 %(amount)s。", room=room, amount=amount)


#: Filters of the templates.
FILTERS = (giving_words, adjustment_words, paper_words)
