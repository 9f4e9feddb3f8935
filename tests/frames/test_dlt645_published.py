"""The codec against frames other people published: what they say, what it takes to refuse the wrong ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.meters.drivers.base import RelayAction
from app.meters.drivers.describe import describe_line
from app.meters.drivers.dlt645 import messages
from app.meters.drivers.dlt645.fields import date_bytes
from app.meters.drivers.dlt645.frame import Frame, decode, encode

FIXTURES = Path(__file__).parent / "dlt645"
KEYS = ["protocol", "address", "control", "direction", "di", "data", "values", "meaning"]


def rows(name: str) -> list[dict[str, Any]]:
    return json.loads((FIXTURES / f"{name}.json").read_text())["frames"]


GOOD = [*rows("published"), *rows("corrected"), *rows("edition1997")]


def test_the_fixtures_say_where_they_come_from() -> None:
    assert {path.name for path in FIXTURES.iterdir()} == {
        "published.json",
        "negative.json",
        "corrected.json",
        "edition1997.json",
    }
    assert all(json.loads(path.read_text())["source"] for path in FIXTURES.iterdir())


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row["frame"])
def test_a_published_frame_opens_and_closes_to_the_same_bytes(row: dict[str, Any]) -> None:
    frame = decode(bytes.fromhex(row["frame"]))
    assert frame == Frame(row["address"], int(row["control"], 16), bytes.fromhex(row["data"]))
    assert encode(frame) == bytes.fromhex(row["frame"])


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row["frame"])
def test_a_published_frame_is_described_by_the_published_facts(row: dict[str, Any]) -> None:
    said, good = describe_line("dlt645", row["frame"])
    assert good
    assert [key for key in KEYS if key in said] == list(said)
    assert (said["address"], said["control"], said["data"]) == (row["address"], row["control"], row["data"])
    assert said.get("di") == row.get("di")
    assert said["direction"] == ("reply" if int(row["control"], 16) & 0x80 else "request")
    if "value" in row:
        assert f"{said['values'][0]['value']} {said['values'][0]['unit']}".startswith(row["value"])


@pytest.mark.parametrize("row", rows("negative"), ids=lambda row: row["frame"])
def test_a_wrong_published_frame_is_refused_by_name(row: dict[str, Any]) -> None:
    assert describe_line("dlt645", row["frame"]) == ({"error": row["error"]}, False)


@pytest.mark.parametrize("row", [row for row in GOOD if "action" in row], ids=lambda row: row["frame"])
def test_a_published_relay_frame_is_read_and_rebuilt(row: dict[str, Any]) -> None:
    asked = messages.relay_request_of(decode(bytes.fromhex(row["frame"])))
    password = row["pa"] + bytes.fromhex(row["password_wire"])[::-1].hex().upper()
    assert (asked.action, asked.password) == (RelayAction(row["action"]), password)
    until = date_bytes("smhDMY", asked.valid_until) if asked.valid_until else bytes(6)
    assert until == bytes.fromhex(row["valid_until_wire"])
    again = messages.relay(
        asked.address,
        asked.action,
        password=asked.password,
        operator=asked.operator,
        valid_until=asked.valid_until,
    )
    ours, published = again.data, bytes.fromhex(row["data"])
    # N2 is reserved and read by nobody; one publisher sends 01 in it, we send 00.
    assert (ours[:9], ours[10:]) == (published[:9], published[10:])


def test_a_block_of_registers_reads_band_by_band() -> None:
    block = next(row for row in GOOD if row.get("di") == "0001FF00" and row["control"] == "91")
    said, _ = describe_line("dlt645", block["frame"])
    assert [(value["name"], value["value"], value["unit"]) for value in said["values"]] == [
        ("forward_active_total", "1.29", "kWh"),
        ("forward_active_sharp", "0.62", "kWh"),
        ("forward_active_peak", "0.60", "kWh"),
        ("forward_active_flat", "0.03", "kWh"),
        ("forward_active_valley", "0.02", "kWh"),
    ]
