"""The supply account page: who, what is left, what the relay does, what happened, and the evidence of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN
from app.reports.prices import COUNTS
from app.reports.room_states import IN_SCOPE, ROOMS, STATE, SUPPLY
from app.reports.stop_outlook import OUTLOOK, OUTLOOK_JOINS

HISTORY_ROWS_MAX = 40


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command with its permit and its frames, newest command first."""

    command: Row[Any]
    frames: Sequence[Row[Any]]


def account_header(
    session: Session, *, tenant_id: int, property_ids: list[int], public_id: str, now: datetime
) -> Row[Any] | None:
    """The account, its party, space, wallet, meter, stop, judgement and price in force at `now`; None when not in scope."""
    given = {"tenant": tenant_id, "properties": property_ids, "account": public_id, "now": now}
    return session.execute(_HEADER, given).first()


def day_cost_microfen(session: Session, *, tenant_id: int, account_id: int, today: date) -> int:
    """What the account used per day over its last seven whole days, in microfen; 0 without history."""
    given = {"tenant": tenant_id, "account": account_id, "today": today}
    return int(session.scalar(_DAY_COST, given) or 0)


def statement(
    session: Session, *, tenant_id: int, wallet_id: int, before: int | None = None, most: int = HISTORY_ROWS_MAX
) -> Sequence[Row[Any]]:
    """Postings of a wallet, newest first, with the balance after each; `before` is the last version already shown."""
    given = {"tenant": tenant_id, "wallet": wallet_id, "before": before or 2**62, "most": most}
    return session.execute(_STATEMENT, given).all()


def account_days(
    session: Session,
    *,
    tenant_id: int,
    account_id: int,
    since: date | None = None,
    before: date | None = None,
    most: int = 31,
) -> Sequence[Row[Any]]:
    """Rated days from `since` on and before `before`, newest first, each with its working."""
    given = {
        "tenant": tenant_id, "account": account_id, "since": since or date.min, "before": before or date.max, "most": most,
    }  # fmt: skip
    return session.execute(_DAYS, given).all()


def command_history(session: Session, *, tenant_id: int, meter_id: int, most: int = 12) -> list[CommandLine]:
    """The last commands of a meter with permit and frames. Two queries."""
    given: dict[str, Any] = {"tenant": tenant_id, "meter": meter_id, "most": most}
    commands = session.execute(_COMMANDS, given).all()
    frames = session.execute(_FRAMES, {"tenant": tenant_id, "commands": [row.id for row in commands]}).all()
    by_command: dict[int, list[Row[Any]]] = {}
    for frame in frames:
        by_command.setdefault(frame.command_id, []).append(frame)
    return [CommandLine(row, by_command.get(row.id, [])) for row in commands]


def notice_history(session: Session, *, tenant_id: int, account_id: int, most: int = 20) -> Sequence[Row[Any]]:
    """The last notices about an account with their proof."""
    given = {"tenant": tenant_id, "subject": f"supply_account:{account_id}", "most": most}
    return session.execute(_NOTICES, given).all()


def accounts_list(
    session: Session,
    *,
    tenant_id: int,
    property_ids: list[int],
    state: str | None = None,
    after: int = 0,
    most: int = 50,
) -> Sequence[Row[Any]]:
    """Rooms with an account, in id order from `after`, of one state or all."""
    given = {"tenant": tenant_id, "properties": property_ids, "state": state, "after": after, "most": most}
    return session.execute(_LIST, given).all()


_HEADER = text(f"""
    SELECT sa.id, sa.public_id::text AS public_id, sa.number, sa.property_id, sa.book_id, sa.utility,
           sa.state AS account_state, sa.alarm_1_fen, sa.alarm_2_fen, sa.restore_fen_min,
           sa.alarm_level, sa.opened_on, p.name AS party, p.kind AS party_kind,
           p.protected_until, s.name AS space, b.name AS building,
           s.public_id::text AS space_public_id, n.name AS property, {STATE} AS state,
           {AVAILABLE_FEN} AS available_fen,
           bal.balance_fen, bal.held_fen, bal.accrued_microfen, la.id AS wallet_id,
           m.id AS meter_id, m.public_id::text AS meter_public_id, m.number AS meter_number, m.address, m.online,
           m.relay_state, m.relay_read_at, m.register_wh, m.answered_at, mo.ratio, mo.actuator,
           gw.number AS gateway_number, gw.online AS gateway_online, gw.seen_at AS gateway_seen_at,
           st.id AS stop_id, st.state AS stop_state, st.basis, st.ordered_at, st.in_force_at, st.paid_at,
           (SELECT c.reason FROM commands c WHERE c.tenant_id = st.tenant_id AND c.id = st.trip_command_id) AS stop_reason,
           {OUTLOOK},
           (SELECT document FROM agreements a WHERE a.tenant_id = sa.tenant_id AND a.supply_account_id = sa.id
               AND a.kind = 'zero_stop' AND a.ended_on IS NULL ORDER BY a.id DESC LIMIT 1) AS agreement,
           plan.name AS plan, plan.public_id::text AS plan_public_id, plan.price
    FROM supply_accounts sa
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    JOIN nodes n ON n.tenant_id = s.tenant_id AND n.id = s.property_id
    {SUPPLY} {OUTLOOK_JOINS}
    LEFT JOIN LATERAL (
        SELECT pp.name, pp.public_id, (SELECT v.price FROM price_versions v WHERE v.tenant_id = pp.tenant_id
               AND v.plan_id = pp.id AND v.effective_from <= :now AND {COUNTS} ORDER BY v.effective_from DESC LIMIT 1) AS price
        FROM plan_assignments pa JOIN price_plans pp ON pp.tenant_id = pa.tenant_id AND pp.id = pa.plan_id
        WHERE pa.tenant_id = :tenant AND pa.supply_account_id = sa.id AND pa.effective_from <= :now
        ORDER BY pa.effective_from DESC LIMIT 1) plan ON true
    {IN_SCOPE} AND sa.public_id = CAST(:account AS uuid)
""")

