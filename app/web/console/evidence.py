"""The facts a stop was judged on, in the reader's words; the whole record stays beside them for who wants to check."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Flask

from app.web.vocabulary import basis_words, class_words, notice_state_words, notice_words
from app.web.words import _, moment, yuan

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def evidence_rows(evidence: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """(what, how it stood) for every fact that decides a stop; facts a judgement did not have are left out."""
    facts = (evidence or {}).get("facts") or {}
    rows = [
        (_("可用余额"), _fen(facts.get("available_fen"))),
        (_("透支额度"), _fen(facts.get("overdraft_fen"))),
        (_("用能类别"), class_words(str(facts.get("usage_class", "")))),
        (_("预付停供协议"), _yes(facts.get("agreement_on_file"), _("已签署"), _("未签"))),
        (_("示数时间"), _at(facts.get("read_at"))),
        (_("示数质量"), _quality(facts.get("data_quality"))),
        (_("停供时段"), _window(facts.get("window"))),
        (_("保电"), _yes(facts.get("guaranteed"), _("是"), _("否"))),
        (_("受保护用户"), _yes(facts.get("protected"), _("是"), _("否"))),
        (_("停供总开关"), _yes(facts.get("kill_switch"), _("打开，停止一切停供"), _("未打开"))),
        (_("手机缴费"), _yes(facts.get("phone_payment_up"), _("可用"), _("不可用"))),
        (_("停供理由"), str(facts.get("reason") or "")),
    ]
    return [(what, how) for what, how in rows if how] + _notices(facts.get("notices"))


def reason_words(reason: str) -> str:
    """Why a command was given: words of a person as they are, codes of the product in words."""
    if reason.startswith("restore:"):
        return _("复供（%(basis)s）", basis=basis_words(reason.removeprefix("restore:")))
    return basis_words(reason)


def actor_words(actor: str, name: str | None = None) -> str:
    """Who did it: a person by name, a process of the product as the system."""
    if name:
        return name
    words = {
        "system:day_close": _("日结（系统）"), "system:demo": _("演示数据"), "system:operator-cli": _("运维人员（命令行）"),
        "system:supply": _("供电控制（系统）"),
    }  # fmt: skip
    return words.get(actor) or (_("系统自动") if actor.startswith("system:") else actor)


def whole_record(evidence: Mapping[str, Any] | None) -> str:
    """The record as it is kept, to be read by a person: Chinese as Chinese, instants in the property's zone."""
    return json.dumps(_local(evidence), ensure_ascii=False, indent=2)


def proof_rows(proof: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """(what, how) of a message's proof of delivery, or why it was not sent."""
    said = proof or {}
    unsent = {
        "no_phone": _("没有可用的手机号"), "no_sms_provider": _("短信服务未配置"), "sms_refused": _("短信平台拒绝"),
        "sms_unavailable": _("短信平台不可用"),
    }  # fmt: skip
    rows = [
        (_("平台回执时间"), _at(said.get("provider_at"))),
        (_("平台回执"), str(said.get("detail") or "")),
        (_("平台短信编号"), str(said.get("provider_id") or "")),
        (_("未发送的原因"), unsent.get(str(said.get("unsent")), str(said.get("unsent") or ""))),
    ]
    return [(what, how) for what, how in rows if how]


def install_evidence(app: Flask) -> None:
    """Add the filters to the templates."""
    app.jinja_env.filters.update(
        {f.__name__: f for f in (evidence_rows, reason_words, actor_words, whole_record, proof_rows)}
    )


def _notices(notices: Any) -> list[tuple[str, str]]:
    return [
        (
            notice_words(str(n["notice"])),
            " ".join(filter(None, [notice_state_words(str(n["state"])), _at(n.get("at"))])),
        )
        for n in notices or []
    ]


def _fen(value: Any) -> str:
    return yuan(value) if isinstance(value, int) else ""


def _yes(value: Any, yes: str, no: str) -> str:
    return "" if value is None else yes if value else no


def _at(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    try:
        return moment(datetime.fromisoformat(value))
    except ValueError:
        return value  # a provider's own notation


def _local(value: Any) -> Any:
    """The same record with every aware instant written in the property's zone."""
    if isinstance(value, Mapping):
        return {name: _local(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_local(inner) for inner in value]
    return _at(value) if isinstance(value, str) and _INSTANT.fullmatch(value) else value


def _quality(value: Any) -> str:
    return {"good": _("完好"), "estimated": _("估算"), "suspect": _("存疑")}.get(str(value), "")


def _window(window: Any) -> str:
    if not isinstance(window, dict) or "opens" not in window:
        return ""
    return f"{str(window['opens'])[:5]}–{str(window['closes'])[:5]}"
