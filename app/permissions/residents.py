"""Residents (住户): who stands behind a phone number at one property, and the sessions of their own page.

A resident is no operator and holds no permission. What they see follows, with each request, from the roles that parties
with their number have on spaces today: a move-out, a changed number or an erased party ends it at once, and what lies
before their role began stays with whoever lived there then.
"""

import secrets
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import business_now, local_day, wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database, current_tenant_id
from app.kernel.errors import NotFound
from app.permissions.resident_models import ResidentPage, ResidentSession
from app.tenants import audit, directory
from app.tenants.access import within
from app.tenants.models import Node, Party, PartyRole, Property

SESSION_LASTS = timedelta(days=30)
SESSION_IDLE_MAX = timedelta(days=7)
SEEN_EVERY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ResidentPlace:
    """A property whose page is open."""

    property_id: int
    public_id: uuid.UUID
    name: str
    time_zone: str

    @property
    def today(self) -> date:
        """The civil day of the business clock there."""
        return local_day(business_now(), self.time_zone)


@dataclass(frozen=True, slots=True)
class Homes:
    """The parties of a number at a property, and the spaces they have a role on today."""

    parties: tuple[Party, ...]
    #: Space → the first day that is theirs.
    since: Mapping[int, date]


@dataclass(frozen=True, slots=True)
class Resident:
    """Who looks."""

    session_id: int
    homes: Homes
    #: Whether it is worth noting that the session is in use.
    is_stale: bool


def open_page(session: Session, *, property_id: int, by: Actor, allowed: Collection[int]) -> None:
    """Let a property's residents look at what is theirs; twice is once. Raises NotFound."""
    node = _node(session, property_id, allowed)
    now = wall_now()
    fresh = {"opened_by": str(by), "opened_at": now, "closed_at": None}
    row = insert(ResidentPage).values(tenant_id=current_tenant_id(), property_id=property_id, **fresh)
    key = [ResidentPage.tenant_id, ResidentPage.property_id]
    row = row.on_conflict_do_update(index_elements=key, set_=fresh, where=ResidentPage.closed_at.is_not(None))
    if session.scalar(row.returning(ResidentPage.property_id)) is not None:
        directory.enter(session, kind="resident_page", value=str(node.public_id))
        _note_page(session, "resident:page:open", property_id, by)


def close_page(session: Session, *, property_id: int, by: Actor, allowed: Collection[int]) -> None:
    """The address answers 404 from now on, and every session of the property's residents ends. Raises NotFound."""
    node = _node(session, property_id, allowed)
    page = session.scalar(
        select(ResidentPage).where(ResidentPage.property_id == property_id, ResidentPage.closed_at.is_(None))
    )
    if page is None:
        return
    page.closed_at = wall_now()
    directory.leave(session, kind="resident_page", value=str(node.public_id))
    living = (ResidentSession.property_id == property_id, ResidentSession.revoked_at.is_(None))
    session.execute(update(ResidentSession).where(*living).values(revoked_at=wall_now()))
    _note_page(session, "resident:page:close", property_id, by)


def find_page(session: Session, *, property_id: int) -> ResidentPage | None:
    """The page as it stands; None when it was never opened."""
    return session.scalar(select(ResidentPage).where(ResidentPage.property_id == property_id))


def tenant_of_page(db: Database, *, public_id: uuid.UUID) -> int:
    """Whose property an address names. Raises NotFound for one that is closed, no property, or nothing at all."""
    with db.without_tenant() as connection:
        tenant_id = directory.find_tenant(connection, kind="resident_page", value=str(public_id))
    if tenant_id is None:
        raise NotFound()
    return tenant_id


def place_of_page(session: Session, *, public_id: uuid.UUID) -> ResidentPlace:
    """The property behind an address whose page is open. Raises NotFound."""
    row = session.execute(
        select(Node.id, Node.public_id, Node.name, Property.time_zone)
        .join(Property, (Property.tenant_id == Node.tenant_id) & (Property.id == Node.id))
        .join(ResidentPage, (ResidentPage.tenant_id == Node.tenant_id) & (ResidentPage.property_id == Node.id))
        .where(Node.public_id == public_id, ResidentPage.closed_at.is_(None))
    ).one_or_none()
    if row is None:
        raise NotFound()
    return ResidentPlace(*row)


