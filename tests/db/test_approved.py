"""Deeds behind the gate: at the limit done at once, above it by another person's yes, exactly as it was asked."""

import io
from datetime import timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from sqlalchemy import func, select, update

from app.billing import approved
from app.billing.approved import Desk, FileNotKept, ImportTakenAlready, SeveralProperties
from app.billing.ledger.models import Entry
from app.billing.ledger.service import AlreadyReversed
from app.billing.models import ImportBatch, Payment, PricePlan, PriceVersion, SupplyAccount
from app.billing.payments.counter import OwnSaleReversed, take_payment
from app.billing.plans import PriceBackdated, create_plan, publish_price
from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Meter, MeterModel, Reading
from app.meters.sheet_file import HEADINGS
from app.permissions import approvals
from app.permissions.approval_models import Approval, DeedLimit
from app.permissions.approvals import ApprovalNeeded, ApprovalOwn, request_approval
from app.permissions.limits import REMOVAL_REMEMBERED, removed_somebody_lately
from app.permissions.models import Grant, User
from app.permissions.policy import Role
from app.permissions.reach import OwnRights
from app.permissions.roles import copy_role, find_role
from app.permissions.service import disable_user
from app.tenants.kept_files import KEPT_S, hold_file, keep_file, kept_file, sweep_files
from app.tenants.models import AuditRecord
from tests.factories.people import person
from tests.factories.workbook import good_rows, workbook
from tests.factories.world import add_property

ZONE = ZoneInfo("Asia/Shanghai")


@pytest.fixture
def people(world, db):
    headquarters = world.headquarters_id
    return {
        "manager": person(db, world, Role.PROPERTY_MANAGER),
        "finance": person(db, world, Role.GROUP_FINANCE, at=headquarters),
        "admin": person(db, world, Role.GROUP_ADMINISTRATOR, at=headquarters),
        "cashier": person(db, world, Role.CASHIER),
    }


def tighten(world, deed, amount_max, role=Role.PROPERTY_MANAGER):
    with unit_of_work(world.tenant_id) as session:
        session.add(
            DeedLimit(
                node_id=world.headquarters_id, role=role.value, deed=deed, amount_max=amount_max, changed_at=wall_now()
            )
        )


def file_request(world, who, deed):
    """What the web does: try, and put it before another person when it is above the limit."""
    with unit_of_work(world.tenant_id) as session:
        with pytest.raises(ApprovalNeeded) as needed, session.begin_nested():
            deed(session)
        return request_approval(session, wish=needed.value.wish, reason="按业主申请", by=who)


def say_yes(world, row, who, var="."):
    with unit_of_work(world.tenant_id) as session:
        desk = Desk(var)
        done = approvals.approve(
            session, public_id=row.public_id, by=who, seen=row.content_hash, execute=approved.executor(desk)
        )
        return done.state, done.outcome, desk


def sale(world, fen, seller):
    with unit_of_work(world.tenant_id) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        sold = {"amount_fen": fen, "channel": "cash", "till": "T1", "actor": seller, "idempotency_key": f"sale-{fen}"}
        payment_id = take_payment(session, supply_account=account, **sold).payment_id
        return session.get_one(Payment, (world.tenant_id, payment_id))


def reverse(payment, who, key="r1"):
    return lambda session: approved.reverse_sale(
        session, payment=session.merge(payment, load=False), reason="输错户号", actor=who, idempotency_key=key
    )


def reversals(world):
    with unit_of_work(world.tenant_id) as session:
        return session.scalar(select(func.count()).select_from(Entry).where(Entry.kind == "reversal"))


def test_a_reversal_at_the_limit_is_done_and_one_above_waits_for_another(world, people, business_clock):
    small, large = sale(world, 50_000, people["cashier"]), sale(world, 50_001, people["cashier"])
    with unit_of_work(world.tenant_id) as session:
        reverse(small, people["manager"])(session)
    row = file_request(world, people["manager"], reverse(large, people["manager"], "r2"))
    assert reversals(world) == 1
    state, outcome, _desk = say_yes(world, row, people["finance"])
    assert (state, outcome.partition(":")[0], reversals(world)) == ("done", "ledger_entries", 2)
    with unit_of_work(world.tenant_id) as session:
        told = session.scalars(
            select(AuditRecord).where(AuditRecord.deed == "money:topup:reverse").order_by(AuditRecord.id.desc())
        ).first()
    assert (told.actor, told.approval_id, told.reason) == (str(people["manager"]), row.id, "按业主申请")


