"""Running status word 3 (identifier 04000503): what the relay does and what protects it.

    b15 b14  | b13   | b12        | b11 b10 | b9 b8   | b7    | b6      | b5   | b4    | b3    | b2 b1  | b0
    accounts | auth. | guaranteed | sets    | prepaid | alarm | command | zone | relay | prog. | supply | tab.

Two bytes on the wire, low byte first. b4 is where the relay is (1 open), b6 where it was told to be.
Source: DL/T 645-2007 appendix A.5 with the prepayment supplement.
"""

from dataclasses import dataclass

from app.meters.drivers.base import BadData

SUPPLIES = ("main", "auxiliary", "battery", "reserved")
PREPAID_MODES = ("none", "energy", "money", "reserved")


@dataclass(frozen=True, slots=True)
class StatusWord3:
    """The sixteen bits by name. `local_account_open` and `remote_account_open` are 0-active in the frame."""

    relay_open: bool = False
    relay_commanded_open: bool = False
    guaranteed: bool = False
    pre_trip_alarm: bool = False
    prepaid_mode: str = "none"
    supply: str = "main"
    second_time_table: bool = False
    second_zone_table: bool = False
    second_price_set: bool = False
    second_tier_set: bool = False
    programming_allowed: bool = False
    identity_authenticated: bool = False
    local_account_open: bool = False
    remote_account_open: bool = False


_FLAGS = {
    0: "second_time_table",
    3: "programming_allowed",
    4: "relay_open",
    5: "second_zone_table",
    6: "relay_commanded_open",
    7: "pre_trip_alarm",
    10: "second_price_set",
    11: "second_tier_set",
    12: "guaranteed",
    13: "identity_authenticated",
}


def decode_status_3(raw: bytes) -> StatusWord3:
    """Two bytes, low first. Raises BadData for any other size."""
    if len(raw) != 2:
        raise BadData()
    word = int.from_bytes(raw, "little")
    flags = {name: bool(word >> bit & 1) for bit, name in _FLAGS.items()}
    return StatusWord3(
        **flags,
        supply=SUPPLIES[word >> 1 & 3],
        prepaid_mode=PREPAID_MODES[word >> 8 & 3],
        local_account_open=not word >> 14 & 1,
        remote_account_open=not word >> 15 & 1,
    )


def encode_status_3(status: StatusWord3) -> bytes:
    """The two bytes a meter would send."""
    word = sum(getattr(status, name) << bit for bit, name in _FLAGS.items())
    word |= SUPPLIES.index(status.supply) << 1 | PREPAID_MODES.index(status.prepaid_mode) << 8
    word |= (not status.local_account_open) << 14 | (not status.remote_account_open) << 15
    return int(word).to_bytes(2, "little")


_PHASE_FAULTS = (
    "voltage_loss",
    "under_voltage",
    "over_voltage",
    "current_loss",
    "over_current",
    "overload",
    "reverse_flow",
    "phase_cut",
    "current_cut",
)

#: Names of the bits of the other words, from b0; None is reserved.
OTHER_WORDS: dict[int, tuple[str | None, ...]] = {
    1: (
        None,
        "demand_by_interval",
        "clock_battery_low",
        "reading_battery_low",
        "active_reverse",
        "reactive_reverse",
    ),
    2: (
        "active_reverse_a",
        "active_reverse_b",
        "active_reverse_c",
        None,
        "reactive_reverse_a",
        "reactive_reverse_b",
        "reactive_reverse_c",
    ),
    4: _PHASE_FAULTS,
    5: _PHASE_FAULTS,
    6: _PHASE_FAULTS,
    7: (
        "voltage_sequence",
        "current_sequence",
        "voltage_unbalance",
        "current_unbalance",
        "auxiliary_supply_lost",
        "power_down",
        "demand_exceeded",
        "power_factor_low",
        "current_unbalance_severe",
    ),
}


def flags_of(number: int, raw: bytes) -> list[str]:
    """Names of the set bits of status word `number`; unnamed bits read `b<n>`. Raises BadData."""
    if len(raw) != 2:
        raise BadData()
    word = int.from_bytes(raw, "little")
    names = OTHER_WORDS[number]
    named = {bit: name for bit, name in enumerate(names) if name}
    return [named.get(bit, f"b{bit}") for bit in range(16) if word >> bit & 1]