def homes_of(session: Session, *, place: ResidentPlace, phone_digests: Collection[bytes]) -> Homes:
    """What a number is at a property today; empty for one that nobody has or whose roles have all ended."""
    today = place.today
    rows = session.execute(
        select(Party, PartyRole.space_id, PartyRole.began_on)
        .join(PartyRole, (PartyRole.tenant_id == Party.tenant_id) & (PartyRole.party_id == Party.id))
        .where(
            Party.property_id == place.property_id,
            Party.phone_blind.in_(phone_digests),
            PartyRole.property_id == place.property_id,
            PartyRole.began_on <= today,
            or_(PartyRole.ended_on.is_(None), PartyRole.ended_on > today),
        )
        .order_by(Party.id, PartyRole.id)
        .execution_options(populate_existing=True)
    ).all()
    since: dict[int, date] = {}
    for _party, space_id, began_on in rows:
        since[space_id] = min(began_on, since.get(space_id, began_on))
    return Homes(tuple({party.id: party for party, _space, _began in rows}.values()), since)


def begin_session(session: Session, *, place: ResidentPlace, homes: Homes, address: str) -> str:
    """Open a session for the proved number of these homes; returns the cookie's token, kept nowhere else."""
    token, now = secrets.token_urlsafe(32), wall_now()
    own = ResidentSession(
        property_id=place.property_id,
        digest=_digest(token),
        phone_digest=homes.parties[0].phone_blind,
        address=address[:45],
        created_at=now,
        seen_at=now,
        expires_at=now + SESSION_LASTS,
    )
    session.add(own)
    session.flush()  # allow: flush - the audit log names the session by its id
    by = Actor("resident", homes.parties[0].id, address=address)
    _note(session, "resident:session:open", own, by, {"homes": len(homes.since)})
    return token


def find_resident(session: Session, *, place: ResidentPlace, token: str) -> Resident | None:
    """Who looks; None when the session ended, belongs to another property, or nothing here is theirs any more."""
    now = wall_now()
    own = session.scalar(
        select(ResidentSession).where(
            ResidentSession.digest == _digest(token),
            ResidentSession.property_id == place.property_id,
            ResidentSession.revoked_at.is_(None),
            ResidentSession.expires_at > now,
            ResidentSession.seen_at > now - SESSION_IDLE_MAX,
        )
    )
    if own is None:
        return None
    homes = homes_of(session, place=place, phone_digests=[own.phone_digest])
    return Resident(own.id, homes, now - own.seen_at > SEEN_EVERY) if homes.since else None


def touch_session(session: Session, *, session_id: int) -> None:
    """Note that the session is in use; called at most once an hour."""
    session.execute(update(ResidentSession).where(ResidentSession.id == session_id).values(seen_at=wall_now()))


def end_session(session: Session, *, resident: Resident, by: Actor, everywhere: bool = False) -> None:
    """Sign out here, or on every phone that proved this number at this property."""
    own = session.scalars(select(ResidentSession).where(ResidentSession.id == resident.session_id)).one()
    which = ResidentSession.id == own.id
    if everywhere:
        which = (ResidentSession.property_id == own.property_id) & (ResidentSession.phone_digest == own.phone_digest)
    living = update(ResidentSession).where(which, ResidentSession.revoked_at.is_(None))
    session.execute(living.values(revoked_at=wall_now()))
    _note(session, "resident:session:end", own, by, {"everywhere": everywhere})


def prune_sessions(session: Session) -> None:
    """Forget sessions that ended a while ago, with the digest of the number they were for."""
    session.execute(delete(ResidentSession).where(ResidentSession.expires_at < wall_now() - SESSION_IDLE_MAX))


def _digest(token: str) -> bytes:
    return directory_digest("resident_session", token)


def _node(session: Session, property_id: int, allowed: Collection[int]) -> Node:
    found = session.scalar(
        select(Node).where(Node.id == property_id, within(Node.id, allowed), Node.kind == "property")
    )
    if found is None:
        raise NotFound()
    return found


def _note(session: Session, deed: str, own: ResidentSession, by: Actor, facts: dict[str, object]) -> None:
    subject = f"resident_sessions:{own.id}"
    audit.record(session, deed=deed, subject=subject, actor=by, facts=facts, property_id=own.property_id)


def _note_page(session: Session, deed: str, property_id: int, by: Actor) -> None:
    audit.record(session, deed=deed, subject=f"properties:{property_id}", actor=by, property_id=property_id)
