"""What the decoder tells the field engineer, identifier by identifier."""

import pytest

from app.meters.drivers.describe import describe_line
from app.meters.drivers.dlt645.frame import Frame, encode
from app.meters.drivers.dlt645.registers import item_of
from app.meters.drivers.dlt645.status import StatusWord3, decode_status_3, encode_status_3

METER = "000000000001"


def said(control: int, data_hex: str) -> dict:
    described, good = describe_line("dlt645", encode(Frame(METER, control, bytes.fromhex(data_hex))).hex())
    assert good
    return described


def values(di: str, body_hex: str) -> list[tuple[str, str, str]]:
    reply = said(0x91, bytes.fromhex(di)[::-1].hex() + body_hex)
    assert reply["di"] == di
    return [(value["name"], value["value"], value["unit"]) for value in reply["values"]]


@pytest.mark.parametrize(
    ("di", "body", "expected"),
    [
        ("00000000", "64 02 75 00", [("combined_active_total", "7502.64", "kWh")]),
        ("00000000", "64 02 75 80", [("combined_active_total", "-7502.64", "kWh")]),
        ("00010000", "99 99 99 99", [("forward_active_total", "999999.99", "kWh")]),
        ("00010100", "01 00 00 00", [("forward_active_sharp", "0.01", "kWh")]),
        ("00010500", "01 00 00 00", [("forward_active_rate_5", "0.01", "kWh")]),
        ("00020000", "01 00 00 00", [("reverse_active_total", "0.01", "kWh")]),
        ("00030000", "26 00 01 80", [("combined_reactive_1_total", "-100.26", "kvarh")]),
        ("00050000", "26 00 01 00", [("reactive_quadrant_1_total", "100.26", "kvarh")]),
        ("0001000C", "26 00 01 00", [("forward_active_total", "100.26", "kWh")]),
        ("02010100", "19 23", [("voltage_a", "231.9", "V")]),
        ("02010200", "FF FF", [("voltage_b", "absent", "V")]),
        ("0201FF00", "19 23 20 23 FF FF", [
            ("voltage_a", "231.9", "V"), ("voltage_b", "232.0", "V"), ("voltage_c", "absent", "V")]),
        ("0201FF00", "19 23", [("voltage_a", "231.9", "V")]),
        ("02020100", "34 12 80", [("current_a", "1.234", "A")]),
        ("02030000", "56 34 12", [("active_power_total", "12.3456", "kW")]),
        ("02030000", "56 34 92", [("active_power_total", "-12.3456", "kW")]),
        ("02060000", "00 10", [("power_factor_total", "1.000", "")]),
        ("02800002", "03 50", [("frequency", "50.03", "Hz")]),
        ("00900100", "78 56 34 12", [("remaining_energy", "123456.78", "kWh")]),
        ("00900200", "78 56 34 12", [("remaining_amount", "123456.78", "yuan")]),
        ("00900201", "01 00 00 00", [("overdraft_amount", "0.01", "yuan")]),
        ("03320101", "30 08 15 06 26", [("purchased_at", "2026-06-15 08:30", "")]),
        ("03320201", "12 00", [("purchase_count", "12", "")]),
        ("03320301", "00 50 00 00", [("purchase", "50.00", "yuan")]),
        ("03330601", "00 50 00 00", [("purchased_ever", "50.00", "kWh")]),
        ("04000101", "01 23 11 26", [("date", "2026-11-23", "")]),
        ("04000102", "45 30 18", [("time", "18:30:45", "")]),
        ("0400010C", "45 30 18 01 23 11 26", [("clock", "2026-11-23 18:30:45", "")]),
        ("04000108", "00 00 00 00 00", [("switch_at", "none", "")]),
        ("04000306", "40 00 00", [("ct_ratio", "40", "")]),
        ("04001001", "00 20 00 00", [("alarm_amount_1", "20.00", "yuan")]),
        ("04001003", "00 00 00 00", [("overdraft_limit", "0.00", "yuan")]),
        ("04000F01", "00 20 00 00", [("alarm_energy_1", "20.00", "kWh")]),
        ("04000501", "04 00", [("status_word_1", "clock_battery_low", "")]),
        ("04000504", "03 80", [("status_word_4", "voltage_loss,under_voltage,b15", "")]),
        ("04000507", "00 00", [("status_word_7", "none", "")]),
        ("05060001", "00 00 09 10 15", [("frozen_at", "2015-10-09 00:00", "")]),
        ("1D000001", "07 00 00", [("trip_count", "7", "")]),
        ("1D000101", "01 02 03 04 05 26 78 56 34 12 AA BB", [
            ("trip_at", "2026-05-04 03:02:01", ""), ("operator", "12345678", "")]),
        ("03300D00", "27 00 00", [("cover_open_count", "27", "")]),
        ("04600101", "3C 00", []),
    ],
)  # fmt: skip
def test_values_behind_an_identifier(di: str, body: str, expected: list[tuple[str, str, str]]) -> None:
    assert values(di, body) == expected


