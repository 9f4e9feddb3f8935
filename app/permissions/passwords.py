"""Passwords: what is accepted, how it is kept, and a check that takes as long when nobody has the name."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.kernel.errors import AppError

LENGTH_MIN = 10
LENGTH_MAX = 128

#: Ten characters or more and still among the first that are tried.
COMMON = frozenset(
    # One string, because a list of words would take a line each.
    " ".join(
        (
            "1234567890 0123456789 12345678910 123456789a a123456789 1qaz2wsx3edc q1w2e3r4t5 qwertyuiop",
            "qwerty12345 qwerty123456 password12 password123 password1234 passw0rd123 p@ssw0rd123 administrator",
            "admin12345 admin123456 admin@12345 iloveyou123 woaini1314520 woaini5201314 5201314520 1314520131",
            "1111111111 0000000000 8888888888 6666666666 1122334455 9876543210 0987654321 abcdefghij abc1234567",
            "abcd123456 aa12345678 zxcvbnm123 asdfghjkl1 letmein1234 welcome123 welcome1234 changeme123",
            "tallyhouse tallyhouse1 zhanghao123 mima123456 mima12345678 wuye123456",
        )
    ).split()
)

# 19 MiB and two passes: enough against a stolen table, small enough for eight web threads in one process.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_nobodys_hash = _hasher.hash(secrets.token_hex(16))


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


def hash_password(password: str, *, login: str) -> str:
    """The argon2id hash to keep. Raises, in this order: PasswordTooShort, PasswordTooLong, PasswordCommon."""
    if len(password) < LENGTH_MIN:
        raise PasswordTooShort(length_min=LENGTH_MIN)
    if len(password) > LENGTH_MAX:
        raise PasswordTooLong(length_max=LENGTH_MAX)
    plain = password.lower()
    if plain in COMMON or len(set(plain)) < 4 or login.lower() in plain:
        raise PasswordCommon()
    return _hasher.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is the right one. Without a hash it takes as long and says no."""
    try:
        return _hasher.verify(password_hash or _nobodys_hash, password[: LENGTH_MAX + 1]) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False
