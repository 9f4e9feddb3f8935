"""The street on paper: a JSON file says which gateways there are and which meters hang behind each.

    {"control": {"host": "127.0.0.1", "port": 7400}, "state_path": "var/street.json", "gateways": [
        {"number": "GW0001", "mode": "dial_in", "host": "127.0.0.1", "port": 7300, "secret": null, "meters": [
            {"address": "000000000001", "home": 1, "register_wh": 123450, "password": "02123456"}]}]}

`mode` is `dial_in` (host and port are the head-end's) or `serial` (host and port to listen on, 0 for any).
Further keys are the fields of GatewaySpec and MeterSpec.
"""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from app.kernel.errors import AppError
from app.meters.drivers.base import FrameError
from app.meters.drivers.dialin import registration_packet
from app.meters.drivers.dlt645.frame import address_bytes
from app.meters.drivers.dlt645.messages import credentials
from app.meters.simulator.gateway import LINES, GatewaySpec
from app.meters.simulator.meter import MeterSpec
from app.meters.simulator.profile import HOMES


class BadStreet(AppError):
    """The street file cannot be read or does not make a street."""

    code = "bad_street"
    status = 422
    message_zh = "模拟街区文件有误：{reason}。请改正后重新启动。"
    message_en = "The street file is wrong: {reason}. Correct it and start again."


@dataclass(frozen=True, slots=True)
class StreetSpec:
    """Gateways with their meters, the loopback control port, and where meters are remembered between runs."""

    gateways: tuple[tuple[GatewaySpec, tuple[MeterSpec, ...]], ...]
    control_host: str = "127.0.0.1"
    control_port: int = 0
    state_path: Path | None = None


def load_spec(path: Path) -> StreetSpec:
    """The street a file describes. Raises BadStreet."""
    try:
        return street_of(json.loads(path.read_text()))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as unreadable:
        raise BadStreet(reason=str(unreadable)) from unreadable


def street_of(plain: Any) -> StreetSpec:
    """The street that plain values describe. Raises BadStreet."""
    try:
        control = plain.get("control", {})
        street = StreetSpec(
            gateways=tuple(_gateway(gateway) for gateway in plain["gateways"]),
            control_host=str(control.get("host", "127.0.0.1")),
            control_port=int(control.get("port", 0)),
            state_path=Path(plain["state_path"]) if plain.get("state_path") else None,
        )
        complaint = next(_complaints(street), None)
    except FrameError as bad:
        raise BadStreet(reason=bad.message("en")) from bad
    except (AttributeError, KeyError, TypeError, ValueError) as bad:
        raise BadStreet(reason=f"{type(bad).__name__} {bad}") from bad
    if complaint is not None:
        raise BadStreet(reason=complaint)
    return street


def _gateway(plain: Mapping[str, Any]) -> tuple[GatewaySpec, tuple[MeterSpec, ...]]:
    meters = tuple(_meter(meter) for meter in plain["meters"])
    return GatewaySpec(**{key: value for key, value in plain.items() if key != "meters"}), meters


def _meter(plain: Mapping[str, Any]) -> MeterSpec:
    at = plain.get("register_at")
    return MeterSpec(**{**plain, "register_at": datetime.fromisoformat(at) if at else None})


def _complaints(street: StreetSpec) -> Iterator[str]:
    """What is wrong with a street whose values have the right names. Raises FrameError."""
    if not ipaddress.ip_address(street.control_host).is_loopback:
        yield f"the control port belongs on loopback, not on {street.control_host}"
    numbers = [gateway.number for gateway, _ in street.gateways]
    addresses = [meter.address for _, meters in street.gateways for meter in meters]
    for name, seen in (("gateway", numbers), ("meter", addresses)):
        if len(set(seen)) != len(seen):
            yield f"a {name} stands there twice"
    for gateway, meters in street.gateways:
        yield from _gateway_complaints(gateway)
        for meter in meters:
            yield from _meter_complaints(meter)


def _gateway_complaints(gateway: GatewaySpec) -> Iterator[str]:
    if gateway.mode not in LINES:
        yield f"mode {gateway.mode} of gateway {gateway.number} is not one of {', '.join(LINES)}"
    registration_packet(gateway.number, gateway.secret)
    if not 0 <= gateway.port <= 65535:
        yield f"port {gateway.port} of gateway {gateway.number}"


def _meter_complaints(meter: MeterSpec) -> Iterator[str]:
    address_bytes(meter.address)
    credentials(meter.password, "00000000")
    if not meter.address.isdigit() or meter.address == "9" * 12:
        yield f"address {meter.address} is a wildcard"
    if not 1 <= meter.home <= HOMES:
        yield f"home {meter.home} of meter {meter.address}"
    if meter.register_at is not None and meter.register_at.tzinfo is None:
        yield f"register_at of meter {meter.address} has no time zone"
    if min(meter.register_wh, meter.load_percent) < 0 or not 1 <= meter.reply_bytes_max <= 200:
        yield f"a number of meter {meter.address} is out of its range"
