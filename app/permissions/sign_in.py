"""Sign-in of operators: a growing delay after failures, a password, then a second factor where one is asked.

A try is written down before the password is checked, and the check holds no database connection: guesses sent
in parallel count each other, and a flood of them cannot empty the connection pool. Nor can it take every thread: few
passwords are checked at once in a process, and who finds the queue full is told to come back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database, current_tenant_id
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factor_models import SignInStep
from app.permissions.factors import accept, add_passkey, begin_totp, confirm_totp, list_factors, must_have_factor
from app.permissions.models import SignInAttempt, User, UserSession
from app.permissions.names import plain_login
from app.permissions.passkeys import RelyingParty, check_assertion, holder_of
from app.permissions.passwords import hashing, matches
from app.permissions.sessions import KEPT, begin_session, prune_sessions
from app.permissions.steps import (
    STEP_LASTS,
    FactorWrong,
    StepOver,
    begin_step,
    find_step,
    is_alive,
    note_wrong,
    prune_steps,
)
from app.tenants import audit, directory
from app.tenants.models import Tenant

FAILURES_WINDOW = timedelta(hours=1)
KNOWN_ADDRESS_LASTS = KEPT
TENANT_ID_MAX = 2**31 - 1
NOBODY: Mapping[str, str] = MappingProxyType({})
#: Seconds to wait after 0, 1, 2 … recent failures of a name: never more than five tries in a quarter of an
#: hour.
NAME_DELAYS_S = (0, 0, 0, 60, 300, 900)
#: The same for an address that tries many names; a whole office may share one.
ADDRESS_DELAYS_S = (0,) * 20 + (60, 120, 300)


class SignInRefused(AppError):
    """Unknown name, wrong password and disabled user answer alike."""

    code, status = "sign_in_refused", 401
    message_zh = "登录名或密码不正确。请核对大小写后再试；忘记密码可点击下方“忘记密码”。"
    message_en = "The sign-in name or password is not right. Check capitals and try again, or choose “Forgot password”."


class SignInDelayed(AppError):
    """Too many failures: the next try must wait. Nobody is ever locked out for good."""

    code, status = "sign_in_delayed", 429
    message_zh = "连续输错次数过多，请在 {wait_s} 秒后再试。"
    message_en = "Too many wrong tries. Please try again in {wait_s} seconds."


class PasskeyUnknown(AppError):
    """No person's passkey, or not shown as it must be to stand alone: all answer alike."""

    code, status = "passkey_unknown", 401
    message_zh = "这把通行密钥未在此登记，或没有验证您本人。请改用登录名和密码登录。"
    message_en = "This passkey is not registered here, or did not verify you. Sign in with name and password instead."


@dataclass(frozen=True, slots=True)
class SignInDone:
    """A session was opened: its token goes into the cookie and nowhere else."""

    token: str
    tenant_id: int
    user_id: int


