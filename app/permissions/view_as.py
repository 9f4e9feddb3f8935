"""View as: an administrator sees the console as somebody else would, and changes nothing meanwhile.

The session keeps its owner; only what it reads with is the other's, and never more than the viewer may see (adr 0016).
"""

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.crypto import directory_digest
from app.kernel.errors import AppError, NotFound
from app.permissions.models import User, UserSession
from app.permissions.reach import refuse_oneself, refuse_out_of_view
from app.tenants import audit


class ViewingOnly(AppError):
    """Whoever views as somebody else looks and does nothing."""

    code, status = "viewing_only", 403
    message_zh = "您正在以他人的视角查看，不能办理任何业务。请先点页面顶部的“结束查看”。"
    message_en = "You are viewing as somebody else and can change nothing. Choose “Stop viewing” at the top first."


def begin_view(session: Session, *, token: str, user: User, by: Actor) -> None:
    """Let this session read with another person's rights.

    Raises OwnRights for oneself, NotFound for somebody who may not sign in, RightsBeyondYours for somebody who may see
    what the viewer may not.
    """
    refuse_oneself(user, by)
    if user.disabled_at is not None:
        raise NotFound()
    refuse_out_of_view(session, user=user, by=by)
    _set(session, token, user.id)
    audit.record(session, deed="user:view:begin", subject=f"users:{user.id}", actor=by)


def end_view(session: Session, *, token: str, user_id: int, by: Actor) -> None:
    """Read with one's own rights again."""
    _set(session, token, None)
    audit.record(session, deed="user:view:end", subject=f"users:{user_id}", actor=by)


def _set(session: Session, token: str, user_id: int | None) -> None:
    own = update(UserSession).where(UserSession.digest == directory_digest("session", token))
    session.execute(own.values(view_as_user_id=user_id))
