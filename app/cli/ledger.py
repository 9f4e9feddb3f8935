"""`tallyhouse ledger verify`: the invariants of money and the seals, for every tenant."""

import sys

import click
from sqlalchemy import select

from app.billing.ledger.invariants import violations
from app.billing.ledger.seals import LEDGER
from app.cli.surroundings import here
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.tenants.models import Tenant
from app.tenants.seals import AUDIT, SealReport, seal_chain, verify_chain

CHAINS = (LEDGER, AUDIT)


@click.group()
def ledger() -> None:
    """Look after the ledger."""


def tenants_of(db: Database) -> list[tuple[int, str]]:
    """(id, name) of every tenant."""
    with db.without_tenant() as connection:
        rows = connection.execute(select(Tenant.id, Tenant.name).order_by(Tenant.id))
        return [(row.id, row.name) for row in rows]


@ledger.command()
def verify() -> None:
    """Check every invariant and every seal of the ledger and of the audit log; exit 1 and name what is wrong."""
    bad = 0
    for tenant_id, name in tenants_of(here().database):
        bad += _verify_tenant(tenant_id, f"tenant {tenant_id} {name}")
    sys.exit(1 if bad else 0)


def _verify_tenant(tenant_id: int, who: str) -> int:
    """Print what was found of one tenant; returns how much of it is wrong."""
    with unit_of_work(tenant_id) as session:
        broken = violations(session)
        reports = [verify_chain(session, chain) for chain in CHAINS]
    for violation in broken:
        click.echo(f"{who}: {violation.name}: {violation.detail}")
    for report in reports:
        click.echo(
            f"{who}: {report.chain}: {report.sealed} records sealed in {report.blocks} blocks, {report.unsealed} not yet"
            f" sealed, {verdict(report)}"
        )
    click.echo(f"{who}: {len(broken)} violations")
    return len(broken) + sum(not report.intact for report in reports)


def verdict(report: SealReport) -> str:
    """In one word, or where it begins to be wrong."""
    if report.intact:
        return "intact"
    return f"BROKEN at record {report.first_bad_record_id}, block {report.first_bad_block_no}"


@ledger.command()
def seal() -> None:
    """Seal what is committed and not yet sealed, in the ledger and in the audit log."""
    for tenant_id, name in tenants_of(here().database):
        with unit_of_work(tenant_id) as session:
            for chain in CHAINS:
                click.echo(f"tenant {tenant_id} {name}: {chain.name}: sealed {seal_chain(session, chain)} records")
