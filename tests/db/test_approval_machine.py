"""Whatever people do in whatever order: above the limit nothing is ever done without another person's yes."""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, update

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.errors import AppError, Forbidden
from app.kernel.unit_of_work import unit_of_work
from app.permissions import approvals
from app.permissions.approval_models import Approval, ApprovalVote
from app.permissions.approvals import ApprovalNeeded, Wish, expire_approvals, pass_gate, redeem, request_approval
from app.permissions.models import User
from app.permissions.policy import Role
from app.tenants.audit import record
from app.tenants.models import AuditRecord
from tests.factories.people import person

WHO = ("manager", "property_finance", "finance", "admin", "cashier", "engineer")
#: What each may reverse alone by the defaults; None for who may not at all.
ALONE = {
    "manager": 50_000,
    "property_finance": 50_000,
    "finance": 500_000,
    "admin": 500_000,
    "cashier": None,
    "engineer": None,
}
DECIDES = {"manager", "finance", "admin"}
AMOUNTS = st.sampled_from([1, 50_000, 50_001, 500_000, 500_001])


class Office(RuleBasedStateMachine):
    """People of one property who ask, decide, try without asking, leave and come back."""

    world, people = None, {}
    requests = Bundle("requests")

    def __init__(self):
        super().__init__()
        self.out = set()
        with unit_of_work(self.world.tenant_id) as session:
            session.execute(update(User).values(disabled_at=None))
            session.execute(update(Approval).where(Approval.state == "waiting").values(state="withdrawn"))

    def _wish(self, amount, number):
        seller = frozenset({int(self.people["cashier"].ref)})
        return Wish("reversal", self.world.property_id, f"payments:{number}", amount, {"number": number}, seller)

    def _do(self, session, wish, by, approval_id=None):
        pass_gate(session, wish=wish, by=by, approval_id=approval_id)
        facts = {"amount": wish.amount, "who": next(name for name in WHO if str(self.people[name]) == str(by))}
        record(session, deed="test:deed:do", subject=wish.subject, actor=by, approval_id=approval_id, facts=facts)

    @rule(who=st.sampled_from(WHO), amount=AMOUNTS)
    def try_alone(self, who, amount):
        try:
            with unit_of_work(self.world.tenant_id) as session:
                self._do(session, self._wish(amount, 0), self.people[who])
        except Forbidden:
            assert ALONE[who] is None or who in self.out
        except ApprovalNeeded:
            assert amount > ALONE[who]
        else:
            assert amount <= ALONE[who]
            assert who not in self.out

    @rule(target=requests, who=st.sampled_from(WHO), amount=AMOUNTS, number=st.integers(1, 3))
    def ask(self, who, amount, number):
        wish = self._wish(amount, number)
        try:
            with unit_of_work(self.world.tenant_id) as session:
                row = request_approval(session, wish=wish, reason="试试", by=self.people[who])
                found = (row.public_id, wish, who)
        except AppError:
            return None
        assert who not in self.out
        return found

    @rule(
        request=requests, who=st.sampled_from(WHO), verdict=st.sampled_from(["approve", "refuse"]),
        honest=st.sampled_from([True, True, True, False]), fails=st.sampled_from([False, False, True]),
    )  # fmt: skip
    def decide(self, request, who, verdict, honest, fails):
        if request is None:
            return
        public_id, wish, asker = request
        done = wish if honest else self._wish(wish.amount + 1, 9)

        def execute(session, row):
            self._do(session, done, Actor.user(row.requested_by), row.id)
            if fails:
                raise Forbidden(permission="x")
            return "payments:1"

        vote = {"public_id": public_id, "by": self.people[who], "seen": wish.mark()}
        try:
            with unit_of_work(self.world.tenant_id) as session:
                if verdict == "approve":
                    row = approvals.approve(session, execute=execute, **vote)
                else:
                    row = approvals.refuse(session, reason="不同意", **vote)
                state = row.state
        except AppError:
            return
        assert who in DECIDES - self.out - {asker}
        if state == "done":
            assert honest
            assert not fails
            assert asker not in self.out

    @rule(request=requests, who=st.sampled_from(WHO))
    def take_back(self, request, who):
        if request is None:
            return
        try:
            with unit_of_work(self.world.tenant_id) as session:
                approvals.withdraw(session, public_id=request[0], by=self.people[who])
        except AppError:
            return
        assert who == request[2]

    @rule(request=requests, who=st.sampled_from(WHO))
    def use_it_directly(self, request, who):
        """Nobody redeems what no other person agreed to, nor anything twice."""
        if request is None:
            return
        with unit_of_work(self.world.tenant_id) as session:
            row = session.scalars(select(Approval).where(Approval.public_id == request[0])).one()
            with pytest.raises(AppError):
                redeem(session, approval_id=row.id, wish=request[1], by=self.people[who])

    @rule(request=requests)
    def let_it_age(self, request):
        if request is None:
            return
        past = wall_now() - timedelta(hours=1)
        with unit_of_work(self.world.tenant_id) as session:
            late = update(Approval).where(Approval.public_id == request[0], Approval.state == "waiting")
            session.execute(late.values(requested_at=past - timedelta(hours=1), expires_at=past))
            expire_approvals(session)

    @rule(who=st.sampled_from(WHO))
    def leave_or_come_back(self, who):
        gone = wall_now() if who not in self.out else None
        self.out ^= {who}
        with unit_of_work(self.world.tenant_id) as session:
            session.execute(update(User).where(User.id == int(self.people[who].ref)).values(disabled_at=gone))

    @invariant()
    def whatever_was_done_above_a_limit_has_the_yes_of_another(self):
        with unit_of_work(self.world.tenant_id) as session:
            done = session.scalars(select(AuditRecord).where(AuditRecord.deed == "test:deed:do")).all()
            used = [each.approval_id for each in done if each.approval_id]
            assert len(used) == len(set(used))
            for each in done:
                if each.approval_id is None:
                    assert each.facts["amount"] <= ALONE[each.facts["who"]]
                    continue
                row = session.get_one(Approval, (self.world.tenant_id, each.approval_id))
                yes = session.scalars(
                    select(ApprovalVote.user_id).where(
                        ApprovalVote.approval_id == row.id, ApprovalVote.verdict == "approve"
                    )
                ).all()
                assert row.state == "done"
                assert (each.facts["amount"], each.actor) == (row.amount, f"user:{row.requested_by}")
                assert set(yes) - {row.requested_by, int(self.people["cashier"].ref)}


def test_above_the_limit_nothing_is_done_without_another_persons_yes(world, db):
    top = world.headquarters_id
    people = {
        "manager": person(db, world, Role.PROPERTY_MANAGER),
        "property_finance": person(db, world, Role.PROPERTY_FINANCE),
        "finance": person(db, world, Role.GROUP_FINANCE, at=top),
        "admin": person(db, world, Role.GROUP_ADMINISTRATOR, at=top),
        "cashier": person(db, world, Role.CASHIER),
        "engineer": person(db, world, Role.METER_ENGINEER),
    }
    office = type("ThisOffice", (Office,), {"world": world, "people": people})
    few = settings(max_examples=max(5, settings().max_examples // 2), stateful_step_count=25, deadline=None)
    run_state_machine_as_test(office, settings=few)
