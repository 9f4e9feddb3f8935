"""Requests between people: who may ask, see and decide, and what is left of a right when the yes comes."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.errors import Forbidden, Invalid, NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions import approvals
from app.permissions.approval_models import Approval, ApprovalVote
from app.permissions.approvals import (
    ApprovalChanged,
    ApprovalExpired,
    ApprovalNeeded,
    ApprovalNobody,
    ApprovalNotWaiting,
    ApprovalOwn,
    ApprovalReasonMissing,
    ApprovalRightLost,
    ApprovalTwice,
    Wish,
    expire_approvals,
    pass_gate,
    redeem,
    request_approval,
)
from app.permissions.models import Grant, OwnRole, SecurityPolicy
from app.permissions.policy import Role
from app.tenants.audit import record
from app.tenants.models import AuditRecord
from tests.factories.people import disable, person

ABOVE, UNDER = 60_000, 50_000


@pytest.fixture
def people(world, db):
    """A manager who asks, a finance officer and an administrator who decide, a cashier who does neither."""
    headquarters = world.headquarters_id
    return {
        "manager": person(db, world, Role.PROPERTY_MANAGER),
        "finance": person(db, world, Role.GROUP_FINANCE, at=headquarters),
        "admin": person(db, world, Role.GROUP_ADMINISTRATOR, at=headquarters),
        "cashier": person(db, world, Role.CASHIER),
    }


def wish(world, amount=ABOVE, *, concerned=(), deed="reversal"):
    return Wish(deed, world.property_id, "payments:1", amount, {"payment_id": 1}, frozenset(concerned))


def deed_of(world, wanted, done):
    """A deed behind the gate: writes a trace, and fails when told to."""

    def execute(session, row):
        by = Actor.user(row.requested_by)
        pass_gate(session, wish=wanted, by=by, approval_id=row.id)
        record(session, deed="test:deed:do", subject="payments:1", actor=by, approval_id=row.id)
        if done == "fail":
            raise Invalid(field="x", reason="y")
        return "payments:1"

    return execute


def ask(world, who, wanted=None):
    with unit_of_work(world.tenant_id) as session:
        row = request_approval(session, wish=wanted or wish(world), reason="输错户号", by=who)
        return row.public_id


def say_yes(world, public_id, who, *, wanted=None, done="well", seen=None):
    with unit_of_work(world.tenant_id) as session:
        execute = deed_of(world, wanted or wish(world), done)
        row = approvals.approve(
            session, public_id=public_id, by=who, seen=seen or (wanted or wish(world)).mark(), execute=execute
        )
        return row.state, row.outcome


def state_of(world, public_id):
    with unit_of_work(world.tenant_id) as session:
        return session.scalars(select(Approval.state).where(Approval.public_id == public_id)).one()


def traces(world):
    with unit_of_work(world.tenant_id) as session:
        asked = select(func.count()).select_from(AuditRecord).where(AuditRecord.deed == "test:deed:do")
        return session.scalar(asked)


def change(world, statement):
    with unit_of_work(world.tenant_id) as session:
        session.execute(statement)


def test_up_to_the_limit_the_gate_lets_pass_above_it_says_what_is_needed(world, people):
    with unit_of_work(world.tenant_id) as session:
        pass_gate(session, wish=wish(world, UNDER), by=people["manager"])
        pass_gate(session, wish=wish(world, 10**9), by=Actor.system("worker"))
        with pytest.raises(ApprovalNeeded) as needed:
            pass_gate(session, wish=wish(world), by=people["manager"])
        assert (needed.value.wish, needed.value.limit) == (wish(world), UNDER)
        for nobody in (people["cashier"], Actor.user(999_999), Actor.api_token(1)):
            with pytest.raises(Forbidden):
                pass_gate(session, wish=wish(world, 1), by=nobody)


def test_the_yes_of_another_person_does_the_deed_and_both_are_on_record(world, people):
    public_id = ask(world, people["manager"])
    assert say_yes(world, public_id, people["finance"]) == ("done", "payments:1")
    with unit_of_work(world.tenant_id) as session:
        row = session.scalars(select(Approval)).one()
        told = session.execute(
            select(AuditRecord.deed, AuditRecord.actor)
            .where(AuditRecord.approval_id == row.id)
            .order_by(AuditRecord.id)
        ).all()
    assert [tuple(each) for each in told] == [
        ("approval:request:file", str(people["manager"])),
        ("approval:request:approve", str(people["finance"])),
        ("approval:request:redeem", str(people["manager"])),
        ("test:deed:do", str(people["manager"])),
    ]
    with pytest.raises(ApprovalNotWaiting):
        say_yes(world, public_id, people["admin"])
    assert traces(world) == 1


def test_the_same_wish_twice_is_one_request(world, people):
    assert ask(world, people["manager"]) == ask(world, people["manager"])


def test_who_asks_says_why_and_somebody_else_must_be_there_to_decide(world, people, db):
    with unit_of_work(world.tenant_id) as session:
        for reason in ("", "  ", "长" * 201):
            with pytest.raises(ApprovalReasonMissing):
                request_approval(session, wish=wish(world), reason=reason, by=people["manager"])
        with pytest.raises(Forbidden):
            request_approval(session, wish=wish(world), reason="试试", by=people["cashier"])
        disable(session, people["finance"])
        disable(session, people["admin"])
        with pytest.raises(ApprovalNobody):
            request_approval(session, wish=wish(world), reason="试试", by=people["manager"])


def test_never_oneself_never_who_has_a_part_in_it_never_without_the_right(world, people, db):
    concerned = wish(world, concerned={int(people["admin"].ref)})
    public_id = ask(world, people["manager"], concerned)
    for who, refusal in (
        ("manager", ApprovalOwn), ("admin", ApprovalOwn), ("cashier", Forbidden),
    ):  # fmt: skip
        with pytest.raises(refusal):
            say_yes(world, public_id, people[who], wanted=concerned)
    with pytest.raises(Forbidden):
        say_yes(world, public_id, Actor.system("worker"), wanted=concerned)
    assert say_yes(world, public_id, people["finance"], wanted=concerned)[0] == "done"


def test_one_person_is_one_voice_also_for_the_database(world, people, db):
    public_id = ask(world, people["manager"])
    change(world, update(Approval).values(needed=2))
    assert say_yes(world, public_id, people["finance"]) == ("waiting", None)
    with pytest.raises(ApprovalTwice):
        say_yes(world, public_id, people["finance"])
    with pytest.raises(IntegrityError), unit_of_work(world.tenant_id) as session:
        vote = session.scalars(select(ApprovalVote)).one()
        session.add(
            ApprovalVote(
                approval_id=vote.approval_id, user_id=vote.user_id, verdict="approve", content_hash=b"x", at=vote.at
            )
        )
    assert say_yes(world, public_id, people["admin"])[0] == "done"


def test_what_was_seen_is_what_is_done(world, people):
    public_id = ask(world, people["manager"])
    with pytest.raises(ApprovalChanged):
        say_yes(world, public_id, people["finance"], seen=b"something else")
    # The deed itself would do something else by now: nothing is done, and the request says why.
    other = wish(world, ABOVE + 1)
    assert say_yes(world, public_id, people["finance"], wanted=other, seen=wish(world).mark()) == (
        "failed", "approval_changed",
    )  # fmt: skip
    assert traces(world) == 0


def test_a_row_that_somebody_changed_in_the_database_is_not_voted_on(world, people):
    public_id = ask(world, people["manager"])
    change(world, update(Approval).values(amount=1))
    with pytest.raises(ApprovalChanged):
        say_yes(world, public_id, people["finance"])


def test_a_deed_that_fails_leaves_nothing_but_the_reason(world, people):
    public_id = ask(world, people["manager"])
    assert say_yes(world, public_id, people["finance"], done="fail") == ("failed", "invalid")
    assert traces(world) == 0
    with unit_of_work(world.tenant_id) as session:
        assert session.scalars(select(ApprovalVote.verdict)).all() == ["approve"]
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "approval:request:fail")).one()
    assert (told.result, told.facts["outcome"]) == ("failed", "invalid")


def test_a_process_that_dies_between_the_yes_and_the_deed_leaves_the_request_waiting(world, people):
    public_id = ask(world, people["manager"])

    def die(_session, _row):
        raise MemoryError

    with pytest.raises(MemoryError), unit_of_work(world.tenant_id) as session:
        approvals.approve(session, public_id=public_id, by=people["finance"], seen=wish(world).mark(), execute=die)
    assert state_of(world, public_id) == "waiting"
    assert say_yes(world, public_id, people["finance"])[0] == "done"


def test_a_deed_that_does_not_redeem_its_request_is_a_fault_of_ours(world, people):
    public_id = ask(world, people["manager"])
    with pytest.raises(RuntimeError, match="did not redeem"), unit_of_work(world.tenant_id) as session:
        approvals.approve(
            session, public_id=public_id, by=people["finance"], seen=wish(world).mark(), execute=lambda *_: "x:1"
        )
    assert state_of(world, public_id) == "waiting"


@pytest.mark.parametrize("loss", ["asker disabled", "asker's grant", "earlier yes"])
def test_a_right_lost_meanwhile_is_missed_when_the_deed_is_done(world, people, db, loss):
    public_id = ask(world, people["manager"])
    lost, last = "manager", "finance"
    if loss == "earlier yes":
        change(world, update(Approval).values(needed=2))
        say_yes(world, public_id, people["finance"])
        lost, last = "finance", "admin"
    with unit_of_work(world.tenant_id) as session:
        if loss == "asker's grant":
            session.execute(Grant.__table__.delete().where(Grant.user_id == int(people[lost].ref)))
        else:
            disable(session, people[lost])
    assert say_yes(world, public_id, people[last]) == ("failed", ApprovalRightLost.code)
    assert traces(world) == 0


def test_a_request_ages_and_is_swept(world, people):
    public_id, other = ask(world, people["manager"]), ask(world, people["manager"], wish(world, ABOVE + 5))
    past = wall_now() - timedelta(hours=1)
    late = update(Approval).where(Approval.public_id == public_id)
    change(world, late.values(requested_at=past - timedelta(hours=2), expires_at=past))
    with pytest.raises(ApprovalExpired):
        say_yes(world, public_id, people["finance"])
    # Asked again after it has expired, it is another request.
    assert ask(world, people["manager"]) != public_id
    with unit_of_work(world.tenant_id) as session:
        assert expire_approvals(session) == 1
    assert (state_of(world, public_id), state_of(world, other)) == ("expired", "waiting")
    with pytest.raises(ApprovalNotWaiting):
        say_yes(world, public_id, people["finance"])


def test_a_request_that_expires_between_the_yes_and_the_deed_is_not_done(world, people):
    public_id = ask(world, people["manager"])
    past = wall_now() - timedelta(hours=1)
    late = update(Approval).where(Approval.public_id == public_id)
    change(world, late.values(state="approved", requested_at=past - timedelta(hours=2), expires_at=past))
    with unit_of_work(world.tenant_id) as session:
        row = session.scalars(select(Approval)).one()
        with pytest.raises(ApprovalExpired):
            redeem(session, approval_id=row.id, wish=wish(world), by=people["manager"])


@pytest.mark.parametrize(("hours", "deed", "waits"), [
    (None, "reversal", timedelta(hours=72)), (5, "reversal", timedelta(hours=5)), (5, "mass_control", timedelta(minutes=15)),
])  # fmt: skip
def test_how_long_a_request_waits_is_the_tenants_to_say(world, people, hours, deed, waits):
    with unit_of_work(world.tenant_id) as session:
        if hours:
            session.add(
                SecurityPolicy(
                    second_factor_required=False, session_hours_max=12, session_idle_min=30,
                    approval_hours_max=hours, audit_keep_days=180,
                )
            )  # fmt: skip
            session.flush()
        row = request_approval(session, wish=wish(world, deed=deed), reason="试试", by=people["manager"])
        assert row.expires_at - row.requested_at == waits


def test_no_ends_it_and_says_why(world, people):
    public_id = ask(world, people["manager"])
    with unit_of_work(world.tenant_id) as session:
        with pytest.raises(ApprovalReasonMissing):
            approvals.refuse(session, public_id=public_id, by=people["finance"], seen=wish(world).mark(), reason=" ")
        row = approvals.refuse(
            session, public_id=public_id, by=people["finance"], seen=wish(world).mark(), reason="金额不对"
        )
        assert row.state == "refused"
    with pytest.raises(ApprovalNotWaiting):
        say_yes(world, public_id, people["admin"])


def test_only_who_asked_takes_it_back(world, people):
    public_id = ask(world, people["manager"])
    with unit_of_work(world.tenant_id) as session:
        with pytest.raises(NotFound):
            approvals.withdraw(session, public_id=public_id, by=people["admin"])
        assert approvals.withdraw(session, public_id=public_id, by=people["manager"]).state == "withdrawn"
        with pytest.raises(ApprovalNotWaiting):
            approvals.withdraw(session, public_id=public_id, by=people["manager"])


def test_another_tenants_request_is_not_there(world, people, make_world, db):
    public_id, elsewhere = ask(world, people["manager"]), make_world()
    stranger = person(db, elsewhere, Role.GROUP_ADMINISTRATOR, at=elsewhere.headquarters_id)
    with pytest.raises(NotFound):
        say_yes(elsewhere, public_id, stranger, wanted=wish(world))


def at_once(*deeds):
    """Run deeds at the same time; what each returned or raised."""
    barrier, results = threading.Barrier(len(deeds)), [None] * len(deeds)

    def run(number, deed):
        barrier.wait()
        try:
            results[number] = deed()
        except Exception as raised:
            results[number] = type(raised)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(deeds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_approvers_at_once_do_it_once(world, people):
    public_id = ask(world, people["manager"])
    results = at_once(
        lambda: say_yes(world, public_id, people["finance"]), lambda: say_yes(world, public_id, people["admin"])
    )
    assert sorted(map(str, results)) == sorted([str(("done", "payments:1")), str(ApprovalNotWaiting)])
    assert traces(world) == 1


def test_a_yes_and_a_withdrawal_at_once_end_one_way(world, people):
    public_id = ask(world, people["manager"])

    def take_back():
        with unit_of_work(world.tenant_id) as session:
            return approvals.withdraw(session, public_id=public_id, by=people["manager"]).state

    results = at_once(lambda: say_yes(world, public_id, people["finance"]), take_back)
    assert results in ([("done", "payments:1"), ApprovalNotWaiting], [ApprovalNotWaiting, "withdrawn"])
    assert traces(world) == (1 if state_of(world, public_id) == "done" else 0)


def test_an_own_role_counts_with_what_it_holds_until_it_is_withdrawn(world, people, db):
    with unit_of_work(world.tenant_id) as session:
        session.add(
            OwnRole(
                code="own:abc", name="夜班财务", based_on="property_finance",
                permissions=["money:topup:reverse", "of:an:older:version"], changed_at=wall_now(),
            )
        )  # fmt: skip
    who = person(db, world, Role.READ_ONLY)
    change(world, update(Grant).where(Grant.user_id == int(who.ref)).values(role="own:abc"))
    with unit_of_work(world.tenant_id) as session:
        pass_gate(session, wish=wish(world, UNDER), by=who)
        session.execute(update(OwnRole).values(withdrawn_at=wall_now()))
        with pytest.raises(Forbidden):
            pass_gate(session, wish=wish(world, UNDER), by=who)
