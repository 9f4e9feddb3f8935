"""Whether there is supply and, if not, why and since when: in words for whoever sits in the dark."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Row

from app.billing.arrears import Level
from app.web.words import _, moment, yuan


@dataclass(frozen=True, slots=True)
class Standing:
    """How pressing: good | note | warn | bad; a headline, and what to do."""

    tone: str
    title: str
    words: str


def standing(a: Row[Any]) -> Standing:
    """How an account stands, from the columns of `reports.residents`; the first case that applies speaks."""
    if a.account_state != "open":
        return Standing("note", _("已报停"), _("该户已办理报停，不会自动停供或送电。如需恢复，请联系物业服务中心。"))
    if a.stop_state is not None:
        return _stopped(a)
    if a.relay_state == "open":
        said = _("电表开关自 %(when)s 起是断开的，但没有停供记录。请联系物业服务中心。", when=moment(a.relay_read_at))
        return Standing("bad", _("已断电"), said)
    return _lit(a)


def dark_since(a: Row[Any]) -> datetime | None:
    """Since when the supply is off; None while it is on or was only ordered off."""
    if a.stop_state in ("in_force", "restoring"):
        return a.in_force_at  # type: ignore[no-any-return]
    return None


def _stopped(a: Row[Any]) -> Standing:
    if a.stop_state == "restoring" or a.paid_at is not None:
        return Standing("warn", _("正在恢复供电"), _("已下令送电，通常几分钟内恢复。请先关闭电炉、热水器等电器。"))
    if a.stop_state == "ordered":
        return _ordered(a)
    since = moment(a.in_force_at)
    if a.basis == "manual":
        said = _("工作人员于 %(when)s 停止了供电，充值不会恢复。请联系物业服务中心了解原因。", when=since)
        return Standing("bad", _("已停供"), said)
    if a.basis == "safety":
        said = _("因用电安全，%(when)s 起停止了供电。请不要自行合闸，联系物业服务中心检查。", when=since)
        return Standing("bad", _("已停供"), said)
    needed = max(a.restore_fen_min - (a.available_fen or 0), 0)
    if not needed:
        return Standing(
            "bad", _("已停供"), _("因余额用尽，%(when)s 起停供。现在的余额已够恢复，请联系物业服务中心。", when=since)
        )
    said = _(
        "因余额用尽，%(when)s 起停供。再充值 %(amount)s 即自动恢复。夜间急需用电，可联系值班员申请应急供电。",
        when=since, amount=yuan(needed),
    )  # fmt: skip
    return Standing("bad", _("已停供"), said)


def _ordered(a: Row[Any]) -> Standing:
    if a.basis in ("manual", "safety"):
        return Standing("bad", _("即将停供"), _("工作人员已安排停供。请联系物业服务中心了解原因。"))
    return Standing("bad", _("即将停供"), _("余额已用尽，停供指令已下达。现在充值会立即撤销。"))


def _lit(a: Row[Any]) -> Standing:
    if a.meter_id is None:
        return Standing("note", _("没有装表"), _("这一户还没有装电表。"))
    if a.available_fen is None:
        return Standing("note", _("供电中"), _("这一户还没有开立预付余额。"))
    if a.available_fen <= 0:
        return _used_up(a)
    if a.alarm_level > Level.NONE:
        return Standing("warn", _("供电中，余额偏低"), _("请尽快充值，以免停供。"))
    return Standing("good", _("供电中"), _("余额充足。屋里没电？请先看自家空气开关，仍无电再联系物业服务中心。"))


def _used_up(a: Row[Any]) -> Standing:
    if a.guaranteed_supply:
        return Standing("warn", _("供电中，余额用尽"), _("这一户受保电保护，不会停供，用电照常记账。请及时充值。"))
    if a.available_fen >= -a.overdraft_fen_max:
        said = _("正在使用透支额度，最多 %(amount)s。请立即充值，以免停供。", amount=yuan(a.overdraft_fen_max))
        return Standing("warn", _("供电中，余额用尽"), said)
    return Standing("bad", _("供电中，已超出透支额度"), _("随时可能停供，请立即充值。"))
