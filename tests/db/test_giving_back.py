"""Refund, waiver, adjustment: never more than is there, once per key, under a limit, undone by another person."""

import pytest
from sqlalchemy import func, select

from app.billing import approved
from app.billing.approved import Desk
from app.billing.giving_back import (
    GivingAmountWrong,
    GivingCodeUnknown,
    GivingReasonMissing,
    OwnGivingUndone,
    WaiverTooLarge,
    make_adjustment,
    make_refund,
    make_waiver,
    paper_number,
    undo_giving,
)
from app.billing.giving_models import MoneyGiven
from app.billing.ledger.models import Entry, LedgerAccount
from app.billing.ledger.periods import close_period
from app.billing.ledger.service import AlreadyReversed, PeriodClosed, WalletTooLow
from app.billing.models import Stop, SupplyAccount
from app.billing.wallets import find_wallet
from app.kernel.actor import Actor
from app.kernel.clock import business_now
from app.kernel.errors import Forbidden
from app.kernel.idempotency import KeyReused
from app.kernel.unit_of_work import unit_of_work
from app.meters.command_models import Command, Permit
from app.permissions import approvals
from app.permissions.approvals import ApprovalNeeded, ApprovalOwn, request_approval
from app.permissions.policy import Role
from app.tenants.models import AuditRecord
from tests.factories.people import person
from tests.factories.supply import darken, hear, pay, run_dry, stop, stops_of
from tests.factories.usage import use

MANAGER, FINANCE = Actor.user(3, name="李经理"), Actor.user(4, name="周会计")


def account_of(session, world, number=0):
    return session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[number]))


def available(world, number=0):
    with unit_of_work(world.tenant_id) as session:
        return find_wallet(session, supply_account_id=world.supply_account_ids[number]).available_fen


def refund(world, fen, *, way="cash", by=MANAGER, key="g1", number=0, reason="退租"):
    with unit_of_work(world.tenant_id) as session:
        return make_refund(
            session, account=account_of(session, world, number), amount_fen=fen, way=way, reason=reason, actor=by,
            idempotency_key=key,
        )  # fmt: skip


def waive(world, fen, *, key="w1", number=0):
    with unit_of_work(world.tenant_id) as session:
        return make_waiver(
            session, account=account_of(session, world, number), amount_fen=fen, reason="协商减免", actor=MANAGER,
            idempotency_key=key,
        )  # fmt: skip


def adjust(world, fen, *, code="misposted", key="a1"):
    with unit_of_work(world.tenant_id) as session:
        return make_adjustment(
            session, account=account_of(session, world), amount_fen=fen, code=code, reason="错户更正", actor=MANAGER,
            idempotency_key=key,
        )  # fmt: skip


def undo(world, given, by=FINANCE, key="u1", reason="办错了"):
    with unit_of_work(world.tenant_id) as session:
        row = session.get_one(MoneyGiven, (world.tenant_id, given.id))
        return undo_giving(session, given=row, reason=reason, actor=by, idempotency_key=key)


def test_a_refund_posts_what_was_used_first_and_leaves_the_rest(world, business_clock):
    pay(world, 10_000)
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [4] * 3)
    left = available(world)
    assert left < 10_000
    given = refund(world, left)
    assert available(world) == 0
    with unit_of_work(world.tenant_id) as session:
        wallet = find_wallet(session, supply_account_id=world.supply_account_ids[0])
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "money:refund:give")).one()
    assert wallet.kept.balance_fen == 0  # the accrual was posted, not only reckoned with
    assert (given.content["available_before_fen"], given.content["available_after_fen"]) == (left, 0)
    assert (given.content["party"], paper_number(given.kind, given.number)) == ("住**", "TK-000001")
    assert (told.before, told.after, told.reason) == ({"available_fen": left}, {"available_fen": 0}, "退租")
    assert told.facts["amount_fen"] == left


def test_one_fen_more_than_is_there_is_refused_and_nothing_is_written(world, business_clock):
    pay(world, 10_000)
    with pytest.raises(WalletTooLow):
        refund(world, 10_001)
    with unit_of_work(world.tenant_id) as session:
        assert session.scalar(select(func.count()).select_from(MoneyGiven)) == 0
    assert available(world) == 10_000


def test_a_deed_happens_once_per_key(world, business_clock):
    pay(world, 10_000)
    first, again = refund(world, 3_000), refund(world, 3_000)
    assert (first.id, available(world)) == (again.id, 7_000)
    with pytest.raises(KeyReused):
        refund(world, 3_001)
    assert refund(world, 1_000, key="g2").number == 2