@dataclass(frozen=True, slots=True)
class FactorAsked:
    """The password was right; the step's token stands for that until a second factor was shown or set up."""

    step: str
    tenant_id: int
    user_id: int
    #: second_factor | enrol.
    purpose: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from: network address and browser in a few words."""

    address: str
    agent: str = ""


def sign_in(
    db: Database,
    *,
    login: str,
    password: str,
    address: str,
    agent: str = "",
    going: str | None = None,
    known: Mapping[str, str] = NOBODY,
) -> SignInDone | FactorAsked:
    """Open a session, or the step towards one, in transactions of its own; `going` is where to go afterwards and
    `known` the number of this browser by person (`person_key`) for whom it is one they signed in with before.

    Raises SignInBusy, SignInDelayed, SignInRefused. Unknown names take the same way and the same time as known
    ones: their failures are counted in a tenant chosen by the name's digest, so that neither the answer nor the
    delay tells who exists.
    """
    name, visitor = plain_login(login), Visitor(address, agent)
    with hashing():
        tenant_id = tenant_or_stand_in(db, name)
        user = _admit_try(db, tenant_id, name, address, known) if tenant_id else None
        right = matches(user.password_hash if user else None, password)
    if tenant_id is None:
        raise SignInRefused()
    if user is None or not right or user.disabled_at is not None:
        _note_refusal(db, tenant_id, user.id if user else None, address, reason="disabled" if right else "password")
        raise SignInRefused()
    with unit_of_work(tenant_id, db=db) as session:
        return _go_on(session, session.get_one(User, (tenant_id, user.id)), visitor, going)


def answer_step(
    db: Database, *, token: str, answer: str, party: RelyingParty | None, visitor: Visitor
) -> tuple[SignInDone, str | None]:
    """Show the second factor that a step waits for. Returns the session and where to go.

    Raises StepOver, FactorWrong; a wrong answer is counted against the step and against the name.
    """
    with unit_of_work(_tenant_of_step(db, token), db=db) as session:
        step, user = _step_and_user(session, token, "second_factor")
        kind = accept(session, user_id=user.id, answer=answer, challenge=step.challenge, party=party)
        if kind is not None:
            return _finish(session, step, user, visitor, kind), step.facts.get("going")
        note_wrong(step)
        session.add(SignInAttempt(login=_digest_text(user.login), address=visitor.address, at=wall_now()))
        _refuse(session, user.id, visitor.address, reason="factor")
        over = not is_alive(step)
    raise StepOver() if over else FactorWrong()


def answer_enrolment(
    db: Database, *, token: str, answer: str, name: str, party: RelyingParty | None, visitor: Visitor
) -> tuple[SignInDone, str | None, list[str]]:
    """Set up the factor that the group asks for. Returns the session, where to go, and the recovery codes.

    Raises StepOver, FactorWrong, and the refusals of `passkeys.register`.
    """
    tenant_id = _tenant_of_step(db, token)
    try:
        with unit_of_work(tenant_id, db=db) as session:
            step, user = _step_and_user(session, token, "enrol")
            if list_factors(session, user_id=user.id):
                raise StepOver()  # of two who know the password, only the first sets one up by it
            by = Actor.user(user.id, address=visitor.address)
            if answer.lstrip().startswith("{") and party is not None and step.challenge is not None:
                codes = add_passkey(
                    session, user=user, party=party, challenge=step.challenge, answer=answer, name=name, by=by
                )
            else:
                codes = confirm_totp(session, user=user, code=answer, by=by, name=name)
            return _finish(session, step, user, visitor, "enrolled"), step.facts.get("going"), codes
    except AppError:
        with unit_of_work(tenant_id, db=db) as session:
            note_wrong(_step_and_user(session, token, "enrol")[0])
        raise


def sign_in_with_passkey(
    db: Database, *, answer: str, challenge: bytes, party: RelyingParty, visitor: Visitor
) -> SignInDone:
    """Both factors at once: a passkey that verified its holder. Raises PasskeyUnknown."""
    holder = holder_of(answer)
    if holder is None or not 0 < holder[0] <= TENANT_ID_MAX:
        raise PasskeyUnknown()
    with unit_of_work(holder[0], db=db) as session:
        user = session.scalar(select(User).where(User.public_id == holder[1], User.disabled_at.is_(None)))
        done = _passkey_alone(session, user, answer, challenge, party, visitor) if user else None
        if user is not None and done is None:
            _refuse(session, user.id, visitor.address, reason="passkey")
    if done is None:
        raise PasskeyUnknown()
    return done


def step_of(db: Database, *, token: str, purpose: str) -> tuple[int, SignInStep]:
    """(tenant id, step) of a browser's token. Raises StepOver."""
    tenant_id = _tenant_of_step(db, token)
    with unit_of_work(tenant_id, db=db) as session:
        return tenant_id, find_step(session, token=token, purpose=purpose)


def person_key(tenant_id: int, user_id: int) -> str:
    """How a browser's memory names a person."""
    return f"{tenant_id}.{user_id}"


def tenant_of(connection: Connection, *, kind: str, value: str) -> int | None:
    """The tenant of a sign-in name or session token, by exact digest; None when nobody has it."""
    return directory.find_tenant(connection, kind=kind, value=value)


