"""What is done by the clock: rows of (kind, period, tenant), due by the business clock, run once each.

Sealing, anchoring and webhooks follow the computer's clock: evidence is made and strangers' machines are called while a
demo's clock stands or runs, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from app.kernel.clock import wall_now

ZONE = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True)
class Deed:
    """Something done once per period for every tenant. `period` formats local business time into the period's name."""

    kind: str
    period: str
    queue: str
    #: True for what follows the computer's clock; its periods are named apart.
    by_wall: bool = False

    def period_at(self, now: datetime) -> str:
        """The name of the period that a business instant lies in, or for `by_wall` the present one."""
        return wall_now().strftime(f"W{self.period}") if self.by_wall else now.astimezone(ZONE).strftime(self.period)


MINUTE, HOUR, DAY = "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d"

DEEDS: tuple[Deed, ...] = (
    Deed("expire_commands", MINUTE, "commands"),
    Deed("judge_stops", MINUTE, "commands"),
    Deed("expire_holds", MINUTE, "money"),
    Deed("expire_approvals", MINUTE, "default", by_wall=True),
    Deed("close_days", HOUR, "money"),
    Deed("open_periods", DAY, "money"),
    Deed("seal", MINUTE, "default", by_wall=True),
    Deed("anchor", MINUTE, "default", by_wall=True),
    Deed("send_webhooks", MINUTE, "outside", by_wall=True),
    Deed("rotate_keys", MINUTE, "default", by_wall=True),
    Deed("fold_accounts", HOUR, "default"),
    Deed("sweep_files", HOUR, "default"),
    Deed("prune", DAY, "default"),
)


def due(now: datetime) -> Iterator[tuple[Deed, str]]:
    """Every deed with the period it is due for at a business instant."""
    for deed in DEEDS:
        yield deed, deed.period_at(now)
