"""D08 and Q07: the yes of the second person killed at any step does the deed once, or not at all and can be said again."""

import contextlib

import pytest
from sqlalchemy import func, select

from app.billing import approved
from app.billing.ledger.models import Entry
from app.billing.models import Payment, SupplyAccount
from app.billing.payments.counter import take_payment
from app.kernel.unit_of_work import unit_of_work
from app.permissions.approval_models import Approval
from app.permissions.approvals import ApprovalNeeded, ApprovalNotWaiting, request_approval
from app.permissions.policy import Role
from app.tenants.models import AuditRecord
from tests.factories.people import person
from tests.faults.kill_at import ASKED_FEN, agree
from tests.faults.test_kill_at_every_step import count_steps, run, sampled

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("same_day")]


def sell(session, world, people, fen):
    account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
    sold = {"amount_fen": fen, "channel": "cash", "till": "T1", "actor": people["cashier"]}
    made = take_payment(session, supply_account=account, **sold, idempotency_key=f"sale-{fen}")
    return session.get_one(Payment, (world.tenant_id, made.payment_id))


def ask_for_a_reversal(world, people, step):
    """A sale of this step's amount, and the manager's request to reverse it."""
    with unit_of_work(world.tenant_id) as session:
        payment = sell(session, world, people, ASKED_FEN + step)
        facts = {"payment": payment, "reason": "输错户号", "actor": people["manager"], "idempotency_key": f"r-{step}"}
        with pytest.raises(ApprovalNeeded) as needed, session.begin_nested():
            approved.reverse_sale(session, **facts)
        request_approval(session, wish=needed.value.wish, reason="输错户号", by=people["manager"])


def test_a_yes_killed_at_sampled_steps_reverses_each_sale_once(world, db):
    people = {
        "manager": person(db, world, Role.PROPERTY_MANAGER),
        "cashier": person(db, world, Role.CASHIER),
        "finance": person(db, world, Role.GROUP_FINANCE, at=world.headquarters_id),
    }
    finance_id = int(people["finance"].ref)
    # Money stays in the wallet, so that no reversal crosses an alarm level; and the first makes rows that others find.
    with unit_of_work(world.tenant_id) as session:
        sell(session, world, people, 500_000)
    ask_for_a_reversal(world, people, -1)
    agree(world.tenant_id, finance_id, -1)
    ask_for_a_reversal(world, people, 0)
    steps = sampled(count_steps(world, "agree", finance_id))
    for step in steps:
        ask_for_a_reversal(world, people, step)
    assert set(run(world, "agree", finance_id, steps).values()) == {"killed"}
    with unit_of_work(world.tenant_id) as session:
        assert set(session.scalars(select(Approval.state))) <= {"waiting", "done"}
    for step in steps:
        with contextlib.suppress(ApprovalNotWaiting):
            assert agree(world.tenant_id, finance_id, step) == "done"
    with unit_of_work(world.tenant_id) as session:
        reversed_ones = select(func.count()).select_from(Entry).where(Entry.kind == "reversal")
        told = select(func.count()).select_from(AuditRecord).where(AuditRecord.deed == "money:topup:reverse")
        assert (session.scalar(reversed_ones), session.scalar(told)) == (len(steps) + 2, len(steps) + 2)
        assert set(session.scalars(select(Approval.state))) == {"done"}
