"""The load of 17 real homes, hour by hour for a year, as exact sums between any two instants.

The year of the data begins at 2016-08-01 00:00 meter time and repeats for ever, before and after. Within an
hour the load is even. Energy is counted in whole steps of a watt-hour divided by the microseconds of an hour, so
that reading a register often or seldom gives the same total. Source and licence of the data: NOTICE.txt.
"""

import lzma
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from itertools import accumulate
from pathlib import Path

METER_ZONE = timezone(timedelta(hours=8))
HOMES, HOURS = 17, 8760
HOUR_US = 3_600_000_000
#: Steps in one watt-hour.
STEPS_PER_WH = HOUR_US

_YEAR_START = datetime(2016, 8, 1, tzinfo=METER_ZONE)
_MICROSECOND = timedelta(microseconds=1)
_DATA = Path(__file__).with_name("homes.bin.xz")

#: Band of each hour of the day in the meters' own table: 0 sharp 尖, 1 peak 峰, 2 flat 平, 3 valley 谷.
BAND_OF_HOUR = (3,) * 7 + (2,) + (1,) * 3 + (2,) * 6 + (1,) * 2 + (0,) * 2 + (1,) + (2,) + (3,)
BANDS = 4


@dataclass(frozen=True, slots=True)
class Home:
    """One home: watt-hours of each hour, and for each band their running sums (`HOURS` + 1 of them)."""

    hourly_wh: Sequence[int]
    sums_wh: tuple[Sequence[int], ...]

    def steps_until(self, at: datetime) -> tuple[int, ...]:
        """Steps used in each band from the start of the data to an aware instant; negative before it."""
        hours, into_hour_us = divmod((at - _YEAR_START) // _MICROSECOND, HOUR_US)
        years, hour = divmod(hours, HOURS)
        now = BAND_OF_HOUR[hour % 24]
        started = self.hourly_wh[hour] * into_hour_us
        return tuple(
            (years * sums[HOURS] + sums[hour]) * STEPS_PER_WH + (started if band == now else 0)
            for band, sums in enumerate(self.sums_wh)
        )

    def power_w(self, at: datetime) -> int:
        """The load at an instant, in watts: what the hour uses in watt-hours."""
        return self.hourly_wh[(at - _YEAR_START) // timedelta(hours=1) % HOURS]


@cache
def _hours() -> Sequence[int]:
    hours = array("H", lzma.decompress(_DATA.read_bytes()))
    if sys.byteorder == "big":
        hours.byteswap()
    return hours


@cache
def home(number: int) -> Home:
    """A home by its number, 1 to 17. Raises IndexError for any other."""
    if not 1 <= number <= HOMES:
        raise IndexError(number)
    hourly = _hours()[(number - 1) * HOURS : number * HOURS]
    sums = tuple(
        array(
            "L",
            accumulate((wh if BAND_OF_HOUR[i % 24] == band else 0 for i, wh in enumerate(hourly)), initial=0),
        )
        for band in range(BANDS)
    )
    return Home(hourly, sums)
