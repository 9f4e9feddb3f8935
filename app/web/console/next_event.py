"""What happens next to a supply account, in one sentence a resident would understand."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row

from app.billing.arrears import DEFAULT_POLICY, HOURS_PER_DAY, Level
from app.web.vocabulary import stopped_by_hand
from app.web.words import _, moment, span_words, yuan

#: Without a reading for longer than this, nothing is foretold.
READING_AGE_MAX = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class NextEvent:
    """The sentence, and how pressing it is: good | note | warn | bad."""

    tone: str
    words: str


def next_event(a: Row[Any], hours: int | None, now: datetime) -> NextEvent:
    """The next event of an account; the first case that applies speaks."""
    if a.account_state != "open":
        return NextEvent("note", _("该户已报停或销户，不再自动停复供。"))
    if a.stop_state is not None:
        return _stopped(a)
    if a.guaranteed_supply or a.protected_until is not None:
        return NextEvent("note", _("受保电保护：余额用尽也不会停供，欠费照常记账。"))
    return _running(a, hours, now)


def readings_stay_away(a: Row[Any], now: datetime) -> bool:
    """Is the last reading too old to foretell anything from?"""
    return a.reading_at is not None and now - a.reading_at > READING_AGE_MAX


def _stopped(a: Row[Any]) -> NextEvent:
    if a.stop_state == "restoring" or a.paid_at is not None:
        return _restoring(a)
    if a.basis == "manual":
        return NextEvent("bad", stopped_by_hand(a.stop_reason))
    if a.stop_state == "ordered":
        return NextEvent("bad", _("已下达停供指令，等待表计执行。现在充值会立即撤销。"))
    needed = max(a.restore_fen_min - (a.available_fen or 0), 0)
    if needed:
        return NextEvent("bad", _("已停供。再充值 %(amount)s 即自动恢复送电。", amount=yuan(needed)))
    return NextEvent("bad", _("已停供。充值到账后自动恢复送电。"))


def _restoring(a: Row[Any]) -> NextEvent:
    # A person may give supply back without any money: then nobody is told that somebody paid.
    if a.basis == "manual" or (a.available_fen or 0) < a.restore_fen_min:
        return NextEvent("warn", _("工作人员已下令送电；表计回读确认后恢复。"))
    return NextEvent("warn", _("已收款，正在送电；表计回读确认后恢复。"))


def _running(a: Row[Any], hours: int | None, now: datetime) -> NextEvent:
    if a.available_fen is None:
        return NextEvent("note", _("该户尚未开立预付余额。"))
    if a.available_fen <= 0:
        return _below_zero(a)
    if readings_stay_away(a, now):
        return NextEvent("warn", _("数据停在 %(when)s，不作预测。请检查表计通信。", when=moment(a.reading_at)))
    if a.alarm_level > Level.NONE:
        return _low(hours, now)
    if hours is None:
        return NextEvent("note", _("近 7 天没有完整用量，暂时无法预计可用天数。"))
    lasts = span_words(timedelta(hours=hours))
    alarm_at = now + timedelta(hours=_hours_to_alarm(a, hours))
    said = _("按近 7 天用量，约 %(span)s可用；一级预警约在 %(when)s。", span=lasts, when=moment(alarm_at))
    return NextEvent("good", said)


def _low(hours: int | None, now: datetime) -> NextEvent:
    if hours is None:
        return NextEvent("warn", _("余额偏低，请尽快充值。"))
    return NextEvent("warn", _("余额偏低：约 %(when)s 用尽，请尽快充值。", when=moment(now + timedelta(hours=hours))))


def _hours_to_alarm(a: Row[Any], hours: int) -> int:
    """The alarm stands at an amount or at days left, whichever comes first."""
    by_fen: int = hours * (a.available_fen - a.alarm_1_fen) // max(a.available_fen, 1)
    by_days = hours - (DEFAULT_POLICY.alarm_1.days or 0) * HOURS_PER_DAY
    return max(min(by_fen, by_days), 0)


def _below_zero(a: Row[Any]) -> NextEvent:
    if not a.agreement:
        return NextEvent("warn", _("余额已用尽。未签预付停供协议，不会自动停供，请联系住户补签或充值。"))
    if a.available_fen >= -a.overdraft_fen_max:
        return NextEvent(
            "warn", _("余额已用尽，正在使用透支额度（最多 %(amount)s）。", amount=yuan(a.overdraft_fen_max))
        )
    if a.next_at is not None:
        return NextEvent("bad", _("已超出透支额度，系统将于 %(when)s 再次判断是否停供。", when=moment(a.next_at)))
    return NextEvent("bad", _("已超出透支额度，满足通知与时段条件后将停供。"))
