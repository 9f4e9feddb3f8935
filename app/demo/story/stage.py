"""The stage: a private database, the product's own processes on free ports, a paused clock."""

import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import redis
from sqlalchemy.orm import Session

from app.demo.quiet import NotQuiet, Watch, wait_until_quiet
from app.demo.seed import Seeded, seed_demo
from app.demo.street import SERIAL_ABOVE_CONTROL, control_of
from app.demo.town import ZONE, Town
from app.jobs import table
from app.jobs.transport import Transport
from app.kernel.clock import business_now, move_clock, use_clock_file
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.launcher.databases import create_database, drop_database, with_database, with_redis_db
from app.launcher.processes import Supervisor
from app.launcher.programs import product_env, programs, tallyhouse, web_url
from app.launcher.secrets import product_secrets
from app.launcher.stack import Stack, ensure_stack
from app.launcher.up import ROOT, run_step
from app.meters.simulator.control import StreetRefused, ask
from app.settings import Settings
from app.tenants.audit_keys import use_audit_keys
from app.tenants.keys import store_of, use_key_store

READY_S_MAX = 40
#: A Redis database is marked as taken for this long, however the story ends.
TAKEN_S = 3_600
DATABASES_USUAL = 16

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything the story stands on."""

    settings: Settings
    db: Database
    demo: Seeded
    town: Town
    watch: Watch
    url: str

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A unit of work of the demo group, to look at things."""
        with unit_of_work(self.demo.tenant_id, db=self.db) as session:
            yield session

    @property
    def now(self) -> datetime:
        """The business clock in the property's time zone."""
        return business_now().astimezone(ZONE)

    @property
    def control(self) -> tuple[str, int]:
        """Host and port of the street."""
        return control_of(self.settings)

    def settle(self) -> None:
        """Wait until all that can happen now has happened. Raises NotQuiet."""
        wait_until_quiet(self.watch)

    def advance(self, to: datetime) -> None:
        """Move the paused clock on and let the product do what is due. Raises NotQuiet."""
        move_clock(to=to, rate=0)
        self.watch.transport.wake()
        self.settle()


@contextmanager
def open_stage(folder: Path, town: Town, *, say: Say) -> Iterator[Stage]:
    """Bring the stage up, seeded and quiet at the town's start; take it down whatever happens."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        stack = undo.enter_context(ensure_stack(folder))
        env = _env(stack, folder, _own_database(stack, undo), _own_redis(stack, undo))
        run_step(tallyhouse("db", "migrate"), env)
        stage = _seed(env, town, undo)
        _start(stage, env, folder, say, undo)
        yield stage


def _own_database(stack: Stack, undo: ExitStack) -> dict[str, str]:
    name = f"tallyhouse_story_{os.getpid()}"
    drop_database(stack.database_owner_url, name)
    owner_url = create_database(stack.database_owner_url, name)
    undo.callback(drop_database, stack.database_owner_url, name)
    return {"DATABASE_URL": with_database(stack.database_url, name), "DATABASE_OWNER_URL": owner_url}


def _own_redis(stack: Stack, undo: ExitStack) -> dict[str, str]:
    """A numbered database of the server that nobody else uses, counted from the last."""
    for number in range(_count_databases(stack.redis_url) - 1, 0, -1):
        url = with_redis_db(stack.redis_url, number)
        mine = redis.Redis.from_url(url)
        if mine.set("tallyhouse:taken", os.getpid(), nx=True, ex=TAKEN_S):
            undo.callback(mine.close)
            undo.callback(mine.flushdb)
            return {"REDIS_URL": url}
        mine.close()
    raise NotQuiet("every numbered database of this Redis is taken")


def _count_databases(redis_url: str) -> int:
    with redis.Redis.from_url(redis_url) as server:
        try:
            return int(server.config_get("databases")["databases"] or DATABASES_USUAL)
        except redis.ResponseError:  # a hosted Redis may not tell
            return DATABASES_USUAL


def _env(stack: Stack, folder: Path, database: Mapping[str, str], queue: Mapping[str, str]) -> dict[str, str]:
    web, headend, sms, control = _free_ports()
    own = {
        "CLOCK_FILE": str(folder / "clock.json"),
        "EPOCH_FILE": str(folder / "epoch.json"),
        "VAR_DIR": str(folder),
        "WEB_PORT": str(web),
        "HEADEND_PORT": str(headend),
        "SMS_URL": f"http://127.0.0.1:{sms}",
        "STREET_CONTROL": f"127.0.0.1:{control}",
        "HEADEND_POLL_S": "3600",
    }
    secrets = product_secrets(folder)
    return product_env(os.environ, stack.env(), secrets, folder) | own | dict(database) | dict(queue)


def _free_ports() -> list[int]:
    """Four free ports, the last with its serial neighbour free as well."""
    with ExitStack() as held:
        found = [_hold(held, 0) for _ in range(3)]
        while True:
            control = _hold(held, 0)
            try:
                _hold(held, control + SERIAL_ABOVE_CONTROL)
            except OSError:
                continue
            return [*found, control]


def _hold(held: ExitStack, port: int) -> int:
    probe = held.enter_context(socket.socket())
    probe.bind(("127.0.0.1", port))
    found: int = probe.getsockname()[1]
    return found


def _seed(env: Mapping[str, str], town: Town, undo: ExitStack) -> Stage:
    settings = Settings.from_env(env)
    use_clock_file(settings.clock_file)
    undo.callback(use_clock_file, None)
    use_key_store(store_of(settings))
    use_audit_keys(settings.audit_key, settings.audit_keys_old)
    table.install()
    db = Database(settings.database_url)
    undo.callback(db.engine.dispose)
    demo = seed_demo(db, settings, town=town)
    move_clock(to=town.start, rate=0)
    watch = Watch(db, demo.tenant_id, Transport(settings.redis_url), int(settings.headend_poll_s))
    return Stage(settings, db, demo, town, watch, web_url(env))


def _start(stage: Stage, env: Mapping[str, str], folder: Path, say: Say, undo: ExitStack) -> None:
    supervisor = Supervisor(ROOT, folder / "log", say)
    undo.callback(supervisor.stop)
    # The street first: a head-end that finds nobody at the serial server's port waits before it dials again.
    for program in sorted(programs(env), key=lambda program: program.name != "street"):
        (folder / "log" / f"{program.name}.log").unlink(missing_ok=True)
        supervisor.start(program)
    _await(lambda: _healthy(stage.url), f"{stage.url} does not answer; see {folder}/log/web.log")
    _await(lambda: _all_connected(stage), f"a gateway does not reach the head-end; see {folder}/log/headend.log")
    wait_until_quiet(stage.watch, patience_s=READY_S_MAX)


def _await(there: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while not there():
        if time.monotonic() > deadline:
            raise NotQuiet(otherwise)
        time.sleep(0.05)


def _all_connected(stage: Stage) -> bool:
    with suppress(StreetRefused):
        view = ask(*stage.control, {"query": "street"})
        return bool(view["connected"] == sum(not box.absent for site in stage.town.sites for box in site.boxes))
    return False


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
