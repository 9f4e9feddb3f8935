"""The group overview: what needs a human now, and the figures beside it. Every query covers all properties in scope."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN
from app.reports.room_states import IN_SCOPE, ROOMS, STATE, STATES, SUPPLY
from app.reports.stop_outlook import OUTLOOK, OUTLOOK_JOINS
from app.reports.takings import TAKINGS

#: How many rows of one kind the work list shows; the count says how many there are.
WORK_ROWS_MAX = 8


@dataclass(frozen=True, slots=True)
class Figures:
    """Money in fen, energy in Wh, rooms by state."""

    liability_fen: int
    collected_fen: int
    collected_week_ago_fen: int
    usage_wh: int
    usage_yesterday_wh: int
    rooms: dict[str, int]


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of thing to do: its rows (at most WORK_ROWS_MAX) and how many there are."""

    kind: str
    total: int
    rows: Sequence[Row[Any]]


def overview_figures(session: Session, *, tenant_id: int, property_ids: list[int], today: date) -> Figures:
    """The figures of the page for one civil day. Two queries."""
    given = {
        "tenant": tenant_id, "properties": property_ids, "today": today,
        "week_ago": today - timedelta(days=7), "yesterday": today - timedelta(days=1),
    }  # fmt: skip
    money = session.execute(_MONEY, given).one()
    rooms = dict.fromkeys(STATES, 0) | {row.state: row.rooms for row in session.execute(_ROOM_COUNTS, given)}
    return Figures(
        money.liability_fen,
        money.collected_fen,
        money.collected_week_ago_fen,
        money.usage_wh,
        money.usage_yesterday_wh,
        rooms,
    )


def work_list(session: Session, *, tenant_id: int, property_ids: list[int], now: datetime) -> list[Work]:
    """What needs a human now, most pressing kind first. Four queries."""
    given = {"tenant": tenant_id, "properties": property_ids, "most": WORK_ROWS_MAX, "now": now}
    kinds = {"undelivered": _UNDELIVERED, "about_to_stop": _ABOUT_TO_STOP, "cases": _CASES, "gateways": _GATEWAYS}
    found = {kind: session.execute(query, given).all() for kind, query in kinds.items()}
    return [Work(kind, rows[0].total, rows) for kind, rows in found.items() if rows]


def collections_by_day(
    session: Session, *, tenant_id: int, property_ids: list[int], today: date, days: int = 30
) -> list[tuple[date, int]]:
    """Net takings of each of the last days, in fen, days without a payment as 0."""
    since = today - timedelta(days=days - 1)
    given = {"tenant": tenant_id, "properties": property_ids, "since": since, "today": today}
    found = {row.booked_on: row.fen for row in session.execute(_COLLECTIONS, given)}
    return [(day, found.get(day, 0)) for day in (since + timedelta(days=n) for n in range(days))]


def undelivered(session: Session, *, tenant_id: int, property_ids: list[int], most: int = 200) -> Sequence[Row[Any]]:
    """Paid and not delivered: stops whose money is here and whose supply is not back, oldest payment first."""
    given = {"tenant": tenant_id, "properties": property_ids, "most": most}
    return session.execute(_UNDELIVERED, given).all()


def held_by_person(session: Session, *, tenant_id: int, property_ids: list[int], most: int = 200) -> Sequence[Row[Any]]:
    """Supplies that a person stopped and somebody paid for since: no payment gives them back."""
    given = {"tenant": tenant_id, "properties": property_ids, "most": most}
    return session.execute(_HELD, given).all()


def undelivered_count(session: Session, *, tenant_id: int, property_ids: list[int]) -> int:
    """How many supplies are paid and not back, for the badge in the navigation."""
    given = {"tenant": tenant_id, "properties": property_ids}
    return int(session.scalar(_UNDELIVERED_COUNT, given) or 0)


_MONEY = text(f"""
    SELECT
      (SELECT coalesce(sum(bal.balance_fen), 0)::bigint FROM ledger_books bk
         JOIN ledger_accounts la ON la.tenant_id = bk.tenant_id AND la.book_id = bk.id AND la.code = 'wallet'
         JOIN ledger_balances bal ON bal.tenant_id = la.tenant_id AND bal.account_id = la.id
        WHERE bk.tenant_id = :tenant AND bk.property_id = ANY(:properties)) AS liability_fen,
      coalesce((SELECT sum(fen)::bigint FROM {TAKINGS} WHERE booked_on = :today), 0) AS collected_fen,
      coalesce((SELECT sum(fen)::bigint FROM {TAKINGS} WHERE booked_on = :week_ago), 0) AS collected_week_ago_fen,
      coalesce((SELECT sum(usage_wh)::bigint FROM account_days WHERE tenant_id = :tenant
        AND property_id = ANY(:properties) AND day = :today), 0) AS usage_wh,
      coalesce((SELECT sum(usage_wh)::bigint FROM account_days WHERE tenant_id = :tenant
        AND property_id = ANY(:properties) AND day = :yesterday), 0) AS usage_yesterday_wh
""")

