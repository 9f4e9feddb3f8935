"""Says what a frame says, for the field engineer at the terminal: one flat dictionary per frame.

Values are decoded for every identifier of `registers`, for relay commands, times, addresses and error bits.
What is not known is shown raw. A password is never among the values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.meters.drivers.base import BadData, FrameError
from app.meters.drivers.dlt645 import edition1997, messages
from app.meters.drivers.dlt645.fields import date_text
from app.meters.drivers.dlt645.frame import BROADCAST, WILDCARD, Frame, decode
from app.meters.drivers.dlt645.messages import FUNCTION, MORE, REFUSED
from app.meters.drivers.dlt645.registers import item_of
from app.meters.drivers.dlt645.values import Value, identifier_digits, values_of

PROTOCOL = "dlt645"

ACTIONS_ZH = {
    "trip": "拉闸",
    "permit_close": "合闸允许",
    "close": "直接合闸",
    "alarm": "报警",
    "alarm_off": "报警解除",
    "guarantee": "保电",
    "guarantee_off": "保电解除",
}

DEEDS_ZH = {
    "fee_control": "费控",
    "set_time": "校时",
    "read": "读数据",
    "read_next": "读后续数据",
    "read_address": "读通信地址",
    "write": "写数据",
    "write_address": "写通信地址",
    "freeze": "冻结",
    "change_baud": "更改通信速率",
    "change_password": "修改密码",
    "clear_demand": "最大需量清零",
    "clear_meter": "电表清零",
    "clear_events": "事件清零",
    "relay": "跳合闸、报警、保电",
}

#: What a fee-control identifier usually asks for; vendors reuse some of them for other deeds.
FEE_DEEDS = {
    0x070000FF: "identity authentication 身份认证",
    0x070001FF: "validity of the authentication 认证时效",
    0x070002FF: "end of the authentication 认证失效",
    0x070101FF: "opening an account 开户",
    0x070102FF: "a recharge 充值",
    0x070103FF: "initialising the wallet 钱包初始化",
    0x078001FF: "reading ESAM data back 数据回抄",
    0x078102FF: "a status query 状态查询",
}

_WITH_IDENTIFIER_ASKED = frozenset({0x03, 0x11, 0x12, 0x14, 0x18, 0x1B})
_WITH_IDENTIFIER_ANSWERED = frozenset({0x03, 0x11, 0x12})


@dataclass(frozen=True, slots=True)
class Said:
    """What the data of a frame say: values, and a sentence."""

    meaning: str
    values: tuple[Value, ...] = ()


def describe(raw: bytes) -> dict[str, Any]:
    """One frame as a dictionary of plain values, keys in the order they are printed. Raises FrameError."""
    frame = decode(raw)
    read = edition1997.describe if edition1997.speaks(frame.control) else _described
    meaning, values, di = read(frame)
    return {
        "protocol": PROTOCOL,
        "address": frame.address,
        "control": f"{frame.control:02X}",
        "direction": "reply" if frame.from_meter else "request",
        **({"di": di} if di else {}),
        "data": frame.data.hex().upper(),
        "values": [{"name": value.name, "value": value.text, "unit": value.unit} for value in values],
        "meaning": meaning,
    }


def _described(frame: Frame) -> tuple[str, list[Value], str]:
    di = _identifier(frame)
    try:
        said = _said(frame)
    except FrameError:
        said = Said("the data do not fit, shown raw (数据域与标识不符)")
    meaning = " ".join(part for part in (_deed(frame), said.meaning) if part)
    return meaning + _addressee(frame.address), list(said.values), di


def _identifier(frame: Frame) -> str:
    """Eight hex digits, high byte first; empty where the frame carries none."""
    carrying = _WITH_IDENTIFIER_ANSWERED if frame.from_meter else _WITH_IDENTIFIER_ASKED
    at = 8 if frame.control & FUNCTION == 0x1B else 0
    if frame.control & REFUSED or frame.control & FUNCTION not in carrying or len(frame.data) < at + 4:
        return ""
    return f"{messages.di_of(frame.data[at:]):08X}"


def _deed(frame: Frame) -> str:
    deed = messages.DEEDS.get(frame.control & FUNCTION)
    zh = f" {DEEDS_ZH[deed]}" if deed else ""
    name = (deed or f"function {frame.control & FUNCTION:02X}").replace("_", " ")
    if not frame.from_meter:
        return f"{name}{zh}:"
    kind = "refused" if frame.control & REFUSED else "reply, more follows" if frame.control & MORE else "reply"
    return f"{name} {kind}{zh}:"


def _addressee(address: str) -> str:
    return {BROADCAST: " (broadcast, nobody answers)", WILDCARD: " (any meter)"}.get(address, "")


def _said(frame: Frame) -> Said:
    function = frame.control & FUNCTION
    if frame.control & REFUSED:
        return _refusal(frame)
    table = _ANSWERS if frame.from_meter else _QUESTIONS
    if function in table:
        return table[function](frame)
    if frame.from_meter and not frame.data:
        return Said("accepted")
    return Said("data shown raw" if frame.data else "no data")


def _refusal(frame: Frame) -> Said:
    reasons = messages.reasons_of(frame)
    return Said(", ".join(reasons) or "no reason given", tuple(Value("error", reason) for reason in reasons))


def _item_words(di: int) -> str:
    item = item_of(di)
    return f"{item.zh} ({item.en})" if item else f"identifier {di:08X}, not in our table"


def _read_asked(frame: Frame) -> Said:
    return Said(_item_words(messages.di_of(frame.data)))


def _read_next_asked(frame: Frame) -> Said:
    if len(frame.data) != 5:
        raise BadData()
    sequence = frame.data[4]
    return Said(f"part {sequence} of {_item_words(messages.di_of(frame.data))}", (Value("sequence", str(sequence)),))


def _read_answered(frame: Frame) -> Said:
    """A part of a long answer is shown raw: its values may be cut in two."""
    part = messages.read_reply_of(frame)
    words = _item_words(part.di)
    if part.sequence or part.more:
        return Said(f"{words}, part {part.sequence}", (Value("sequence", str(part.sequence)),))
    values = tuple(values_of(part.di, part.data))
    shown = ", ".join(f"{value.text} {value.unit}".strip() for value in values)
    return Said(f"{words} = {shown}" if shown else words, values)


def _address_answered(frame: Frame) -> Said:
    address = identifier_digits(frame.data)
    return Said(address, (Value("address", address),))


def _write_asked(frame: Frame) -> Said:
    request = messages.write_request_of(frame)
    values = tuple(values_of(request.di, request.data))
    return Said(_item_words(request.di), (*values, Value("operator", request.operator)))


def _relay_asked(frame: Frame) -> Said:
    if len(frame.data) != 16:
        return Said("encrypted or of a vendor's own form, shown raw")
    action = messages.ACTIONS.get(frame.data[8])
    until = date_text(messages.TIME_ORDER, frame.data[10:])
    words = f"{ACTIONS_ZH[action]} {action}" if action else f"action {frame.data[8]:02X}, not in our table"
    values = (
        Value("action", str(action) if action else f"{frame.data[8]:02X}"),
        Value("valid_until", until),
        Value("operator", frame.data[7:3:-1].hex().upper()),
    )
    return Said(f"{words}, valid until {until}" if until != "none" else f"{words}, no expiry", values)


def _time_asked(frame: Frame) -> Said:
    clock = date_text(messages.TIME_ORDER, frame.data)
    return Said(clock, (Value("clock", clock),))


def _fee_control(frame: Frame) -> Said:
    """Every vendor fills these frames differently, so nothing beyond the identifier is read."""
    di = messages.di_of(frame.data)
    usual = f", often {FEE_DEEDS[di]}" if di in FEE_DEEDS else ""
    return Said(f"identifier {di:08X}{usual}; payload shown raw, vendors differ")


def _fee_answered(frame: Frame) -> Said:
    return _fee_control(frame) if frame.data else Said("accepted")


_QUESTIONS: dict[int, Callable[[Frame], Said]] = {
    0x03: _fee_control,
    0x08: _time_asked,
    0x11: _read_asked,
    0x12: _read_next_asked,
    0x14: _write_asked,
    0x1C: _relay_asked,
}
_ANSWERS: dict[int, Callable[[Frame], Said]] = {
    0x11: _read_answered,
    0x12: _read_answered,
    0x13: _address_answered,
    0x03: _fee_answered,
}