def test_the_papers_of_a_book_are_numbered_by_kind(world, business_clock):
    pay(world, 10_000)
    made = [
        refund(world, 1_000),
        adjust(world, 50),
        refund(world, 1_000, key="g2", way="bank"),
        adjust(world, -50, key="a2"),
    ]
    assert [(m.kind, m.number) for m in made] == [
        ("refund", 1), ("adjustment", 1), ("refund", 2), ("adjustment", 2)
    ]  # fmt: skip


@pytest.mark.parametrize("fen", [0, -1, 10_000_000_001])
def test_an_amount_that_nobody_is_given(world, business_clock, fen):
    with pytest.raises(GivingAmountWrong):
        refund(world, fen)


def test_money_does_not_leave_without_a_reason_or_by_an_unknown_way(world, business_clock):
    pay(world, 10_000)
    for reason in ("", "  ", "因" * 201):
        with pytest.raises(GivingReasonMissing):
            refund(world, 100, reason=reason)
    with pytest.raises(GivingCodeUnknown):
        refund(world, 100, way="wechat")
    with pytest.raises(GivingCodeUnknown):
        adjust(world, 100, code="cash")


def test_a_waiver_gives_up_what_is_owed_and_not_a_fen_more(world, business_clock):
    run_dry(world)
    owed = -available(world)
    assert owed > 0
    with pytest.raises(WaiverTooLarge):
        waive(world, owed + 1)
    waive(world, owed)
    assert available(world) == 0
    with pytest.raises(WaiverTooLarge):
        waive(world, 1, key="w2")


def test_a_waiver_goes_to_its_own_expense_account_also_in_an_older_book(world, business_clock, owner_url):
    run_dry(world)
    with unit_of_work(world.tenant_id) as session:
        known = select(func.count()).select_from(LedgerAccount).where(LedgerAccount.code == "waivers")
        assert session.scalar(known) == 1
    waive(world, 100)
    waive(world, 100, key="w2")
    with unit_of_work(world.tenant_id) as session:
        assert session.scalar(known) == 1


def test_a_waiver_takes_back_a_stop_that_has_not_left(world, business_clock):
    ordered = stop(world, business_clock)
    waive(world, -available(world))
    with unit_of_work(world.tenant_id) as session:
        permit = session.scalars(select(Permit)).one()
        command = session.get_one(Command, (world.tenant_id, ordered.trip_command_id))
    assert (permit.revoked_at is not None, command.state) == (True, "cancelled")


def test_a_waiver_brings_the_light_back(world, business_clock):
    darken(world, business_clock)
    waive(world, -available(world))
    hear(world)
    after = stops_of(world)[-1]
    # Paid in the sense of the queue: what waits now is the confirmation that heaters are off.
    assert after.paid_at is not None


def test_an_adjustment_down_never_goes_past_what_is_there(world, business_clock):
    pay(world, 1_000)
    adjust(world, 500)
    assert available(world) == 1_500
    with pytest.raises(WalletTooLow):
        adjust(world, -1_501, key="a2")
    adjust(world, -1_500, key="a3")
    assert available(world) == 0


def test_what_was_given_is_undone_once_and_by_somebody_else(world, business_clock):
    pay(world, 10_000)
    given = refund(world, 4_000)
    with pytest.raises(OwnGivingUndone):
        undo(world, given, by=MANAGER)
    with pytest.raises(GivingReasonMissing):
        undo(world, given, reason=" ")
    assert not undo(world, given).replayed
    assert undo(world, given).replayed
    assert available(world) == 10_000
    with pytest.raises(AlreadyReversed):
        undo(world, given, key="u2")
    with unit_of_work(world.tenant_id) as session:
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "money:refund:undo")).one()
    assert (told.before, told.after) == ({"available_fen": 6_000}, {"available_fen": 10_000})


def test_undoing_a_waiver_makes_the_debt_anew(world, business_clock):
    run_dry(world)
    owed = -available(world)
    given = waive(world, owed)
    undo(world, given)
    assert available(world) == -owed


def test_a_closed_month_takes_no_refund(world, business_clock):
    pay(world, 10_000)
    with unit_of_work(world.tenant_id) as session:
        month = business_now().date().replace(day=1)
        close_period(session, book_id=world.book_id, month=month, at=business_now())
    with pytest.raises(PeriodClosed):
        refund(world, 100)


# Under a limit