_ROOM_COUNTS = text(f"SELECT {STATE} AS state, count(*) AS rooms {ROOMS} {IN_SCOPE} GROUP BY 1")

_WAITING = """
    WHERE st.tenant_id = :tenant AND st.property_id = ANY(:properties)
      AND st.state IN ('ordered', 'in_force', 'restoring') AND st.paid_at IS NOT NULL
"""

_UNDELIVERED_COUNT = text(f"SELECT count(*) FROM stops st {_WAITING}")

_UNDELIVERED = text(f"""
    SELECT count(*) OVER () AS total, st.id, st.paid_at, st.state, st.basis, sa.public_id::text AS account_public_id,
           sa.number, s.name AS space, n.name AS property, m.number AS meter_number, m.online,
           c.state AS command_state, c.failure, c.queued_at, c.attempts
    FROM stops st
    JOIN supply_accounts sa ON sa.tenant_id = st.tenant_id AND sa.id = st.supply_account_id
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN nodes n ON n.tenant_id = st.tenant_id AND n.id = st.property_id
    JOIN meters m ON m.tenant_id = st.tenant_id AND m.id = st.meter_id
    LEFT JOIN commands c ON c.tenant_id = st.tenant_id AND c.id = st.close_command_id
    {_WAITING}
    ORDER BY st.paid_at, st.id LIMIT :most
""")

_HELD = text("""
    SELECT st.id, sa.public_id::text AS account_public_id, s.name AS space, n.name AS property, x.received_at,
           (SELECT c.reason FROM commands c WHERE c.tenant_id = st.tenant_id AND c.id = st.trip_command_id) AS reason
    FROM stops st
    JOIN supply_accounts sa ON sa.tenant_id = st.tenant_id AND sa.id = st.supply_account_id
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN nodes n ON n.tenant_id = st.tenant_id AND n.id = st.property_id
    CROSS JOIN LATERAL (SELECT max(received_at) AS received_at FROM payments y WHERE y.tenant_id = st.tenant_id
         AND y.supply_account_id = st.supply_account_id AND y.received_at >= st.ordered_at) x
    WHERE st.tenant_id = :tenant AND st.property_id = ANY(:properties) AND st.basis = 'manual'
      AND st.state IN ('ordered', 'in_force') AND st.paid_at IS NULL AND x.received_at IS NOT NULL
    ORDER BY x.received_at, st.id LIMIT :most
""")

_ABOUT_TO_STOP = text(f"""
    SELECT count(*) OVER () AS total, low.* FROM (
        SELECT DISTINCT ON (sa.id) sa.id, sa.public_id::text AS account_public_id, sa.number, s.name AS space,
               n.name AS property, {STATE} AS state, {AVAILABLE_FEN} AS available_fen, {OUTLOOK}
        FROM spaces s
        JOIN supply_accounts sa ON sa.tenant_id = s.tenant_id AND sa.space_id = s.id AND sa.state = 'open'
        JOIN nodes n ON n.tenant_id = s.tenant_id AND n.id = s.property_id
        {SUPPLY} {OUTLOOK_JOINS}
        {IN_SCOPE} AND st.id IS NULL AND (sa.alarm_level = 3 OR {AVAILABLE_FEN} <= 0)
        ORDER BY sa.id) low
    WHERE low.state <> 'cut_off'
    ORDER BY low.available_fen >= -low.overdraft_fen_max, low.next_at NULLS LAST, low.available_fen, low.id LIMIT :most
""")

_CASES = text("""
    SELECT count(*) OVER () AS total, k.id, k.flag, k.read_at, k.received_at, k.register_wh,
           m.public_id::text AS meter_public_id, m.number AS meter_number, n.name AS property
    FROM reading_cases k
    JOIN meters m ON m.tenant_id = k.tenant_id AND m.id = k.meter_id
    JOIN nodes n ON n.tenant_id = k.tenant_id AND n.id = k.property_id
    WHERE k.tenant_id = :tenant AND k.property_id = ANY(:properties) AND k.settled_at IS NULL
    ORDER BY k.id LIMIT :most
""")

_GATEWAYS = text("""
    SELECT count(*) OVER () AS total, gw.id, gw.number, gw.seen_at, n.name AS property,
           (SELECT count(*) FROM meters m WHERE m.tenant_id = gw.tenant_id AND m.gateway_id = gw.id) AS meters
    FROM gateways gw
    JOIN nodes n ON n.tenant_id = gw.tenant_id AND n.id = gw.property_id
    WHERE gw.tenant_id = :tenant AND gw.property_id = ANY(:properties) AND NOT gw.online
    ORDER BY gw.seen_at NULLS FIRST, gw.id LIMIT :most
""")

_COLLECTIONS = text(f"""
    SELECT booked_on, sum(fen)::bigint AS fen FROM {TAKINGS} WHERE booked_on BETWEEN :since AND :today GROUP BY booked_on
""")