def test_what_could_not_be_done_today_is_refused_before_anybody_is_asked(world, people, business_clock):
    large = sale(world, 60_000, people["finance"])
    with unit_of_work(world.tenant_id) as session, pytest.raises(OwnSaleReversed):
        reverse(large, people["finance"])(session)
    row = file_request(world, people["manager"], reverse(large, people["manager"]))
    with pytest.raises(ApprovalOwn):  # who sold it has a part in it
        say_yes(world, row, people["finance"])
    assert say_yes(world, row, people["admin"])[0] == "done"
    with unit_of_work(world.tenant_id) as session, pytest.raises(AlreadyReversed):
        reverse(large, people["manager"], "again")(session)


def test_a_sale_reversed_meanwhile_fails_the_request_and_nothing_else(world, people, business_clock):
    large = sale(world, 60_000, people["cashier"])
    row = file_request(world, people["manager"], reverse(large, people["manager"]))
    with unit_of_work(world.tenant_id) as session:
        reverse(large, people["finance"], "other")(session)
    assert say_yes(world, row, people["admin"])[:2] == ("failed", "already_reversed")
    assert reversals(world) == 1


def price(world, who, figure, since):
    def deed(session):
        plan = session.get_one(PricePlan, (world.tenant_id, world.plan_id))
        return approved.change_price(session, plan=plan, price=Decimal(figure), effective_from=since, by=who)

    return deed


def test_a_price_is_changed_by_two_and_only_from_what_was_seen(world, people, business_clock):
    since = business_clock.now() + timedelta(days=2)
    with unit_of_work(world.tenant_id) as session:
        price(world, people["manager"], "0.66", since)(session)  # ten fen further: alone
    row = file_request(world, people["manager"], price(world, people["manager"], "0.80", since + timedelta(days=1)))
    assert (row.amount, row.content["price_before"], row.content["price"]) == (14_000, "0.66000", "0.80000")
    stale = file_request(world, people["manager"], price(world, people["manager"], "0.90", since + timedelta(days=3)))
    assert say_yes(world, row, people["finance"])[0] == "done"
    # The other request was made when the price before it was another.
    assert say_yes(world, stale, people["finance"])[:2] == ("failed", "approval_changed")
    with unit_of_work(world.tenant_id) as session:
        figures = session.scalars(select(PriceVersion.price).order_by(PriceVersion.id)).all()
    assert [f"{figure:.2f}" for figure in figures] == ["0.56", "0.66", "0.80"]


def test_a_price_whose_time_has_come_before_the_yes_is_not_backdated(world, people, business_clock):
    since = business_clock.now() + timedelta(days=1)
    row = file_request(world, people["manager"], price(world, people["manager"], "0.90", since))
    business_clock.set(since + timedelta(hours=1))
    assert say_yes(world, row, people["finance"])[:2] == ("failed", PriceBackdated.code)


def readings_sheet(world, db, business_clock, count=2, property_id=None):
    with unit_of_work(world.tenant_id, db=db) as session:
        numbers = session.scalars(select(Meter.number).order_by(Meter.id)).all()[:count]
    at = (business_clock.now() + timedelta(hours=7)).replace(tzinfo=None)
    book = openpyxl.Workbook()
    book.active.append(list(HEADINGS))
    for number in numbers:
        book.active.append([number, at, 101.5])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def load(world, who, content, allowed=None):
    return lambda session: approved.import_readings(
        session, allowed=allowed or [world.property_id], content=content, zone=ZONE, actor=who
    )


def hold(world, who, digest, until, var):
    with unit_of_work(world.tenant_id):
        hold_file(var=var, user_id=int(who.ref), digest=digest, until=until)


def keep(world, who, content, var):
    with unit_of_work(world.tenant_id) as session:
        return keep_file(session, var=var, user_id=int(who.ref), content=content)


def test_readings_above_the_limit_wait_and_exactly_that_file_is_taken(world, people, db, business_clock, tmp_path):
    tighten(world, "reading_correction", 1)
    content = readings_sheet(world, db, business_clock)
    digest = keep(world, people["manager"], content, tmp_path)
    row = file_request(world, people["manager"], load(world, people["manager"], content))
    hold(world, people["manager"], digest, row.expires_at, tmp_path)
    assert (row.amount, row.content["file"]) == (2, digest)
    assert say_yes(world, row, people["admin"], tmp_path)[0] == "done"
    with unit_of_work(world.tenant_id) as session:
        assert session.scalar(select(func.count()).select_from(Reading)) == 2
        # The file has done its work.
        assert kept_file(session, var=tmp_path, user_id=row.requested_by, digest=digest) is None


def test_a_request_whose_file_is_gone_fails(world, people, db, business_clock, tmp_path):
    tighten(world, "reading_correction", 1)
    content = readings_sheet(world, db, business_clock)
    row = file_request(world, people["manager"], load(world, people["manager"], content))
    assert say_yes(world, row, people["admin"], tmp_path)[:2] == ("failed", FileNotKept.code)