def test_the_relay_is_read_from_status_word_3() -> None:
    words = {name: value for name, value, _ in values("04000503", "50 12")}
    assert words["relay"] == "open"
    assert words["relay_command"] == "open"
    assert words["guaranteed"] == "yes"
    assert words["prepaid_mode"] == "money"
    assert words["remote_account_open"] == "yes"


@pytest.mark.parametrize("word", [0x0000, 0x0010, 0x0050, 0x1080, 0xC000, 0xFFFF, 0x0206, 0x2C29])
def test_status_word_3_survives_both_ways(word: int) -> None:
    raw = word.to_bytes(2, "little")
    assert encode_status_3(decode_status_3(raw)) == raw
    assert decode_status_3(raw).relay_open is bool(word & 0x10)
    assert decode_status_3(raw).guaranteed is bool(word & 0x1000)


def test_a_fresh_meter_is_closed_and_without_accounts() -> None:
    assert encode_status_3(StatusWord3()) == bytes.fromhex("00C0")


@pytest.mark.parametrize(
    ("control", "data", "meaning", "names"),
    [
        (0x11, "00 00 01 00", "read 读数据: 正向有功总电能 (forward active energy, total)", {}),
        (0x12, "00 FF 01 00 02", "read next 读后续数据: part 2 of 正向有功", {"sequence": "2"}),
        (0xB1, "00 FF 01 00 11 22", "read reply, more follows", {"sequence": "0"}),
        (0x92, "00 FF 01 00 11 22 01", "read next reply 读后续数据", {"sequence": "1"}),
        (0x94, "", "write reply 写数据: accepted", {}),
        (0xD1, "02", "read refused 读数据: no_such_data", {"error": "no_such_data"}),
        (0xD4, "04", "write refused 写数据: wrong_password", {"error": "wrong_password"}),
        (0xDC, "", "relay refused 跳合闸、报警、保电: no reason given", {}),
        (0xC3, "04 00", "费控: esam_verification_failed", {"error": "esam_verification_failed"}),
        (0x03, "FF 01 01 07 00 00 00 00", "often opening an account 开户; payload shown raw", {}),
        (0x83, "", "fee control reply 费控: accepted", {}),
        (0x08, "25 40 10 05 06 17", "set time 校时: 2017-06-05 10:40:25", {"clock": "2017-06-05 10:40:25"}),
        (0x1C, "02 00 00 00 00 00 00 00 1A 00 00 00 00 00 00 00", "拉闸 trip, no expiry",
         {"action": "trip", "valid_until": "none", "operator": "00000000"}),
        (0x1C, "02 00 00 00 00 00 00 00 77 00 00 00 00 00 00 00", "action 77, not in our table",
         {"action": "77", "valid_until": "none", "operator": "00000000"}),
        (0x1C, "98 00 00 00", "encrypted or of a vendor's own form, shown raw", {}),
        (0x16, "99 99 99 99", "freeze 冻结: data shown raw", {}),
        (0x1F, "", "function 1F: no data", {}),
        (0x91, "00 00 01 00 1A 00 00 00", "the data do not fit, shown raw", {}),
        (0x91, "00 00 01 00 01", "the data do not fit, shown raw", {}),
        (0x11, "00", "the data do not fit, shown raw", {}),
        (0xC1, "02", "1997 edition, read refused", {"error": "no_such_data"}),
        (0x81, "10 90 26 00 00 00", "1997 edition, read reply: 正向有功总电能 (forward active total) = 0.26",
         {"forward_active_total": "0.26"}),
        (0x01, "FF FF", "1997 edition, read: identifier not in our table", {}),
        (0x01, "", "1997 edition, read without an identifier", {}),
    ],
)  # fmt: skip
def test_a_frame_is_put_into_words(control: int, data: str, meaning: str, names: dict[str, str]) -> None:
    described = said(control, data)
    assert meaning in described["meaning"]
    assert {value["name"]: value["value"] for value in described["values"]} == names


def test_the_password_is_never_a_value() -> None:
    write = said(0x14, "02 01 00 04 02 65 87 09 78 56 34 12 00 30 18")
    relay = said(0x1C, "02 65 87 09 78 56 34 12 1A 00 00 00 00 00 00 00")
    shown = [value["value"] for described in (write, relay) for value in described["values"]]
    assert "12345678" in shown
    assert not any("098765" in value for value in shown)


@pytest.mark.parametrize("di", [0x00010040, 0x0001000D, 0x00010D00 + 0xE0, 0x02010000, 0x02010101, 0x03320001,
                                0x03320100, 0x03310101, 0x00550000, 0x02070000, 0x05000000])  # fmt: skip
def test_an_identifier_outside_the_table_is_not_guessed(di: int) -> None:
    assert item_of(di) is None
