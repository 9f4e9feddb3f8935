"""Receipts on paper, amounts in capital characters, charts and tables from the same numbers."""

import pytest

from app.reports.charts import Chart, Heat, Mark, Series
from app.reports.receipt_files import receipt_words
from app.reports.render import FetchRefused, deny_all, render_pdf
from app.reports.rmb import capital_yuan
from app.web.console.tables import csv_file, plain

CONTENT = {
    "property": "和风苑", "legal_entity": "远景物业服务有限公司", "tax_number": "91310000MA1FL0XX0X",
    "time_zone": "Asia/Shanghai",
    "account_number": "00000001", "utility": "electricity", "building": "A座", "space": "A-0101", "party": "王*",
    "amount_fen": 10_230, "channel": "cash", "available_before_fen": -500, "available_after_fen": 9_730, "taken_by": "李雯",
    "received_at": "2026-07-15T02:00:00+00:00",
}  # fmt: skip


@pytest.mark.parametrize(
    ("fen", "words"),
    [
        (0, "零元整"),
        (1, "壹分"),
        (10, "壹角整"),
        (105, "壹元零伍分"),
        (100, "壹元整"),
        (1_023, "壹拾元贰角叁分"),
        (10_230, "壹佰零贰元叁角整"),
        (1_000_100, "壹万零壹元整"),
        (10_000_000, "壹拾万元整"),
        (100_001_000_000, "壹拾亿零壹万元整"),
        (12_345_678_900, "壹亿贰仟叁佰肆拾伍万陆仟柒佰捌拾玖元整"),
        (-5_000, "负伍拾元整"),
    ],
)
def test_amounts_in_capital_characters(fen: int, words: str) -> None:
    assert capital_yuan(fen) == words


@pytest.mark.parametrize("locale", ["zh", "en"])
@pytest.mark.parametrize("is_copy", [False, True])
def test_a_receipt_becomes_a_small_pdf_with_its_fonts(locale: str, is_copy: bool) -> None:
    words = receipt_words(CONTENT, number="T1-000042", is_copy=is_copy, locale=locale)
    pdf = render_pdf("receipt.html", locale=locale, **words)
    assert pdf.startswith(b"%PDF-")
    # Below, its fonts are missing; above, it carries whole fonts instead of the few signs it uses.
    assert 8_000 < len(pdf) < 400_000


def test_what_a_receipt_says_is_said_in_local_time_and_in_capitals() -> None:
    words = receipt_words(CONTENT, number="T1-000042", is_copy=False, locale="en")
    assert words["received_at"] == "2026-07-15 10:00"
    assert words["capital"] == "壹佰零贰元叁角整"
    assert words["channel"] == "Cash"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1/", "data:text/css,*{}"])
def test_paper_fetches_nothing(url: str) -> None:
    with pytest.raises(FetchRefused):
        deny_all(url)


def test_a_chart_and_its_table_say_the_same() -> None:
    chart = Chart(
        "bars", "kWh", 1000, "日期", ["07-01", "07-02"], [Series("用电量", [1_234, None], [False, True])], [Mark("线", 500)]
    )  # fmt: skip
    assert chart.rows() == [["07-01", "1.23"], ["07-02", "–"]]
    assert chart.columns == ["日期", "用电量 (kWh)"]
    assert chart.for_chart()["series"] == [{"name": "用电量", "data": [1_234, None], "estimated": [False, True]}]
    assert not chart.empty
    assert Chart("bars", "kWh", 1000, "日期", [], []).empty


def test_a_heat_map_leaves_what_is_missing_empty() -> None:
    heat = Heat("kWh", 1000, ["07-01"], [(0, 23, 2_500)], "日期")
    assert heat.rows()[0][0] == "07-01"
    assert heat.rows()[0][24] == "2.50"
    assert heat.rows()[0][1] == "–"
    assert heat.for_chart()["max"] == 2_500


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("=1+1", "'=1+1"),
        ("@cmd", "'@cmd"),
        ("-5.20", "-5.20"),
        ("-cmd", "'-cmd"),
        ("+8613812345678", "'+8613812345678"),
        ("王*", "王*"),
        (None, ""),
        (-3, "-3"),
    ],
)
def test_no_spreadsheet_runs_what_somebody_typed(cell: object, said: str) -> None:
    assert plain(cell) == said


def test_a_csv_opens_in_the_right_encoding() -> None:
    answer = csv_file("a.csv", ["项目"], [["和风苑"]])
    assert answer.get_data().startswith(b"\xef\xbb\xbf")
    assert "和风苑" in answer.get_data(as_text=True)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a.csv"'
