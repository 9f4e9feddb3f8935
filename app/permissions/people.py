"""People as their administrators meet them: found within scope, renamed, reached by phone, let in again."""

import secrets
import uuid
from collections.abc import Collection

from sqlalchemy import ColumnElement, exists, select, true
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.permissions.models import Grant, User
from app.permissions.password_links import make_link
from app.permissions.reach import refuse_oneself, refuse_out_of_reach
from app.permissions.service import create_user, end_sessions, note_person, plain_name
from app.tenants.access import or_not_found, within
from app.tenants.keys import data_key, place
from app.tenants.phones import normalise_phone


def in_view(allowed: Collection[int], roots: Collection[int]) -> ColumnElement[bool]:
    """Whom somebody may see who reads people at these nodes: who has a grant there, or anybody at headquarters."""
    if set(roots) <= set(allowed):
        return true()
    return exists().where(Grant.tenant_id == User.tenant_id, Grant.user_id == User.id, within(Grant.node_id, allowed))


def access_person(session: Session, *, public_id: uuid.UUID, allowed: Collection[int], roots: Collection[int]) -> User:
    """A person within view. Raises NotFound."""
    return or_not_found(session.scalar(select(User).where(User.public_id == public_id, in_view(allowed, roots))))


def add_person(session: Session, *, login: str, name: str, phone: str, by: Actor) -> User:
    """A person who chooses a password behind a link: until then nobody knows one. Raises as `create_user`, PhoneUnreadable."""
    user = create_user(session, login=login, name=name, password=secrets.token_urlsafe(32), by=by)
    if phone.strip():
        _keep_phone(session, user, phone)
    return user


def hand_out_link(session: Session, *, user: User, by: Actor) -> str:
    """The token of a link behind which the person chooses a password; shown once. Raises OwnRights, RightsBeyondYours."""
    refuse_oneself(user, by)
    refuse_out_of_reach(session, user=user, by=by)
    return make_link(session, user=user, by=by)


def rename_user(session: Session, *, user: User, name: str, by: Actor) -> None:
    """Correct a person's name. Raises NameMissing, and as `refuse_out_of_reach`."""
    plain = plain_name(name)
    refuse_out_of_reach(session, user=user, by=by)
    if plain != user.name:
        user.name = plain
        # Names are personal data: the log says that it changed, the row says to what.
        note_person(session, deed="user:account:rename", user=user, by=by)


def set_phone(session: Session, *, user: User, phone: str, by: Actor) -> None:
    """Keep the phone that password links are sent to, as ciphertext; '' forgets it.

    Raises PhoneUnreadable, and as `refuse_out_of_reach`.
    """
    refuse_out_of_reach(session, user=user, by=by)
    user.phone_cipher = None
    if phone.strip():
        _keep_phone(session, user, phone)
    note_person(session, deed="user:phone:change", user=user, by=by, known=user.phone_cipher is not None)


def enable_user(session: Session, *, user: User, by: Actor) -> None:
    """The person may sign in again, with the grants that are still there. Raises OwnRights, as
    `refuse_out_of_reach`.
    """
    refuse_oneself(user, by)
    refuse_out_of_reach(session, user=user, by=by)
    user.disabled_at = None
    end_sessions(session, user_ids=[user.id])
    note_person(session, deed="user:account:enable", user=user, by=by)


def _keep_phone(session: Session, user: User, phone: str) -> None:
    where = place(table="users", column="phone_cipher", row=user.public_id)
    user.phone_cipher = data_key(session).encrypt(normalise_phone(phone), place=where)
