"""Opening supply accounts: with wallet and agreement, once per number, reached only within scope."""

from datetime import date

import pytest
from sqlalchemy import select, text

from app.billing.models import Agreement, SupplyAccount
from app.billing.supply_accounts import (
    AccountNumberTaken,
    NewAccount,
    Signed,
    access_supply_account,
    accounts_of_meters,
    open_supply_account,
    open_supply_accounts,
    sign_agreement,
    switched_meters,
)
from app.billing.wallets import AVAILABLE_FEN, find_wallet
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work

SET = text(
    "UPDATE ledger_balances SET balance_fen = :b, held_fen = :h, accrued_microfen = :c"
    " WHERE tenant_id = :t AND account_id = :a"
)


def new(world, number, **wishes):
    facts = {
        "property_id": world.property_id, "space_id": world.space_ids[0], "party_id": world.party_ids[0],
        "number": number, "usage_class": "residential", "opened_on": date(2026, 7, 1),
    }  # fmt: skip
    return NewAccount(**(facts | wishes))


@pytest.mark.parametrize(
    ("usage_class", "overdraft_fen"), [("residential", 2_000), ("commercial", 0), ("dormitory", 0), ("common", 0)]
)
def test_an_account_opens_with_an_empty_wallet_and_the_overdraft_of_its_class(world, usage_class, overdraft_fen):
    with unit_of_work(world.tenant_id) as session:
        account = open_supply_account(session, account=new(world, "N1", usage_class=usage_class))
        assert account.overdraft_fen_max == overdraft_fen
        assert find_wallet(session, supply_account_id=account.id).available_fen == 0


def test_many_open_together_with_their_agreements(world):
    wanted = [new(world, f"N{n}", agreement=Signed(date(2026, 7, 1), f"XY-{n}") if n % 2 else None) for n in range(5)]
    with unit_of_work(world.tenant_id) as session:
        accounts = open_supply_accounts(session, accounts=wanted)
        session.flush()
        ids = [account.id for account in accounts]
        signed = session.scalars(select(Agreement.document).where(Agreement.supply_account_id.in_(ids))).all()
        assert [account.number for account in accounts] == [f"N{n}" for n in range(5)]
        assert sorted(signed) == ["XY-1", "XY-3"]


@pytest.mark.parametrize("numbers", [["00000001"], ["N1", "N1"]], ids=["in the property", "in one sheet"])
def test_a_number_is_taken_once_in_a_property(world, numbers):
    with unit_of_work(world.tenant_id) as session, pytest.raises(AccountNumberTaken):
        open_supply_accounts(session, accounts=[new(world, number) for number in numbers])


def test_an_agreement_signed_later_counts_from_then(make_world):
    world = make_world(agreement=False)
    with unit_of_work(world.tenant_id) as session:
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        sign_agreement(session, account=account, signed=Signed(date(2026, 7, 9), "XY-9"))
        session.flush()
        assert session.scalars(select(Agreement.supply_account_id)).all() == [account.id]


def test_not_yours_and_not_there_answer_alike(make_world):
    ours, theirs = make_world(), make_world()
    with unit_of_work(theirs.tenant_id) as session:
        foreign = session.get_one(SupplyAccount, (theirs.tenant_id, theirs.supply_account_ids[0])).public_id
    with unit_of_work(ours.tenant_id) as session:
        own = session.get_one(SupplyAccount, (ours.tenant_id, ours.supply_account_ids[0]))
        assert access_supply_account(session, public_id=own.public_id, allowed={ours.property_id}).id == own.id
        for public_id, allowed in ((own.public_id, set()), (foreign, {ours.property_id, theirs.property_id})):
            with pytest.raises(NotFound):
                access_supply_account(session, public_id=public_id, allowed=allowed)


def test_meters_and_accounts_find_each_other(world):
    with unit_of_work(world.tenant_id) as session:
        assert switched_meters(session, supply_account_id=world.supply_account_ids[1]) == [world.meter_ids[1]]
        assert accounts_of_meters(session, meter_ids=world.meter_ids[:2]) == set(world.supply_account_ids[:2])


@pytest.mark.parametrize(
    ("balance", "held", "accrued", "available"),
    [
        (100, 0, 0, 100),
        (100, 30, 0, 70),
        (100, 0, 999_999, 100),
        (100, 0, 1_000_000, 99),
        (0, 0, -1, 1),
        (0, 0, -2_000_001, 3),
    ],
)
def test_available_is_the_same_in_python_and_in_sql(world, balance, held, accrued, available):
    """Usage below a whole fen is carried, not owed; a correction that waits for the day close counts at once."""
    from_sql = f"SELECT {AVAILABLE_FEN} FROM ledger_balances AS bal WHERE bal.tenant_id = :t AND bal.account_id = :a"
    with unit_of_work(world.tenant_id) as session:
        row = {"t": world.tenant_id, "a": world.wallet_ids[0]}
        session.execute(SET, row | {"b": balance, "h": held, "c": accrued})
        assert session.scalars(text(from_sql), row).one() == available
        assert find_wallet(session, supply_account_id=world.supply_account_ids[0]).available_fen == available
        session.rollback()
