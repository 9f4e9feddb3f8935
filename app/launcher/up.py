"""`make run`: servers, tables, demo, every process, the address and the sign-ins; Ctrl-C ends it all."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from app.launcher.errors import LauncherError
from app.launcher.home import make_home
from app.launcher.ports import check_port_free
from app.launcher.processes import Supervisor
from app.launcher.programs import listeners, product_env, programs, tallyhouse, web_url
from app.launcher.schema import is_current, remember
from app.launcher.secrets import product_secrets
from app.launcher.stack import Stack, ensure_stack

ROOT = Path(__file__).resolve().parents[2]
MIGRATIONS = ROOT / "migrations"
READY_S_MAX = 90.0


class StepFailed(LauncherError):
    """A step before the start (migration, demo data) ended with an error, which it has printed itself."""


class NotReady(LauncherError):
    """The web process did not answer in time; its log says why."""


def _say(line: str) -> None:
    with suppress(OSError):  # the terminal may be gone; ending cleanly matters more than saying so
        print(line, flush=True)


def run_step(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Run one command to its end. Raises StepFailed."""
    status = subprocess.run(list(argv), env=dict(env), cwd=ROOT, check=False).returncode
    if status != 0:
        raise StepFailed(f"`{' '.join(argv)}` ended with status {status}")


def migrate(env: Mapping[str, str]) -> None:
    """Bring tables and partitions up to date. Raises StepFailed."""
    run_step(tallyhouse("db", "migrate"), env)


def _prepare(env: Mapping[str, str], var_dir: Path, *, demo: bool) -> None:
    """Tables, then the demo's rows. Raises StepFailed."""
    owner_url, mark = env["DATABASE_OWNER_URL"], make_home(var_dir).folder / "migrated"
    if not is_current(owner_url, MIGRATIONS, mark):
        migrate(env)
        remember(owner_url, MIGRATIONS, mark)
    if demo:
        run_step(tallyhouse("demo", "seed"), env)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _await_ready(supervisor: Supervisor, url: str) -> None:
    deadline = time.monotonic() + READY_S_MAX
    supervisor.watch(until=lambda: _healthy(url) or time.monotonic() > deadline)
    if not supervisor.stopping and time.monotonic() > deadline:
        raise NotReady(f"{url}/healthz does not answer; see {supervisor.logs}/web.log")


def _begin(argv: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Begin a short command while the processes come up; what it says is read later."""
    return subprocess.Popen(
        list(argv), env=dict(env), cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def _make_partitions(env: Mapping[str, str]) -> None:
    # After the start and not before it: they reach two years ahead, so no start needs to wait for them.
    done = subprocess.run(
        tallyhouse("db", "partitions"), env=dict(env), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        _say(f"partitions ahead were not made: {done.stderr.strip()}")


def _serve(stack: Stack, env: Mapping[str, str], supervisor: Supervisor) -> None:
    url = web_url(env)
    supervisor.stop_on_signals()
    try:
        for program in programs(env):
            supervisor.start(program)
        with _begin(tallyhouse("demo", "signins"), env) as sign_ins:
            _await_ready(supervisor, url)
            said, _ = sign_ins.communicate()
        if not supervisor.stopping:
            _say(f"{said}\n  Tallyhouse 账房  {url}\n  logs: {supervisor.logs}   stop: Ctrl-C\n")
            _make_partitions(env)
        supervisor.watch(until=lambda: bool(stack.dead()))
        _say("stopping")
    finally:
        supervisor.stop()
    if stack.dead():
        raise StepFailed(f"{', '.join(stack.dead())} ended by itself; see {supervisor.logs}")


def run_product(*, var_dir: Path | None = None, demo: bool = True) -> int:
    """Run the whole product until a signal, below VAR_DIR (default: the checkout's var).

    Returns the exit status; errors are printed as one line.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, also before the supervisor listens
    var_dir = (var_dir or Path(os.environ.get("VAR_DIR") or ROOT / "var")).resolve()
    env = product_env(os.environ, {}, product_secrets(var_dir), var_dir)
    try:
        for variable, host, port in listeners(env):
            check_port_free(host, port, variable=variable)
        with ensure_stack(var_dir) as stack:
            env |= stack.env()
            _prepare(env, var_dir, demo=demo)
            _serve(stack, env, Supervisor(ROOT, var_dir / "log", _say))
    except LauncherError as refusal:
        print(f"tallyhouse: {refusal}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        _say("stopped before it was up")
        return 130
    _say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(run_product())
