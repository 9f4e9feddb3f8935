"""What a tenant asks of its people: second factors, how long a session lasts, how long things wait and are kept."""

from dataclasses import asdict, dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.db import current_tenant_id
from app.kernel.errors import AppError
from app.permissions.models import SecurityPolicy
from app.tenants import audit
from app.tenants.models import Tenant

#: The smallest and largest of each figure, the same as the CHECKs of the table.
BOUNDS: dict[str, tuple[int, int]] = {
    "session_hours_max": (1, 24),
    "session_idle_min": (5, 480),
    "approval_hours_max": (1, 720),
    "audit_keep_days": (180, 3_650),
}


class PolicyOutOfBounds(AppError):
    """A figure that would lock people out, let sessions live for ever, or keep less of the log than the law asks."""

    code, status = "policy_out_of_bounds", 422
    message_zh = "{field} 须在 {low} 到 {high} 之间。请修改后再保存。"
    message_en = "{field} must lie between {low} and {high}. Change it and save again."


@dataclass(frozen=True, slots=True)
class Asked:
    """What holds for a tenant."""

    #: Whether roles that move money, relays or rights need a second factor.
    second_factor_required: bool
    session_hours_max: int = 12
    session_idle_min: int = 120
    #: How long a request waits for its second person.
    approval_hours_max: int = 72
    audit_keep_days: int = 180


def security_policy(session: Session) -> Asked:
    """What holds now: the tenant's own word, else the defaults. A demo asks nobody for a second factor unasked."""
    row = session.scalar(select(SecurityPolicy))
    if row is None:
        kind = session.scalars(select(Tenant.kind).where(Tenant.id == current_tenant_id())).one()
        return Asked(second_factor_required=kind != "demo")
    return Asked(
        row.second_factor_required,
        row.session_hours_max,
        row.session_idle_min,
        row.approval_hours_max,
        row.audit_keep_days,
    )


def change_security_policy(session: Session, *, asked: Asked, by: Actor, facts: dict[str, str] | None = None) -> None:
    """Let this hold from the next request on. `facts` go to the audit log. Raises PolicyOutOfBounds."""
    wanted, before = asdict(asked), asdict(security_policy(session))
    for field, (low, high) in BOUNDS.items():
        if not low <= wanted[field] <= high:
            raise PolicyOutOfBounds(field=field, low=low, high=high)
    changed = [field for field in wanted if wanted[field] != before[field]]
    if not changed:
        return
    session.merge(SecurityPolicy(tenant_id=current_tenant_id(), **wanted))
    audit.record(
        session,
        deed="user:policy:change",
        subject=f"security_policies:{current_tenant_id()}",
        actor=by,
        before={field: before[field] for field in changed},
        after={field: wanted[field] for field in changed},
        facts=facts,
    )
