"""`tallyhouse access`: people who sign in and machines that send readings, for whoever runs the product."""

import secrets
from datetime import timedelta

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.cli.groups import in_group
from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.permissions.models import ApiToken, User
from app.permissions.names import plain_login
from app.permissions.policy import Permission, Role
from app.permissions.service import create_user, disable_user, grant_role, set_password, withdraw_role
from app.permissions.tokens import issue_token, revoke_token
from app.tenants.access import or_not_found
from app.tenants.models import Node
from app.tenants.service import ReasonMissing

OPERATOR = Actor.system("operator-cli")
_group = click.argument("group_id", type=int)
_role = click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
_place = click.option("--at", "node_id", type=int, required=True, help="number of headquarters, a region or a property")


@click.group()
def access() -> None:
    """Let people sign in and machines send readings, or no longer."""


@access.command()
@_group
@click.argument("login")
@click.argument("name")
@_role
@_place
@click.password_option(help="asked for when left out, and better so")
def add(group_id: int, login: str, name: str, role: str, node_id: int, password: str) -> None:
    """Add a person who may sign in, with a role at a place in the tree."""
    with in_group(group_id) as session:
        person = create_user(session, login=login, name=name, password=password, by=OPERATOR)
        grant_role(session, user=person, role=role, node_id=node_id, by=OPERATOR)
    click.echo(f"user {login}")


@access.command()
@_group
@click.argument("login")
@_role
@_place
@click.option("--withdraw", is_flag=True, help="take the role back instead")
def role(group_id: int, login: str, role: str, node_id: int, withdraw: bool) -> None:
    """Give a person a further role at a place, or take one back."""
    deed = withdraw_role if withdraw else grant_role
    with in_group(group_id) as session:
        deed(session, user=_person(session, login), role=role, node_id=node_id, by=OPERATOR)
    click.echo(f"user {login}")


@access.command()
@_group
@click.argument("login")
@click.password_option(help="asked for when left out, and better so")
def password(group_id: int, login: str, password: str) -> None:
    """Give a person a new password; their sessions end."""
    with in_group(group_id) as session:
        set_password(session, user=_person(session, login), password=password, by=OPERATOR)
    click.echo(f"user {login}")


@access.command()
@_group
@click.argument("login")
def disable(group_id: int, login: str) -> None:
    """Let a person sign in no longer; open sessions end at once."""
    with in_group(group_id) as session:
        disable_user(session, user=_person(session, login), by=OPERATOR)
    click.echo(f"user {login} disabled")


@access.command()
@_group
@click.argument("login")
@click.option("--hours", type=click.IntRange(1, 24), required=True, help="how long; then it ends by itself")
@click.option("--reason", required=True, help="kept in the group's own audit log")
def enter(group_id: int, login: str, hours: int, reason: str) -> None:
    """Enter a group as its platform operator, for some hours and a reason that the group can read."""
    said, ends_at = reason.strip(), wall_now() + timedelta(hours=hours)
    if not said:
        raise ReasonMissing()
    with in_group(group_id) as session:
        person, password = _person_or_new(session, login)
        root = session.scalars(select(Node.id).where(Node.parent_id.is_(None))).one()
        grant_role(
            session, user=person, role=Role.PLATFORM_OPERATOR, node_id=root, by=OPERATOR, ends_at=ends_at, reason=said
        )
    click.echo(f"user {plain_login(login)} until {ends_at:%Y-%m-%d %H:%M} UTC" + (f"  {password}" if password else ""))


@access.command()
@_group
@click.argument("node_id", type=int)
@click.argument("name")
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 731), help="how long it is good")
@click.option("--from", "addresses", multiple=True, help="address or CIDR range it may come from; may be repeated")
def token(group_id: int, node_id: int, name: str, days: int, addresses: tuple[str, ...]) -> None:
    """Issue an API token for the readings of a node: a property, or all below. Printed once, kept nowhere."""
    with in_group(group_id) as session:
        raw = issue_token(
            session,
            node_id=node_id,
            name=name,
            permissions=[Permission.READING_IMPORT_LOAD],
            expires_at=wall_now() + timedelta(days=days),
            addresses=addresses,
            by=OPERATOR,
        )
    click.echo(raw)


@access.command()
@_group
def tokens(group_id: int) -> None:
    """Print the API tokens that are good: number, node, name, until when, last use."""
    with in_group(group_id) as session:
        good = select(ApiToken).where(ApiToken.revoked_at.is_(None), ApiToken.expires_at > wall_now())
        for found in session.scalars(good.order_by(ApiToken.id)):
            used = f"{found.last_used_at:%Y-%m-%d}" if found.last_used_at else "never"
            until = f"until {found.expires_at:%Y-%m-%d}, used {used}"
            click.echo(f"token {found.id}  node {found.node_id}  {found.name}  {until}")


@access.command()
@_group
@click.argument("token_id", type=int)
def revoke(group_id: int, token_id: int) -> None:
    """End an API token at once."""
    with in_group(group_id) as session:
        anywhere = session.scalars(select(Node.id)).all()
        revoke_token(session, token_id=token_id, allowed=anywhere, by=OPERATOR)
    click.echo(f"token {token_id} revoked")


def _person_or_new(session: Session, login: str) -> tuple[User, str]:
    """The user of a sign-in name in this group, made when nobody there has it, with the password shown once."""
    known = session.scalar(select(User).where(User.login == plain_login(login)))
    if known is not None:
        return known, ""
    password = secrets.token_urlsafe(18)
    return create_user(session, login=login, name="平台运维", password=password, by=OPERATOR), password


def _person(session: Session, login: str) -> User:
    """The user of a sign-in name. Raises NotFound."""
    return or_not_found(session.scalar(select(User).where(User.login == plain_login(login))))
