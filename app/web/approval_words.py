"""Requests in plain words: what exactly would happen, with before and after, and how a request stands."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flask import g

from app.billing.approved import file_of
from app.billing.onboarding.rows import parse
from app.billing.onboarding.workbook import read_workbook
from app.kernel.clock import wall_now
from app.kernel.errors import AppError
from app.meters import sheet
from app.permissions.approval_models import Approval
from app.permissions.deeds import DEEDS, REACH_ABOVE, REACH_PROPERTY, Unit
from app.permissions.policy import Permission, Role
from app.reports.approvals import node_name, own_role_names, plan_facts, sale_facts, user_name
from app.web.giving_words import tell_giving
from app.web.mass_words import tell_mass
from app.web.permission_words import sentences
from app.web.role_words import role_words
from app.web.vocabulary import channel_words
from app.web.words import _, count, kwh, locale, moment, ngettext, price, yuan

#: How many rows of a file a request shows; the figures above them count all.
ROWS_SHOWN = 200
MICROFEN_PER_YUAN_KWH = 100_000


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that would be different afterwards."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Told:
    """What a request would do: a sentence, the facts, what changes, and rows of its file."""

    sentence: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[str, ...]] = field(default_factory=list)
    #: How many rows there are in all.
    total: int = 0


def deed_words(name: str) -> str:
    """A deed under limits."""
    deed = DEEDS.get(name)
    return name if deed is None else deed.words_en if locale() == "en" else deed.words_zh


def amount_words(name: str, amount: int) -> str:
    """An amount in the unit of its deed."""
    unit = DEEDS[name].unit
    if unit is Unit.FEN:
        return yuan(amount)
    if unit is Unit.MICROFEN:
        return _("%(price)s 元/kWh", price=price(Decimal(amount) / MICROFEN_PER_YUAN_KWH))
    if unit is Unit.ROWS:
        return ngettext("%(num)s 行", "%(num)s 行", amount)
    if unit is Unit.ACCOUNTS:
        return ngettext("%(num)s 户", "%(num)s 户", amount)
    reach = {0: _("须两人"), REACH_PROPERTY: _("单个项目"), REACH_ABOVE: _("区域或总部")}
    return reach.get(amount, _("本人的角色"))


def request_state(row: Approval) -> str:
    """How a request stands: one whose time is over has expired, whether or not the sweep has come by."""
    late = row.state == "waiting" and row.expires_at <= wall_now()
    return "expired" if late else row.state


def request_state_words(state: str) -> str:
    """The state of a request."""
    words = {
        "waiting": _("等待审批"), "approved": _("已同意"), "done": _("已执行"), "refused": _("未同意"),
        "withdrawn": _("申请人已撤回"), "expired": _("已过期，未执行"), "failed": _("已同意，但未能执行"),
    }  # fmt: skip
    return words.get(state, state)


def request_mark(state: str) -> str:
    """The mark of a state, in the shapes of the house."""
    marks = {"waiting": "pending", "approved": "pending", "done": "confirmed", "refused": "rejected"}
    return (marks | {"withdrawn": "cancelled", "expired": "expired", "failed": "rejected"}).get(state, "pending")


def failure_of(code: str | None) -> str:
    """The sentence of a refusal by its code; details are gone by then."""
    for kind in _refusals():
        if kind.code == code:
            template = kind.message_en if locale() == "en" else kind.message_zh
            return template.format_map(_Gone())
    return code or ""


class _Gone(dict[str, str]):
    def __missing__(self, _name: str) -> str:
        return "…"


def _refusals() -> list[type[AppError]]:
    found, ahead = list[type[AppError]](), [AppError]
    while ahead:
        kinds = ahead.pop().__subclasses__()
        found += kinds
        ahead += kinds
    return found


def role_named(code: str) -> str:
    """A role by its name or code."""
    return role_words()[Role(code)] if code in set(Role) else own_role_names(g.session).get(code, code)


def tell(row: Approval, var: Path) -> Told:
    """Exactly what would happen. A deed without words of its own is told by its amount."""
    return TELLERS.get(row.deed, _plainly)(row, var)


def _plainly(row: Approval, _var: Path) -> Told:
    return Told(f"{deed_words(row.deed)} {amount_words(row.deed, row.amount)}")


def _reversal(row: Approval, _var: Path) -> Told:
    sale = sale_facts(g.session, tenant_id=g.tenant_id, payment_id=row.content["payment_id"])
    if sale is None:
        return _plainly(row, _var)
    room = f"{sale.building} {sale.space}"
    receipt = f"{sale.till}-{sale.number:06d}" if sale.number else "–"
    facts = [
        (_("收据号"), receipt), (_("户号"), sale.account), (_("收款方式"), channel_words(sale.channel)),
        (_("收款时间"), moment(sale.received_at)), (_("收款人"), sale.seller or "–"),
    ]  # fmt: skip
    changes = []
    if row.state == "waiting" and sale.available_fen is not None:
        left = int(sale.available_fen)
        changes = [Change(_("可用余额"), yuan(left), yuan(left - row.amount))]
    said = _(
        "冲正 %(room)s 的一笔充值 %(amount)s：这笔钱从余额中全部扣回，收据号保留并标记已冲正。",
        room=room,
        amount=yuan(row.amount),
    )
    return Told(said, facts, changes)


def _price(row: Approval, _var: Path) -> Told:
    plan = plan_facts(g.session, tenant_id=g.tenant_id, plan_id=row.content["plan_id"])
    if plan is None:
        return _plainly(row, _var)
    since = moment(datetime.fromisoformat(row.content["effective_from"]))
    said = _(
        "“%(plan)s”自 %(when)s 起改按新单价计费，影响 %(num)s 户。",
        plan=plan.name,
        when=since,
        num=count(plan.accounts),
    )
    before = row.content["price_before"]
    change = Change(_("单价（元/kWh）"), price(before) if before else _("还没有单价"), price(row.content["price"]))
    return Told(said, [(_("项目"), plan.property), (_("生效时间"), since)], [change])


def _readings(row: Approval, var: Path) -> Told:
    said = _(
        "把一份抄表文件的 %(num)s 行读数记入 %(property)s，用量与费用随之重新计算。",
        num=row.amount,
        property=node_name(g.session, row.node_id),
    )
    told = Told(said, _file_facts(row), columns=[_("行"), _("表号"), _("抄表时间"), _("示数（kWh）")], total=row.amount)
    if row.state == "waiting":
        content = file_of(g.session, row, var)
        read = sheet.read_sheet(io.BytesIO(content), ZoneInfo(row.content["zone"])).rows[:ROWS_SHOWN]
        told.rows.extend((str(r.line), r.meter_number, moment(r.read_at), kwh(r.register_wh)) for r in read)
    return told


def _opening(row: Approval, var: Path) -> Told:
    said = row.content
    words = _(
        "导入 %(property)s 的建账文件：%(spaces)s 个房间、%(meters)s 块表，并为 %(balances)s 户记入期初余额。",
        property=node_name(g.session, row.node_id), spaces=count(said["spaces"]), meters=count(said["meters"]),
        balances=count(said["balances"]),
    )  # fmt: skip
    facts = [*_file_facts(row), (_("预存合计"), yuan(said["credit_fen"])), (_("欠费合计"), yuan(said["debt_fen"]))]
    told = Told(words, facts, columns=[_("户号"), _("期初余额（元）")], total=said["balances"])
    if row.state == "waiting":
        balances = parse(read_workbook(file_of(g.session, row, var))).balances[:ROWS_SHOWN]
        told.rows.extend((line.account, yuan(line.balance_fen)) for line in balances)
    return told


def _file_facts(row: Approval) -> list[tuple[str, str]]:
    return [(_("文件指纹（SHA-256）"), row.content["file"][:16])]


def _role(row: Approval, _var: Path) -> Told:
    said = row.content
    if "own_role" in said:
        return _wider_role(said)
    person, role, node = (
        user_name(g.session, said["user_id"]),
        role_named(said["role"]),
        node_name(g.session, row.node_id),
    )
    if said["give"]:
        words = _("授予 %(person)s 在“%(node)s”及其下属的角色：%(role)s。", person=person, node=node, role=role)
        change = Change(role, _("没有"), _("有"))
    else:
        words = _("收回 %(person)s 在“%(node)s”的角色：%(role)s。", person=person, node=node, role=role)
        change = Change(role, _("有"), _("没有"))
    until = moment(datetime.fromisoformat(said["ends_at"])) if said["ends_at"] else _("长期")
    return Told(words, [(_("有效期至"), until)] if said["give"] else [], [change])


def _wider_role(said: Mapping[str, Any]) -> Told:
    """What everybody who holds an own role would hold from now on."""
    words, before, after = sentences(), set(said["before"]), set(said["permissions"])
    changes = [Change(words[Permission(name)], _("没有"), _("有")) for name in sorted(after - before)]
    changes += [
        Change(words[Permission(name)], _("有"), _("没有"))
        for name in sorted(before - after)
        if name in set(Permission)
    ]
    return Told(_("修改角色“%(name)s”：所有持有者立即按新的权限执行。", name=said["name"]), [], changes)


def _giving(row: Approval, _var: Path) -> Told:
    said, facts, changes = tell_giving(row)
    return Told(said, facts, [Change(*change) for change in changes])


def _mass(row: Approval, _var: Path) -> Told:
    said, columns, rows, total = tell_mass(row, ROWS_SHOWN)
    return Told(said, columns=columns, rows=rows, total=total)


Teller = Callable[[Approval, Path], Told]
#: Deed → how its request is told.
TELLERS: Mapping[str, Teller] = {
    "refund": _giving,
    "waiver": _giving,
    "adjustment": _giving,
    "mass_control": _mass,
    "reversal": _reversal,
    "price_change": _price,
    "reading_correction": _readings,
    "opening_balance": _opening,
    "role_change": _role,
}

#: Filters of the templates.
FILTERS = (deed_words, amount_words, request_state, request_state_words, request_mark, role_named)
