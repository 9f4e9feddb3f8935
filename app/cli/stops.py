"""`tallyhouse stops`: the kill switch and the freeze, for whoever is called at night and has no browser."""

from collections.abc import Callable

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.cutoff import halt as halt_property
from app.billing.freeze import lift_freeze, open_freeze
from app.cli.ledger import tenants_of
from app.cli.surroundings import here
from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.tenants.models import Node, Property
from app.tenants.service import resume_stops

OPERATOR = Actor.system("operator-cli")
_property = click.option(
    "--property", "property_id", type=int, help="one property by its number; all of the group without"
)


@click.group()
def stops() -> None:
    """Hold back stops of supply, or let them go on. Giving supply back is never held."""


@stops.command("list")
def show() -> None:
    """Print every group and property with its number, its kill switch, and a freeze in force."""
    for tenant_id, name in tenants_of(here().database):
        with unit_of_work(tenant_id) as session:
            frozen = open_freeze(session)
            click.echo(
                f"group {tenant_id} {name}" + (f"  FROZEN since {frozen.frozen_at:%Y-%m-%d %H:%M}Z" if frozen else "")
            )
            for site, site_name in _sites(session, None):
                switch = f"HALTED: {site.stops_halted_reason}" if site.stops_halted else "stops allowed"
                click.echo(f"  property {site.id} {site_name}  {switch}")


@stops.command()
@click.argument("group_id", type=int)
@_property
@click.option("--reason", required=True, help="why, for the audit log and the console")
def halt(group_id: int, property_id: int | None, reason: str) -> None:
    """Throw the kill switch: permits are taken back, no trip leaves any more."""
    _each(group_id, property_id, lambda s, p: halt_property(s, property_id=p, reason=reason, by=OPERATOR), "halted")


@stops.command()
@click.argument("group_id", type=int)
@_property
def resume(group_id: int, property_id: int | None) -> None:
    """Release the kill switch: the gate decides again."""
    _each(group_id, property_id, lambda s, p: resume_stops(s, property_id=p, by=OPERATOR), "resumed")


@stops.command()
@click.argument("group_id", type=int)
def unfreeze(group_id: int) -> None:
    """Lift the freeze of automatic stops, after the prices and the imports were looked at."""
    here()
    with unit_of_work(group_id) as session:
        if open_freeze(session) is None:
            raise click.ClickException(f"group {group_id} has no freeze in force")
        lift_freeze(session, by=OPERATOR)
    click.echo(f"group {group_id} unfrozen")


def _each(group_id: int, property_id: int | None, deed: Callable[[Session, int], None], done: str) -> None:
    """Do a deed to one property or all of a group, in one unit of work."""
    here()
    try:
        with unit_of_work(group_id) as session:
            sites = _sites(session, property_id)
            for site, _ in sites:
                deed(session, site.id)
    except AppError as refused:
        raise click.ClickException(refused.message("en")) from refused
    if not sites:
        raise click.ClickException("no such group or property: `tallyhouse stops list` prints their numbers")
    for site, name in sites:
        click.echo(f"property {site.id} {name} {done}")


def _sites(session: Session, property_id: int | None) -> list[tuple[Property, str]]:
    query = select(Property, Node.name).join(Node, (Node.tenant_id == Property.tenant_id) & (Node.id == Property.id))
    if property_id is not None:
        query = query.where(Property.id == property_id)
    return [(site, name) for site, name in session.execute(query.order_by(Property.id))]
