"""The ledger's pages as files: what a spreadsheet opens is what it can add up, and nothing that it runs."""

import csv
import io
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from app.billing.models import SupplyAccount
from app.billing.payments.counter import take_payment
from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import User
from app.tenants.models import AuditRecord, Node
from tests.factories.history import pay
from tests.factories.world import World, unique
from tests.web.conftest import Visitor

Visit = Callable[..., Visitor]


def rows_of(visitor: Visitor, address: str) -> list[dict[str, str]]:
    """The rows of a CSV download by the names of its columns."""
    return list(csv.DictReader(io.StringIO(visitor.text(address).removeprefix("﻿"))))


def test_amounts_of_entries_are_numbers_a_spreadsheet_adds(visit: Visit, world: World, db: Database) -> None:
    for fen in (12_345_678, 5, 10_000):
        pay(db, world, fen=fen)
    rows = rows_of(visit(world), "/entries?format=csv")
    assert [row["金额（元）"] for row in rows] == ["100.00", "0.05", "123456.78"]


@pytest.mark.parametrize("page", ["/entries", "/energy"])
def test_a_page_taken_away_as_a_file_leaves_a_record(visit: Visit, world: World, db: Database, page: str) -> None:
    visitor = visit(world)
    assert visitor.get(page).status_code == 200
    assert visitor.get(f"{page}?format=csv").mimetype == "text/csv"
    with unit_of_work(world.tenant_id, db=db) as session:
        taken = session.scalars(select(AuditRecord).where(AuditRecord.deed == "report:table:export")).all()
        assert [(one.actor, one.subject.partition(":")[0], one.facts["format"]) for one in taken] == [
            (f"user:{visitor.user_id}", "routes", "csv")
        ]


def test_names_in_the_file_of_entries_are_never_run(visit: Visit, world: World, db: Database) -> None:
    visitor = visit(world)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(Node).where(Node.id == world.property_id).values(name='=HYPERLINK("x")'))
        session.execute(update(User).where(User.id == visitor.user_id).values(name="@SUM(1)"))
        account = session.get_one(SupplyAccount, (world.tenant_id, world.supply_account_ids[0]))
        take_payment(
            session, supply_account=account, amount_fen=10_000, channel="cash", till="T1",
            actor=Actor.user(visitor.user_id), idempotency_key=unique("pay"),
        )  # fmt: skip
    row = rows_of(visitor, "/entries?format=csv")[0]
    assert (row["项目"], row["经办"], row["金额（元）"]) == ('\'=HYPERLINK("x")', "'@SUM(1)", "100.00")
