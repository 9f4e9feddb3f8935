"""The directory: from a sign-in name, session, API token, gateway number or merchant to its tenant, by exact
digest.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.crypto import directory_digest
from app.kernel.db import current_tenant_id
from app.tenants.models import DirectoryEntry

KINDS = frozenset(
    {
        "login",
        "session",
        "api_token",
        "gateway",
        "merchant",
        "step",
        "password_link",
        "sso",
        "counter_pc",
        "resident_page",
    }
)


def find_tenant(connection: Connection, *, kind: str, value: str) -> int | None:
    """The tenant of a value, looked up before any tenant is known; None when nobody has it."""
    return connection.scalar(
        select(DirectoryEntry.tenant_id).where(
            DirectoryEntry.digest == directory_digest(kind, value), DirectoryEntry.kind == kind
        )
    )


def enter(session: Session, *, kind: str, value: str) -> bool:
    """Enter a value for the current tenant; False when it is taken, by this tenant or any other."""
    if kind not in KINDS:
        raise ValueError(f"the directory knows no {kind}")
    row = insert(DirectoryEntry).values(digest=directory_digest(kind, value), kind=kind, tenant_id=current_tenant_id())
    return session.scalar(row.on_conflict_do_nothing().returning(DirectoryEntry.tenant_id)) is not None


def leave(session: Session, *, kind: str, value: str) -> None:
    """Take the current tenant's value out of the directory; another tenant's stays."""
    session.execute(
        delete(DirectoryEntry).where(
            DirectoryEntry.digest == directory_digest(kind, value),
            DirectoryEntry.tenant_id == current_tenant_id(),
        )
    )


def forget(session: Session, *, digests: Sequence[bytes]) -> None:
    """Take many of the current tenant's entries out at once, by digest."""
    session.execute(
        delete(DirectoryEntry).where(
            DirectoryEntry.digest.in_(digests), DirectoryEntry.tenant_id == current_tenant_id()
        )
    )