def test_a_held_file_outlives_the_hour_and_being_looked_at_again(world, people, tmp_path):
    who, content = people["manager"], b"a workbook"
    digest = keep(world, who, content, tmp_path)
    until = wall_now() + timedelta(hours=72)
    hold(world, who, digest, until, tmp_path)
    assert keep(world, who, content, tmp_path) == digest
    (path,) = (tmp_path / "uploads").glob("*/*/*")
    assert path.stat().st_mtime + KEPT_S > until.timestamp()
    sweep_files(tmp_path)
    assert path.exists()
    hold(world, who, "../../etc", until, tmp_path)


def test_a_file_of_several_properties_above_the_limit_is_split_first(world, people, db, business_clock):
    with unit_of_work(world.tenant_id) as session:
        other = add_property(session, world, name="翠湖天地")
        last = session.scalars(select(Meter.id).order_by(Meter.id)).all()[1]
        session.execute(update(Meter).where(Meter.id == last).values(property_id=other, gateway_id=None))
    tighten(world, "reading_correction", 0, Role.GROUP_ADMINISTRATOR)
    content = readings_sheet(world, db, business_clock)
    both = [world.property_id, other]
    with unit_of_work(world.tenant_id) as session, pytest.raises(SeveralProperties):
        load(world, people["admin"], content, both)(session)


def opening(world, who, content):
    return lambda session: approved.open_property(
        session, property_id=world.property_id, content=content, file_name="和风苑.xlsx", by=who
    )


def test_opening_balances_above_the_limit_wait_and_the_gateways_secrets_are_told_once(world, people, db, tmp_path):
    tighten(world, "opening_balance", 11_359)
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(MeterModel).values(name="DDSY-60A"))
    content = workbook(good_rows(building="B座"))
    digest = keep(world, people["manager"], content, tmp_path)
    row = file_request(world, people["manager"], opening(world, people["manager"], content))
    assert (row.amount, row.content["credit_fen"], row.content["debt_fen"]) == (11_360, 11_360, 0)
    state, outcome, desk = say_yes(world, row, people["finance"], tmp_path)
    assert (state, outcome.partition(":")[0], len(desk.secrets)) == ("done", "import_batches", 1)
    with unit_of_work(world.tenant_id) as session:
        batch = session.scalars(select(ImportBatch)).one()
    assert (batch.file_digest.hex(), batch.actor) == (digest, str(people["manager"]))
    assert "secret" not in repr(desk)


def test_a_workbook_imported_meanwhile_is_not_imported_again(world, people, db, tmp_path):
    tighten(world, "opening_balance", 0)
    content = workbook(good_rows(building="B座"))
    keep(world, people["manager"], content, tmp_path)
    row = file_request(world, people["manager"], opening(world, people["manager"], content))
    with unit_of_work(world.tenant_id) as session:
        opening(world, Actor.system("operator-cli"), content)(session)
    assert say_yes(world, row, people["finance"], tmp_path)[:2] == ("failed", ImportTakenAlready.code)


def role(world, who, whom, *, node_id, give=True, name=Role.READ_ONLY):
    def deed(session):
        user = session.get_one(User, (world.tenant_id, int(whom.ref)))
        approved.change_role(session, user=user, role=name.value, node_id=node_id, give=give, by=who)

    return deed


def held(world, whom):
    with unit_of_work(world.tenant_id) as session:
        found = select(Grant.role, Grant.node_id).where(Grant.user_id == int(whom.ref)).order_by(Grant.id)
        return [tuple(each) for each in session.execute(found)]


def test_a_role_at_a_property_is_given_alone_and_one_above_by_two(world, people, db):
    whom = people["cashier"]
    with unit_of_work(world.tenant_id) as session:
        role(world, people["admin"], whom, node_id=world.property_id)(session)
    top = world.headquarters_id
    other = person(db, world, Role.GROUP_ADMINISTRATOR, at=top)
    row = file_request(world, people["admin"], role(world, people["admin"], whom, node_id=top))
    assert say_yes(world, row, other)[0] == "done"
    assert held(world, whom)[1:] == [("read_only", world.property_id), ("read_only", top)]
    taking = file_request(world, people["admin"], role(world, people["admin"], whom, node_id=top, give=False))
    assert say_yes(world, taking, other)[0] == "done"
    assert held(world, whom)[1:] == [("read_only", world.property_id)]


def test_who_is_alone_at_headquarters_appoints_alone_and_nobody_their_own_role(world, people, db):
    top = world.headquarters_id
    with unit_of_work(world.tenant_id) as session:
        # Nobody else could decide: otherwise a group with one administrator stayed so forever.
        role(world, people["admin"], people["cashier"], node_id=top)(session)
        with pytest.raises(OwnRights), session.begin_nested():
            role(world, people["admin"], people["admin"], node_id=top)(session)
    # Whose right changes counts as nobody: two administrators, and one of them is the subject.
    second = person(db, world, Role.GROUP_ADMINISTRATOR, at=top)
    with unit_of_work(world.tenant_id) as session:
        role(world, people["admin"], second, node_id=top)(session)


