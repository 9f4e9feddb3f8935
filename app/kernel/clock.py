"""Two clocks. The business clock dates money, windows and prices; the wall clock serves sessions, leases and sockets.

In production both are the computer's clock. A demo may move the business clock: the setting `CLOCK_FILE` names a small
JSON file that every process of the demo reads, so that web, worker, head-end and street always agree:

    {"wall_us": 1790000000000000, "business_us": 1790000000000000, "rate": 60}

business = business_us + (wall - wall_us) * rate. A rate of 0 is a paused clock.
"""

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """Where the business clock stands against the wall clock; instants in microseconds since 1970 UTC."""

    wall_us: int
    business_us: int
    rate: int

    def at(self, wall_us: int) -> datetime:
        """The business instant at a wall instant."""
        return EPOCH + MICROSECOND * (self.business_us + (wall_us - self.wall_us) * self.rate)


class ClockFile:
    """The shared setting of a moved clock, re-read when the file's identity changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._setting: ClockSetting | None = None

    def read(self) -> ClockSetting | None:
        """The setting in force, or None while no file exists (then business time is wall time)."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        stamp = (stat.st_ino, stat.st_mtime_ns)
        if stamp != self._stamp:
            self._setting = ClockSetting(**json.loads(self.path.read_text()))
            self._stamp = stamp
        return self._setting

    def write(self, setting: ClockSetting) -> None:
        """Replace the setting atomically, so that no reader sees half of it."""
        draft = self.path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
        draft.write_text(
            json.dumps({"wall_us": setting.wall_us, "business_us": setting.business_us, "rate": setting.rate})
        )
        now_ns = time.time_ns()
        os.utime(draft, ns=(now_ns, now_ns))  # finer than the file system's own clock: no two settings look alike
        draft.replace(self.path)


_file: ClockFile | None = None
_loaded = False


def _clock_file() -> ClockFile | None:
    global _file, _loaded
    if not _loaded:
        use_clock_file(os.environ.get("CLOCK_FILE"))
    return _file


def use_clock_file(path: str | None) -> None:
    """Follow the clock in this file from now on; None or '' means the computer's own clock."""
    global _file, _loaded
    _file = ClockFile(Path(path)) if path else None
    _loaded = True


def wall_us() -> int:
    """The computer's clock in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def wall_now() -> datetime:
    """The computer's clock, UTC, for sessions, leases, retries and sockets."""
    return EPOCH + MICROSECOND * wall_us()


def business_now() -> datetime:
    """The clock of dates, windows, prices and valid-until, UTC."""
    file = _clock_file()
    setting = file.read() if file else None
    return setting.at(wall_us()) if setting else wall_now()


def clock_rate() -> int:
    """How many business seconds pass in a wall second: 1 unless a demo moved the clock, 0 while paused."""
    file = _clock_file()
    setting = file.read() if file else None
    return setting.rate if setting else 1


def move_clock(*, to: datetime | None = None, rate: int | None = None) -> datetime:
    """Set the demo's clock to an instant and/or a rate for all processes. Raises ClockFixed without a clock file."""
    file = _clock_file()
    if file is None:
        raise ClockFixed
    target = to or business_now()
    kept = clock_rate() if rate is None else rate
    business_us = (target - EPOCH) // MICROSECOND
    file.write(ClockSetting(wall_us=wall_us(), business_us=business_us, rate=kept))
    return target


class ClockFixed(Exception):
    """This installation runs on the computer's clock; only a demo's clock can be moved."""


def local_day(at: datetime, zone: str) -> date:
    """The civil day of an instant in a property's time zone."""
    return at.astimezone(ZoneInfo(zone)).date()


def day_start(day: date, zone: str) -> datetime:
    """The first instant of a civil day of a property, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
