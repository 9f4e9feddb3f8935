"""`tallyhouse keys`: change a group's data key while everybody works, and the key that wraps all of them."""

import sys
from datetime import UTC

import click

from app.cli.groups import in_group
from app.cli.ledger import tenants_of
from app.cli.surroundings import here
from app.kernel.actor import Actor
from app.kernel.crypto import CipherBroken
from app.kernel.unit_of_work import unit_of_work
from app.tenants.keys import key_store, wrapped_keys
from app.tenants.models import TenantKey
from app.tenants.rotation import begin_rotation, continue_rotation, key_uses, rewrap_keys

OPERATOR = Actor.system("operator-cli")


@click.group()
def keys() -> None:
    """Look after the keys of personal data and meter passwords."""


@keys.command()
@click.argument("group_id", type=int, required=False)
def status(group_id: int | None) -> None:
    """Print each group's data keys, who wrapped them, and how many fields are under each."""
    for tenant_id, name in tenants_of(here().database):
        if group_id in (None, tenant_id):
            _print(tenant_id, name)


def _print(tenant_id: int, name: str) -> None:
    with unit_of_work(tenant_id) as session:
        rows = {key.version: key for key in session.query(TenantKey)}
        uses = key_uses(session)
        for key in wrapped_keys(session):
            fields = sum(use.fields for use in uses if use.version == key.version)
            by = key_store().wrapped_by(key.wrapped)
            today = "" if key_store().is_current(key.wrapped) else " (not today's)"
            click.echo(
                f"group {tenant_id} {name}: version {key.version}{_state(rows.get(key.version))}, {fields} fields,"
                f" wrapped by {by}{today}{', digests' if key.blinds else ''}"
            )
        newest = max(key.version for key in wrapped_keys(session))
        for use in uses:
            if use.version != newest:
                click.echo(f"  {use.column.table}.{use.column.column}: {use.fields} fields under version {use.version}")


def _state(row: TenantKey | None) -> str:
    if row is None:
        return ""
    if row.rotated_at is None:
        return f" since {row.created_at.astimezone(UTC):%Y-%m-%d %H:%M}Z, under way"
    return f", done {row.rotated_at.astimezone(UTC):%Y-%m-%d %H:%M}Z"


@keys.command()
@click.argument("group_id", type=int)
@click.option("--reason", required=True, help="why the key is changed, for the audit log")
@click.option("--digests", is_flag=True, help="make the blind indexes anew under the new key as well")
def rotate(group_id: int, reason: str, digests: bool) -> None:
    """Make a new data key for a group and write every field anew; an interrupted change goes on instead."""
    with in_group(group_id) as session:
        done = all(key.rotated_at is not None for key in session.query(TenantKey))
        if done:
            version = begin_rotation(session, by=OPERATOR, blinds=digests, reason=reason)
            click.echo(f"group {group_id}: new ciphertexts are under version {version}")
    told = continue_rotation(group_id, by=OPERATOR)
    if told is None:
        return
    click.echo(f"group {group_id}: {told.written} fields written anew, {told.broken} do not open")
    if not told.finished and not told.broken:
        click.echo("the last look follows by itself within minutes: `tallyhouse keys status` says when it is done")


@keys.command()
def rewrap() -> None:
    """Wrap the data keys of all groups under today's key-encryption key; exit 1 when one does not open."""
    total, closed = 0, 0
    for tenant_id, name in tenants_of(here().database):
        try:
            with unit_of_work(tenant_id) as session:
                total += rewrap_keys(session, by=OPERATOR)
        except CipherBroken:
            closed += 1
            click.echo(f"group {tenant_id} {name}: its data key opens with none of the keys given")
    click.echo(f"{total} data keys wrapped anew under {key_store().key_id}")
    sys.exit(1 if closed else 0)
