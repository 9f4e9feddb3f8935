"""The processes of the product, one command each; a container image runs any of them."""

import os
import sys
from pathlib import Path

import click

from app.cli.surroundings import here, read_settings
from app.jobs import table
from app.jobs.relay import Relay
from app.jobs.transport import Transport
from app.kernel.clock import business_now, use_clock_file
from app.kernel.db import open_database
from app.kernel.outbox import send_hints_to
from app.launcher.up import run_product
from app.meters import wake
from app.meters.headend.main import run_headend
from app.meters.simulator.street import serve_street
from app.notify.fake_sms import serve

#: Looks at a movable clock this often, so that a moved demo does at once what has become due.
DEMO_TICK_S = 0.05


@click.command()
def up() -> None:
    """Bring everything up with the demo group, print the address, stop cleanly on Ctrl-C."""
    sys.exit(run_product())


@click.command()
def web() -> None:
    """Serve the console and the API with gunicorn."""
    settings = read_settings()
    os.execvp(
        "gunicorn",
        ["gunicorn", "--no-control-socket", "-k", "gthread", "-w", settings.web_workers, "--threads",
         settings.web_threads, "-b", f"{settings.web_host}:{settings.web_port}", "wsgi:app"],
    )  # fmt: skip


@click.command()
def scheduler() -> None:
    """Pass hints to the workers, sweep the outbox, start what the clock says."""
    around = here()
    tick_s = DEMO_TICK_S if around.settings.clock_file else 1.0
    Relay(around.database, around.transport, tick_s=tick_s).run()


@click.command()
def headend() -> None:
    """Talk to the gateways: registration, polling, commands."""
    settings = read_settings()
    db = open_database(settings.database_url, pooler=settings.database_pooler)
    table.install()
    send_hints_to(Transport(settings.redis_url).hint)
    wake.use_redis(settings.redis_url)
    run_headend(settings, db)


@click.command()
@click.argument("spec", required=False)
def street(spec: str | None) -> None:
    """Simulate the gateways and meters of a street that a spec file describes (demo only)."""
    settings = read_settings()
    use_clock_file(settings.clock_file)
    serve_street(Path(spec) if spec else settings.var_path / "street.json", now=business_now)


@click.command("fake-sms")
@click.option("--port", type=int, required=True)
@click.option("--report-url", required=True, help="where delivery reports are posted")
def fake_sms(port: int, report_url: str) -> None:
    """An SMS provider for demo and tests: real wire format, real signatures, delivery reports."""
    settings = read_settings()
    serve("127.0.0.1", port, settings.sms_secret, report_url)
