"""`tallyhouse worker QUEUE`: a worker process."""

import click

from app.cli.surroundings import read_settings
from app.jobs.table import QUEUES
from app.jobs.worker import run_worker


@click.command()
@click.argument("queue", type=click.Choice(sorted(set(QUEUES.values()))))
def worker(queue: str) -> None:
    """Work on one queue until stopped. Money and commands have workers of their own."""
    run_worker(read_settings(), queue)
