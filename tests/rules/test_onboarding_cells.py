"""Cells and rows of the onboarding workbook: what is taken, and by which name the rest is refused. No database."""

from datetime import date
from typing import Any

import pytest

from app.billing.onboarding.cells import EMPTY, CellBad, Raw, RawCell, read_cell
from app.billing.onboarding.checks import Known, check
from app.billing.onboarding.columns import SHEETS, Column, Holds
from app.billing.onboarding.reasons import REASONS, BadRow, shown
from app.billing.onboarding.rows import Parsed, parse
from app.billing.onboarding.workbook import RawRow
from tests.factories.workbook import Rows, good_rows

KNOWN = Known(models={"DDSY-60A": 1_000_000_000}, plans=frozenset({"居民合表"}))


def column(holds: Holds, *, required: bool = True, **more: Any) -> Column:
    return Column("key", "列", "Column", holds, "", "", required=required, **more)


def text(value: str) -> RawCell:
    return RawCell(Raw.TEXT, value)


@pytest.mark.parametrize(
    ("holds", "typed", "value"),
    [
        (Holds.TEXT, "  A座 ", "A座"),
        (Holds.LEVEL, "3", 3),
        (Holds.LEVEL, "3F", 3),
        (Holds.LEVEL, "12层", 12),
        (Holds.LEVEL, "B1", -1),
        (Holds.LEVEL, "-2", -2),
        (Holds.LEVEL, "地下1层", -1),
        (Holds.LEVEL, "３", 3),
        (Holds.AREA, "89.6", 896_000),
        (Holds.AREA, "1,280", 12_800_000),
        (Holds.MONEY, "56.80", 5_680),
        (Holds.MONEY, "-3.2", -320),
        (Holds.MONEY, "¥1,284.50", 128_450),
        (Holds.REGISTER, "120.505", 120_505),
        (Holds.RATIO, "30", 30),
        (Holds.RATIO, "150/5", 30),
        (Holds.DATE, "2026-01-31", date(2026, 1, 31)),
        (Holds.DATE, "2026/1/5", date(2026, 1, 5)),
        (Holds.DATE, "2026年1月5日", date(2026, 1, 5)),
        (Holds.PHONE, "138 1234 5678", "+8613812345678"),
        (Holds.ID_NUMBER, "11010519491231002x", "11010519491231002X"),
        (Holds.ADDRESS, "30101", "000000030101"),
        (Holds.GATEWAY, "GW-0001", "GW-0001"),
    ],
)
def test_what_people_type_is_understood(holds: Holds, typed: str, value: object) -> None:
    assert read_cell(column(holds), text(typed)) == value


