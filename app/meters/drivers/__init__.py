"""Meter protocols: codecs without I/O, by dialect. A new protocol is a module here and one line below."""

from app.meters.drivers.base import Driver
from app.meters.drivers.dlt645.driver import Dlt645

DRIVERS: dict[str, Driver] = {
    "dlt645-2007": Dlt645(),
}
