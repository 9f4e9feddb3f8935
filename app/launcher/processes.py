"""A supervisor: starts named processes in order, starts again what ends, and ends all in reverse order."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from app.launcher import children

#: Seconds before a process that ended is started again: longer each time, from the start after a quiet while.
BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
QUIET_S = 60.0
LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Program:
    """One process of the product: its name, its command, how long it may take to end."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    end_s_max: float = 10.0


@dataclass(slots=True)
class _Running:
    program: Program
    child: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    falls: int = 0
    start_again_at: float = 0.0


def back_off_s(falls: int) -> float:
    """How long to wait after the n-th fall in a row (1 is the first)."""
    return BACK_OFF_S[min(falls, len(BACK_OFF_S)) - 1]


@dataclass(slots=True)
class Supervisor:
    """Keeps programs running. `say` gets one line for each thing worth knowing."""

    cwd: Path
    logs: Path
    say: Callable[[str], None]
    _running: list[_Running] = field(default_factory=list)
    _stopping: bool = False

    def start(self, program: Program) -> None:
        """Start a program and keep it running."""
        running = _Running(program)
        self._running.append(running)
        self._launch(running)

    def stop_on_signals(self) -> None:
        """Let Ctrl-C and SIGTERM end `watch`; a second Ctrl-C changes nothing, the end is under way."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Look after the programs until a signal comes, or `until` says so."""
        while not self._stopping and not until():
            for running in self._running:
                self._look_after(running)
            time.sleep(LOOK_EVERY_S)

    @property
    def stopping(self) -> bool:
        """True once a signal asked us to end."""
        return self._stopping

    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {r.program.name: r.child.pid for r in self._running if r.child is not None}

    def stop(self) -> None:
        """End every program, the last one started first, each within its own deadline."""
        for running in reversed(self._running):
            if running.child is not None:
                children.end(running.child, signal.SIGTERM, patience_s=running.program.end_s_max)
        self._running.clear()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _launch(self, running: _Running) -> None:
        program = running.program
        launch = children.Launch(program.argv, self._log(program.name), program.env, self.cwd)
        running.child = children.start(launch)
        running.started_at = time.monotonic()

    def _look_after(self, running: _Running) -> None:
        now = time.monotonic()
        if running.child is None:
            if now >= running.start_again_at:
                self._launch(running)
        elif running.child.poll() is not None:
            self._note_fall(running, now)

    def _note_fall(self, running: _Running, now: float) -> None:
        assert running.child is not None
        children.sweep(running.child.pid)
        quiet = now - running.started_at > QUIET_S
        running.falls = 1 if quiet else running.falls + 1
        wait_s = back_off_s(running.falls)
        running.start_again_at = now + wait_s
        log = self._log(running.program.name)
        ended = f"{running.program.name} ended with {running.child.returncode}"
        self.say(f"{ended}; again in {wait_s:g} s; see {log}\n{children.tail(log, 3)}")
        running.child = None
