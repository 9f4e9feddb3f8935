"""A signed-in person proves again who they are: a factor before a deed of weight, the password before a new one.

Wrong answers are counted in a transaction of their own, five within five minutes, so that neither a stolen session nor
a rolled-back request has more.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.unit_of_work import unit_of_work
from app.permissions.factor_models import SignInStep
from app.permissions.factors import accept, add_passkey, confirm_totp
from app.permissions.models import User
from app.permissions.passkeys import PasskeyRefused, RelyingParty
from app.permissions.passwords import hashing, matches
from app.permissions.sessions import note_factor
from app.permissions.steps import FactorWrong, new_challenge, note_wrong, own_step
from app.tenants import audit

FACTOR_FRESH = timedelta(minutes=5)


class PasswordWrong(AppError):
    """The present password is asked for before a new one is taken."""

    code, status = "password_wrong", 422
    message_zh = "当前密码不正确。请核对大小写后再试。"
    message_en = "The present password is not right. Check capitals and try again."


@dataclass(frozen=True, slots=True)
class Here:
    """The signed-in person behind a request, and the session it belongs to."""

    tenant_id: int
    user_id: int
    token: str
    address: str

    @property
    def actor(self) -> Actor:
        """How the audit log names them."""
        return Actor.user(self.user_id, address=self.address)


def is_fresh(factor_at: datetime | None) -> bool:
    """Whether a factor was shown recently enough for a deed of weight."""
    return factor_at is not None and wall_now() - factor_at < FACTOR_FRESH


def ask_passkey(db: Database, here: Here, *, purpose: str) -> bytes:
    """A new challenge for this session's passkey. Raises FactorTriesSpent."""
    with unit_of_work(here.tenant_id, db=db) as session:
        step = _step(session, here, purpose)
        step.challenge = new_challenge()
        return step.challenge


def show_factor(db: Database, here: Here, *, answer: str, party: RelyingParty | None) -> None:
    """A right answer makes the session's factor fresh. Raises FactorTriesSpent, FactorWrong."""
    with unit_of_work(here.tenant_id, db=db) as session:
        step = _step(session, here, "step_up")
        kind = accept(session, user_id=here.user_id, answer=answer, challenge=step.challenge, party=party)
        if kind is None:
            note_wrong(step)
        else:
            step.tries, step.challenge = 0, None
            note_factor(session, token=here.token)
        _note(session, here, "user:factor:show", done=kind is not None, kind=kind)
    if kind is None:
        raise FactorWrong()


def check_password(db: Database, here: Here, *, password: str) -> None:
    """Is this the person's present password? Raises FactorTriesSpent, SignInBusy, PasswordWrong."""
    with hashing():
        with unit_of_work(here.tenant_id, db=db) as session:
            _step(session, here, "step_up").tries += 1
            user = session.scalars(select(User).where(User.id == here.user_id)).one()
        right = matches(user.password_hash, password)
    with unit_of_work(here.tenant_id, db=db) as session:
        if right:
            # Only this try is forgiven: whoever knows the password must not guess the other factor for ever.
            _step_of_any_tries(session, here).tries -= 1
        else:
            _note(session, here, "user:password:check", done=False)
    if not right:
        raise PasswordWrong()


def add_factor(db: Database, here: Here, *, answer: str, name: str, party: RelyingParty | None) -> list[str]:
    """The first code of an app, or a new passkey. Returns recovery codes when there were none; the factor counts as shown.

    Raises FactorTriesSpent, FactorWrong, NotFound, FactorNameMissing, PasskeyRefused, PasskeyHeld.
    """
    try:
        with unit_of_work(here.tenant_id, db=db) as session:
            step = _step(session, here, "enrol")
            user = session.scalars(select(User).where(User.id == here.user_id)).one()
            codes = _add(session, user, step, here, answer, name, party)
            step.tries, step.challenge = 0, None
            note_factor(session, token=here.token)
            return codes
    except (FactorWrong, PasskeyRefused):
        with unit_of_work(here.tenant_id, db=db) as session:
            note_wrong(_step(session, here, "enrol"))
        raise


def _add(
    session: Session, user: User, step: SignInStep, here: Here, answer: str, name: str, party: RelyingParty | None
) -> list[str]:
    if not answer.lstrip().startswith("{"):
        return confirm_totp(session, user=user, code=answer, by=here.actor)
    if party is None or step.challenge is None:
        raise PasskeyRefused()
    return add_passkey(
        session, user=user, party=party, challenge=step.challenge, answer=answer, name=name, by=here.actor
    )


def _step(session: Session, here: Here, purpose: str) -> SignInStep:
    return own_step(session, token=here.token, purpose=purpose, user_id=here.user_id, address=here.address)


def _step_of_any_tries(session: Session, here: Here) -> SignInStep:
    """The last try may have been the fifth, and right."""
    return own_step(
        session, token=here.token, purpose="step_up", user_id=here.user_id, address=here.address, spent=True
    )


def _note(session: Session, here: Here, deed: str, *, done: bool, **facts: object) -> None:
    audit.record(
        session, deed=deed, subject=f"users:{here.user_id}", actor=here.actor, facts=facts,
        result="done" if done else "refused",
    )  # fmt: skip
