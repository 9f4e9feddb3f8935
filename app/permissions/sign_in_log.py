"""A person's recent sign-ins, those that were refused among them: so that they notice a stranger."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.clock import business_now
from app.permissions.models import UserSession
from app.tenants.models import AuditRecord

SHOWN_MAX = 10
REFUSED_BACK = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in: `refused` holds the reason's code, None when it was let in."""

    at: datetime
    address: str | None
    agent: str
    opened_by: str
    refused: str | None


def recent_sign_ins(session: Session, *, user_id: int, limit: int = SHOWN_MAX) -> list[Attempt]:
    """The latest first: sessions from their table, refusals from the audit log."""
    opened = session.scalars(
        select(UserSession).where(UserSession.user_id == user_id).order_by(UserSession.created_at.desc()).limit(limit)
    )
    refused = session.scalars(
        select(AuditRecord)
        .where(
            AuditRecord.subject == f"users:{user_id}",
            AuditRecord.deed == "user:session:refuse",
            AuditRecord.at > business_now() - REFUSED_BACK,
        )
        .order_by(AuditRecord.at.desc())
        .limit(limit)
    )
    attempts = [Attempt(s.created_at, s.address, s.agent, s.opened_by, None) for s in opened]
    attempts += [Attempt(r.wall_at, r.address, "", "", str(r.facts.get("reason", ""))) for r in refused]
    return sorted(attempts, key=lambda attempt: attempt.at, reverse=True)[:limit]