def prune_sign_ins(session: Session) -> None:
    """Forget failures that delay nobody any more, steps that ended, and sessions so old that not even their address counts."""
    session.execute(delete(SignInAttempt).where(SignInAttempt.at < wall_now() - timedelta(days=1)))
    prune_steps(session)
    prune_sessions(session)


def delay_s(failures: int, delays_s: tuple[int, ...] = NAME_DELAYS_S) -> int:
    """Seconds to wait after so many recent failures; the last figure of the table holds for all that follow."""
    return delays_s[min(failures, len(delays_s) - 1)]


def count_try(session: Session, *, what: str, address: str) -> None:
    """Write down a try of something else that strangers may ask for, with the same delays. Raises SignInDelayed."""
    _count_try(session, login=what, address=address, user=None)


def forget_tries(session: Session, *, what: str) -> None:
    """It went well: earlier tries of it delay nobody any more."""
    session.execute(delete(SignInAttempt).where(SignInAttempt.login == _digest_text(what)))


def _go_on(session: Session, user: User, visitor: Visitor, going: str | None) -> SignInDone | FactorAsked:
    """What follows a right password."""
    tenant_id = current_tenant_id()
    facts = {"going": going, "version": user.session_version}
    if list_factors(session, user_id=user.id):
        purpose = "second_factor"
    elif must_have_factor(session, user_id=user.id):
        purpose = "enrol"
        begin_totp(session, user=user, name="TOTP", by=Actor.user(user.id, address=visitor.address))
    else:
        return SignInDone(_open(session, user, visitor), tenant_id, user.id)
    step = begin_step(session, purpose=purpose, user_id=user.id, address=visitor.address, facts=facts)
    return FactorAsked(step, tenant_id, user.id, purpose)


def _finish(session: Session, step: SignInStep, user: User, visitor: Visitor, kind: str) -> SignInDone:
    step.used_at = wall_now()
    if kind == "recovery":
        _note(session, "user:recovery:use", user.id, visitor.address)
    return SignInDone(_open(session, user, visitor, factor=True), current_tenant_id(), user.id)


def _open(session: Session, user: User, visitor: Visitor, *, factor: bool = False, by: str = "password") -> str:
    """A session, and a clean slate: earlier failures of the name delay nobody any more."""
    session.execute(delete(SignInAttempt).where(SignInAttempt.login == _digest_text(user.login)))
    return begin_session(
        session, user=user, address=visitor.address, agent=visitor.agent, opened_by=by,
        factor_at=wall_now() if factor else None,
    )  # fmt: skip


def _passkey_alone(
    session: Session, user: User, answer: str, challenge: bytes, party: RelyingParty, visitor: Visitor
) -> SignInDone | None:
    shown = check_assertion(session, party=party, user_id=user.id, challenge=challenge, answer=answer, alone=True)
    if shown is None or not _first_time(session, user, challenge):
        return None
    return SignInDone(_open(session, user, visitor, factor=True, by="passkey"), current_tenant_id(), user.id)


def _first_time(session: Session, user: User, challenge: bytes) -> bool:
    """Whether this challenge opens nothing yet: a browser could be made to send it twice."""
    now = wall_now()
    row = insert(SignInStep).values(
        tenant_id=current_tenant_id(), digest=directory_digest("challenge", challenge.hex()), purpose="passkey",
        user_id=user.id, created_at=now, expires_at=now + STEP_LASTS, used_at=now,
    )  # fmt: skip
    return session.scalar(row.on_conflict_do_nothing().returning(SignInStep.user_id)) is not None


def _tenant_of_step(db: Database, token: str) -> int:
    with db.without_tenant() as connection:
        tenant_id = directory.find_tenant(connection, kind="step", value=token)
    if tenant_id is None:
        raise StepOver()
    return tenant_id


def _step_and_user(session: Session, token: str, purpose: str) -> tuple[SignInStep, User]:
    """Both, the step locked. Raises StepOver, also when the password, the grants or the person changed since."""
    step = find_step(session, token=token, purpose=purpose, lock=True)
    user = session.scalar(select(User).where(User.id == step.user_id, User.disabled_at.is_(None)).with_for_update())
    if user is None or user.session_version != step.facts.get("version"):
        raise StepOver()
    return step, user


