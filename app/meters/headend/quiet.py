"""Is the head-end done with what it can do now? For whoever moves the clock: a story advances when it is quiet."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.meters.command_models import Command
from app.meters.commands import UNDONE
from app.meters.headend.polling import due_instant
from app.meters.models import Gateway, Meter


@dataclass(frozen=True, slots=True)
class PendingWork:
    """Counts of what the head-end will still do by itself at this business instant."""

    #: Commands on their way to meters whose gateway is online.
    commands: int
    #: Online meters behind online gateways that have not answered since they were due.
    polls: int
    #: Meters behind online gateways that never answered yet.
    unheard: int

    @property
    def quiet(self) -> bool:
        """Nothing left to wait for."""
        return self.commands + self.polls + self.unheard == 0


def pending_work(session: Session, *, poll_s: int, now: datetime) -> PendingWork:
    """What is still to come for the meters of the tenant. `poll_s` as in the setting HEADEND_POLL_S."""
    online = select(Gateway.id).where(Gateway.online.is_(True))
    commands = select(func.count()).where(Command.state.in_(UNDONE), Command.gateway_id.in_(online))
    due_at = due_instant(now, poll_s)
    behind = select(func.count()).where(Meter.gateway_id.in_(online))
    late = or_(Meter.answered_at.is_(None), Meter.answered_at < due_at)
    polls = behind.where(Meter.online.is_(True), late)
    unheard = behind.where(Meter.online.is_(False), Meter.answered_at.is_(None))
    # One statement: whoever waits asks again and again.
    counts = session.execute(
        select(
            commands.select_from(Command).scalar_subquery(),
            polls.select_from(Meter).scalar_subquery(),
            unheard.select_from(Meter).scalar_subquery(),
        )
    ).one()
    return PendingWork(*counts)
