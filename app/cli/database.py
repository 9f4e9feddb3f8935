"""`tallyhouse db`: migrate, make partitions, print the distribution script."""

import os
import subprocess
import sys

import click
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from app.cli.surroundings import read_settings
from app.kernel.clock import business_now, use_clock_file
from app.kernel.partitions import MONTHS_AHEAD, MONTHS_BEHIND, ensure_partitions, shift_month
from app.models import Base
from app.tenants.citus import citus_sql as distribution_sql


@click.group()
def db() -> None:
    """Look after the database's schema (as the owner)."""


@db.command()
def migrate() -> None:
    """Bring the schema to the newest revision and make partitions ahead of the business clock."""
    settings = read_settings()
    env = os.environ | {"DATABASE_URL": settings.database_url, "DATABASE_OWNER_URL": settings.database_owner_url}
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], check=True, env=env)
    _partitions(MONTHS_AHEAD, MONTHS_BEHIND)


@db.command()
@click.option("--ahead", default=MONTHS_AHEAD, show_default=True, help="months ahead of the business clock")
@click.option(
    "--behind", default=MONTHS_BEHIND, show_default=True, help="months behind it, for imports of old readings"
)
def partitions(ahead: int, behind: int) -> None:
    """Make the missing monthly partitions."""
    _partitions(ahead, behind)


def _partitions(ahead: int, behind: int) -> None:
    settings = read_settings()
    use_clock_file(settings.clock_file)
    today = business_now().date()
    engine = create_engine(make_url(settings.database_owner_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as owner:
        made = ensure_partitions(owner, first=shift_month(today, -behind), last=shift_month(today, ahead))
    engine.dispose()
    click.echo(f"{len(made)} partitions made")


@db.command("citus-sql")
def citus_sql() -> None:
    """Print the script that distributes the schema over a Citus cluster."""
    click.echo(distribution_sql(Base.metadata))
