"""Second factors of a person: added, named, shown, removed. What is shown is a code, a recovery code or a passkey's answer."""

import uuid

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import current_tenant_id, uuid7
from app.kernel.errors import AppError
from app.permissions import recovery, totp
from app.permissions.factor_models import UserFactor
from app.permissions.models import SecurityPolicy, User
from app.permissions.passkeys import RelyingParty, check_assertion, register
from app.permissions.policy import NEEDS_SECOND_FACTOR
from app.permissions.service import load_scope
from app.permissions.sessions import asks_factor
from app.permissions.steps import FactorWrong
from app.tenants import audit
from app.tenants.access import or_not_found
from app.tenants.keys import data_key, place
from app.tenants.models import Tenant

NAME_LENGTH_MAX = 60
ANSWER_LENGTH_MAX = 16_384
FRESH = {"populate_existing": True}


class LastFactor(AppError):
    """The group asks this person for a second factor, and this is the last one."""

    code, status = "last_factor", 409
    message_zh = "这是最后一个二次验证方式，集团要求您的角色必须保留。请先添加另一个再移除。"
    message_en = "This is your last second factor and your group asks your role for one. Add another first."


class FactorNameMissing(AppError):
    """A factor without a name could not be told from another."""

    code, status = "factor_name_missing", 422
    message_zh = "请给验证方式起一个名字，最多 {length_max} 个字，例如“我的手机”。"
    message_en = "Give the factor a name of at most {length_max} characters, for example “my phone”."


def list_factors(session: Session, *, user_id: int, kind: str | None = None) -> list[UserFactor]:
    """What the person may show, the oldest first."""
    query = select(UserFactor).where(
        UserFactor.user_id == user_id, UserFactor.confirmed_at.is_not(None), UserFactor.removed_at.is_(None)
    )
    if kind is not None:
        query = query.where(UserFactor.kind == kind)
    return list(session.scalars(query.order_by(UserFactor.id)))


def must_have_factor(session: Session, *, user_id: int) -> bool:
    """Whether the group asks this person for a second factor: by its policy, and by what the person may do."""
    query = select(asks_factor()).select_from(Tenant).outerjoin(SecurityPolicy, SecurityPolicy.tenant_id == Tenant.id)
    if not session.scalar(query.where(Tenant.id == current_tenant_id())):
        return False
    return bool(load_scope(session, user_id=user_id).permissions & NEEDS_SECOND_FACTOR)


def accept(
    session: Session, *, user_id: int, answer: str, challenge: bytes | None, party: RelyingParty | None
) -> str | None:
    """Judge what a person shows: `totp`, `recovery` or `passkey` when it is right, else None. Each is taken once."""
    if len(answer) > ANSWER_LENGTH_MAX:
        return None
    if answer.lstrip().startswith("{"):
        return _accept_passkey(session, user_id, answer, challenge, party)
    code = totp.plain_code(answer)
    if code is not None:
        return "totp" if _accept_totp(session, user_id, code) else None
    return "recovery" if recovery.use_code(session, user_id=user_id, typed=answer) else None


def begin_totp(session: Session, *, user: User, name: str, by: Actor | None = None) -> UserFactor:
    """A new secret that counts for nothing until a code of it was shown; one begun before is forgotten."""
    session.execute(
        delete(UserFactor).where(
            UserFactor.user_id == user.id, UserFactor.kind == "totp", UserFactor.confirmed_at.is_(None)
        )
    )
    public_id = uuid7()
    where = place(table="user_factors", column="secret_cipher", row=public_id)
    factor = UserFactor(
        public_id=public_id,
        user_id=user.id,
        kind="totp",
        name=_named(name),
        secret_cipher=data_key(session).encrypt(totp.new_secret(), where),
        created_at=wall_now(),
    )
    session.add(factor)
    _note(session, deed="user:factor:begin", user_id=user.id, by=by or Actor.user(user.id), kind="totp")
    return factor


def unconfirmed_totp(session: Session, *, user_id: int, lock: bool = False) -> UserFactor:
    """The authenticator app that is being added. Raises NotFound."""
    query = select(UserFactor).where(
        UserFactor.user_id == user_id, UserFactor.kind == "totp", UserFactor.confirmed_at.is_(None)
    )
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return or_not_found(session.scalar(query.order_by(UserFactor.id.desc()).limit(1)))


def secret_of(session: Session, factor: UserFactor) -> str:
    """The shared secret in clear: for its QR code, and for comparing."""
    where = place(table="user_factors", column="secret_cipher", row=factor.public_id)
    return data_key(session).decrypt(factor.secret_cipher or b"", where)


