"""`tallyhouse groups`: make a real group and what has no screen yet: regions, properties, meter models, gateways."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import models as _every_table  # noqa: F401 - the mapper needs every table before the first query
from app.billing.ledger.books import open_book
from app.cli.ledger import tenants_of
from app.cli.surroundings import here
from app.kernel.errors import AppError
from app.kernel.quantity import parse_register
from app.kernel.unit_of_work import unit_of_work
from app.meters.drivers import DRIVERS
from app.meters.service import register_gateway, register_model, renew_secret
from app.tenants.models import LegalEntity, Node
from app.tenants.service import add_property, add_region, create_tenant


@click.group()
def groups() -> None:
    """Make a group and what it needs before its first workbook is imported."""


@groups.command("list")
def show() -> None:
    """Print every group with its tree; the numbers are what other commands ask for."""
    for tenant_id, name in tenants_of(here().database):
        click.echo(f"group {tenant_id} {name}")
        with unit_of_work(tenant_id) as session:
            nodes = list(session.scalars(select(Node).order_by(Node.id)))
        for depth, node in _in_order(nodes, None, 1):
            click.echo(f"{'  ' * depth}{node.kind} {node.id} {node.name}")


@groups.command()
@click.argument("name")
@click.option("--company", required=True, help="name of its first legal entity")
@click.option("--tax-number", required=True, help="that company's unified social credit code")
def add(name: str, company: str, tax_number: str) -> None:
    """Make a real group with its headquarters and first legal entity."""
    made = create_tenant(here().database, name=name, legal_entity_name=company, tax_number=tax_number)
    click.echo(f"group {made.tenant_id}, headquarters {made.headquarters_id}")


@groups.command()
@click.argument("group_id", type=int)
@click.argument("parent_id", type=int)
@click.argument("name")
def region(group_id: int, parent_id: int, name: str) -> None:
    """Add a region below headquarters or another region."""
    with in_group(group_id) as session:
        click.echo(f"region {add_region(session, parent_id=parent_id, name=name).id}")


@groups.command("property")
@click.argument("group_id", type=int)
@click.argument("parent_id", type=int)
@click.argument("name")
def site(group_id: int, parent_id: int, name: str) -> None:
    """Add a property with its book, kept by the group's first legal entity."""
    with in_group(group_id) as session:
        entity_id = session.scalars(select(LegalEntity.id).order_by(LegalEntity.id).limit(1)).one()
        place = add_property(session, parent_id=parent_id, name=name, legal_entity_id=entity_id)
        open_book(session, legal_entity_id=entity_id, property_id=place.id)
        click.echo(f"property {place.id}")


@groups.command()
@click.argument("group_id", type=int)
@click.argument("name")
@click.option("--highest", default="1000000", show_default=True, help="kWh at which the register begins again")
@click.option("--rated-watts", type=int, required=True, help="rated power: more is an impossible jump")
@click.option("--dialect", type=click.Choice(sorted(DRIVERS)), default="dlt645-2007", show_default=True)
def model(group_id: int, name: str, highest: str, rated_watts: int, dialect: str) -> None:
    """Add a meter model, as the workbook names it."""
    with in_group(group_id) as session:
        register_model(
            session, name=name, dialect=dialect, modulus_wh=parse_register(highest), rated_power_w=rated_watts
        )
    click.echo(f"model {name}")


@groups.command()
@click.argument("group_id", type=int)
@click.argument("property_id", type=int)
@click.argument("number")
@click.option("--secret", help="what a dial-in gateway adds to its number; it must have one")
@click.option("--dial", help="host:port of a serial server that we dial")
def gateway(group_id: int, property_id: int, number: str, secret: str | None, dial: str | None) -> None:
    """Add a gateway: it dials in with its number, or is dialled."""
    host, _, port = (dial or "").rpartition(":")
    if dial and not (host and port.isdigit()):
        raise click.ClickException("--dial is host:port")
    where = {"mode": "dial_out", "host": host, "port": int(port)} if dial else {"mode": "dial_in"}
    with in_group(group_id) as session:
        register_gateway(session, property_id=property_id, number=number, secret=secret, **where)
    click.echo(f"gateway {number}")


@groups.command("gateway-secret")
@click.argument("group_id", type=int)
@click.argument("number")
def gateway_secret(group_id: int, number: str) -> None:
    """Give a gateway a new secret, printed once: its old one is lost, known to others, or was never there."""
    with in_group(group_id) as session:
        secret = renew_secret(session, number=number)
    click.echo(f"gateway {number} secret {secret}")


@contextmanager
def in_group(group_id: int) -> Iterator[Session]:
    """A unit of work of a group that exists; expected refusals become one line."""
    if group_id not in dict(tenants_of(here().database)):
        raise click.ClickException(f"no group {group_id}: `tallyhouse groups list` prints their numbers")
    try:
        with unit_of_work(group_id) as session:
            yield session
    except AppError as refused:
        raise click.ClickException(refused.message("en")) from refused


def _in_order(nodes: list[Node], parent_id: int | None, depth: int) -> Iterator[tuple[int, Node]]:
    for node in nodes:
        if node.parent_id == parent_id:
            yield depth, node
            yield from _in_order(nodes, node.id, depth + 1)
