"""What the data identifiers of DL/T 645-2007 mean, as data: name, bytes, decimal places, unit, sign.

    DI3 DI2 DI1 DI0, sent low byte first

    00  what   band settlement   energy: 0001 00 00 forward active, now; xx01..xx04 尖峰平谷; xxFF block
    02  what   phase 00          instant: 0201 01 00 voltage of phase A; 0201 FF 00 the block
    03  ..                       events and purchases
    04  ..                       clock, limits, status words

Source: DL/T 645-2007 appendix A. Identifiers not listed here are shown raw, never guessed.
"""

from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """How the bytes of a field are read."""

    NUMBER = "number"
    SIGNED = "signed"  # the highest bit is a minus sign
    MASKED = "masked"  # the highest bit is a direction, not part of the number
    DATE = "date"
    DIGITS = "digits"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Field:
    """One value: `size` bytes on the wire, `places` decimals, or a date in `order`, or status word `word`."""

    name: str
    size: int
    places: int = 0
    unit: str = ""
    form: Form = Form.NUMBER
    order: str = ""
    word: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """What an identifier stands for. A `block` may carry fewer fields than it lists, never more."""

    zh: str
    en: str
    fields: tuple[Field, ...]
    block: bool = False


BANDS = ("total", "sharp", "peak", "flat", "valley")
_BANDS_ZH = ("总", "尖", "峰", "平", "谷")
_BLOCK = 0xFF
_RATES_MAX = 63
_SETTLEMENTS_MAX = 12

_KINDS = (
    ("forward_active", "正向有功", "kWh", Form.NUMBER),
    ("reverse_active", "反向有功", "kWh", Form.NUMBER),
    ("combined_reactive_1", "组合无功1", "kvarh", Form.SIGNED),
    ("combined_reactive_2", "组合无功2", "kvarh", Form.SIGNED),
    ("reactive_quadrant_1", "第一象限无功", "kvarh", Form.NUMBER),
    ("reactive_quadrant_2", "第二象限无功", "kvarh", Form.NUMBER),
    ("reactive_quadrant_3", "第三象限无功", "kvarh", Form.NUMBER),
    ("reactive_quadrant_4", "第四象限无功", "kvarh", Form.NUMBER),
    ("forward_apparent", "正向视在", "kVAh", Form.NUMBER),
    ("reverse_apparent", "反向视在", "kVAh", Form.NUMBER),
)

#: DI2 of each group of ten kinds, and what is put before their names.
_GROUPS = ((0x01, "", ""), (0x15, "phase_a_", "A相"), (0x29, "phase_b_", "B相"), (0x3D, "phase_c_", "C相"))

ENERGY: dict[int, tuple[str, str, str, Form]] = {0x00: ("combined_active", "组合有功", "kWh", Form.SIGNED)} | {
    first + i: (prefix + name, zh_prefix + zh, unit, form)
    for first, prefix, zh_prefix in _GROUPS
    for i, (name, zh, unit, form) in enumerate(_KINDS)
}

#: DI2 of instantaneous values: name, Chinese, bytes, places, unit, form, names of DI1 from 00.
_PHASES = (None, "a", "b", "c")
_TOTAL_AND_PHASES = ("total", "a", "b", "c")
INSTANT: dict[int, tuple[str, str, int, int, str, Form, tuple[str | None, ...]]] = {
    0x01: ("voltage", "电压", 2, 1, "V", Form.NUMBER, _PHASES),
    0x02: ("current", "电流", 3, 3, "A", Form.MASKED, _PHASES),
    0x03: ("active_power", "瞬时有功功率", 3, 4, "kW", Form.SIGNED, _TOTAL_AND_PHASES),
    0x04: ("reactive_power", "瞬时无功功率", 3, 4, "kvar", Form.SIGNED, _TOTAL_AND_PHASES),
    0x05: ("apparent_power", "瞬时视在功率", 3, 4, "kVA", Form.SIGNED, _TOTAL_AND_PHASES),
    0x06: ("power_factor", "功率因数", 2, 3, "", Form.SIGNED, _TOTAL_AND_PHASES),
}


def _one(zh: str, en: str, *fields: Field) -> Item:
    return Item(zh, en, fields)


def _yuan(name: str) -> Field:
    return Field(name, 4, 2, "yuan")


def _kwh(name: str) -> Field:
    return Field(name, 4, 2, "kWh")


def _date(name: str, order: str) -> Field:
    return Field(name, len(order), form=Form.DATE, order=order)


def _status(word: int) -> Field:
    return Field(f"status_word_{word}", 2, form=Form.STATUS, word=word)


def _event(name: str) -> tuple[Field, ...]:
    return (_date(f"{name}_at", "smhDMY"), Field("operator", 4, form=Form.DIGITS))