def confirm_totp(session: Session, *, user: User, code: str, by: Actor, name: str = "") -> list[str]:
    """The first code makes the app a factor, under another name if one is given.

    Returns recovery codes when there were none. Raises NotFound, FactorWrong, FactorNameMissing.
    """
    factor = unconfirmed_totp(session, user_id=user.id, lock=True)
    plain, now = totp.plain_code(code), wall_now()
    step = totp.find_step(secret_of(session, factor), plain, now=now, last_step=None) if plain else None
    if step is None:
        raise FactorWrong()
    factor.last_step, factor.confirmed_at, factor.last_used_at = step, now, now
    factor.name = _named(name) if name else factor.name
    return _added(session, user, factor, by)


def add_passkey(
    session: Session, *, user: User, party: RelyingParty, challenge: bytes, answer: str, name: str, by: Actor
) -> list[str]:
    """Keep a passkey. Returns recovery codes when there were none. Raises PasskeyRefused, PasskeyHeld."""
    factor = register(session, party=party, user=user, challenge=challenge, answer=answer, name=_named(name))
    return _added(session, user, factor, by)


def rename_factor(session: Session, *, user_id: int, public_id: uuid.UUID, name: str, by: Actor) -> None:
    """Call a factor something else. Raises FactorNameMissing, NotFound."""
    factor = _own(session, user_id, public_id)
    factor.name = _named(name)
    _note(session, deed="user:factor:rename", user_id=user_id, by=by, factor=factor.id)


def remove_factor(session: Session, *, user_id: int, public_id: uuid.UUID, by: Actor) -> None:
    """A factor counts no more; recovery codes go with the last one. Raises NotFound, LastFactor."""
    session.scalars(select(User.id).where(User.id == user_id).with_for_update()).one()
    factor = _own(session, user_id, public_id)
    last = len(list_factors(session, user_id=user_id)) == 1
    if last and must_have_factor(session, user_id=user_id):
        raise LastFactor()
    factor.removed_at, factor.secret_cipher = wall_now(), None
    if last:
        recovery.drop_codes(session, user_id=user_id)
    _note(session, deed="user:factor:remove", user_id=user_id, by=by, factor=factor.id, kind=factor.kind)


def renew_codes(session: Session, *, user_id: int, by: Actor) -> list[str]:
    """Ten new recovery codes, shown once."""
    _note(session, deed="user:recovery:make", user_id=user_id, by=by)
    return recovery.make_codes(session, user_id=user_id)


def _accept_totp(session: Session, user_id: int, code: str) -> bool:
    query = select(UserFactor).where(
        UserFactor.user_id == user_id,
        UserFactor.kind == "totp",
        UserFactor.confirmed_at.is_not(None),
        UserFactor.removed_at.is_(None),
    )
    now = wall_now()
    # Locked: of two requests with the same code at the same instant, one finds the step taken.
    for factor in session.scalars(query.order_by(UserFactor.id).with_for_update(), execution_options=FRESH):
        step = totp.find_step(secret_of(session, factor), code, now=now, last_step=factor.last_step)
        if step is not None:
            factor.last_step, factor.last_used_at = step, now
            return True
    return False


def _accept_passkey(
    session: Session, user_id: int, answer: str, challenge: bytes | None, party: RelyingParty | None
) -> str | None:
    if challenge is None or party is None:
        return None
    shown = check_assertion(session, party=party, user_id=user_id, challenge=challenge, answer=answer)
    return "passkey" if shown is not None else None


def _own(session: Session, user_id: int, public_id: uuid.UUID) -> UserFactor:
    query = select(UserFactor).where(
        UserFactor.user_id == user_id,
        UserFactor.public_id == public_id,
        UserFactor.confirmed_at.is_not(None),
        UserFactor.removed_at.is_(None),
    )
    return or_not_found(session.scalar(query.with_for_update()))


def _added(session: Session, user: User, factor: UserFactor, by: Actor) -> list[str]:
    session.flush()  # allow: flush - the audit log names the factor by its id
    _note(session, deed="user:factor:add", user_id=user.id, by=by, factor=factor.id, kind=factor.kind)
    if len(list_factors(session, user_id=user.id)) > 1:
        return []
    return recovery.make_codes(session, user_id=user.id)


def _named(name: str) -> str:
    plain = " ".join(name.split())
    if not 0 < len(plain) <= NAME_LENGTH_MAX:
        raise FactorNameMissing(length_max=NAME_LENGTH_MAX)
    return plain


def _note(session: Session, *, deed: str, user_id: int, by: Actor, **facts: object) -> None:
    audit.record(session, deed=deed, subject=f"users:{user_id}", actor=by, facts=facts)