def test_who_sends_the_other_administrator_away_does_not_decide_alone_for_a_week(world, people, db):
    top = world.headquarters_id
    second = person(db, world, Role.GROUP_ADMINISTRATOR, at=top)
    with unit_of_work(world.tenant_id) as session:
        other = session.scalars(select(User).where(User.id == second.ref)).one()
        disable_user(session, user=other, by=people["admin"])
    with unit_of_work(world.tenant_id) as session, pytest.raises(ApprovalNeeded):
        role(world, people["admin"], people["cashier"], node_id=top)(session)
    with unit_of_work(world.tenant_id) as session:
        removal = session.scalars(select(AuditRecord).where(AuditRecord.deed == "user:account:disable")).one()
        gone_by = removal.wall_at + REMOVAL_REMEMBERED
        assert removed_somebody_lately(session, user_id=people["admin"].ref)
        assert not removed_somebody_lately(session, user_id=people["finance"].ref)
        assert gone_by > wall_now()


def test_who_may_say_yes_to_others_is_appointed_by_two_at_a_property_too(world, people, db):
    whom = person(db, world, Role.READ_ONLY)
    second = role(world, people["manager"], whom, node_id=world.property_id, name=Role.PROPERTY_MANAGER)
    row = file_request(world, people["manager"], second)
    assert held(world, whom) == [("read_only", world.property_id)]
    assert say_yes(world, row, people["admin"])[0] == "done"
    with unit_of_work(world.tenant_id) as session:
        taking = {"name": Role.PROPERTY_MANAGER, "give": False}
        role(world, people["manager"], whom, node_id=world.property_id, **taking)(session)


def test_an_own_role_that_changed_while_it_waited_is_not_what_was_seen(world, people, db):
    top, whom = world.headquarters_id, person(db, world, Role.READ_ONLY)
    other = person(db, world, Role.GROUP_ADMINISTRATOR, at=top)
    with unit_of_work(world.tenant_id) as session:
        made = copy_role(
            session, based_on="read_only", name="看账", permissions=["plan:price:read"], by=people["admin"]
        )
        code = made.code

    def give(session):
        user = session.get_one(User, (world.tenant_id, int(whom.ref)))
        approved.change_role(session, user=user, role=code, node_id=top, give=True, by=people["admin"])

    row = file_request(world, people["admin"], give)
    with unit_of_work(world.tenant_id) as session:
        edit(session, people["admin"], code, ["plan:price:read", "approval:money:decide"])
    assert say_yes(world, row, other)[:2] == ("failed", approvals.ApprovalChanged.code)
    assert held(world, whom) == [("read_only", world.property_id)]


def edit(session, who, code, permissions):
    approved.edit_role(session, role=find_role(session, code=code), name="夜班收费", permissions=permissions, by=who)


def test_widening_a_role_that_people_hold_takes_two_and_narrowing_it_one(world, people, db):
    other = person(db, world, Role.GROUP_ADMINISTRATOR, at=world.headquarters_id)
    holder = person(db, world, Role.READ_ONLY)
    with unit_of_work(world.tenant_id) as session:
        made = copy_role(
            session, based_on="read_only", name="夜班收费", permissions=["account:supply:read"], by=people["admin"]
        )
        code, wide = made.code, ["account:supply:read", "audit:log:read"]
        edit(session, people["admin"], code, wide)
        session.add(Grant(user_id=holder.ref, role=code, node_id=world.property_id))
    with unit_of_work(world.tenant_id) as session:
        edit(session, people["admin"], code, ["account:supply:read"])
    waiting = file_request(world, people["admin"], lambda session: edit(session, people["admin"], code, wide))
    with unit_of_work(world.tenant_id) as session:
        assert find_role(session, code=code).permissions == ["account:supply:read"]
    say_yes(world, waiting, other)
    with unit_of_work(world.tenant_id) as session:
        assert find_role(session, code=code).permissions == wide
        note = session.scalars(
            select(AuditRecord).where(AuditRecord.deed == "user:role:change").order_by(AuditRecord.id.desc()).limit(1)
        ).one()
        assert note.approval_id is not None


def test_publishing_by_a_process_of_the_product_knows_no_limit(world, people, business_clock):
    with unit_of_work(world.tenant_id) as session:
        plan = create_plan(session, property_id=world.property_id, name="商业")
        publish_price(
            session, plan=plan, price=Decimal("9"), effective_from=business_clock.now(), by=Actor.system("demo")
        )
        assert session.scalars(select(Approval)).all() == []
