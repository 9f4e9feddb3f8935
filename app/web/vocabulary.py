"""Codes of the domain in the reader's words. No raw code reaches a page."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask

from app.billing.day_memo import exact_yuan
from app.billing.stop_refusals import Refusal, sentence
from app.kernel.clock import business_now, wall_now
from app.meters.sheet import PreviewRow
from app.meters.sheet_file import RowFault
from app.reports.rmb import capital_yuan
from app.web.console.parts import digest_of
from app.web.role_words import grant_words
from app.web.words import ZONE, _, ago, locale, moment


def relay_words(state: str | None) -> str:
    """What was read back from the relay."""
    return {"closed": _("已合闸，供电中"), "open": _("已断开"), "unknown": _("尚未回读")}.get(state or "unknown", "–")


def class_words(usage_class: str) -> str:
    """Usage class of a space."""
    words = {
        "residential": _("居民"), "commercial": _("商业"), "dormitory": _("宿舍"), "common": _("公共区域"),
    }  # fmt: skip
    return words.get(usage_class, usage_class)


def command_words(kind: str) -> str:
    """What was asked of a meter."""
    words = {
        "trip": _("拉闸"), "close": _("合闸"), "permit_close": _("合闸允许"), "read_status": _("读状态"),
        "read_total": _("读示数"), "guarantee_on": _("保电投入"), "guarantee_off": _("保电解除"),
    }  # fmt: skip
    return words.get(kind, kind)


def basis_words(basis: str) -> str:
    """Why a stop was decided."""
    words = {
        "zero_stop": _("余额用尽停供"), "arrears": _("欠费停供"), "safety": _("安全断电"), "manual": _("人工"),
    }  # fmt: skip
    return words.get(basis, basis)


def stopped_by_hand(reason: str | None) -> str:
    """A stop that a person ordered: no payment ends it, and who does."""
    return _("人工停供（%(why)s）。充值不会恢复供电，请联系项目经理。", why=reason or "–")


def failure_words(failure: str) -> str:
    """Why a command did not succeed, and what that means."""
    words = {
        "permit_revoked": _("许可已撤销（例如已充值）"), "too_late": _("超过有效期"), "overruled": _("被更新的指令取代"),
        "no_answer": _("表计无应答"), "password": _("表计密码错误"), "wrong_password": _("表计密码错误"),
        "guaranteed": _("表计处于保电状态"), "stops_halted": _("停供总开关已打开"), "dry_run": _("非演示集团仅演练"),
        "disagrees": _("回读结果与指令不一致"),
    }  # fmt: skip
    return words.get(failure, failure)


def notice_words(kind: str) -> str:
    """What a notice is about."""
    words = {
        "alarm_1": _("一级预警短信"), "alarm_2": _("二级预警短信"), "zero": _("余额用尽短信"),
        "last_warning": _("停供前最后提醒"), "stopped": _("已停供通知"), "restored": _("已恢复供电通知"),
    }  # fmt: skip
    return words.get(kind, kind)


def notice_state_words(state: str) -> str:
    """How far a notice has come."""
    words = {
        "queued": _("待发送"), "sent": _("已发出，等待送达回执"), "delivered": _("已送达"), "failed": _("发送失败"),
        "undeliverable": _("无法送达"), "cancelled": _("已取消"),
        "overtaken": _("余额已越过此级，未发送"), "waiting": _("等待回执"),
    }  # fmt: skip
    return words.get(state, state)


def flag_words(flag: str) -> str:
    """What was found about a reading, in words that say what to do."""
    words = {
        "ok": _("正常"), "first": _("首次示数，作为起点"), "duplicate": _("重复"), "rollover": _("翻转"),
        "gap": _("断档后补到"), "conflict": _("同一时刻两个不同示数"), "out_of_range": _("超出表计量程"),
        "out_of_order": _("时间早于已有示数"), "negative": _("示数倒走，请现场核对"),
        "impossible_jump": _("用量超过额定功率，请核对倍率或示数"), "future": _("时间晚于现在，请核对表计时钟"),
        "stale_clock": _("表计时钟偏差过大"), "unknown_meter": _("没有这块表"),
    }  # fmt: skip
    return words.get(flag, flag)


def source_words(source: str) -> str:
    """Where a reading came from."""
    words = {"headend": _("自动抄表"), "api": _("接口上报"), "sheet": _("表格导入"), "manual": _("人工录入")}
    return words.get(source, source)


def channel_words(channel: str) -> str:
    """How money came in."""
    words = {
        "cash": _("现金"), "bank": _("银行转账"), "pos": _("刷卡 POS"), "wechat": _("微信支付"), "alipay": _("支付宝"),
        "stripe": "Stripe",
    }  # fmt: skip
    return words.get(channel, channel)


def actuator_words(actuator: str | None) -> str:
    """What switches the supply."""
    words = {
        "internal_relay": _("表内继电器"), "motor_breaker": _("电动断路器"), "shunt_trip": _("分励脱扣（须现场合闸）"),
        "hv_switch": _("高压开关（须现场合闸）"),
    }  # fmt: skip
    return words.get(actuator or "", "–")


def refusal(verdict: str, again: datetime | None = None, edge: datetime | None = None) -> str:
    """Why a stop does not happen yet, and the way out: `again` is the next look, `edge` the nearer end of the hours."""
    if verdict not in set(Refusal):
        return stop_verdict_words(verdict)
    return sentence(Refusal(verdict), now=business_now(), zone=ZoneInfo(ZONE), again=again, edge=edge, locale=locale())


def microfen(amount: int | None) -> str:
    """A rated amount in yuan with four decimals: what the day is worth before it is rounded to the fen."""
    if amount is None:
        return "–"
    ten_thousandths = (abs(amount) + 5_000) // 10_000
    return f"{'-' if amount < 0 else ''}¥{ten_thousandths // 10_000:,}.{ten_thousandths % 10_000:04d}"


def waits_for(how: str) -> str:
    """What a paid and undelivered supply waits for, and what a person can do about it."""
    words = {
        "duty_task": _("此开关须现场合闸：请派人前往，合闸后在此登记。"),
        "appliances": _("等待确认：请与住户确认电炉、热水器等已关闭，确认后立即送电。"),
        "button": _("合闸已允许：请住户按一下表上的按钮。"),
        "offline": _("表计离线：上线后系统重新判断并自动送电。可派人现场检查通信。"),
        "command": _("正在执行，通常一分钟内恢复。"),
        "unconfirmed": _("指令未得到确认：系统会再次送电；超过几分钟请派人现场查看。"),
    }
    return words.get(how, how)


def stop_verdict_words(verdict: str) -> str:
    """Why a stop was not carried out, for verdicts that are no refusal of the gate."""
    words = {
        "no_gateway": _("没有可以远程控制的表计。"), "dry_run": _("本集团目前只做演练，不会真正停供。"),
        "expired": _("上一次指令已过期。"), "meter_refused": _("表计拒绝了上一次指令。"), "allowed": _("已满足停供条件。"),
    }  # fmt: skip
    return words.get(verdict, verdict)


def iso_moment(text: str) -> str:
    """An instant kept as text in a working, in the property's zone."""
    return moment(datetime.fromisoformat(text))[5:]


