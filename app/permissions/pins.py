"""The counter PIN: six digits that count only on a registered counter PC, where the computer is the other factor."""

import re
from itertools import pairwise

from argon2 import PasswordHasher
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.errors import AppError
from app.permissions.models import User
from app.tenants import audit

DIGITS = 6
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class PinUnreadable(AppError):
    """Not six digits."""

    code, status = "pin_unreadable", 422
    message_zh = "柜台 PIN 须为 {digits} 位数字。请重新输入。"
    message_en = "A counter PIN is {digits} digits. Please type it again."


class PinEasy(AppError):
    """One of the few that everybody tries first."""

    code, status = "pin_easy", 422
    message_zh = "这个 PIN 太容易被猜到（重复、连号或年月日）。请换一个。"
    message_en = "This PIN is too easy to guess (repeats, runs or a date). Choose another."


class PinNotEnough(AppError):
    """A session opened by PIN sells at its counter; what opens or guards the account takes a real sign-in."""

    code, status = "pin_not_enough", 403
    message_zh = "用柜台 PIN 登录时不能更改账号安全设置。请用登录名和密码登录后再操作。"
    message_en = (
        "Signed in by counter PIN, you cannot change how your account is kept safe. Sign in with your password."
    )


def set_pin(session: Session, *, user: User, pin: str, by: Actor) -> None:
    """Choose the PIN; the old one is worth nothing from now on. Raises PinUnreadable, PinEasy."""
    if not re.fullmatch(rf"[0-9]{{{DIGITS}}}", pin):
        raise PinUnreadable(digits=DIGITS)
    if is_easy(pin):
        raise PinEasy()
    had = user.pin_hash is not None
    user.pin_hash = _hasher.hash(pin)
    _note(session, user, by, before=had, after=True)


def remove_pin(session: Session, *, user: User, by: Actor) -> None:
    """Leave the quick switch; twice is once."""
    if user.pin_hash is not None:
        user.pin_hash = None
        _note(session, user, by, before=True, after=False)


def is_easy(pin: str) -> bool:
    """Few different digits, a repeated part, digits in a row, or a date of birth."""
    steps = {(int(b) - int(a)) % 10 for a, b in pairwise(pin)}
    return len(set(pin)) < 3 or steps <= {1} or steps <= {9} or pin[:3] == pin[3:] or _is_date(pin)


def _is_date(pin: str) -> bool:
    """Two digits each of year, month and day, which is how birthdays are typed here."""
    return 1 <= int(pin[2:4]) <= 12 and 1 <= int(pin[4:6]) <= 31


def _note(session: Session, user: User, by: Actor, *, before: bool, after: bool) -> None:
    audit.record(
        session, deed="user:pin:set", subject=f"users:{user.id}", actor=by, before={"pin": before}, after={"pin": after}
    )
