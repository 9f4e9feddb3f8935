"""Deciding on a supply account: restore what is stopped, warn whom the ladder says, stop what is due.

Every event about an account ends here, so that the answer depends on how things stand and never on which event came
first; asking again changes nothing.
"""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.billing.alarms import Standing, judge_levels
from app.billing.arrears import Level
from app.billing.cutoff import OPEN_STATES, due_judgements, order_stop, trip_ended
from app.billing.ledger.balances import lock_balances
from app.billing.ledger.books import wallet_ids
from app.billing.low_balance import queue_due_notices
from app.billing.models import Stop, StopJudgement, SupplyAccount
from app.billing.restore import close_ended, restore_supply, undelivered_accounts
from app.billing.stop_gate import lock_property, rule_of
from app.billing.stop_policy import Basis
from app.billing.supply_accounts import find_supply_account
from app.billing.wallets import find_wallet
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.meters.command_life import Kind
from app.meters.command_models import Command
from app.meters.models import Mount

ACTOR = Actor.system("supply")


def decide(session: Session, *, supply_account_id: int, appliances_off: bool = False) -> None:
    """Bring one supply account to where it should be now. Raises NotFound."""
    account = find_supply_account(session, supply_account_id=supply_account_id)
    restore_supply(session, supply_account_id=account.id, actor=ACTOR, appliances_off=appliances_off)
    standing, available_fen = _standing(session, account)
    if standing.now is Level.NONE or account.state == "closed":
        _forget_judgement(session, account)
        return
    now = business_now()
    stop_from = rule_of(session, account).next_opening(now)
    queue_due_notices(
        session, account=account, standing=standing, available_fen=available_fen, now=now, stop_from=stop_from
    )
    if standing.now is not Level.STOP_DUE:
        _forget_judgement(session, account)
    elif account.state == "open" and not _is_stopped(session, account):
        order_stop(session, supply_account_id=account.id, basis=Basis.ZERO_STOP, actor=ACTOR)


def judge_again(session: Session, *, limit: int) -> int:
    """Decide anew on accounts whose time has come, and on paid stops whose close came to nothing. Returns how many."""
    ids = [
        *due_judgements(session, now=business_now(), limit=limit),
        *undelivered_accounts(session, limit=limit),
    ]
    lock_in_order(session, supply_account_ids=ids)
    for supply_account_id in dict.fromkeys(ids):
        decide(session, supply_account_id=supply_account_id)
    return len(ids)


def lock_in_order(session: Session, *, supply_account_ids: Collection[int]) -> None:
    """Lock properties, then wallets, each in id order, before deciding on many accounts in one unit of work.

    Deciding one by one would lock them in the order events happen to come, and could deadlock with a pricing run.
    """
    ids = sorted(set(supply_account_ids))
    properties = select(SupplyAccount.property_id).where(SupplyAccount.id.in_(ids)).distinct()
    for property_id in sorted(session.scalars(properties)):
        lock_property(session, property_id=property_id)
    lock_balances(session, wallet_ids(session, supply_account_ids=ids).values())


def command_ended(session: Session, *, command_id: int) -> None:
    """A command came to its end: the stop it belongs to follows. Commands that belong to none are nobody's business."""
    command = session.scalars(select(Command).where(Command.id == command_id)).one()
    closing = command.kind in (Kind.CLOSE, Kind.PERMIT_CLOSE)
    column = Stop.close_command_id if closing else Stop.trip_command_id
    query = select(Stop).where(column == command_id, Stop.meter_id == command.meter_id).with_for_update()
    stop = session.scalar(query, execution_options={"populate_existing": True})
    if stop is None:
        return
    if closing:
        close_ended(session, stop=stop, command=command)
    elif command.kind == Kind.TRIP:
        trip_ended(session, stop=stop, command=command)
    # Money may have come while the command was on its way.
    if stop.state in OPEN_STATES and stop.state != "restoring":
        restore_supply(session, supply_account_id=stop.supply_account_id, actor=ACTOR)


def meter_returned(session: Session, *, meter_id: int) -> None:
    """A meter answers again after being away: the decision about its account is taken anew, never replayed."""
    query = select(Mount.supply_account_id).where(Mount.meter_id == meter_id, Mount.ended_at.is_(None))
    supply_account_id = session.scalar(query)
    if supply_account_id is not None:
        decide(session, supply_account_id=supply_account_id)


def _standing(session: Session, account: SupplyAccount) -> tuple[Standing, int]:
    wallet = find_wallet(session, supply_account_id=account.id)
    found = judge_levels(
        session,
        property_id=account.property_id,
        available_fen={account.id: wallet.available_fen},
        now=business_now(),
    )
    return found[0], wallet.available_fen


def _is_stopped(session: Session, account: SupplyAccount) -> bool:
    query = select(Stop.id).where(Stop.supply_account_id == account.id, Stop.state.in_(OPEN_STATES)).limit(1)
    return session.scalar(query) is not None


def _forget_judgement(session: Session, account: SupplyAccount) -> None:
    judgement = session.scalar(select(StopJudgement).where(StopJudgement.supply_account_id == account.id))
    if judgement is not None:
        session.delete(judgement)