def wall_ago(instant: datetime | None) -> str:
    """How long ago by the wall clock: sockets and sessions never follow a demo's clock."""
    return ago(instant, wall_now())


def row_status_words(status: str) -> str:
    """What becomes, or became, of a row of a reading sheet."""
    words = {
        "stored": _("入库"), "duplicate": _("重复，跳过"), "case": _("转人工核对"), "refused": _("不入库"), "error": _("有误"),
    }  # fmt: skip
    return words.get(status, status)


def row_reason(row: PreviewRow) -> str:
    """Why a row of a reading sheet ends as it does; nothing for a row without anything to say."""
    if row.error is not None:
        return row.error.message(locale())
    return flag_words(row.flag) if row.flag and row.flag != "ok" else ""


def bad_row(fault: RowFault) -> str:
    """The line of a sheet that cannot be read, and why."""
    return _("第 %(line)s 行", line=fault.line) + " " + fault.error.message(locale())


FILTERS: tuple[Callable[..., Any], ...] = (
    actuator_words, bad_row, basis_words, capital_yuan, channel_words, class_words, command_words, failure_words,
    exact_yuan, flag_words, iso_moment, microfen, notice_state_words, notice_words, refusal, relay_words, row_reason,
    row_status_words, source_words, stopped_by_hand, waits_for, wall_ago, grant_words,
)  # fmt: skip


def install_vocabulary(app: Flask) -> None:
    """Add the filters to the templates."""
    app.jinja_env.filters.update({f.__name__: f for f in FILTERS})
    app.jinja_env.filters["digest"] = digest_of
