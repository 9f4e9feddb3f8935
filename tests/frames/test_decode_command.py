"""`tallyhouse frames decode dlt645`: one JSON line per frame, exit 2 if any was bad."""

import json

import pytest
from click.testing import CliRunner, Result

from app.cli import main

GOOD = "6861010000000068910833333433593333338A16"
BAD_CHECKSUM = GOOD[:-4] + "8B16"
BAD_END = GOOD[:-2] + "17"


def decode(*frames: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["frames", "decode", "dlt645", *frames], input=typed)


def test_a_reply_is_told_whole() -> None:
    result = decode(GOOD)
    said = json.loads(result.stdout)
    assert result.exit_code == 0
    assert {name: said[name] for name in ("protocol", "address", "control", "direction", "di", "data")} == {
        "protocol": "dlt645",
        "address": "000000000161",
        "control": "91",
        "direction": "reply",
        "di": "00010000",
        "data": "0000010026000000",
    }
    assert said["values"] == [{"name": "forward_active_total", "value": "0.26", "unit": "kWh"}]
    assert "0.26 kWh" in said["meaning"]


@pytest.mark.parametrize(
    ("frame", "error"),
    [(BAD_CHECKSUM, "bad_checksum"), (BAD_END, "bad_end"), ("68", "too_short"), ("zz", "bad_hex"), ("", "too_short")],
)
def test_a_bad_frame_names_its_fault_and_exits_2(frame: str, error: str) -> None:
    result = decode(frame)
    assert (json.loads(result.stdout), result.exit_code) == ({"error": error}, 2)


def test_one_line_per_frame_and_one_bad_one_is_enough_for_2() -> None:
    result = decode(GOOD, BAD_END, GOOD.lower())
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line.get("error") for line in lines] == [None, "bad_end", None]
    assert result.exit_code == 2


def test_a_dash_reads_standard_input_line_by_line() -> None:
    result = decode("-", typed=f"{GOOD}\n\n  FE FE {GOOD}\n")
    assert [json.loads(line)["address"] for line in result.stdout.splitlines()] == ["000000000161"] * 2
    assert result.exit_code == 0


def test_bytes_without_quotes_are_one_frame() -> None:
    result = decode("FE", "fe", *(GOOD[at : at + 2] for at in range(0, len(GOOD), 2)))
    assert [json.loads(line)["address"] for line in result.stdout.splitlines()] == ["000000000161"]
    assert result.exit_code == 0


def test_an_unknown_protocol_is_refused_in_one_line() -> None:
    result = CliRunner().invoke(main, ["frames", "decode", "dlt1", GOOD])
    assert result.exit_code == 2
    assert "dlt645" in result.stderr