@pytest.fixture
def people(world, db):
    return {
        "manager": person(db, world, Role.PROPERTY_MANAGER),
        "finance": person(db, world, Role.PROPERTY_FINANCE),
        "admin": person(db, world, Role.GROUP_ADMINISTRATOR, at=world.headquarters_id),
        "cashier": person(db, world, Role.CASHIER),
        "duty": person(db, world, Role.DUTY_OFFICER),
    }


def give(world, who, kind, fen, key="k", **more):
    deed = {"refund": approved.give_refund, "waiver": approved.give_waiver, "adjustment": approved.give_adjustment}[
        kind
    ]
    code = {"refund": {"way": "cash"}, "waiver": {}, "adjustment": {"code": "meter"}}[kind]
    return lambda session: deed(
        session, account=account_of(session, world, more.get("number", 0)), amount_fen=fen, reason="按协议办理",
        actor=who, idempotency_key=key, **code,
    )  # fmt: skip


def ask(world, who, deed):
    with unit_of_work(world.tenant_id) as session:
        with pytest.raises(ApprovalNeeded) as needed, session.begin_nested():
            deed(session)
        return request_approval(session, wish=needed.value.wish, reason="按协议办理", by=who)


def say_yes(world, row, who):
    with unit_of_work(world.tenant_id) as session:
        done = approvals.approve(
            session, public_id=row.public_id, by=who, seen=row.content_hash, execute=approved.executor(Desk("."))
        )
        return done.state, done.outcome


@pytest.mark.parametrize(
    ("kind", "limit", "sign"), [("refund", 20_000, 1), ("adjustment", 10_000, 1), ("adjustment", 10_000, -1)]
)
def test_at_the_limit_alone_and_above_it_by_two(world, people, business_clock, kind, limit, sign):
    pay(world, 100_000)
    with unit_of_work(world.tenant_id) as session:
        give(world, people["manager"], kind, sign * limit)(session)
    row = ask(world, people["manager"], give(world, people["manager"], kind, sign * (limit + 1), key="k2"))
    with pytest.raises(ApprovalOwn):
        say_yes(world, row, people["manager"])
    before = available(world)
    # Usage meanwhile does not make the yes stale.
    with unit_of_work(world.tenant_id) as session:
        use(session, world, [1])
    state, outcome = say_yes(world, row, people["admin"])
    assert (state, outcome.partition(":")[0]) == ("done", "money_given")
    moved = available(world) - before
    assert abs(moved - (-(limit + 1) if kind == "refund" else sign * (limit + 1))) < 100
    with unit_of_work(world.tenant_id) as session:
        made = session.scalars(select(MoneyGiven).order_by(MoneyGiven.id.desc())).first()
    assert (made.approval_id, made.actor) == (row.id, str(people["manager"]))


def test_a_waiver_above_the_limit_waits_and_money_gone_meanwhile_fails_the_request(world, people, business_clock):
    pay(world, 30_000)
    row = ask(world, people["manager"], give(world, people["manager"], "refund", 25_000))
    refund(world, 10_000, key="other")
    assert say_yes(world, row, people["admin"]) == ("failed", "wallet_too_low")
    assert available(world) == 20_000


def test_what_is_not_there_is_refused_before_anybody_is_asked(world, people, business_clock):
    pay(world, 30_000)
    with unit_of_work(world.tenant_id) as session, pytest.raises(WalletTooLow):
        give(world, people["manager"], "refund", 30_001)(session)


@pytest.mark.parametrize("kind", ["refund", "waiver", "adjustment"])
@pytest.mark.parametrize("role", ["cashier", "duty"])
def test_who_takes_money_or_watches_at_night_gives_none(world, people, business_clock, kind, role):
    with unit_of_work(world.tenant_id) as session, pytest.raises(Forbidden):
        give(world, people[role], kind, 1)(session)


def test_undoing_waits_for_another_above_the_limit_of_an_adjustment(world, people, business_clock):
    pay(world, 100_000)
    given = refund(world, 40_000, by=people["finance"])

    def back(session):
        row = session.get_one(MoneyGiven, (world.tenant_id, given.id))
        return approved.take_back(session, given=row, reason="办错了", actor=people["manager"], idempotency_key="b1")

    row = ask(world, people["manager"], back)
    assert row.content["concerned"] == [int(people["finance"].ref)]
    state, outcome = say_yes(world, row, people["admin"])
    assert (state, outcome.partition(":")[0], available(world)) == ("done", "ledger_entries", 100_000)
    with unit_of_work(world.tenant_id) as session:
        assert session.scalar(select(func.count()).select_from(Entry).where(Entry.kind == "reversal")) == 1
        assert session.scalar(select(func.count()).select_from(Stop)) == 0
