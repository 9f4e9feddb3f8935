"""How long one piece of work may take before it counts as failed."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from app.kernel.errors import AppError


class TookTooLong(AppError):
    """The work was broken off: it would have kept its neighbours waiting."""

    code, status = "took_too_long", 503
    message_zh = "处理超过 {seconds} 秒已中止，稍后自动重试。若反复出现，请联系管理员查看。"
    message_en = (
        "The work took more than {seconds} s and was broken off; it is tried again. Have it looked at if it recurs."
    )


class _BrokenOff(KeyboardInterrupt):
    """Raised by the alarm. The driver cancels the statement under way only for an interrupt from the keyboard; left
    running, it would hold its locks."""


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Break the block off by raising TookTooLong. Only a process's main thread can be broken off; others run on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def break_off(_signal: int, _frame: FrameType | None) -> None:
        raise _BrokenOff

    began = time.monotonic()
    earlier = signal.signal(signal.SIGALRM, break_off)
    left = signal.alarm(seconds)
    try:
        try:
            yield
        finally:
            signal.alarm(0)
    except _BrokenOff as alarm:
        raise TookTooLong(seconds=seconds) from alarm
    finally:
        signal.signal(signal.SIGALRM, earlier)
        if left:
            signal.alarm(max(1, left - int(time.monotonic() - began)))
