"""Workers and relays as real processes that may be killed at any moment.

    python -m tests.faults.nursery

One warm process forks them on demand, so that a new worker is there in milliseconds. It reads `worker` or
`relay <tenant id>` from standard input, one per line, and answers each with the process id of the child.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from app.jobs import handlers, relay, transport
from app.jobs.relay import Relay
from app.jobs.transport import Transport
from app.jobs.worker import run_worker
from app.kernel.db import open_database
from app.settings import Settings
from tests.factories import notes

#: A batch small enough to be in the middle of when the axe falls; sweeps and lost jobs that keep no test waiting.
BATCH, SWEEP_S, AGAIN_S = 10, 0.3, 2


class OneTenant(Relay):
    """A relay that looks after one tenant, whoever else is in the test's database."""

    tenant_id = 0

    def _tenants(self) -> list[int]:
        return [self.tenant_id]

    def start_due(self, tenants: object) -> None:
        """The clock starts nothing here: the deeds of the schedule are not what is killed."""


def be_a_worker() -> None:
    """What `tallyhouse worker money` runs, with the test's consumer beside the product's."""
    notes.install()
    run_worker(Settings.from_env(), notes.QUEUE)


def be_a_relay(tenant_id: int) -> None:
    """What `tallyhouse scheduler` runs, for one tenant."""
    notes.install()
    settings = Settings.from_env()
    looking = OneTenant(open_database(settings.database_url, pool_max=2), Transport(settings.redis_url), tick_s=0.05)
    looking.tenant_id = tenant_id
    looking.run()


def fork(life: Callable[[], None]) -> int:
    """A child that lives this life and none of ours."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(2, 1)  # standard output is for answers; a worker logs to it
        try:
            life()
        finally:
            os._exit(0)
    return child


def main() -> None:
    """Fork what is asked for until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    handlers.BATCH, relay.SWEEP_S, transport.DRAIN_AGAIN_S = BATCH, SWEEP_S, AGAIN_S
    for line in sys.stdin:
        kind, *tenant = line.split()
        child = fork(be_a_worker if kind == "worker" else lambda tenant=tenant: be_a_relay(int(tenant[0])))
        print(child, flush=True)


class Nursery:
    """A test's hold on the warm process and its children."""

    def __init__(self, redis_url: str) -> None:
        env = os.environ | {"DATABASE_URL": os.environ["TALLYHOUSE_TEST_DATABASE_URL"], "REDIS_URL": redis_url}
        words = [sys.executable, "-m", "tests.faults.nursery"]
        self._process = subprocess.Popen(
            words, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._children: list[int] = []

    def start(self, *words: object) -> int:
        """Fork one more; its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self._process.stdin.flush()
        self._children.append(int(self._process.stdout.readline()))
        return self._children[-1]

    def kill(self, child: int, how: int = signal.SIGKILL) -> None:
        """End a child, by default with no chance to tidy up."""
        self._children.remove(child)
        with suppress(ProcessLookupError):
            os.kill(child, how)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for child in list(self._children):
            self.kill(child)
        self._process.communicate()


@contextmanager
def within(seconds: int) -> Iterator[Callable[[], bool]]:
    """A clock for waiting: call it to let a little time pass; it is false when the time is over."""
    until, pause = time.monotonic() + seconds, threading.Event()

    def wait() -> bool:
        pause.wait(0.05)
        return time.monotonic() < until

    yield wait


if __name__ == "__main__":
    main()
