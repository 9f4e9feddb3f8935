"""What switches a supply, and what may close it again from afar."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Actuator(StrEnum):
    """The switching part of a mount."""

    INTERNAL_RELAY = "internal_relay"
    MOTOR_BREAKER = "motor_breaker"
    SHUNT_TRIP = "shunt_trip"
    HV_SWITCH = "hv_switch"


@dataclass(frozen=True, slots=True)
class Closing:
    """Ways of closing: `direct` by command; `permit` lets a person at the meter press its button."""

    direct: bool
    permit: bool

    @property
    def remote(self) -> bool:
        """Is there anything a command can do to close it?"""
        return self.direct or self.permit


#: A shunt-trip release opens a breaker and cannot close it; a high-voltage switch is never closed from afar.
CLOSING: Mapping[Actuator, Closing] = MappingProxyType(
    {
        Actuator.INTERNAL_RELAY: Closing(direct=True, permit=True),
        Actuator.MOTOR_BREAKER: Closing(direct=True, permit=False),
        Actuator.SHUNT_TRIP: Closing(direct=False, permit=False),
        Actuator.HV_SWITCH: Closing(direct=False, permit=False),
    }
)