FIXED: dict[int, Item] = {
    0x00900100: _one("剩余电量", "remaining energy", _kwh("remaining_energy")),
    0x00900101: _one("透支电量", "overdraft energy", _kwh("overdraft_energy")),
    0x00900200: _one("剩余金额", "remaining amount", _yuan("remaining_amount")),
    0x00900201: _one("透支金额", "overdraft amount", _yuan("overdraft_amount")),
    0x02800002: _one("电网频率", "grid frequency", Field("frequency", 2, 2, "Hz")),
    0x03300D00: _one("开表盖总次数", "cover-open count", Field("cover_open_count", 3)),
    0x04000101: _one("日期及星期", "date and weekday", _date("date", "wDMY")),
    0x04000102: _one("时间", "time", _date("time", "smh")),
    0x0400010C: _one("日期时间", "date and time", _date("clock", "smhwDMY")),
    0x04000108: _one("两套费率电价切换时间", "switch time of the rate tables", _date("switch_at", "mhDMY")),
    0x04000109: _one("两套阶梯切换时间", "switch time of the tier tables", _date("switch_at", "mhDMY")),
    0x04000306: _one("电流互感器变比", "current transformer ratio", Field("ct_ratio", 3)),
    0x04000307: _one("电压互感器变比", "voltage transformer ratio", Field("pt_ratio", 3)),
    0x04001001: _one("报警金额1", "alarm amount 1", _yuan("alarm_amount_1")),
    0x04001002: _one("报警金额2", "alarm amount 2", _yuan("alarm_amount_2")),
    0x04001003: _one("透支金额限值", "overdraft limit", _yuan("overdraft_limit")),
    0x04001004: _one("囤积金额限值", "hoarding limit", _yuan("hoarding_limit")),
    0x04001005: _one("合闸允许金额限值", "close-allow amount", _yuan("close_allow_amount")),
    0x04000F01: _one("报警电量1", "alarm energy 1", _kwh("alarm_energy_1")),
    0x04000F02: _one("报警电量2", "alarm energy 2", _kwh("alarm_energy_2")),
    0x04000F03: _one("囤积电量限值", "hoarding energy limit", _kwh("hoarding_energy_limit")),
    0x04000F04: _one("透支电量限值", "overdraft energy limit", _kwh("overdraft_energy_limit")),
    0x05060001: _one("上1次日冻结时间", "time of the last daily freeze", _date("frozen_at", "mhDMY")),
    0x1D000001: _one("跳闸总次数", "trip count", Field("trip_count", 3)),
    0x1D000101: _one("上1次跳闸记录", "last trip", *_event("trip")),
    0x1E000001: _one("合闸总次数", "close count", Field("close_count", 3)),
    0x1E000101: _one("上1次合闸记录", "last close", *_event("close")),
} | {0x04000500 + word: _one(f"运行状态字{word}", f"running status word {word}", _status(word)) for word in range(1, 8)}
FIXED[0x040005FF] = Item("运行状态字数据块", "running status words", tuple(_status(w) for w in range(1, 8)), block=True)

#: Records whose fields are followed by registers we show raw.
OPEN_ENDED = frozenset({0x1D000101, 0x1E000101})

#: DI1 of a purchase record (0332 in money, 0333 in energy).
PURCHASE: dict[int, tuple[str, str]] = {
    1: ("purchased_at", "日期"),
    2: ("purchase_count", "总购次数"),
    3: ("purchase", "购入"),
    4: ("before_purchase", "购前剩余"),
    5: ("after_purchase", "购后剩余"),
    6: ("purchased_ever", "累计购入"),
}


def item_of(di: int) -> Item | None:
    """What an identifier means, or None where this table does not know it."""
    if di in FIXED:
        return FIXED[di]
    match di >> 24:
        case 0x00:
            return _energy(di >> 16 & 0xFF, di >> 8 & 0xFF, di & 0xFF)
        case 0x02:
            return _instant(di >> 16 & 0xFF, di >> 8 & 0xFF, di & 0xFF)
        case 0x03:
            return _purchase(di >> 16 & 0xFF, di >> 8 & 0xFF, di & 0xFF)
    return None


def band_name(rate: int) -> str:
    """Name of a band by its number on the meter: 0 is the total, 1 to 4 尖峰平谷, then bare numbers."""
    return BANDS[rate] if rate < len(BANDS) else f"rate_{rate}"


def _energy(kind: int, rate: int, settlement: int) -> Item | None:
    if kind not in ENERGY or settlement > _SETTLEMENTS_MAX or (rate > _RATES_MAX and rate != _BLOCK):
        return None
    name, zh, unit, form = ENERGY[kind]
    block = rate == _BLOCK
    rates = range(_RATES_MAX + 1) if block else (rate,)
    fields = tuple(Field(f"{name}_{band_name(r)}", 4, 2, unit, form) for r in rates)
    band_zh = "数据块" if block else _BANDS_ZH[rate] if rate < len(BANDS) else f"费率{rate}"
    band = "block" if block else band_name(rate).replace("_", " ")
    past_zh, past = (f"（上{settlement}结算日）", f", settlement {settlement}") if settlement else ("", "")
    return Item(f"{zh}{band_zh}电能{past_zh}", f"{name.replace('_', ' ')} energy, {band}{past}", fields, block)


def _instant(kind: int, phase: int, last: int) -> Item | None:
    if kind not in INSTANT or last:
        return None
    name, zh, size, places, unit, form, phases = INSTANT[kind]
    there = {i: phase_name for i, phase_name in enumerate(phases) if phase_name}
    chosen = list(there) if phase == _BLOCK else [phase]
    if not set(chosen) <= set(there):
        return None
    fields = tuple(Field(f"{name}_{there[i]}", size, places, unit, form) for i in chosen)
    which = "block" if phase == _BLOCK else there[phase]
    return Item(f"{zh}（{which}）", f"{name.replace('_', ' ')}, {which}", fields, phase == _BLOCK)


def _purchase(group: int, what: int, nth: int) -> Item | None:
    if group not in (0x32, 0x33) or what not in PURCHASE or not nth:
        return None
    name, zh = PURCHASE[what]
    unit = "yuan" if group == 0x32 else "kWh"
    fields = {1: _date(name, "mhDMY"), 2: Field(name, 2)}
    field = fields.get(what) or Field(name, 4, 2, unit)
    return Item(f"上{nth}次购电{zh}", f"purchase {nth} back: {name.replace('_', ' ')}", (field,))
