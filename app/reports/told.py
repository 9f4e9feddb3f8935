"""Events in words for the outside: public ids and figures, never a name, a phone or an internal number.

One description per kind that the consumer `webhooks` hears; what cannot be described any more is not told.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.models import Payment, SupplyAccount
from app.kernel.clock import wall_now
from app.kernel.outbox import Delivery
from app.meters.command_models import Command
from app.meters.models import Meter
from app.notify.models import Notice
from app.notify.webhook_log import Told
from app.tenants.models import Node

#: Id in the payload → (property id, what is told).
Words = dict[int, tuple[int, dict[str, Any]]]
LEVELS = ("none", "alarm_1", "alarm_2", "zero", "stop_due")
_ACCOUNT = "supply_account:"


def describe(session: Session, deliveries: Sequence[Delivery]) -> list[Told]:
    """What these events say to the outside, in their order."""
    by_kind: dict[str, set[int]] = defaultdict(set)
    for delivery in deliveries:
        if delivery.kind in DESCRIBED:
            by_kind[delivery.kind].add(int(delivery.payload[DESCRIBED[delivery.kind][0]]))
    words = {kind: DESCRIBED[kind][1](session, ids) for kind, ids in by_kind.items()}
    properties = _properties(session)
    return [told for d in deliveries if (told := _told(d, words, properties)) is not None]


def _told(delivery: Delivery, words: Mapping[str, Words], properties: Mapping[int, str]) -> Told | None:
    if delivery.kind not in words:
        return None
    key = int(delivery.payload[DESCRIBED[delivery.kind][0]])
    if key not in words[delivery.kind]:
        return None
    property_id, data = words[delivery.kind][key]
    if delivery.kind == "meters.relay_changed":
        data = data | {"relay": str(delivery.payload["relay_state"])}
    return Told(
        delivery.event_id, delivery.kind, property_id, delivery.told_at or wall_now(),
        {"property": properties[property_id], **data},
    )  # fmt: skip


def _properties(session: Session) -> dict[int, str]:
    rows = session.execute(select(Node.id, Node.public_id).where(Node.kind == "property"))
    return {id_: str(public_id) for id_, public_id in rows}


def _payments(session: Session, ids: set[int]) -> Words:
    query = (
        select(Payment, SupplyAccount)
        .join(
            SupplyAccount,
            (SupplyAccount.tenant_id == Payment.tenant_id) & (SupplyAccount.id == Payment.supply_account_id),
        )
        .where(Payment.id.in_(ids))
    )
    return {
        payment.id: (
            payment.property_id,
            {
                "payment": str(payment.public_id),
                **_account(account),
                "channel": payment.channel,
                "amount_fen": payment.amount_fen,
                "received_at": payment.received_at.isoformat(),
            },
        )
        for payment, account in session.execute(query)
    }


def _levels(session: Session, ids: set[int]) -> Words:
    found = session.scalars(select(SupplyAccount).where(SupplyAccount.id.in_(ids)))
    return {a.id: (a.property_id, _account(a) | {"level": LEVELS[a.alarm_level]}) for a in found}


def _commands(session: Session, ids: set[int]) -> Words:
    query = (
        select(Command, Meter)
        .join(Meter, (Meter.tenant_id == Command.tenant_id) & (Meter.id == Command.meter_id))
        .where(Command.id.in_(ids))
    )
    return {
        command.id: (
            command.property_id,
            {"command": str(command.public_id), **_meter(meter), "kind": command.kind, "state": command.state},
        )
        for command, meter in session.execute(query)
    }


def _relays(session: Session, ids: set[int]) -> Words:
    return {m.id: (m.property_id, _meter(m)) for m in session.scalars(select(Meter).where(Meter.id.in_(ids)))}


def _notices(session: Session, ids: set[int]) -> Words:
    notices = session.scalars(select(Notice).where(Notice.id.in_(ids))).all()
    of = {n.id: int(n.subject.removeprefix(_ACCOUNT)) for n in notices if n.subject.startswith(_ACCOUNT)}
    accounts = {a.id: a for a in session.scalars(select(SupplyAccount).where(SupplyAccount.id.in_(of.values())))}
    return {
        n.id: (
            n.property_id,
            {"notice": n.kind, "state": n.state} | (_account(accounts[of[n.id]]) if of.get(n.id) in accounts else {}),
        )
        for n in notices
    }


def _account(account: SupplyAccount) -> dict[str, Any]:
    return {"account": str(account.public_id), "account_number": account.number}


def _meter(meter: Meter) -> dict[str, Any]:
    return {"meter": str(meter.public_id), "meter_number": meter.number}


#: Kind → (which id of the payload, who describes it).
DESCRIBED: Mapping[str, tuple[str, Callable[[Session, set[int]], Words]]] = {
    "payments.succeeded": ("payment_id", _payments),
    "supply.level_changed": ("supply_account_id", _levels),
    "commands.ended": ("command_id", _commands),
    "meters.relay_changed": ("meter_id", _relays),
    "notices.failed": ("notice_id", _notices),
}
