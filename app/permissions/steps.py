"""What is begun and not yet finished: five minutes, five wrong answers, once.

A step of signing in is named by a random token in the browser; one of a signed-in person follows from the session's token,
so that there is one per session and nothing further to keep.
"""

import secrets
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.permissions.factor_models import SignInStep
from app.tenants import directory

STEP_LASTS = timedelta(minutes=5)
TRIES_MAX = 5
CHALLENGE_BYTES = 32


class StepOver(AppError):
    """Too late, too many wrong answers, or done before: one begins anew."""

    code, status = "step_over", 401
    message_zh = "本次验证已超时或输错次数过多。请重新登录。"
    message_en = "This verification took too long or had too many wrong answers. Please sign in again."


class FactorWrong(AppError):
    """Not a code of this person's factor, one that was used before, or an answer nobody can read."""

    code, status = "factor_wrong", 401
    message_zh = "验证码或通行密钥不正确，或已用过。请等待验证器显示下一个 6 位数字后再试，或改用恢复码。"
    message_en = (
        "The code or passkey is not right, or was used before. Wait for the next six digits, or use a recovery code."
    )


class FactorTriesSpent(AppError):
    """A signed-in person gave five wrong answers within five minutes."""

    code, status = "factor_tries_spent", 429
    message_zh = "输错次数过多，请 5 分钟后再试。"
    message_en = "Too many wrong answers. Please try again in five minutes."


def begin_step(
    session: Session, *, purpose: str, user_id: int, address: str, facts: dict[str, Any] | None = None
) -> str:
    """Begin a step of signing in and return its token, which lives in the browser only."""
    token, now = secrets.token_urlsafe(32), wall_now()
    session.add(
        SignInStep(
            digest=directory_digest("step", token),
            purpose=purpose,
            user_id=user_id,
            challenge=new_challenge(),
            facts=facts or {},
            address=address,
            created_at=now,
            expires_at=now + STEP_LASTS,
        )
    )
    directory.enter(session, kind="step", value=token)
    return token


def find_step(session: Session, *, token: str, purpose: str, lock: bool = False) -> SignInStep:
    """The living step of a token. Raises StepOver."""
    query = select(SignInStep).where(SignInStep.digest == directory_digest("step", token))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    step = session.scalar(query)
    if step is None or step.purpose != purpose or not is_alive(step):
        raise StepOver()
    return step


def own_step(
    session: Session, *, token: str, purpose: str, user_id: int, address: str, spent: bool = False
) -> SignInStep:
    """The step of a signed-in person's session, locked; begun anew when the last one is over.

    Raises FactorTriesSpent when five answers within its five minutes were wrong, unless `spent` ones are wanted too.
    """
    digest, now = directory_digest(purpose, token), wall_now()
    fresh = {"tries": 0, "used_at": None, "challenge": None, "created_at": now, "expires_at": now + STEP_LASTS}
    first = {"tenant_id": current_tenant_id(), "digest": digest, "purpose": purpose, "user_id": user_id}
    session.execute(insert(SignInStep).values(**first, **fresh, address=address).on_conflict_do_nothing())
    query = select(SignInStep).where(SignInStep.digest == digest).with_for_update()
    step = session.scalars(query.execution_options(populate_existing=True)).one()
    if step.expires_at <= now:
        for name, value in fresh.items():
            setattr(step, name, value)
    if step.tries >= TRIES_MAX and not spent:
        raise FactorTriesSpent()
    return step


def is_alive(step: SignInStep) -> bool:
    """Not used, not too late, not too often wrong."""
    return step.used_at is None and step.expires_at > wall_now() and step.tries < TRIES_MAX


def note_wrong(step: SignInStep) -> None:
    """Count a wrong answer; whatever was signed for the old challenge is worth nothing."""
    step.tries += 1
    step.challenge = new_challenge()


def new_challenge() -> bytes:
    """What a passkey signs."""
    return secrets.token_bytes(CHALLENGE_BYTES)


def prune_steps(session: Session) -> None:
    """Forget what ended a while ago."""
    over = delete(SignInStep).where(SignInStep.expires_at < wall_now() - STEP_LASTS)
    directory.forget(session, digests=session.scalars(over.returning(SignInStep.digest)).all())
