"""`tallyhouse demo`: make the demo group, print its sign-ins, tell the story."""

import sys
import time
from pathlib import Path

import click

from app import models as _every_table  # noqa: F401 - the mapper needs every table before the first query
from app.cli.surroundings import here
from app.demo.quiet import NotQuiet
from app.demo.seed import find_demo, seed_demo
from app.demo.signins import SIGN_INS, DemoNotAlone, add_missing_users, api_token, demo_allowed, password_of
from app.demo.story.narrator import StoryBroken
from app.demo.story.telling import tell_story
from app.demo.town import HEFENG
from app.launcher.errors import LauncherError


@click.group()
def demo() -> None:
    """The demo group, its clock and its story."""


@demo.command()
def seed() -> None:
    """Make the demo group with its history, once; write the street's file and start the demo's clock."""
    around, began = here(), time.monotonic()
    try:
        seeded = seed_demo(around.database, around.settings)
    except DemoNotAlone as refusal:
        click.echo(refusal.message("en"))
        return
    if seeded.fresh:
        click.echo(f"demo group made in {time.monotonic() - began:.1f} s")
    else:
        add_missing_users(
            around.database, settings=around.settings, tenant_id=seeded.tenant_id, nodes=seeded.properties
        )


@demo.command()
def signins() -> None:
    """Print the sign-ins of the demo; nothing when a real group lives in the database."""
    around = here()
    if not demo_allowed(around.database):
        return
    click.echo("\n  sign in as")
    for sign_in in SIGN_INS:
        click.echo(f"    {sign_in.login:<18}{password_of(around.settings)}   {sign_in.does}")
    found = find_demo(around.database)
    if found is not None and HEFENG.name in found.properties:
        token = api_token(
            around.database,
            settings=around.settings,
            tenant_id=found.tenant_id,
            property_id=found.properties[HEFENG.name],
        )
        click.echo(f"  API token for readings of {HEFENG.name}\n    {token}")


@demo.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("var/story"), show_default=True)
def story(folder: Path) -> None:
    """Tell the prepaid loop step by step with its evidence, on a private stage; exit 1 at the first thing amiss."""
    try:
        tell_story(folder, lambda line: click.echo(line))
    except LauncherError as refusal:
        raise click.ClickException(str(refusal)) from refusal
    except (StoryBroken, NotQuiet) as broken:
        click.echo(f"\nSTORY BROKEN  {broken}", err=True)
        sys.exit(1)