def _admit_try(db: Database, tenant_id: int, login: str, address: str, known: Mapping[str, str]) -> User | None:
    """The person of a name, the try written down. Raises SignInDelayed."""
    user_id: int | None = None
    try:
        with unit_of_work(tenant_id, db=db) as session:
            user = session.scalar(select(User).where(User.login == login))
            user_id = user.id if user else None
            number = known.get(person_key(tenant_id, user.id)) if user else None
            _count_try(session, login=login, address=f"browser:{number}" if number else address, user=user)
            return user
    except SignInDelayed:
        _note_refusal(db, tenant_id, user_id, address, reason="delayed")
        raise


def _note_refusal(db: Database, tenant_id: int, user_id: int | None, address: str, *, reason: str) -> None:
    """Into the log of the person's group. For a name that nobody has the same round trips are made, and nothing written."""
    with unit_of_work(tenant_id, db=db) as session:
        if user_id is not None:
            _refuse(session, user_id, address, reason=reason)
        else:
            session.execute(select(1))


def _refuse(session: Session, user_id: int, address: str, *, reason: str) -> None:
    _note(session, "user:session:refuse", user_id, address, result="refused", reason=reason)


def _note(session: Session, deed: str, user_id: int, address: str, *, result: str = "done", **facts: object) -> None:
    audit.record(
        session, deed=deed, subject=f"users:{user_id}", actor=Actor("system", "sign-in", address=address), facts=facts,
        result=result,
    )  # fmt: skip


def tenant_or_stand_in(db: Database, login: str) -> int | None:
    """The tenant of a name; for a name nobody has, one that its digest chooses, the same each time."""
    with db.without_tenant() as connection:
        tenant_id = directory.find_tenant(connection, kind="login", value=login)
        if tenant_id is not None:
            return tenant_id
        tenant_ids = connection.scalars(select(Tenant.id).order_by(Tenant.id)).all()
    if not tenant_ids:
        return None
    return tenant_ids[int.from_bytes(directory_digest("stand-in", login)[:8], "big") % len(tenant_ids)]


def _count_try(session: Session, *, login: str, address: str, user: User | None) -> None:
    """Write the try down, unless it comes too early: then it is not even looked at. Raises SignInDelayed."""
    # Serialises the tries of one name for the length of two statements; on a cluster each coordinator counts
    # its own.
    session.execute(select(func.pg_advisory_xact_lock(int.from_bytes(directory_digest("try", login)[:7], "big"))))
    wait_s = _wait_s(session, SignInAttempt.login == _digest_text(login), SignInAttempt.address == address)
    if not _knows(session, user, address):
        wait_s = max(
            wait_s,
            _wait_s(session, SignInAttempt.address == address, delays_s=ADDRESS_DELAYS_S),
            _wait_s(session, SignInAttempt.login == _digest_text(login)),
        )
    if wait_s > 0:
        raise SignInDelayed(wait_s=wait_s)
    session.add(SignInAttempt(login=_digest_text(login), address=address, at=wall_now()))


def _knows(session: Session, user: User | None, address: str) -> bool:
    """Whether the person has signed in from here before: strangers' failures must not keep its owner out."""
    if user is None:
        return False
    if address.startswith("browser:"):
        return True
    since = wall_now() - KNOWN_ADDRESS_LASTS
    before = select(UserSession.digest).where(
        UserSession.user_id == user.id, UserSession.address == address, UserSession.created_at > since
    )
    return session.scalar(before.limit(1)) is not None


def _wait_s(session: Session, *which: Any, delays_s: tuple[int, ...] = NAME_DELAYS_S) -> int:
    since = wall_now() - FAILURES_WINDOW
    failures, last = session.execute(
        select(func.count(), func.max(SignInAttempt.at)).where(SignInAttempt.at > since, *which)
    ).one()
    if not failures:
        return 0
    return max(0, delay_s(failures, delays_s) - int((wall_now() - last).total_seconds()))


def _digest_text(login: str) -> str:
    """How a tried name is kept: strangers type anything there, also other people's phone numbers."""
    return directory_digest("try", login).hex()
