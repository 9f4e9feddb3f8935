"""Counter PCs (柜台电脑): shared computers at a counter whose people change places by PIN.

The computer holds a random token in a cookie of its own: that is the first factor, the person's PIN the second. Such a
session reaches as far as a cashier's hands at this counter and no farther, whatever else the person may do: rights of
an administrator are never left lying on a counter.
"""

import secrets
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factor_models import CounterPc
from app.permissions.held import load_scope
from app.permissions.models import User, UserSession
from app.permissions.passwords import hashing, matches
from app.permissions.policy import Permission
from app.permissions.sessions import begin_session
from app.permissions.sign_in import SignInDone, Visitor, count_try, forget_tries
from app.tenants import audit, directory
from app.tenants.access import or_not_found, within

LASTS = timedelta(days=180)
USE_NOTED_EVERY = timedelta(minutes=1)


class CounterPcUnknown(AppError):
    """This computer was never registered, was taken out, or has not been used within half a year."""

    code, status = "counter_pc_unknown", 403
    message_zh = "这台电脑没有登记为柜台电脑，或登记已失效。请用登录名和密码登录，再请项目经理登记。"
    message_en = "This computer is not a registered counter PC. Sign in with your password and have it registered."


class PinWrong(AppError):
    """Not the PIN of this person; answers alike for somebody who has none or may not sell here."""

    code, status = "pin_wrong", 401
    message_zh = "PIN 不正确。请重试，或用登录名和密码登录。"
    message_en = "The PIN is not right. Try again, or sign in with your password."


class CounterPcNameMissing(AppError):
    """A computer without a name cannot be told from the next one."""

    code, status = "counter_pc_name_missing", 422
    message_zh = "请填写这台电脑的名称，例如“前台左侧”。"
    message_en = "Give this computer a name, for example “front desk, left”."


@dataclass(frozen=True, slots=True)
class KnownPc:
    """The registered computer behind a request."""

    tenant_id: int
    id: int
    property_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Face:
    """Somebody who may take over at this counter."""

    public_id: uuid.UUID
    name: str


def register_pc(session: Session, *, property_id: int, name: str, by: Actor) -> str:
    """Make a computer of a property's counter known; returns the token for its cookie, kept nowhere else.

    Raises CounterPcNameMissing.
    """
    if not name.strip():
        raise CounterPcNameMissing()
    token, now = secrets.token_urlsafe(32), wall_now()
    pc = CounterPc(
        property_id=property_id,
        name=name.strip()[:60],
        digest=directory_digest("counter_pc", token),
        registered_by=str(by),
        created_at=now,
        expires_at=now + LASTS,
    )
    session.add(pc)
    session.flush()  # allow: flush - the audit log names the computer by its id
    directory.enter(session, kind="counter_pc", value=token)
    _note(session, pc, by, deed="counter:pc:register")
    return token


def revoke_pc(session: Session, *, public_id: uuid.UUID, allowed: Collection[int], by: Actor) -> None:
    """Take a computer out; whoever works on it by PIN is signed out at once. Raises NotFound."""
    query = select(CounterPc).where(CounterPc.public_id == public_id, within(CounterPc.property_id, allowed))
    pc = or_not_found(session.scalar(query.with_for_update()))
    if pc.revoked_at is None:
        pc.revoked_at = wall_now()
        directory.forget(session, digests=[pc.digest])
        on_it = update(UserSession).where(UserSession.counter_pc_id == pc.id, UserSession.revoked_at.is_(None))
        session.execute(on_it.values(revoked_at=wall_now()))
        _note(session, pc, by, deed="counter:pc:revoke")


def list_pcs(session: Session, *, allowed: Collection[int]) -> list[CounterPc]:
    """Registered computers, by property and name."""
    query = select(CounterPc).where(within(CounterPc.property_id, allowed), _alive())
    return list(session.scalars(query.order_by(CounterPc.property_id, CounterPc.name, CounterPc.id)))


