"""The street's spec file: which simulated gateways and meters there are, and where they dial."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.demo.registers import fit_meters
from app.demo.town import Box, Site, Town
from app.settings import Settings

#: The serial server listens this many ports above the street's control port.
SERIAL_ABOVE_CONTROL = 2
METERS_PER_SITE = 100


def spec_path(settings: Settings) -> Path:
    """The file `tallyhouse street` reads."""
    return settings.var_path / "street.json"


def state_path(settings: Settings) -> Path:
    """The file in which the street's meters are remembered."""
    return settings.var_path / "street_state.json"


def control_of(settings: Settings) -> tuple[str, int]:
    """Host and port of the street's control socket."""
    host, _, port = settings.street_control.rpartition(":")
    return host or "127.0.0.1", int(port)


def serial_port(settings: Settings) -> int:
    """Where the street's serial server listens."""
    return control_of(settings)[1] + SERIAL_ABOVE_CONTROL


def first_number(index: int) -> int:
    """Meters and people of the n-th site are counted from here."""
    return index * METERS_PER_SITE + 1


def write_street(settings: Settings, town: Town) -> Path:
    """Write the spec: every meter starts as it was fitted, so its register goes on exactly where history ended."""
    host, port = control_of(settings)
    spec = {
        "control": {"host": host, "port": port},
        "state_path": str(state_path(settings)),
        "gateways": [
            gateway
            for index, site in enumerate(town.sites)
            for gateway in _gateways(settings, town, site, first_number(index))
        ],
    }
    path = spec_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(spec, ensure_ascii=False, indent=1, default=str))
    return path


def _gateways(settings: Settings, town: Town, site: Site, first: int) -> Iterable[dict[str, Any]]:
    fitted = fit_meters(site, began_at=town.began_at, first=first)
    for box in site.boxes:
        meters = [_meter(asdict(f.spec)) for f in fitted if f.supply.gateway == box.number]
        yield {"number": box.number, "meters": meters, "redial_ms": town.redial_ms, "offline": box.absent} | _line(
            settings, box
        )


def _line(settings: Settings, box: Box) -> dict[str, Any]:
    if box.serial:
        return {"mode": "serial", "host": "127.0.0.1", "port": serial_port(settings)}
    return {"mode": "dial_in", "host": settings.headend_host, "port": int(settings.headend_port)}


def _meter(plain: dict[str, Any]) -> dict[str, Any]:
    return plain | {"register_at": plain["register_at"].isoformat()}
