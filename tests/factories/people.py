"""People with roles, made without passwords: for everything that asks who may, and never who signs in."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import Grant, User
from app.permissions.policy import Role
from tests.factories.world import World, unique


def person(db: Database, world: World, role: Role, *, at: int | None = None, name: str = "陈静怡") -> Actor:
    """Somebody with one role, at the property unless said otherwise."""
    with unit_of_work(world.tenant_id, db=db) as session:
        user = User(login=unique("p"), name=name, password_hash="no sign-in")
        session.add(user)
        session.flush()
        session.add(Grant(user_id=user.id, role=role.value, node_id=at or world.property_id))
        return Actor.user(user.id, name=name)


def disable(session: Session, who: Actor) -> None:
    """They may no longer sign in, and hold nothing any more."""
    session.execute(update(User).where(User.id == int(who.ref)).values(disabled_at=wall_now()))