@pytest.mark.parametrize(
    ("holds", "cell", "code"),
    [
        (Holds.TEXT, EMPTY, "missing"),
        (Holds.TEXT, text("   "), "missing"),
        (Holds.TEXT, text("x" * 61), "too_long"),
        (Holds.TEXT, text("a\x00b"), "odd_characters"),
        (Holds.TEXT, text("a\ud800b"), "odd_characters"),
        (Holds.TEXT, RawCell(Raw.FORMULA, "=A1"), "formula"),
        (Holds.MONEY, RawCell(Raw.FORMULA, "=SUM(A1:A9)"), "formula"),
        (Holds.TEXT, RawCell(Raw.ERROR, "#N/A"), "cell_error"),
        (Holds.TEXT, RawCell(Raw.ODD, "True"), "cell_error"),
        (Holds.TEXT, RawCell(Raw.DATE, "2026-01-02"), "date_in_text"),
        (Holds.ID_NUMBER, RawCell(Raw.NUMBER, "110105194912310000"), "number_cut"),
        (Holds.LEVEL, text("0"), "level_wrong"),
        (Holds.LEVEL, text("3.5"), "level_wrong"),
        (Holds.LEVEL, text("一层"), "level_wrong"),
        (Holds.AREA, text("0"), "area_wrong"),
        (Holds.AREA, text("-5"), "area_wrong"),
        (Holds.AREA, text("12.345"), "area_wrong"),
        (Holds.MONEY, text("3.205"), "amount_wrong"),
        (Holds.MONEY, text("--3"), "amount_wrong"),
        (Holds.MONEY, text("1000000000"), "amount_wrong"),
        (Holds.REGISTER, text("-1"), "register_wrong"),
        (Holds.REGISTER, text("1.2345"), "register_wrong"),
        (Holds.RATIO, text("0"), "ratio_wrong"),
        (Holds.RATIO, text("100/7"), "ratio_wrong"),
        (Holds.RATIO, text("1.5"), "ratio_wrong"),
        (Holds.DATE, text("2026-02-30"), "date_wrong"),
        (Holds.DATE, text("46000"), "date_wrong"),
        (Holds.DATE, text("1899-12-31"), "date_wrong"),
        (Holds.PHONE, text("12"), "phone_wrong"),
        (Holds.ID_NUMBER, text("110105194912310021"), "id_number_wrong"),
        (Holds.ADDRESS, text("1234567890123"), "address_wrong"),
        (Holds.ADDRESS, text("12A4"), "address_wrong"),
        (Holds.GATEWAY, text("网关1"), "gateway_wrong"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(holds: Holds, cell: RawCell, code: str) -> None:
    with pytest.raises(CellBad) as bad:
        read_cell(column(holds), cell)
    assert bad.value.code == code


def test_an_empty_cell_that_may_be_empty_is_nothing() -> None:
    assert read_cell(column(Holds.MONEY, required=False), EMPTY) is None


def test_a_choice_is_written_in_chinese_or_as_the_code_and_lists_what_there_is() -> None:
    uses = column(Holds.CHOICE, choices={"住宅": "residential", "商业": "commercial"})
    assert read_cell(uses, text("住宅")) == read_cell(uses, text("Residential")) == "residential"
    with pytest.raises(CellBad) as bad:
        read_cell(uses, text("城堡"))
    assert (bad.value.code, bad.value.details) == ("choice_unknown", {"choices": "住宅、商业"})


# --- rows that must agree ---


def raw(rows: Rows) -> dict[str, list[RawRow]]:
    return {
        form.key: [
            RawRow(
                line,
                {c.key: text(row[c.key]) if row.get(c.key) is not None else EMPTY for c in form.columns},
            )
            for line, row in enumerate(rows[form.key], start=3)
        ]
        for form in SHEETS
    }


def judged(rows: Rows, known: Known = KNOWN) -> list[tuple[str, int, str, str]]:
    parsed: Parsed = parse(raw(rows))
    return [(bad.sheet, bad.row, bad.column, bad.code) for bad in [*parsed.bad, *check(parsed, known)]]


def test_good_rows_are_good() -> None:
    assert judged(good_rows(3)) == []


#: sheet, row, column, what is written there → what is said about which row.
ONE_CHANGE = [
    (
        "spaces",
        1,
        "space",
        "A座-0001",
        [
            ("楼栋房间", 4, "房间号", "twice"),
            ("客户", 4, "房间号", "space_unknown"),
            ("表计", 4, "房间号", "space_unknown"),
        ],
    ),
    (
        "parties",
        1,
        "space",
        "Z",
        [("客户", 4, "房间号", "space_unknown"), ("表计", 4, "户号", "account_without_party")],
    ),
    ("meters", 1, "space", "Z", [("表计", 4, "房间号", "space_unknown")]),
    ("meters", 1, "number", "900000000001", [("表计", 4, "表号", "twice")]),
    ("meters", 1, "address", "900000000001", [("表计", 4, "通信地址", "twice")]),
    ("meters", 1, "model", "Z", [("表计", 4, "表型号", "model_unknown")]),
    ("meters", 1, "plan", "Z", [("表计", 4, "电价方案", "plan_unknown")]),
    ("meters", 1, "register_wh", "1000000", [("表计", 4, "起始示数", "register_beyond_meter")]),
    ("meters", 1, "signed_on", None, [("表计", 4, "协议编号", "agreement_incomplete")]),
    ("meters", 1, "agreement", None, [("表计", 4, "协议编号", "agreement_incomplete")]),
    ("meters", 1, "overdraft_fen", "-1", [("表计", 4, "透支额度", "amount_negative")]),
    (
        "meters",
        1,
        "account",
        "90000001",
        [("表计", 4, "户号", "account_differs"), ("期初余额", 4, "户号", "account_unknown")],
    ),
    ("balances", 1, "account", "90000001", [("期初余额", 4, "户号", "twice")]),
    ("balances", 1, "account", "Z", [("期初余额", 4, "户号", "account_unknown")]),
    ("balances", 1, "balance_fen", None, [("期初余额", 4, "余额", "missing")]),
]


@pytest.mark.parametrize(("sheet", "row", "key", "value", "said"), ONE_CHANGE)
def test_one_wrong_cell_is_named_wherever_it_hurts(
    sheet: str, row: int, key: str, value: str | None, said: list[tuple[str, int, str, str]]
) -> None:
    rows = good_rows(3)
    rows[sheet][row][key] = value
    assert judged(rows) == said


@pytest.mark.parametrize(
    ("known", "code"),
    [
        (
            Known(KNOWN.spaces, models=KNOWN.models, plans=KNOWN.plans, meters=frozenset({"900000000001"})),
            "meter_exists",
        ),
        (Known(models=KNOWN.models, plans=KNOWN.plans, accounts=frozenset({"90000001"})), "account_exists"),
        (
            Known(models=KNOWN.models, plans=KNOWN.plans, gateways_elsewhere=frozenset({"GW-0001"})),
            "gateway_elsewhere",
        ),
        (
            Known(models=KNOWN.models, plans=KNOWN.plans, addresses=frozenset({("GW-0001", "900000000001")})),
            "address_exists",
        ),
        (Known(models=KNOWN.models, plans=KNOWN.plans, spaces=frozenset({("A座", "A座-0001")})), "space_exists"),
    ],
)
def test_what_the_system_has_already_is_not_taken_again(known: Known, code: str) -> None:
    assert [said[3] for said in judged(good_rows(1, gateway="GW"), known)] == [code]


def test_a_space_that_is_there_may_get_a_meter() -> None:
    rows = good_rows(1)
    rows["spaces"], rows["parties"] = [], []
    home = frozenset({("A座", "A座-0001")})
    assert judged(rows, Known(home, home, models=KNOWN.models, plans=KNOWN.plans)) == []


def test_one_mistake_is_not_repeated_wherever_its_row_is_named() -> None:
    rows = good_rows(2)
    rows["spaces"][0]["usage_class"] = "城堡"
    rows["parties"][1]["phone"] = "12"
    rows["meters"][1]["register_wh"] = "x"
    assert judged(rows) == [
        ("楼栋房间", 3, "用途", "choice_unknown"),
        ("客户", 4, "手机号", "phone_wrong"),
        ("表计", 4, "起始示数", "register_wrong"),
    ]


def test_every_wrong_cell_of_a_row_is_listed() -> None:
    rows = good_rows(1)
    rows["meters"][0] |= {"ratio": "0", "register_wh": "x", "plan": ""}
    assert [said[2] for said in judged(rows)] == ["倍率", "起始示数", "电价方案"]


def test_one_account_may_have_two_meters_that_agree() -> None:
    rows = good_rows(1)
    rows["meters"].append(rows["meters"][0] | {"number": "2", "address": "2"})
    assert judged(rows) == []


def test_one_person_may_hold_several_roles_but_each_once() -> None:
    rows = good_rows(1)
    rows["parties"].append(rows["parties"][0] | {"role": "业主"})
    rows["parties"].append(rows["parties"][0])
    assert judged(rows) == [("客户", 5, "客户名称", "twice")]


# --- reasons ---


@pytest.mark.parametrize("code", sorted(REASONS))
def test_a_reason_reads_in_both_languages(code: str) -> None:
    details = {"row": 3, "known": "a", "choices": "b", "length_max": 9}
    bad = BadRow("表计", 4, "列", "值", code, details)
    assert "{" not in bad.reason("zh") + bad.reason("en")
    assert bad.reason("zh") != bad.reason("en")
    assert bad.reason("fr") == bad.reason("zh")


def test_a_shown_value_is_short_and_harmless() -> None:
    assert shown("x" * 100) == "x" * 59 + "…"
    assert shown("a\x1b[31m\n") == "a�[31m�"
