"""Passwords: what is accepted, how it is kept, and a check that takes as long when nobody has the name."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.kernel.errors import AppError
from app.permissions.common_passwords import is_common

LENGTH_MIN = 10
LENGTH_MAX = 128

#: How many passwords one process checks at once, and how many wait for a turn, and how long: a flood of sign-ins
#: must leave threads and processors to the other pages.
CHECKED_AT_ONCE, WAITING_MAX, WAIT_S_MAX = 2, 2, 1
RETRY_AFTER_S = 2

# 19 MiB and two passes: enough against a stolen table, small enough for eight web threads in one process.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_nobodys_hash = _hasher.hash(secrets.token_hex(16))
_turns = threading.BoundedSemaphore(CHECKED_AT_ONCE)
_queue = threading.BoundedSemaphore(CHECKED_AT_ONCE + WAITING_MAX)


class PasswordTooShort(AppError):
    """Fewer than ten characters."""

    code, status = "password_too_short", 422
    message_zh = "密码至少 {length_min} 位。可以用一句自己记得住的话。"
    message_en = "A password has at least {length_min} characters. A sentence you remember is a good one."


class PasswordTooLong(AppError):
    """Longer than anybody types: it would only cost the server time."""

    code, status = "password_too_long", 422
    message_zh = "密码最多 {length_max} 位。请缩短后再试。"
    message_en = "A password has at most {length_max} characters. Please shorten it."


class PasswordCommon(AppError):
    """One of those everybody tries first, one character repeated, or the sign-in name itself."""

    code, status = "password_common", 422
    message_zh = "这个密码太容易被猜到。请换一个不含登录名的密码。"
    message_en = "This password is too easy to guess. Choose another, without the sign-in name."


class SignInBusy(AppError):
    """More people sign in at this moment than passwords can be checked; nothing was counted against anybody."""

    code, status = "sign_in_busy", 429
    message_zh = "当前登录人数较多，请在 {wait_s} 秒后再试。您的输入没有计入错误次数。"
    message_en = "Many people are signing in right now. Please try again in {wait_s} seconds; no failure was counted."


@contextmanager
def hashing() -> Iterator[None]:
    """A turn for checking a password. Raises SignInBusy when too many wait already, or for too long."""
    if not _queue.acquire(blocking=False):
        raise SignInBusy(wait_s=RETRY_AFTER_S)
    try:
        if not _turns.acquire(timeout=WAIT_S_MAX):
            raise SignInBusy(wait_s=RETRY_AFTER_S)
        try:
            yield
        finally:
            _turns.release()
    finally:
        _queue.release()


def hash_password(password: str, *, login: str) -> str:
    """The argon2id hash to keep. Raises, in this order: PasswordTooShort, PasswordTooLong, PasswordCommon."""
    if len(password) < LENGTH_MIN:
        raise PasswordTooShort(length_min=LENGTH_MIN)
    if len(password) > LENGTH_MAX:
        raise PasswordTooLong(length_max=LENGTH_MAX)
    if is_common(password) or login.lower() in password.lower():
        raise PasswordCommon()
    return _hasher.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is the right one. Without a hash it takes as long and says no."""
    try:
        return _hasher.verify(password_hash or _nobodys_hash, password[: LENGTH_MAX + 1]) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False
