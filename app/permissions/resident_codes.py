"""Six digits by text message: how a resident proves a phone number.

Asking looks nobody up: it writes a row and an event, the same ones whether the number is known here or not, and a worker
finds out whether there is anybody to write to. The digits are stored nowhere: they follow from the row's random digest under
the tenant's data key. Five minutes, five tries, once.
"""

import hmac
import secrets
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.crypto import directory_digest
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.outbox import tell
from app.kernel.unit_of_work import unit_of_work
from app.permissions.resident_models import ResidentCode, ResidentPage
from app.permissions.residents import ResidentPlace, begin_session, homes_of, place_of_page
from app.permissions.sign_in import count_try, forget_tries
from app.tenants import audit
from app.tenants.keys import data_key
from app.tenants.models import Node, Party
from app.tenants.phones import normalise_phone

CODE_LASTS = timedelta(minutes=5)
TRIES_MAX = 5
DIGITS = 6
#: Codes asked for at one property within an hour, known numbers or not.
ASKED_HOUR_MAX = 200
KEPT = timedelta(days=1)


class ResidentsBusy(AppError):
    """More codes were asked for at this property within the hour than it has residents who would."""

    code, status = "residents_busy", 429
    message_zh = "本项目一小时内申请验证码的次数过多，请过一会儿再试，或到物业服务中心查询。"
    message_en = (
        "Too many codes were asked for at this property within the hour. Try again later, or ask at the counter."
    )


class ResidentCodeWrong(AppError):
    """Not the six digits that were sent, if any were."""

    code, status = "resident_code_wrong", 401
    message_zh = "验证码不正确。请核对短信中的 6 位数字后再试。"
    message_en = "The code is not right. Compare it with the six digits in the message and try again."


class ResidentCodeOver(AppError):
    """Too late, used, five times wrong, or never asked for: all answer alike."""

    code, status = "resident_code_over", 401
    message_zh = "验证码已失效：5 分钟内有效，只能用一次，最多输错 5 次。请重新获取。"
    message_en = "The code is no longer good: it lasts five minutes and works once. Ask for a new one."


def ask_code(session: Session, *, place: ResidentPlace, phone: str, address: str) -> str:
    """Somebody typed a number. Returns the token for the browser's cookie; nothing tells whether anybody has the number.

    Raises PhoneUnreadable, SignInDelayed, ResidentsBusy, KeyStoreAway.
    """
    digests = data_key(session).blinds("phone", normalise_phone(phone))
    count_try(session, what=_what(place.property_id, digests[0]), address=f"r:{address}"[:45])
    if _count(session, place.property_id, since=timedelta(hours=1)) >= ASKED_HOUR_MAX:
        raise ResidentsBusy()
    token, now = secrets.token_urlsafe(32), wall_now()
    asked = ResidentCode(
        property_id=place.property_id,
        digest=_digest(token),
        phone_digests=digests,
        address=address[:45],
        created_at=now,
        expires_at=now + CODE_LASTS,
    )
    session.add(asked)
    session.flush()  # allow: flush - the event names the row by its id
    tell(session, kind="residents.code_asked", payload={"code_id": asked.id}, order_key="")
    return token


def take_code(session: Session, *, code_id: int) -> tuple[Party, ResidentPlace, str] | None:
    """For the worker that sends it: whom to write to, where, and the digits; None when there is nobody to write to.

    Numbers nobody has, roles that ended, codes past their time, pages closed since, and what is above the day's limit,
    which is written to the audit log.
    """
    asked = session.scalar(select(ResidentCode).where(ResidentCode.id == code_id).with_for_update())
    if asked is None or asked.sent_at is not None or asked.expires_at <= wall_now():
        return None
    page = session.scalar(
        select(ResidentPage).where(ResidentPage.property_id == asked.property_id, ResidentPage.closed_at.is_(None))
    )
    if page is None:
        return None
    public_id = session.scalars(select(Node.public_id).where(Node.id == asked.property_id)).one()
    place = place_of_page(session, public_id=public_id)
    homes = homes_of(session, place=place, phone_digests=asked.phone_digests)
    if not homes.since:
        return None
    if _count(session, asked.property_id, since=timedelta(days=1), sent=True) >= page.codes_day_max:
        _note(session, "resident:code:withhold", asked, Actor.system("worker"), {"why": "day_limit"})
        return None
    asked.sent_at = wall_now()
    return homes.parties[0], place, _digits(session, asked)[0]


def enter_code(db: Database, *, tenant_id: int, place: ResidentPlace, token: str, typed: str, address: str) -> str:
    """Show the digits; returns the token of a new session, in a transaction of its own.

    Raises ResidentCodeWrong, ResidentCodeOver. A wrong answer is counted and written to the audit log.
    """
    with unit_of_work(tenant_id, db=db) as session:
        asked = _living(session, place, token)
        if asked is None:
            raise ResidentCodeOver()
        homes = homes_of(session, place=place, phone_digests=asked.phone_digests)
        if _matches(session, asked, typed) and homes.since and asked.sent_at is not None:
            asked.used_at = wall_now()
            forget_tries(session, what=_what(place.property_id, asked.phone_digests[0]))
            return begin_session(session, place=place, homes=homes, address=address)
        asked.tries += 1
        over = asked.tries >= TRIES_MAX
        by = Actor("system", "resident-sign-in", address=address)
        _note(session, "resident:session:refuse", asked, by, {"tries": asked.tries})
    raise ResidentCodeOver() if over else ResidentCodeWrong()


def prune_codes(session: Session) -> None:
    """Forget codes that count towards no limit any more, with the digest of whoever's number it was."""
    session.execute(delete(ResidentCode).where(ResidentCode.created_at < wall_now() - KEPT))


def _living(session: Session, place: ResidentPlace, token: str) -> ResidentCode | None:
    return session.scalar(
        select(ResidentCode)
        .where(
            ResidentCode.digest == _digest(token),
            ResidentCode.property_id == place.property_id,
            ResidentCode.used_at.is_(None),
            ResidentCode.expires_at > wall_now(),
            ResidentCode.tries < TRIES_MAX,
        )
        .with_for_update()
    )


def _matches(session: Session, asked: ResidentCode, typed: str) -> bool:
    return any(hmac.compare_digest(right.encode(), typed.encode()) for right in _digits(session, asked))


def _digits(session: Session, asked: ResidentCode) -> list[str]:
    """What the row's digest comes to under the data key; while digests are being changed under two of them."""
    made = data_key(session).blinds("resident_code", asked.digest.hex())
    return [f"{int.from_bytes(one, 'big') % 10**DIGITS:0{DIGITS}d}" for one in made]


def _count(session: Session, property_id: int, *, since: timedelta, sent: bool = False) -> int:
    found = select(func.count()).select_from(ResidentCode).where(
        ResidentCode.property_id == property_id, ResidentCode.created_at > wall_now() - since
    )  # fmt: skip
    return session.scalar(found.where(ResidentCode.sent_at.is_not(None)) if sent else found) or 0


def _what(property_id: int, phone_digest: bytes) -> str:
    """How tries of a number at a property are counted."""
    return f"resident:{property_id}:{phone_digest.hex()}"


def _digest(token: str) -> bytes:
    return directory_digest("resident_code", token)


def _note(session: Session, deed: str, asked: ResidentCode, by: Actor, facts: dict[str, object]) -> None:
    audit.record(
        session, deed=deed, subject=f"resident_codes:{asked.id}", actor=by, facts=facts, property_id=asked.property_id,
        result="refused",
    )  # fmt: skip
