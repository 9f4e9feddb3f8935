"""Account-days in the database: usage loaded, rated amounts upserted and added to the wallets' accrual, in sets.

The caller holds the wallets' locks whenever an amount changes, so that `accrued_microfen` is at every commit the
carry plus everything rated and not yet posted.

Rows of a batch are looked up one account at a time, LATERAL and fenced by OFFSET 0: as a plain join, PostgreSQL reads
the whole property for every batch while its statistics do not know the property yet (`runs.lock_run`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.billing.tariffs.rating import Line
from app.kernel.db import current_tenant_id
from app.meters.spans import Quality, UsageSpan

DayKey = tuple[int, date]


@dataclass(frozen=True, slots=True)
class RatedDay:
    """What a supply account used on a civil day, priced, with its working as JSON."""

    supply_account_id: int
    day: date
    usage_wh: int
    rated_microfen: int
    lines: str

    @property
    def key(self) -> DayKey:
        """Supply account and day."""
        return self.supply_account_id, self.day


_SPANS = text(
    """
    SELECT s.supply_account_id, s.day, s.from_at, s.to_at, s.usage_wh, s.quality
      FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS t(id, day)
     CROSS JOIN LATERAL (
           SELECT u.* FROM usage_spans AS u
            WHERE u.tenant_id = :tenant AND u.supply_account_id = t.id AND u.day = t.day
              AND u.from_at >= :first AND u.from_at < :last
           OFFSET 0) AS s
     ORDER BY s.supply_account_id, s.day, s.from_at
    """
)

_DAYS_WITH_USAGE = text(
    """
    SELECT DISTINCT s.supply_account_id, s.day
      FROM usage_spans AS s
     WHERE s.tenant_id = :tenant AND s.property_id = :property AND s.day >= :since AND s.from_at >= :first
       AND s.supply_account_id = ANY(CAST(:ids AS bigint[]))
     ORDER BY s.supply_account_id, s.day
    """
)

_RATED = text(
    """
    SELECT a.supply_account_id, a.day, a.usage_wh, a.rated_microfen
      FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS t(id, day)
     CROSS JOIN LATERAL (
           SELECT d.* FROM account_days AS d
            WHERE d.tenant_id = :tenant AND d.supply_account_id = t.id AND d.day = t.day
           OFFSET 0) AS a
    """
)

_STORE = text(
    """
    INSERT INTO account_days
           (tenant_id, property_id, supply_account_id, day, usage_wh, rated_microfen, lines, rated_at)
    SELECT :tenant, :property, d.id, d.day, d.usage_wh, d.rated, d.lines, :at
      FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[]), CAST(:usage AS bigint[]),
                  CAST(:rated AS bigint[]), CAST(CAST(:lines AS text[]) AS jsonb[])) AS d(id, day, usage_wh, rated, lines)
        ON CONFLICT (tenant_id, supply_account_id, day) DO UPDATE
           SET usage_wh = excluded.usage_wh, rated_microfen = excluded.rated_microfen,
               lines = excluded.lines, rated_at = excluded.rated_at
    """
)

_COSTS = text(
    """
    SELECT t.id, a.costs
      FROM unnest(CAST(:ids AS bigint[])) AS t(id)
     CROSS JOIN LATERAL (
           SELECT array_agg(d.rated_microfen ORDER BY d.day) AS costs FROM account_days AS d
            WHERE d.tenant_id = :tenant AND d.supply_account_id = t.id AND d.day >= :first AND d.day < :today) AS a
     WHERE a.costs IS NOT NULL
    """
)


def days_with_usage(
    session: Session, *, property_id: int, supply_account_ids: Sequence[int], since: date
) -> list[DayKey]:
    """The account-days from a day on that have usage spans, priced or not."""
    given = {
        "tenant": current_tenant_id(), "property": property_id, "ids": list(supply_account_ids), "since": since,
        "first": since - timedelta(days=1),
    }  # fmt: skip
    return [(account_id, day) for account_id, day in session.execute(_DAYS_WITH_USAGE, given)]


def load_spans(session: Session, *, days: Iterable[DayKey]) -> dict[DayKey, list[UsageSpan]]:
    """The usage of these account-days in order of time; days without any usage are absent."""
    wanted = sorted(days)
    if not wanted:
        return {}
    # Spans never cross a civil midnight, so a day of margin on both sides lets the planner skip every other month.
    first, last = min(day for _, day in wanted), max(day for _, day in wanted)
    margin = timedelta(days=1)
    given = _columns(wanted) | {"first": first - margin, "last": last + 2 * margin}
    found: dict[DayKey, list[UsageSpan]] = {}
    for account_id, day, from_at, to_at, usage_wh, quality in session.execute(_SPANS, given):
        found.setdefault((account_id, day), []).append(UsageSpan(from_at, to_at, usage_wh, Quality(quality), day))
    return found


def load_rated(session: Session, *, days: Iterable[DayKey]) -> dict[DayKey, tuple[int, int]]:
    """(usage in Wh, rated microfen) of the account-days that were priced before."""
    rows = session.execute(_RATED, _columns(sorted(days)))
    return {(account_id, day): (usage_wh, rated) for account_id, day, usage_wh, rated in rows}


def store_days(session: Session, *, property_id: int, days: Sequence[RatedDay], at: datetime) -> None:
    """Upsert account-days; what day close has posted of them stays."""
    if days:
        given = _columns([day.key for day in days]) | {
            "property": property_id,
            "usage": [day.usage_wh for day in days],
            "rated": [day.rated_microfen for day in days],
            "lines": [day.lines for day in days],
            "at": at,
        }
        session.execute(_STORE, given)


def load_day_costs(
    session: Session, *, supply_account_ids: Sequence[int], today: date, days: int
) -> dict[int, list[int]]:
    """Rated microfen of the full days before `today`, oldest first, at most `days` of them per account."""
    given = {
        "tenant": current_tenant_id(), "ids": list(supply_account_ids), "today": today,
        "first": today - timedelta(days=days),
    }  # fmt: skip
    return {account_id: list(costs) for account_id, costs in session.execute(_COSTS, given)}


def rated_day(key: DayKey, lines: Sequence[Line]) -> RatedDay:
    """An account-day from its rated lines; neighbouring lines at one price are shown as one."""
    working = _merged(lines)
    usage_wh = sum(line["usage_wh"] for line in working)
    rated = sum(line["amount_microfen"] for line in working)
    return RatedDay(key[0], key[1], usage_wh, rated, json.dumps(working, separators=(",", ":")))


def changes(days: Iterable[RatedDay], before: Mapping[DayKey, tuple[int, int]]) -> dict[int, int]:
    """Supply account → difference in rated microfen against what was priced before."""
    differences: dict[int, int] = {}
    for day in days:
        difference = day.rated_microfen - before.get(day.key, (0, 0))[1]
        differences[day.supply_account_id] = differences.get(day.supply_account_id, 0) + difference
    return differences


def _columns(keys: Sequence[DayKey]) -> dict[str, Any]:
    ids, days = [key[0] for key in keys], [key[1] for key in keys]
    return {"tenant": current_tenant_id(), "ids": ids, "days": days}


def _merged(lines: Iterable[Line]) -> list[dict[str, Any]]:
    working: list[dict[str, Any]] = []
    for line in lines:
        if working and working[-1]["price_version_id"] == line.plan_version_id:
            working[-1]["usage_wh"] += line.quantity_wh
            working[-1]["amount_microfen"] += line.amount_microfen
            working[-1]["to"] = line.to_at.isoformat()
        else:
            working.append(_working(line))
    return working


def _working(line: Line) -> dict[str, Any]:
    return {
        "price_version_id": line.plan_version_id,
        "label": line.label,
        "price": str(line.price),
        "usage_wh": line.quantity_wh,
        "amount_microfen": line.amount_microfen,
        "from": line.from_at.isoformat(),
        "to": line.to_at.isoformat(),
    }
