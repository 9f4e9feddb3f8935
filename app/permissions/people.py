"""People as their administrators meet them: found within scope, renamed, reached by phone, let in again."""

from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.permissions.models import User
from app.permissions.reach import refuse_oneself, refuse_out_of_reach
from app.permissions.service import end_sessions, note_person, plain_name
from app.tenants.keys import data_key, place
from app.tenants.phones import normalise_phone


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
    where = place(table="users", column="phone", row=user.public_id)
    user.phone_cipher = data_key(session).encrypt(normalise_phone(phone), place=where) if phone.strip() else None
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
