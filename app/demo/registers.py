"""The registers of the street through time: the same meters, the same arithmetic as the simulator's, without sockets."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from app.demo.town import Site, Supply
from app.meters.simulator.meter import REGISTER_WH_MAX, WH_PER_DIGIT, MeterSpec, SimMeter, fresh_state

#: Level 02 with an invented password, the same on the whole street.
PASSWORD = "02135790"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A meter as fitted: its supply and its simulated self."""

    supply: Supply
    spec: MeterSpec


def fit_meters(site: Site, *, began_at: datetime, first: int) -> list[Fitted]:
    """The meters of a site, addresses counted from `first`; each shows some past use when it is fitted."""
    return [
        Fitted(
            supply,
            MeterSpec(
                address=f"3101{first + index:08d}",
                home=supply.home,
                register_wh=(1_200 + 137 * (first + index)) * 1_000 + 10 * index,
                register_at=began_at,
                password=PASSWORD,
                load_percent=supply.load_percent,
                presses_button=supply.button_reachable,
            ),
        )
        for index, supply in enumerate(site.supplies)
    ]


def registers_at(spec: MeterSpec, instants: Iterable[datetime]) -> Iterator[int]:
    """What the meter's display says in Wh at each instant, in order of time."""
    assert spec.register_at is not None
    meter = SimMeter(spec, fresh_state(spec, spec.register_at))
    for at in instants:
        meter.advance(at)
        yield meter.register_wh // WH_PER_DIGIT * WH_PER_DIGIT % REGISTER_WH_MAX
