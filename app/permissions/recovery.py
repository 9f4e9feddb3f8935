"""Recovery codes: ten, shown once, kept as digests, each good once in place of a lost second factor."""

import secrets

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.permissions.factor_models import RecoveryCode

CODES = 10
#: No letter or digit that looks like another.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
LENGTH, GROUP = 16, 4


def make_codes(session: Session, *, user_id: int) -> list[str]:
    """Ten new codes, the only time they are seen; the old ones are worth nothing from now on."""
    drop_codes(session, user_id=user_id)
    now, codes = wall_now(), [_new_code() for _ in range(CODES)]
    session.add_all(
        RecoveryCode(user_id=user_id, digest=_digest(user_id, plain_code(code)), created_at=now) for code in codes
    )
    return codes


def drop_codes(session: Session, *, user_id: int) -> None:
    """None is good any more."""
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))


def use_code(session: Session, *, user_id: int, typed: str) -> bool:
    """Whether this is one of the person's unused codes; it is used from now on."""
    digest = _digest(user_id, plain_code(typed))
    query = select(RecoveryCode).where(
        RecoveryCode.user_id == user_id, RecoveryCode.digest == digest, RecoveryCode.used_at.is_(None)
    )
    found = session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if found is not None:
        found.used_at = wall_now()
    return found is not None


def codes_left(session: Session, *, user_id: int) -> int:
    """How many are unused."""
    unused = select(func.count()).select_from(RecoveryCode)
    return session.scalar(unused.where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))) or 0


def plain_code(typed: str) -> str:
    """The one spelling of a code: lower case, no dashes or blanks."""
    return "".join(typed.split()).replace("-", "").lower()


def _new_code() -> str:
    raw = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return "-".join(raw[at : at + GROUP] for at in range(0, LENGTH, GROUP))


def _digest(user_id: int, plain: str) -> bytes:
    """Sixteen random letters are 79 bits: a plain digest is enough, and outlives a change of keys."""
    return directory_digest("recovery", f"{user_id}|{plain}")
