"""`tallyhouse audit`: whether the records of what was done still say what they said, here and where they are anchored."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from app.cli.groups import in_group
from app.cli.ledger import CHAINS, tenants_of, verdict
from app.cli.surroundings import here, read_settings
from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.security_policies import security_policy
from app.tenants.anchor_files import AnchorFiles
from app.tenants.anchors import (
    Anchor,
    Fault,
    anchor_heads,
    check_anchors,
    note_restore,
    read_anchors,
    restored_over,
    use_anchor_sink,
)
from app.tenants.archives import read_archive
from app.tenants.audit import record
from app.tenants.retire import retire as retire_blocks
from app.tenants.seals import verify_chain

OPERATOR = Actor.system("operator-cli")
_group = click.argument("group_id", type=int)


@click.group()
def audit() -> None:
    """Look after the log of what was done: verify it, anchor it, send its oldest part to an archive."""


@audit.command()
@click.argument("group_id", type=int, required=False)
def verify(group_id: int | None) -> None:
    """Check every record, block and anchor, of one group or of all; exit 1 and name what is wrong first."""
    tenants = [row for row in tenants_of(here().database) if group_id in (None, row[0])]
    anchors, faults = read_anchors(files().lines())
    for fault in faults:
        click.echo(f"anchors: {_words(fault)}")
    bad = len(faults) + sum(_verify_group(tenant_id, name, anchors) for tenant_id, name in tenants)
    if group_id is not None and not tenants:
        raise click.ClickException(f"there is no group {group_id}: `tallyhouse groups list` names them")
    sys.exit(1 if bad else 0)


def _verify_group(tenant_id: int, name: str, anchors: Sequence[Anchor]) -> int:
    """Print what was found of one group; returns how much of it is wrong."""
    bad, who = 0, f"group {tenant_id} {name}"
    with unit_of_work(tenant_id) as session:
        for chain in CHAINS:
            report = verify_chain(session, chain)
            own = [a for a in anchors if (a.head.tenant, a.head.chain) == (tenant_id, chain.name)]
            faults = check_anchors(session, chain.name, own)
            bad += len(faults) + (not report.intact)
            click.echo(
                f"{who}: {chain.name}: {report.sealed} records in {report.blocks} blocks, {report.archived} in archives,"
                f" {report.unsealed} not yet sealed, {len(own)} anchors, {verdict(report)}"
            )
            for fault in faults:
                click.echo(f"{who}: {chain.name}: {_words(fault)}")
            for lost in restored_over(own):
                click.echo(f"{who}: {chain.name}: block {lost.head.block_no} was lost by a restore ({lost.place})")
    return bad


@audit.command()
def anchors() -> None:
    """Write the heads of all chains to the anchors now, and print the newest of each."""
    use_anchor_sink(files())
    for tenant_id, _ in tenants_of(here().database):
        anchor_heads(tenant_id)
    found, faults = read_anchors(files().lines())
    newest = {(anchor.head.tenant, anchor.head.chain): anchor for anchor in found}
    for (tenant_id, chain), anchor in sorted(newest.items()):
        head = anchor.head
        click.echo(
            f"group {tenant_id}: {chain}: block {head.block_no}, {head.records} records, {anchor.at:%Y-%m-%d %H:%M:%S}Z,"
            f" {anchor.place}"
        )
    for fault in faults:
        click.echo(f"anchors: {_words(fault)}")
    sys.exit(1 if faults else 0)


@audit.command()
@_group
@click.option("--reason", required=True, help="which restore, for whoever verifies the anchors later")
def restored(group_id: int, reason: str) -> None:
    """After a restore: say that what the anchors know beyond the present heads was lost by it."""
    use_anchor_sink(files())
    with in_group(group_id) as session:
        heads = note_restore(session, reason=reason)
        facts = {head.chain: head.block_no for head in heads}
        record(
            session, deed="audit:anchor:restore", subject="seal_blocks:*", actor=OPERATOR, reason=reason, facts=facts
        )
    for head in heads:
        click.echo(f"group {group_id}: {head.chain}: goes on after block {head.block_no}")


@audit.command()
@_group
@click.option("--before", type=click.DateTime(["%Y-%m-%d"]), required=True, help="blocks sealed before this day (UTC)")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="folder of the archive; else below VAR_DIR")
def retire(group_id: int, before: datetime, folder: Path | None) -> None:
    """As the owner: send the oldest blocks to a verified archive and delete their records here."""
    settings = here().settings
    if not settings.database_owner_url:
        raise click.ClickException("DATABASE_OWNER_URL is not set: only the owner of the tables deletes records")
    owner = Database(settings.database_owner_url)
    try:
        with unit_of_work(group_id, db=owner) as session:
            path, manifest = retire_blocks(
                session,
                before=before.replace(tzinfo=UTC),
                keep_days=security_policy(session).audit_keep_days,
                folder=folder or settings.var_path / "archive",
                by=OPERATOR,
            )
    except FileExistsError as there:
        raise click.ClickException(f"{there.filename} is there already: move it away, it is not overwritten") from there
    finally:
        owner.engine.dispose()
    click.echo(f"{path}: {manifest.records} records of blocks {manifest.first_block} to {manifest.last_block}")


@audit.command("check-archive")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check_archive(path: Path) -> None:
    """Verify an archive from its manifest down to every record, with the audit keys and without the database."""
    read_settings()
    manifest = read_archive(path)
    click.echo(
        f"{path}: group {manifest.tenant_id}, {manifest.records} records of blocks {manifest.first_block} to"
        f" {manifest.last_block}, intact"
    )


def files() -> AnchorFiles:
    """The anchors of this installation."""
    return AnchorFiles(here().settings.anchor_path)


def _words(fault: Fault) -> str:
    what = {
        "line_altered": "a line was ALTERED",
        "line_missing": "lines are MISSING before this one",
        "block_missing": "blocks are MISSING",
        "block_altered": "a block was ALTERED",
        "not_anchored": "NOT ANCHORED in time",
    }[fault.what]
    return f"{what}: {fault.place or f'{wall_now():%Y-%m-%d %H:%M}Z'}: {fault.details}"
