"""Where a command runs: on the servers that the environment names, otherwise in the stack of a running `make run`."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

from app.jobs import table
from app.jobs.transport import Transport
from app.kernel.clock import use_clock_file
from app.kernel.db import Database, open_database
from app.kernel.logs import install_logs
from app.kernel.outbox import send_hints_to
from app.launcher.errors import StackNotRunning
from app.launcher.secrets import product_secrets
from app.launcher.stack import attach
from app.meters import wake
from app.settings import SettingMissing, Settings
from app.tenants.audit_keys import use_audit_keys
from app.tenants.keys import store_of, use_key_store


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The opened database, the way to the queues, and the settings they came from."""

    settings: Settings
    database: Database
    transport: Transport


def read_settings() -> Settings:
    """Settings from the environment, completed from a running `make run`; one line and the end when neither is there."""
    env = dict(os.environ)
    if "DATABASE_URL" not in env:
        folder = Path(env.get("VAR_DIR", "var"))
        try:
            env = attach(folder).env() | product_secrets(folder) | env
        except StackNotRunning as absent:
            raise click.ClickException(str(absent)) from absent
        clock_file = folder / "clock.json"
        env.setdefault("CLOCK_FILE", str(clock_file.resolve()) if clock_file.exists() else "")
    try:
        settings = Settings.from_env(env)
    except SettingMissing as missing:
        raise click.ClickException(str(missing)) from missing
    install_logs(settings.log_level)
    use_audit_keys(settings.audit_key, settings.audit_keys_old)
    return settings


@cache
def here() -> Surroundings:
    """Open what the command needs, once."""
    settings = read_settings()
    use_clock_file(settings.clock_file)
    use_key_store(store_of(settings))
    database = open_database(settings.database_url, pooler=settings.database_pooler)
    table.install()
    transport = Transport(settings.redis_url)
    send_hints_to(transport.hint)
    wake.use_redis(settings.redis_url)
    return Surroundings(settings, database, transport)
