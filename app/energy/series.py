"""Usage as series: by day, by hour, by property. All in whole watt-hours; a day without usage data is None, not zero."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class DayUsage:
    """A civil day: usage in Wh (None: nothing measured) and whether some of it was spread over a gap."""

    day: date
    usage_wh: int | None
    spread: bool


@dataclass(frozen=True, slots=True)
class HourUsage:
    """Usage in Wh that ended in an hour of a civil day."""

    day: date
    hour: int
    usage_wh: int


def usage_by_day(
    session: Session, *, tenant_id: int, supply_account_id: int, today: date, days: int = 31
) -> list[DayUsage]:
    """The last days of one supply account, oldest first."""
    since = today - timedelta(days=days - 1)
    given = {"tenant": tenant_id, "account": supply_account_id, "since": since, "today": today}
    found = {row.day: row for row in session.execute(_BY_DAY, given)}
    wanted = [since + timedelta(days=n) for n in range(days)]
    return [
        DayUsage(day, found[day].usage_wh, found[day].spread) if day in found else DayUsage(day, None, False)
        for day in wanted
    ]


def usage_by_hour(
    session: Session, *, tenant_id: int, supply_account_id: int, since: date, from_at: datetime, zone: str
) -> list[HourUsage]:
    """Usage per hour since a civil day (`from_at` is its first instant): spans count for the hour they end in.

    Energy spread over a gap is left out: nobody knows in which hour it was used.
    """
    given = {"tenant": tenant_id, "account": supply_account_id, "since": since, "from_at": from_at, "zone": zone}
    return [HourUsage(row.day, row.hour, row.usage_wh) for row in session.execute(_BY_HOUR, given)]


def usage_by_property(
    session: Session, *, tenant_id: int, property_ids: list[int], since: date, until: date, most: int = 12
) -> list[tuple[str, int]]:
    """Usage of each property over civil days, largest first: (name, Wh)."""
    given = {"tenant": tenant_id, "properties": property_ids, "since": since, "until": until, "most": most}
    return [(row.name, row.usage_wh) for row in session.execute(_BY_PROPERTY, given)]


def usage_total_by_day(
    session: Session, *, tenant_id: int, property_ids: list[int], today: date, days: int = 31
) -> list[tuple[date, int | None]]:
    """Usage of all properties together on each of the last days, oldest first."""
    since = today - timedelta(days=days - 1)
    given = {"tenant": tenant_id, "properties": property_ids, "since": since, "until": today}
    found = {row.day: row.usage_wh for row in session.execute(_TOTAL_BY_DAY, given)}
    return [(day, found.get(day)) for day in (since + timedelta(days=n) for n in range(days))]


def largest_users(
    session: Session, *, tenant_id: int, property_ids: list[int], since: date, until: date, most: int = 20
) -> list[tuple[str, str, str, str, int, int]]:
    """Who used most over civil days: (property, space, account number, account public id, Wh, microfen)."""
    given = {"tenant": tenant_id, "properties": property_ids, "since": since, "until": until, "most": most}
    return [
        (row.property, row.space, row.number, row.public_id, row.usage_wh, row.rated_microfen)
        for row in session.execute(_LARGEST, given)
    ]


_BY_DAY = text("""
    SELECT d.day, d.usage_wh, coalesce(q.spread, false) AS spread
    FROM account_days d
    LEFT JOIN (SELECT day, bool_or(quality = 'spread') AS spread FROM usage_spans
                WHERE tenant_id = :tenant AND supply_account_id = :account AND day BETWEEN :since AND :today
                GROUP BY day) q ON q.day = d.day
    WHERE d.tenant_id = :tenant AND d.supply_account_id = :account AND d.day BETWEEN :since AND :today
""")

_BY_HOUR = text("""
    SELECT day, extract(hour FROM (to_at - interval '1 second') AT TIME ZONE :zone)::int AS hour,
           sum(usage_wh)::bigint AS usage_wh
    FROM usage_spans
    WHERE tenant_id = :tenant AND supply_account_id = :account AND day >= :since AND from_at >= :from_at
      AND quality = 'actual'
    GROUP BY 1, 2 ORDER BY 1, 2
""")

_BY_PROPERTY = text("""
    SELECT n.name, d.usage_wh FROM (
        SELECT property_id, sum(usage_wh)::bigint AS usage_wh FROM account_days
        WHERE tenant_id = :tenant AND property_id = ANY(:properties) AND day BETWEEN :since AND :until
        GROUP BY property_id ORDER BY 2 DESC LIMIT :most) d
    JOIN nodes n ON n.tenant_id = :tenant AND n.id = d.property_id
    ORDER BY d.usage_wh DESC, n.id
""")

_TOTAL_BY_DAY = text("""
    SELECT day, sum(usage_wh)::bigint AS usage_wh FROM account_days
    WHERE tenant_id = :tenant AND property_id = ANY(:properties) AND day BETWEEN :since AND :until
    GROUP BY day
""")

_LARGEST = text("""
    SELECT n.name AS property, s.name AS space, sa.number, sa.public_id::text AS public_id, d.usage_wh, d.rated_microfen
    FROM (SELECT supply_account_id, sum(usage_wh)::bigint AS usage_wh, sum(rated_microfen)::bigint AS rated_microfen
          FROM account_days
          WHERE tenant_id = :tenant AND property_id = ANY(:properties) AND day BETWEEN :since AND :until
          GROUP BY supply_account_id ORDER BY 2 DESC LIMIT :most) d
    JOIN supply_accounts sa ON sa.tenant_id = :tenant AND sa.id = d.supply_account_id
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN nodes n ON n.tenant_id = sa.tenant_id AND n.id = sa.property_id
    ORDER BY d.usage_wh DESC, sa.id
""")
