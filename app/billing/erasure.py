"""Erasing one person's data on request (PIPL article 47). The books stay; nothing in them names the person any more.

Refused while the person is somebody here: a role on a space that has not ended, a supply account that is not closed, money
that is owed either way. Then numbers and digests go, the name becomes a mark, and what was typed into messages goes.
It cannot be undone. Records of the audit log stay: they name the party by its id.
"""

import uuid
from collections.abc import Collection

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.billing.ledger.balances import read_balances
from app.billing.ledger.books import wallet_ids
from app.billing.models import SupplyAccount
from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.errors import AppError
from app.notify.models import Notice
from app.tenants import audit
from app.tenants.access import or_not_found, within
from app.tenants.models import Party, PartyRole
from app.tenants.personal_data import REASON_MAX, REASON_MIN, PartyErased, Personal, forget
from app.tenants.phones import ERASED_NAME
from app.tenants.service import ReasonMissing


class ErasureRolesOpen(AppError):
    """The person is owner, occupant, payer or contract party of a space today."""

    code, status = "erasure_roles_open", 409
    message_zh = "该客户仍是 {count} 个房间的业主、住户、付款人或签约人。请先结束这些关系，再删除个人信息。"
    message_en = "The customer still holds {count} roles on rooms. End these first, then erase."


class ErasureAccountsOpen(AppError):
    """A supply account of the person is not closed."""

    code, status = "erasure_accounts_open", 409
    message_zh = "该客户名下还有 {count} 个用能户没有销户。请先销户，再删除个人信息。"
    message_en = "The customer has {count} supply accounts that are not closed. Close them first, then erase."


class ErasureMoneyOutstanding(AppError):
    """Money is owed one way or the other."""

    code, status = "erasure_money_outstanding", 409
    message_zh = "该客户名下还有未结清的款项。请先退还余额或收清欠费，再删除个人信息。"
    message_en = "Money is still owed one way or the other. Settle it first, then erase."


def erase_person(
    session: Session, *, public_id: uuid.UUID, allowed: Collection[int], reason: str, by: Actor, facts: dict[str, str]
) -> Party:
    """Erase a party's personal data for good. `facts` say how sure we were of who does it.

    Raises NotFound, ReasonMissing, PartyErased, ErasureRolesOpen, ErasureAccountsOpen, ErasureMoneyOutstanding.
    """
    query = select(Party).where(Party.public_id == public_id, within(Party.property_id, allowed))
    party = or_not_found(session.scalar(query.with_for_update(), execution_options={"populate_existing": True}))
    why = reason.strip()[:REASON_MAX]
    if len(why) < REASON_MIN:
        raise ReasonMissing()
    if party.erased_at is not None:
        raise PartyErased()
    _refuse_open(session, party)
    before = {kind.value: "on file" for kind in Personal if getattr(party, f"{kind.value}_cipher") is not None}
    for kind in Personal:
        forget(party, kind)
    party.name, party.protected_until, party.erased_at = ERASED_NAME, None, wall_now()
    notices = _erase_notices(session, party)
    audit.record(
        session,
        deed="person:data:erase",
        subject=f"parties:{party.id}",
        actor=by,
        property_id=party.property_id,
        before={"name": "on file", **before},
        after=dict.fromkeys(["name", *before], "erased"),
        reason=why,
        facts={"notices": notices, **facts},
    )
    return party


def _refuse_open(session: Session, party: Party) -> None:
    roles = select(func.count()).where(PartyRole.party_id == party.id, PartyRole.ended_on.is_(None))
    if count := session.scalar(roles):
        raise ErasureRolesOpen(count=count)
    found = session.execute(select(SupplyAccount.id, SupplyAccount.state).where(SupplyAccount.party_id == party.id))
    accounts = {account_id: state for account_id, state in found}
    if count := sum(state != "closed" for state in accounts.values()):
        raise ErasureAccountsOpen(count=count)
    wallets = wallet_ids(session, supply_account_ids=list(accounts))
    kept = read_balances(session, list(wallets.values())).values() if wallets else ()
    if any(one.balance_fen or one.held_fen or one.available_fen for one in kept):
        raise ErasureMoneyOutstanding()


def _erase_notices(session: Session, party: Party) -> int:
    """What was sent and when stays, what stood in it goes; what waits is not sent."""
    own = update(Notice).where(Notice.party_id == party.id)
    unsent = own.where(Notice.state == "queued").values(state="cancelled")
    erased = own.values(params={}, proof={"unsent": "erased"}).returning(Notice.id)
    session.execute(unsent, execution_options={"synchronize_session": False})
    return len(session.scalars(erased, execution_options={"synchronize_session": False}).all())