_DAY_COST = text("""
    SELECT (sum(rated_microfen) / greatest(count(*), 1))::bigint FROM account_days
    WHERE tenant_id = :tenant AND supply_account_id = :account AND day < :today AND day >= :today - 7
""")

_STATEMENT = text("""
    SELECT x.version, x.balance_fen, x.delta_fen, x.memo, e.id AS entry_id, e.public_id::text AS entry_public_id,
           e.kind, e.booked_on, e.event_at, e.actor, e.document, e.reverses_id
    FROM (
        SELECT entry_id, credit_version AS version, credit_balance_fen AS balance_fen, amount_fen AS delta_fen, memo
          FROM ledger_postings WHERE tenant_id = :tenant AND credit_account_id = :wallet AND credit_version < :before
        UNION ALL
        SELECT entry_id, debit_version, debit_balance_fen, -amount_fen, memo
          FROM ledger_postings WHERE tenant_id = :tenant AND debit_account_id = :wallet AND debit_version < :before
        ORDER BY version DESC LIMIT :most) x
    JOIN ledger_entries e ON e.tenant_id = :tenant AND e.id = x.entry_id
    ORDER BY x.version DESC
""")

_DAYS = text("""
    SELECT day, usage_wh, rated_microfen, posted_microfen, revision, lines, rated_at FROM account_days
    WHERE tenant_id = :tenant AND supply_account_id = :account AND day >= :since AND day < :before
    ORDER BY day DESC LIMIT :most
""")

_COMMANDS = text("""
    SELECT c.id, c.public_id::text AS public_id, c.kind, c.seq, c.state, c.reason, c.actor, c.queued_at, c.valid_until,
           c.sent_at, c.acknowledged_at, c.confirmed_at, c.ended_at, c.read_back, c.attempts, c.failure,
           pm.basis, pm.evidence, pm.granted_at, pm.valid_until AS permit_until, pm.revoked_at, pm.revoked_reason,
           u.name AS person
    FROM commands c
    LEFT JOIN permits pm ON pm.tenant_id = c.tenant_id AND pm.id = c.permit_id
    LEFT JOIN users u ON u.tenant_id = c.tenant_id AND c.actor = 'user:' || u.id
    WHERE c.tenant_id = :tenant AND c.meter_id = :meter
    ORDER BY c.id DESC LIMIT :most
""")

_FRAMES = text("""
    SELECT command_id, at, direction, frame FROM frame_records
    WHERE tenant_id = :tenant AND command_id = ANY(:commands) ORDER BY command_id, id
""")

_NOTICES = text("""
    SELECT id, kind, channel, state, queued_at, sent_at, delivered_at, params, proof FROM notices
    WHERE tenant_id = :tenant AND subject = :subject ORDER BY id DESC LIMIT :most
""")

_LIST = text(f"""
    SELECT * FROM (
        SELECT sa.id, sa.public_id::text AS public_id, sa.number, s.name AS space, b.name AS building, n.name AS property,
               p.name AS party, p.kind AS party_kind,
               {STATE} AS state, {AVAILABLE_FEN} AS available_fen, m.number AS meter_number, m.reading_at
        {ROOMS}
        JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
        JOIN nodes n ON n.tenant_id = s.tenant_id AND n.id = s.property_id
        LEFT JOIN parties p ON p.tenant_id = sa.tenant_id AND p.id = sa.party_id
        {IN_SCOPE} AND sa.id > :after) rooms
    WHERE CAST(:state AS text) IS NULL OR state = :state
    ORDER BY id LIMIT :most
""")
