"""Starting and ending one child process, so that none outlives the one who started it."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
LOG_BYTES_MAX = 8_000_000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one child: what, as whom, where it writes, and what it hears when its parent dies."""

    argv: Sequence[str]
    log: Path
    env: Mapping[str, str]
    cwd: Path
    uid: int | None = None
    gid: int | None = None
    death_signal: int = signal.SIGTERM


def _die_with_parent(parent: int, death_signal: int) -> Callable[[], None]:
    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            os._exit(1)  # the parent was gone before we asked to hear of it

    return in_child


def start(launch: Launch) -> "subprocess.Popen[bytes]":
    """Start a child in a session of its own, writing to its log.

    Call from a thread that lives as long as we do: the kernel counts its death as the death of the parent.
    """
    make_room(launch.log)
    launch.log.touch(mode=0o600)
    launch.log.chmod(0o600)  # one left over from before may be open to others
    with launch.log.open("ab") as log:
        return subprocess.Popen(
            list(launch.argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=launch.cwd,
            env=dict(launch.env),
            user=launch.uid,
            group=launch.gid,
            extra_groups=[] if launch.uid is not None else None,
            start_new_session=True,
            preexec_fn=_die_with_parent(os.getpid(), launch.death_signal),
        )


def make_room(log: Path) -> None:
    """Make a log's folder; put a log that has grown large aside, over the one put aside before."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.is_file() and log.stat().st_size > LOG_BYTES_MAX:
        log.rename(log.with_suffix(".old.log"))


def end(child: "subprocess.Popen[bytes]", *signals: int, patience_s: float = 10.0) -> None:
    """Ask a child to end, each signal in turn, then kill its whole session."""
    for number in signals or (signal.SIGTERM,):
        if child.poll() is not None:
            break
        child.send_signal(number)
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    sweep(child.pid)
    child.wait()


def sweep(session: int) -> None:
    """Kill what is left of a child's process group."""
    try:
        os.killpg(session, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def runs(pid: int, *words: str) -> bool:
    """True when a process lives and its command line holds all the words."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" and all(word in command for word in words)


def end_stranger(pid: int, number: int, *words: str, patience_s: float = 20.0) -> None:
    """End a process that is not our child, if it still is the one we mean; killed when it does not listen."""
    deadline = time.monotonic() + patience_s
    if runs(pid, *words):
        os.kill(pid, number)
    while runs(pid, *words):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log, for an error message."""
    if not log.is_file():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
