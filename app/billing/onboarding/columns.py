"""What the workbook looks like: four sheets, their columns, and what each column holds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Holds(StrEnum):
    """What a column's cells are read as."""

    TEXT = "text"
    CHOICE = "choice"
    LEVEL = "level"
    AREA = "area"
    MONEY = "money"
    REGISTER = "register"
    RATIO = "ratio"
    DATE = "date"
    PHONE = "phone"
    ID_NUMBER = "id_number"
    ADDRESS = "address"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading in both languages, what it holds, and an example for the person who fills it
    in.
    """

    key: str
    zh: str
    en: str
    holds: Holds
    example: str
    hint: str
    required: bool = True
    length_max: int = 60
    #: What may be written → what it means; for CHOICE only.
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SheetForm:
    """One sheet of the workbook."""

    key: str
    title: str
    title_en: str
    columns: tuple[Column, ...]


USAGE_CLASSES = {"住宅": "residential", "商业": "commercial", "宿舍": "dormitory", "公共": "common"}
PARTY_KINDS = {"个人": "person", "单位": "company"}
ROLES = {"签约人": "contract", "住户": "occupant", "业主": "owner", "付款人": "payer"}

_BUILDING = Column("building", "楼栋", "Building", Holds.TEXT, "A座", "与“楼栋房间”表一致")
_SPACE = Column("space", "房间号", "Space", Holds.TEXT, "A-0301", "同一楼栋内不能重复", length_max=40)
_ACCOUNT = Column("account", "户号", "Supply account", Holds.TEXT, "00030101", "本项目内不能重复", length_max=24)

SPACES = SheetForm(
    "spaces",
    "楼栋房间",
    "Spaces",
    (
        _BUILDING,
        Column("level", "楼层", "Floor", Holds.LEVEL, "3", "数字；地下一层写 B1 或 -1"),
        _SPACE,
        Column("usage_class", "用途", "Class", Holds.CHOICE, "住宅", "决定停供时段", choices=USAGE_CLASSES),
        Column("area_cm2", "面积", "Area m²", Holds.AREA, "89.60", "平方米，最多两位小数；可不填", required=False),
    ),
)
PARTIES = SheetForm(
    "parties",
    "客户",
    "Parties",
    (
        _BUILDING,
        _SPACE,
        Column("name", "客户名称", "Name", Holds.TEXT, "王小明", "姓名或单位全称", length_max=80),
        Column("kind", "类型", "Kind", Holds.CHOICE, "个人", "不填按个人", required=False, choices=PARTY_KINDS),
        Column("phone", "手机号", "Phone", Holds.PHONE, "13812345678", "设为文本格式；可不填", required=False),
        Column(
            "id_number",
            "证件号",
            "ID number",
            Holds.ID_NUMBER,
            "11010519491231002X",
            "身份证或统一社会信用代码，设为文本格式；可不填",
            required=False,
        ),
        Column("role", "角色", "Role", Holds.CHOICE, "签约人", "每个有表计的房间至少一位客户", choices=ROLES),
        Column("began_on", "开始日期", "Since", Holds.DATE, "2026-01-01", "不填按导入当天", required=False),
    ),
)
METERS = SheetForm(
    "meters",
    "表计",
    "Meters",
    (
        _BUILDING,
        _SPACE,
        Column("number", "表号", "Meter no.", Holds.TEXT, "202600030101", "铭牌号，全集团不能重复", length_max=32),
        Column("address", "通信地址", "Address", Holds.ADDRESS, "202600030101", "12 位数字，不足在左边补 0"),
        Column("model", "表型号", "Model", Holds.TEXT, "DDSY-60A", "须先在系统中登记"),
        Column(
            "gateway",
            "网关编号",
            "Gateway no.",
            Holds.GATEWAY,
            "GW-0001",
            "新编号会自动登记；人工抄表可不填",
            required=False,
            length_max=32,
        ),
        _ACCOUNT,
        Column("ratio", "倍率", "Ratio", Holds.RATIO, "1", "整数或 150/5；不填按 1", required=False),
        Column("register_wh", "起始示数", "First reading kWh", Holds.REGISTER, "120.50", "千瓦时，最多三位小数"),
        Column("plan", "电价方案", "Price plan", Holds.TEXT, "居民合表", "须先在本项目建立"),
        Column(
            "overdraft_fen",
            "透支额度",
            "Overdraft yuan",
            Holds.MONEY,
            "20.00",
            "元；不填：住宅 20 元，其他 0 元",
            required=False,
        ),
        Column(
            "agreement",
            "协议编号",
            "Agreement no.",
            Holds.TEXT,
            "XY-2026-0001",
            "预付费停供协议；没有协议不会自动停供",
            required=False,
            length_max=120,
        ),
        Column("signed_on", "签订日期", "Signed on", Holds.DATE, "2026-01-01", "有协议编号时必填", required=False),
    ),
)
BALANCES = SheetForm(
    "balances",
    "期初余额",
    "Opening balances",
    (
        _ACCOUNT,
        Column("balance_fen", "余额", "Balance yuan", Holds.MONEY, "56.80", "元；欠费写负数，如 -3.20"),
    ),
)
SHEETS = (SPACES, PARTIES, METERS, BALANCES)

HEADING_ROWS = 2
ROWS_MAX = 20_000