def find_pc(db: Database, *, token: str) -> KnownPc:
    """The computer that shows this token, in transactions of its own. Raises CounterPcUnknown."""
    with db.without_tenant() as connection:
        tenant_id = directory.find_tenant(connection, kind="counter_pc", value=token)
    if tenant_id is None:
        raise CounterPcUnknown()
    with unit_of_work(tenant_id, db=db) as session:
        digest = directory_digest("counter_pc", token)
        pc = session.scalar(select(CounterPc).where(CounterPc.digest == digest, _alive()))
        if pc is None:
            raise CounterPcUnknown()
        if pc.last_used_at is None or wall_now() - pc.last_used_at > USE_NOTED_EVERY:
            pc.last_used_at = wall_now()
        return KnownPc(tenant_id, pc.id, pc.property_id, pc.name)


def property_of_pc(session: Session, *, pc_id: int) -> int | None:
    """Where a living counter PC stands; None for one that was taken out."""
    return session.scalar(select(CounterPc.property_id).where(CounterPc.id == pc_id, _alive()))


def faces_at(session: Session, pc: KnownPc) -> list[Face]:
    """Who may take over here: people with a PIN who sell at this property, by name."""
    people = session.scalars(
        select(User).where(User.pin_hash.is_not(None), User.disabled_at.is_(None)).order_by(User.name, User.id)
    )
    return [Face(user.public_id, user.name) for user in people if _sells_at(session, user, pc)]


def take_over(db: Database, *, token: str, person: uuid.UUID, pin: str, visitor: Visitor) -> SignInDone:
    """Open a session at the counter for the person whose PIN was typed, in transactions of its own.

    Raises CounterPcUnknown, SignInBusy, SignInDelayed, PinWrong. Tries are counted per person and computer: nobody is
    kept out elsewhere.
    """
    pc = find_pc(db, token=token)
    what = f"pin:{pc.id}:{person}"
    with hashing():
        with unit_of_work(pc.tenant_id, db=db) as session:
            count_try(session, what=what, address=f"pc:{pc.id}")
            user = session.scalar(select(User).where(User.public_id == person, User.disabled_at.is_(None)))
            pin_hash = user.pin_hash if user and _sells_at(session, user, pc) else None
        right = matches(pin_hash, pin)
    with unit_of_work(pc.tenant_id, db=db) as session:
        if user is None or not right:
            _refuse(session, user, pc, visitor)
        else:
            forget_tries(session, what=what)
            opened = begin_session(
                session,
                user=session.get_one(User, (pc.tenant_id, user.id)),
                address=visitor.address,
                agent=visitor.agent,
                opened_by="pin",
                counter_pc_id=pc.id,
            )
            return SignInDone(opened, pc.tenant_id, user.id)
    raise PinWrong()


def _refuse(session: Session, user: User | None, pc: KnownPc, visitor: Visitor) -> None:
    if user is not None:
        audit.record(
            session,
            deed="user:session:refuse",
            subject=f"users:{user.id}",
            actor=Actor("system", "sign-in", address=visitor.address),
            facts={"reason": "pin", "counter_pc_id": pc.id},
            property_id=pc.property_id,
            result="refused",
        )


def _sells_at(session: Session, user: User, pc: KnownPc) -> bool:
    return load_scope(session, user_id=user.id).allows(Permission.MONEY_TOPUP_SELL, pc.property_id)


def _alive() -> ColumnElement[bool]:
    return and_(CounterPc.revoked_at.is_(None), CounterPc.expires_at > wall_now())


def _note(session: Session, pc: CounterPc, by: Actor, *, deed: str) -> None:
    audit.record(
        session, deed=deed, subject=f"counter_pcs:{pc.id}", actor=by, property_id=pc.property_id,
        after={"revoked": pc.revoked_at is not None},
    )  # fmt: skip
