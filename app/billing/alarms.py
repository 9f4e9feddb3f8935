"""Alarm levels of many wallets at once: how low each one is after new usage, and who must hear of it.

A level only rises with usage; money lowers it (`settle_level`). An episode begins with the first alarm and ends when
a credit lifts the wallet above all of them, so that nobody is warned of the same low balance twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ARRAY, BigInteger, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.billing.accrual import load_day_costs
from app.billing.arrears import (
    FORECAST_DAYS,
    AlarmPolicy,
    Level,
    Threshold,
    episode_over,
    forecast_hours,
    level_of,
)
from app.billing.models import Stop, StopJudgement, SupplyAccount, ZeroCrossings
from app.kernel.clock import business_now, local_day
from app.kernel.db import current_tenant_id
from app.kernel.money import floor_fen
from app.kernel.outbox import tell_many
from app.tenants.models import Property

#: Warned by days of forecast, and by the account's own amounts, whichever comes first (domain.md 3).
ALARM_1_DAYS = 3
ALARM_2_DAYS = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """How low a supply account is: `before` as stored, `now` as judged; the forecast in hours, None without one."""

    supply_account_id: int
    before: int
    now: Level
    episode: int
    hours_left: int | None

    @property
    def stored(self) -> int:
        """What the account row says: past the overdraft is still zero."""
        return min(int(self.now), int(Level.ZERO))


_SET_LEVELS = text(
    """
    UPDATE supply_accounts AS s SET alarm_level = d.level, episode = d.episode
      FROM unnest(CAST(:ids AS bigint[]), CAST(:levels AS bigint[]), CAST(:episodes AS bigint[])) AS d(id, level, episode)
     WHERE s.tenant_id = :tenant AND s.id = d.id
    """
)


def raise_levels(session: Session, *, property_id: int, available_fen: Mapping[int, int]) -> int:
    """Raise the levels of wallets that usage has lowered, and tell of each that changed or is due to be stopped.

    `available_fen` is supply account → available after the usage. Returns how many crossed zero in this batch.
    """
    now = business_now()
    standings = judge_levels(session, property_id=property_id, available_fen=available_fen, now=now)
    risen = [s for s in standings if s.stored > s.before]
    _store_levels(session, [(s.supply_account_id, s.stored, _episode(s)) for s in risen])
    crossed = sum(1 for s in risen if s.stored == Level.ZERO)
    if crossed:
        count_crossings(session, property_id=property_id, at=now, crossings=crossed)
    due = _undecided(session, [s.supply_account_id for s in standings if s.now is Level.STOP_DUE], now)
    tell_levels(session, sorted({s.supply_account_id for s in risen} | due))
    return crossed


def judge_levels(
    session: Session, *, property_id: int, available_fen: Mapping[int, int], now: datetime
) -> list[Standing]:
    """How low these supply accounts are, from what is available and their last full days."""
    ids = sorted(available_fen)
    today = local_day(now, session.scalars(select(Property.time_zone).where(Property.id == property_id)).one())
    costs = load_day_costs(session, supply_account_ids=ids, today=today, days=FORECAST_DAYS)
    rows = session.execute(
        select(
            SupplyAccount.id,
            SupplyAccount.overdraft_fen_max,
            SupplyAccount.alarm_1_fen,
            SupplyAccount.alarm_2_fen,
            SupplyAccount.alarm_level,
            SupplyAccount.episode,
        ).where(SupplyAccount.id == func.any(bindparam("ids", ids, type_=ARRAY(BigInteger))))
    )
    return [
        judge_standing(
            id_, available_fen[id_], costs.get(id_, []), overdraft, alarm_policy(first, second), level, episode
        )
        for id_, overdraft, first, second, level, episode in rows
    ]


def alarm_policy(alarm_1_fen: int, alarm_2_fen: int) -> AlarmPolicy:
    """The thresholds of one account: the forecast of domain.md 3 beside its own amounts."""
    return AlarmPolicy(Threshold(ALARM_1_DAYS, alarm_1_fen), Threshold(ALARM_2_DAYS, alarm_2_fen))


def settle_level(session: Session, standing: Standing) -> None:
    """After a credit: store the level as it is now. A wallet above all alarms ends its episode."""
    over = episode_over(standing.now, credited=True)
    level, episode = (Level.NONE, standing.episode) if over else (standing.stored, _episode(standing))
    if (level, episode) != (standing.before, standing.episode):
        _store_levels(session, [(standing.supply_account_id, int(level), episode)])


def tell_levels(session: Session, supply_account_ids: Sequence[int]) -> None:
    """Tell that these accounts must be looked at: one event each, in order per account."""
    if supply_account_ids:
        events = [({"supply_account_id": id_}, f"supply_account:{id_}") for id_ in supply_account_ids]
        tell_many(session, kind="supply.level_changed", events=events)


def count_crossings(session: Session, *, property_id: int, at: datetime, crossings: int) -> None:
    """Count wallets that crossed zero in the hour of `at`: what the mass-trip freeze looks at."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    row = insert(ZeroCrossings).values(
        tenant_id=current_tenant_id(), property_id=property_id, hour=hour, crossings=crossings
    )
    more = {"crossings": ZeroCrossings.crossings + row.excluded.crossings}
    session.execute(row.on_conflict_do_update(index_elements=["tenant_id", "property_id", "hour"], set_=more))


def judge_standing(
    supply_account_id: int,
    available_fen: int,
    costs_microfen: Sequence[int],
    overdraft_fen: int,
    policy: AlarmPolicy,
    before: int,
    episode: int,
) -> Standing:
    """How low one account is: `available_fen` now, the rated microfen of its last full days, its stored level."""
    hours = forecast_hours(available_fen, [floor_fen(cost) for cost in costs_microfen])
    level = level_of(available_fen=available_fen, overdraft_fen=overdraft_fen, hours_left=hours, policy=policy)
    return Standing(supply_account_id, before, level, episode, hours)


def _episode(standing: Standing) -> int:
    return standing.episode + 1 if standing.before == Level.NONE else standing.episode


def _store_levels(session: Session, rows: Sequence[tuple[int, int, int]]) -> None:
    if rows:
        ids, levels, episodes = (list(column) for column in zip(*rows, strict=True))
        given = {"tenant": current_tenant_id(), "ids": ids, "levels": levels, "episodes": episodes}
        session.execute(_SET_LEVELS, given)


def _undecided(session: Session, ids: Sequence[int], now: datetime) -> set[int]:
    """Of the accounts past their overdraft, those that are neither stopped nor to be judged again at a set time."""
    if not ids:
        return set()
    wanted = bindparam("ids", list(ids), type_=ARRAY(BigInteger))
    stopped = session.scalars(
        select(Stop.supply_account_id).where(
            Stop.supply_account_id == func.any(wanted), Stop.state.in_(("ordered", "in_force", "restoring"))
        )
    )
    waiting = session.scalars(
        select(StopJudgement.supply_account_id).where(
            StopJudgement.supply_account_id == func.any(wanted), StopJudgement.next_at > now - timedelta(minutes=2)
        )
    )
    return set(ids) - set(stopped) - set(waiting)
