"""Requests as the inbox and their pages show them, and what is named in them by id."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, or_, select, text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from app.billing.wallets import AVAILABLE_FEN
from app.permissions.approval_models import Approval, ApprovalVote
from app.permissions.deeds import DEEDS
from app.permissions.models import OwnRole, User
from app.permissions.policy import Permission
from app.tenants.access import within
from app.tenants.models import Node


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks: at which nodes they decide on what, and where they read everything."""

    user_id: int
    decides: Mapping[Permission, Collection[int]]
    reads: Collection[int]

    def decidable(self) -> ColumnElement[bool]:
        """Requests they may decide on by their rights."""
        parts = [
            and_(
                Approval.deed.in_(sorted(d.name for d in DEEDS.values() if d.decide == right)),
                within(Approval.node_id, nodes),
            )
            for right, nodes in self.decides.items()
        ]
        return or_(false(), *parts)

    def visible(self) -> ColumnElement[bool]:
        """Requests they may see: their own, those they may decide on, and all where they read the audit log."""
        return or_(Approval.requested_by == self.user_id, self.decidable(), within(Approval.node_id, self.reads))

    def waits_for_me(self, now: datetime) -> ColumnElement[bool]:
        """Requests that wait for their yes or no."""
        voted = select(ApprovalVote.approval_id).where(
            ApprovalVote.tenant_id == Approval.tenant_id,
            ApprovalVote.approval_id == Approval.id,
            ApprovalVote.user_id == self.user_id,
        )
        mine = or_(Approval.requested_by == self.user_id, Approval.content["concerned"].contains([self.user_id]))
        return and_(Approval.state == "waiting", Approval.expires_at > now, self.decidable(), ~mine, ~voted.exists())


def waiting_count(session: Session, *, reader: Reader, now: datetime) -> int:
    """How many requests wait for this person, for the badge in the navigation."""
    return session.scalar(select(func.count()).select_from(Approval).where(reader.waits_for_me(now))) or 0


def requests_listed(
    session: Session, *, reader: Reader, part: str, now: datetime, before: int | None = None, most: int = 50
) -> Sequence[Row[Any]]:
    """Requests of one part of the inbox, newest first: waiting (for me), mine (open, asked by me), ended."""
    running = and_(Approval.state == "waiting", Approval.expires_at > now)
    parts = {
        "waiting": reader.waits_for_me(now),
        "mine": and_(running, Approval.requested_by == reader.user_id),
        "ended": and_(~running, reader.visible()),
        "open": and_(running, reader.visible()),
    }
    rows = _rows().where(parts[part])
    if before is not None:
        rows = rows.where(Approval.id < before)
    return session.execute(rows.order_by(Approval.id.desc()).limit(most)).all()


def request_row(session: Session, *, reader: Reader, public_id: str) -> Row[Any] | None:
    """One request with names; None when it is not there or not theirs to see."""
    return session.execute(_rows().where(reader.visible(), Approval.public_id == public_id)).one_or_none()


def request_on(session: Session, *, reader: Reader, deed: str, subject: str, now: datetime) -> Row[Any] | None:
    """The oldest request for this deed on this subject that still waits, and whether it is the reader's to see."""
    asked: Any = select(Approval.public_id, reader.visible().label("visible")).where(
        Approval.deed == deed, Approval.subject == subject, Approval.state == "waiting", Approval.expires_at > now
    )
    found: Row[Any] | None = session.execute(asked.order_by(Approval.id).limit(1)).one_or_none()
    return found


def _rows() -> Any:
    return (
        select(Approval, User.name.label("asker"), Node.name.label("node"), Node.kind.label("node_kind"))
        .join(User, (User.tenant_id == Approval.tenant_id) & (User.id == Approval.requested_by))
        .join(Node, (Node.tenant_id == Approval.tenant_id) & (Node.id == Approval.node_id))
    )


def votes_of(session: Session, *, approval_id: int) -> Sequence[Any]:
    """Who said what, in order: verdict, reason, instant, user id, name."""
    return session.execute(
        select(ApprovalVote.verdict, ApprovalVote.reason, ApprovalVote.at, ApprovalVote.user_id, User.name)
        .join(User, (User.tenant_id == ApprovalVote.tenant_id) & (User.id == ApprovalVote.user_id))
        .where(ApprovalVote.approval_id == approval_id)
        .order_by(ApprovalVote.id)
    ).all()


def sale_facts(session: Session, *, tenant_id: int, payment_id: int) -> Row[Any] | None:
    """The sale that is to be reversed: room, account, receipt, seller, and what the wallet holds now."""
    return session.execute(_SALE, {"tenant": tenant_id, "payment": payment_id}).one_or_none()


def plan_facts(session: Session, *, tenant_id: int, plan_id: int) -> Row[Any] | None:
    """The plan whose price changes, and for how many accounts."""
    return session.execute(_PLAN, {"tenant": tenant_id, "plan": plan_id}).one_or_none()


def user_name(session: Session, user_id: int) -> str:
    """Name and sign-in name of an operator."""
    found = session.execute(select(User.name, User.login).where(User.id == user_id)).one_or_none()
    return f"{found.name}（{found.login}）" if found else "–"


def node_name(session: Session, node_id: int) -> str:
    """Name of a node."""
    return session.scalar(select(Node.name).where(Node.id == node_id)) or "–"


def own_role_names(session: Session) -> dict[str, str]:
    """Names of the tenant's own roles by code, also of those withdrawn."""
    return {code: name for code, name in session.execute(select(OwnRole.code, OwnRole.name))}


_SALE = text(f"""
    SELECT y.amount_fen, y.received_at, y.channel, sa.number AS account, s.name AS space, b.name AS building,
           n.name AS property, u.name AS seller, r.till, r.number, {AVAILABLE_FEN} AS available_fen,
           r.public_id::text AS receipt_public_id, sa.public_id::text AS account_public_id
    FROM payments y
    JOIN supply_accounts sa ON sa.tenant_id = y.tenant_id AND sa.id = y.supply_account_id
    JOIN spaces s ON s.tenant_id = sa.tenant_id AND s.id = sa.space_id
    JOIN buildings b ON b.tenant_id = s.tenant_id AND b.id = s.building_id
    JOIN nodes n ON n.tenant_id = y.tenant_id AND n.id = y.property_id
    LEFT JOIN receipts r ON r.tenant_id = y.tenant_id AND r.payment_id = y.id
    LEFT JOIN users u ON u.tenant_id = y.tenant_id AND y.actor = 'user:' || u.id
    LEFT JOIN ledger_accounts la ON la.tenant_id = sa.tenant_id AND la.supply_account_id = sa.id AND la.code = 'wallet'
    LEFT JOIN ledger_balances bal ON bal.tenant_id = la.tenant_id AND bal.account_id = la.id
    WHERE y.tenant_id = :tenant AND y.id = :payment
""")

_PLAN = text("""
    SELECT p.name, p.public_id::text AS public_id, n.name AS property,
           (SELECT count(DISTINCT a.supply_account_id) FROM plan_assignments a
             WHERE a.tenant_id = p.tenant_id AND a.plan_id = p.id) AS accounts
    FROM price_plans p JOIN nodes n ON n.tenant_id = p.tenant_id AND n.id = p.property_id
    WHERE p.tenant_id = :tenant AND p.id = :plan
""")
