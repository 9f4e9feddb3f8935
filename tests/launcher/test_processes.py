"""The supervisor: starts again what falls, ends all in reverse order, leaves nothing when it is killed itself."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.launcher.children import LOG_BYTES_MAX, Launch, make_room, start
from app.launcher.errors import LauncherError, PortInUse
from app.launcher.ports import check_port_free
from app.launcher.processes import BACK_OFF_S, Program, Supervisor, back_off_s
from app.launcher.programs import COMMANDS, listeners, product_env, programs
from app.launcher.up import run_step

DEADLINE_S = 60.0


def program(name: str, script: str, **more: float) -> Program:
    return Program(name, [sys.executable, "-c", textwrap.dedent(script)], dict(os.environ), **more)


def told(path: Path) -> list[str]:
    return path.read_text().split() if path.is_file() else []


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    watched = Supervisor(tmp_path, tmp_path / "log", said.append)
    yield watched
    watched.stop()


def watch_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    supervisor.watch(until=lambda: condition() or time.monotonic() > deadline)
    assert condition()


OBEDIENT = """
    import pathlib, signal, sys
    notes = pathlib.Path("notes")
    def end(*_):
        with notes.open("a") as file: file.write("end-{name} ")
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
    with notes.open("a") as file: file.write("start-{name} ")
    signal.pause()
"""


def test_programs_end_in_reverse_order(supervisor: Supervisor, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    for name in ("one", "two", "three"):
        supervisor.start(program(name, OBEDIENT.format(name=name)))
        watch_until(supervisor, lambda name=name: f"start-{name}" in told(notes))  # type: ignore[misc]
    supervisor.stop()
    assert told(notes) == ["start-one", "start-two", "start-three", "end-three", "end-two", "end-one"]


def test_a_program_that_falls_is_started_again_and_said_so(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    script = "open('notes', 'a').write('x '); print('no money'); raise SystemExit(3)"
    supervisor.start(program("faller", script))
    watch_until(supervisor, lambda: len(told(tmp_path / "notes")) >= 2)
    assert "faller ended with 3; again in 0.5 s" in said[0]
    assert "no money" in said[0]


@pytest.mark.parametrize(("falls", "wait_s"), [(1, 0.5), (2, 1.0), (6, 30.0), (60, 30.0)])
def test_each_fall_in_a_row_waits_longer_up_to_an_end(falls: int, wait_s: float) -> None:
    assert back_off_s(falls) == wait_s
    assert list(BACK_OFF_S) == sorted(BACK_OFF_S)


def test_a_program_that_does_not_listen_is_killed_at_its_deadline(
    supervisor: Supervisor, tmp_path: Path, await_end: Callable[[int], None]
) -> None:
    script = """
        import pathlib, signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path("notes").write_text("deaf")
        while True: signal.pause()
    """
    supervisor.start(program("deaf", script, end_s_max=0.2))
    watch_until(supervisor, lambda: told(tmp_path / "notes") == ["deaf"])
    pid = supervisor.pids()["deaf"]
    supervisor.stop()
    await_end(pid)


def test_grandchildren_go_with_their_parent(
    supervisor: Supervisor, tmp_path: Path, await_end: Callable[[int], None]
) -> None:
    script = """
        import pathlib, signal, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        pathlib.Path("notes").write_text(str(child.pid))
        signal.pause()
    """
    supervisor.start(program("parent", script))
    watch_until(supervisor, lambda: len(told(tmp_path / "notes")) == 1)
    supervisor.stop()
    await_end(int(told(tmp_path / "notes")[0]))


SUPERVISOR = textwrap.dedent(
    """
    import os, pathlib, sys
    from app.launcher.processes import Program, Supervisor
    watched = Supervisor(pathlib.Path.cwd(), pathlib.Path("log"), print)
    watched.stop_on_signals()
    watched.start(Program("idle", [sys.executable, "-c", "import signal; signal.pause()"], dict(os.environ)))
    print(watched.pids()["idle"], flush=True)
    watched.watch()
    watched.stop()
    """
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_supervisor_ends_nothing_is_left(
    number: signal.Signals, tmp_path: Path, await_end: Callable[[int], None]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as watched:
        assert watched.stdout is not None
        idle = int(watched.stdout.readline())
        watched.send_signal(number)
    await_end(idle)
    assert watched.returncode == (0 if number != signal.SIGKILL else -signal.SIGKILL)


def test_a_log_that_grew_large_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "log/web.log"
    make_room(log)
    log.write_bytes(b"x" * (LOG_BYTES_MAX + 1))
    make_room(log)
    assert (log.exists(), log.with_name("web.old.log").stat().st_size) == (False, LOG_BYTES_MAX + 1)


def test_a_log_is_for_its_owner_only_also_one_from_before(tmp_path: Path) -> None:
    logs = [tmp_path / "log/new.log", tmp_path / "log/old.log"]
    make_room(logs[1])
    logs[1].touch(mode=0o644)
    for log in logs:
        launch = Launch([sys.executable, "-c", "print('said')"], log, dict(os.environ), tmp_path)
        assert start(launch).wait(DEADLINE_S) == 0
    assert [(log.stat().st_mode & 0o777, log.read_text()) for log in logs] == [(0o600, "said\n")] * 2


def test_a_taken_port_is_named_with_its_holder_and_the_cure() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} .* \(process {os.getpid()}\).*WEB_PORT="):
            check_port_free("127.0.0.1", port, variable="WEB_PORT")
    check_port_free("127.0.0.1", port, variable="WEB_PORT")


def test_the_products_processes_listen_on_loopback_only() -> None:
    env = product_env({"WEB_PORT": "9000"}, {"DATABASE_URL": "x"}, {"SECRET_KEY": "y"}, Path("/srv/var"))
    table = programs(env)
    assert [p.name for p in table] == ["web", *(name for name, _ in COMMANDS)]
    assert "127.0.0.1:9000" in table[0].argv
    assert {host for _, host, _ in listeners(env)} == {"127.0.0.1"}
    assert {name: env[name] for name in env if name.endswith("_HOST")} == {
        "WEB_HOST": "127.0.0.1",
        "HEADEND_HOST": "127.0.0.1",
    }


def test_somebody_elses_sms_provider_is_not_played_by_ours() -> None:
    env = product_env({"SMS_URL": "https://sms.example"}, {}, {}, Path("/srv/var"))
    assert "fake-sms" not in {p.name for p in programs(env)}
    assert "SMS_URL" not in {variable for variable, _, _ in listeners(env)}


def test_a_step_that_fails_is_named() -> None:
    with pytest.raises(LauncherError, match=r"`.*` ended with status 4"):
        run_step([sys.executable, "-c", "raise SystemExit(4)"], os.environ)
