"""What the demo's panel does: pause and run the clock, a day on, a gateway off and on. Refused beside real tenants."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.demo.signins import DemoNotAlone, demo_allowed
from app.kernel.clock import ClockFixed, business_now, clock_rate, move_clock
from app.kernel.db import database
from app.kernel.errors import AppError
from app.meters.simulator.control import ask

#: Business seconds in a wall second.
RATES = (0, 1, 60, 3600)
JUMP_MAX = timedelta(days=7)


class RateUnknown(AppError):
    """Not one of the speeds of the demo's clock."""

    code, status = "rate_unknown", 422
    message_zh = "演示时钟没有这个速度。请选择暂停、×1、×60 或 ×3600。"
    message_en = "The demo's clock has no such speed. Choose pause, ×1, ×60 or ×3600."


class JumpTooFar(AppError):
    """The clock is only moved on, and by a week at most: time that went by cannot be unsaid."""

    code, status = "jump_too_far", 422
    message_zh = "演示时钟只能向前拨，每次最多 7 天。"
    message_en = "The demo's clock is only moved forward, by seven days at most."


class NoDemoClock(AppError):
    """This installation runs on the computer's clock."""

    code, status = "no_demo_clock", 409
    message_zh = "本安装使用系统时间，没有可拨动的演示时钟。请用 make run 启动演示。"
    message_en = "This installation runs on the computer's clock. Start the demo with make run."


@dataclass(frozen=True, slots=True)
class ClockState:
    """Where the demo's clock stands, and how many business seconds pass in a wall second."""

    at: datetime
    rate: int

    @property
    def paused(self) -> bool:
        """Does it stand still?"""
        return self.rate == 0


def clock_state() -> ClockState:
    """The business clock as every process of the demo reads it now."""
    return ClockState(business_now(), clock_rate())


def set_rate(rate: int) -> ClockState:
    """Pause (0) or run at a speed from here on. Raises DemoNotAlone, RateUnknown, NoDemoClock."""
    _only_alone()
    if rate not in RATES:
        raise RateUnknown()
    return _move(rate=rate)


def jump(delta: timedelta) -> ClockState:
    """Move the clock on at one stroke. Raises DemoNotAlone, JumpTooFar, NoDemoClock."""
    _only_alone()
    if not timedelta() < delta <= JUMP_MAX:
        raise JumpTooFar()
    return _move(to=business_now() + delta)


def set_gateway(number: str, *, offline: bool, control: tuple[str, int]) -> bool:
    """Cut a simulated gateway off, or let it dial in again. Returns whether it is connected after that.

    `control`: host and port of the street. Raises DemoNotAlone, StreetRefused.
    """
    _only_alone()
    view = ask(*control, {"gateway": number, "set": {"offline": offline}})
    return bool(view["connected"])


def _only_alone() -> None:
    if not demo_allowed(database()):
        raise DemoNotAlone()


def _move(*, to: datetime | None = None, rate: int | None = None) -> ClockState:
    try:
        move_clock(to=to, rate=rate)
    except ClockFixed as fixed:
        raise NoDemoClock() from fixed
    return clock_state()
