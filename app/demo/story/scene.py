"""Looking: what the tables and the street say about one home, as plain values to print and to check."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.stop_refusals import Refusal, sentence
from app.billing.wallets import find_wallet
from app.demo.story.stage import Stage
from app.demo.town import ZONE
from app.meters.simulator.control import ask

Rows = Sequence[Row[Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """A home of the street by all its names."""

    space: str
    account_id: int
    public_id: str
    number: str
    meter_id: int
    address: str
    gateway: str
    wallet_id: int


@dataclass(frozen=True, slots=True)
class Judged:
    """The gate's last answer for an account, with the sentence a person reads."""

    verdict: str
    next_at: datetime | None
    sentence: str


class Scene:
    """One home, looked at in fresh units of work."""

    def __init__(self, stage: Stage, space: str) -> None:
        self.stage = stage
        with stage.session() as session:
            self.place = Place(**_one(session, _PLACE, space=space)._mapping)

    def rows(self, query: str, **given: Any) -> Rows:
        """Rows of a query over this home; `:account`, `:meter` and `:wallet` are filled in."""
        with self.stage.session() as session:
            return session.execute(text(query), self._given() | given).all()

    def row(self, query: str, **given: Any) -> Row[Any]:
        """The one row of a query."""
        return self.rows(query, **given)[0]

    @property
    def available_fen(self) -> int:
        """What the wallet can still pay."""
        with self.stage.session() as session:
            return find_wallet(session, supply_account_id=self.place.account_id).available_fen

    def level(self) -> int:
        """The account's alarm level, 0 to 3."""
        return int(self.row("SELECT alarm_level FROM supply_accounts WHERE id = :account").alarm_level)

    def meter_view(self) -> dict[str, Any]:
        """What the simulated meter itself says: the other end of the wire."""
        return ask(*self.stage.control, {"query": self.place.address})

    def last_reading(self) -> Row[Any]:
        """The newest reading of the total register."""
        return self.row(_LAST_READING)

    def working(self, day: date) -> Row[Any] | None:
        """The account-day with its lines; None before anything was used."""
        found = self.rows("SELECT * FROM account_days WHERE supply_account_id = :account AND day = :day", day=day)
        return found[0] if found else None

    def notices(self, *kinds: str) -> Rows:
        """Notices of these kinds (all without), oldest first."""
        return self.rows(_NOTICES, subject=f"supply_account:{self.place.account_id}", kinds=list(kinds) or None)

    def judged(self) -> Judged | None:
        """Why the gate does not stop the account; None when nothing is to be stopped."""
        found = self.rows("SELECT * FROM stop_judgements WHERE supply_account_id = :account")
        return _judged(found[0]) if found else None

    def commands(self) -> Rows:
        """Relay commands of the meter, oldest first."""
        return self.rows(_COMMANDS)

    def frames(self, command_id: int) -> Rows:
        """Frames of a command as they went over the wire, masked."""
        return self.rows(_FRAMES, command=command_id)

    def stops(self) -> Rows:
        """Stops of the account, oldest first."""
        return self.rows("SELECT * FROM stops WHERE supply_account_id = :account ORDER BY id")

    def permit(self, permit_id: int) -> Row[Any]:
        """The permit behind a trip."""
        return self.row("SELECT * FROM permits WHERE id = :permit", permit=permit_id)

    def entries(self, kind: str) -> Rows:
        """Entries of a kind on this wallet, one row per posting, oldest first."""
        return self.rows(_ENTRIES, kind=kind)

    def payments(self) -> Rows:
        """Payments with their receipts, oldest first."""
        return self.rows(_PAYMENTS)

    def _given(self) -> dict[str, Any]:
        place = self.place
        return {"account": place.account_id, "meter": place.meter_id, "wallet": place.wallet_id}


def _one(session: Session, query: str, **given: Any) -> Row[Any]:
    return session.execute(text(query), given).one()


def _judged(row: Row[Any]) -> Judged:
    facts = row.facts.get("verdict", {})
    if row.verdict not in set(Refusal):
        return Judged(row.verdict, row.next_at, row.verdict)
    edge, again = (datetime.fromisoformat(facts[name]) if facts.get(name) else None for name in ("edge_at", "again_at"))
    words = sentence(Refusal(row.verdict), now=row.judged_at, zone=ZONE, edge=edge, again=again)
    return Judged(row.verdict, row.next_at, words)


_PLACE = """
    SELECT s.name AS space, a.id AS account_id, a.public_id::text AS public_id, a.number, m.id AS meter_id, m.address,
           g.number AS gateway, w.id AS wallet_id
      FROM supply_accounts AS a
      JOIN spaces AS s ON s.tenant_id = a.tenant_id AND s.id = a.space_id
      JOIN mounts AS o ON o.tenant_id = a.tenant_id AND o.supply_account_id = a.id AND o.ended_at IS NULL
      JOIN meters AS m ON m.tenant_id = o.tenant_id AND m.id = o.meter_id
      JOIN gateways AS g ON g.tenant_id = m.tenant_id AND g.id = m.gateway_id
      JOIN ledger_accounts AS w ON w.tenant_id = a.tenant_id AND w.supply_account_id = a.id AND w.code = 'wallet'
     WHERE s.name = :space
"""
_LAST_READING = """
    SELECT read_at, register_wh, flag, source FROM readings
     WHERE meter_id = :meter AND register = 'total' ORDER BY read_at DESC, revision DESC LIMIT 1
"""
_NOTICES = """
    SELECT * FROM notices WHERE subject = :subject AND (CAST(:kinds AS text[]) IS NULL OR kind = ANY(:kinds)) ORDER BY id
"""
_COMMANDS = """
    SELECT * FROM commands WHERE meter_id = :meter AND kind IN ('trip', 'close', 'permit_close') ORDER BY id
"""
_FRAMES = "SELECT at, direction, frame FROM frame_records WHERE command_id = :command ORDER BY id"
_ENTRIES = """
    SELECT e.id, e.booked_on, e.document, p.amount_fen, p.memo, d.code AS debit, c.code AS credit,
           CASE WHEN p.credit_account_id = :wallet THEN p.amount_fen ELSE -p.amount_fen END AS change_fen
      FROM ledger_postings AS p
      JOIN ledger_entries AS e ON e.tenant_id = p.tenant_id AND e.id = p.entry_id
      JOIN ledger_accounts AS d ON d.tenant_id = p.tenant_id AND d.id = p.debit_account_id
      JOIN ledger_accounts AS c ON c.tenant_id = p.tenant_id AND c.id = p.credit_account_id
     WHERE :wallet IN (p.debit_account_id, p.credit_account_id) AND e.kind = :kind
     ORDER BY e.id
"""
_PAYMENTS = """
    SELECT y.*, r.till, r.number AS receipt_number FROM payments AS y
      JOIN receipts AS r ON r.tenant_id = y.tenant_id AND r.payment_id = y.id
     WHERE y.supply_account_id = :account ORDER BY y.id
"""
