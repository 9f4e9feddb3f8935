"""Why a row of the workbook cannot be taken, in words that say what to do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.billing.onboarding.columns import SHEETS

#: code → (Chinese, English). Each is raised by some test.
REASONS: Mapping[str, tuple[str, str]] = {
    "missing": ("必填，请补上。合并单元格请先取消合并。", "Required: fill it in. Unmerge merged cells first."),
    "too_long": ("最多 {length_max} 个字，请缩短。", "At most {length_max} characters: shorten it."),
    "odd_characters": (
        "含有无法保存的控制字符，请重新输入。",
        "Holds control characters that cannot be kept: type it anew.",
    ),
    "formula": ("是公式。请“选择性粘贴为数值”后再导入。", "This is a formula: paste it as a value."),
    "cell_error": (
        "是错误值（如 #N/A），请填写实际内容。",
        "This is an error value such as #N/A: fill in the content.",
    ),
    "date_in_text": (
        "被识别为日期。请把该列设为文本格式后重新填写。",
        "Taken for a date: format the column as text and retype.",
    ),
    "number_cut": (
        "数字超过 15 位，Excel 已丢失末尾几位。请设为文本格式后重填。",
        "More than 15 digits: Excel has cut it. Retype it as text.",
    ),
    "choice_unknown": ("不在可选范围：{choices}。", "Not one of: {choices}."),
    "level_wrong": ("楼层应为非零整数，如 3、B1。", "A floor is a whole number other than 0, such as 3 or B1."),
    "area_wrong": ("面积应大于 0，最多两位小数。", "An area is above 0 with at most two decimals."),
    "amount_wrong": (
        "金额应为数字，最多两位小数，不超过一亿元。",
        "An amount has at most two decimals, up to 100 million.",
    ),
    "amount_negative": ("不能是负数。", "Cannot be negative."),
    "register_wrong": ("示数应为非负数，最多三位小数。", "A register is 0 or more with at most three decimals."),
    "register_beyond_meter": ("超过该表型号的量程。", "Beyond what this meter model can show."),
    "ratio_wrong": (
        "倍率应为正整数，或能整除的变比如 150/5。",
        "A ratio is a whole number, or a fraction such as 150/5 that divides evenly.",
    ),
    "date_wrong": ("日期应写作 2026-01-31。", "Write a date as 2026-01-31."),
    "phone_wrong": ("不是有效的手机号或带区号的座机号。", "Neither a mobile number nor a landline with area code."),
    "id_number_wrong": ("证件号位数或校验码不符。", "The ID number's length or check digit is wrong."),
    "address_wrong": ("通信地址应为 1–12 位数字。", "An address has 1 to 12 digits."),
    "gateway_wrong": (
        "网关编号为 1–32 位字母、数字或连字符。",
        "A gateway number has 1 to 32 letters, digits and hyphens.",
    ),
    "twice": ("与第 {row} 行重复。", "The same as row {row}."),
    "space_exists": ("该房间已在系统中。已有房间不必再列。", "This space exists already: leave it out."),
    "space_unknown": (
        "“楼栋房间”表和系统中都没有这个房间。",
        "Neither the first sheet nor the system knows this space.",
    ),
    "meter_exists": ("该表号已在系统中登记。", "A meter with this number exists already."),
    "address_exists": ("该网关下已有相同通信地址的表计。", "This gateway has a meter with the same address already."),
    "model_unknown": (
        "系统中没有这个表型号。请先登记，或改为：{known}。",
        "No such meter model. Register it first, or use: {known}.",
    ),
    "plan_unknown": (
        "本项目没有这个电价方案。请先建立，或改为：{known}。",
        "No such price plan here. Make it first, or use: {known}.",
    ),
    "gateway_elsewhere": ("该网关编号已用于其他项目。", "This gateway number is used elsewhere."),
    "account_exists": ("该户号已在本项目中。", "This supply account exists already."),
    "account_differs": (
        "同一户号与第 {row} 行的房间、方案、透支额度或协议不一致。",
        "The same supply account says something else in row {row}.",
    ),
    "account_without_party": (
        "该房间没有任何客户，无法开户。请在“客户”表补上。",
        "The space has no party: add one on the second sheet.",
    ),
    "agreement_incomplete": ("协议编号与签订日期须同时填写。", "Agreement number and date go together."),
    "account_unknown": ("“表计”表中没有这个户号。", "The third sheet has no such supply account."),
}

_VALUE_SHOWN_MAX = 60


_FORMS = {form.title: form for form in SHEETS}


@dataclass(frozen=True, slots=True)
class BadRow:
    """One thing to mend: where it stands, what is written there, and why it cannot be taken."""

    #: Title of the sheet, as on its tab.
    sheet: str
    #: Row number as Excel shows it.
    row: int
    #: Heading of the column.
    column: str
    value: str
    code: str
    details: Mapping[str, object] = field(default_factory=dict)

    def sheet_in(self, locale: str = "zh") -> str:
        """The sheet's title in the reader's language. Unknown locales read Chinese."""
        return _FORMS[self.sheet].title_en if locale.startswith("en") else self.sheet

    def column_in(self, locale: str = "zh") -> str:
        """The column's heading in the reader's language. Unknown locales read Chinese."""
        if not locale.startswith("en"):
            return self.column
        return next(column.en for column in _FORMS[self.sheet].columns if column.zh == self.column)

    def reason(self, locale: str = "zh") -> str:
        """The sentence for the person who mends it. Unknown locales read Chinese."""
        return REASONS[self.code][locale.startswith("en")].format(**self.details)


def shown(text: str) -> str:
    """A cell's text, short enough for a list and without anything a terminal or page would act on."""
    plain = "".join(letter if letter.isprintable() else "�" for letter in text)
    return plain if len(plain) <= _VALUE_SHOWN_MAX else plain[: _VALUE_SHOWN_MAX - 1] + "…"
