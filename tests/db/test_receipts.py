"""Receipts: frozen when issued, numbered once, marked as copy from the second print on."""

import pytest

from app.billing.models import Receipt
from app.billing.payments.receipts import access_receipt, print_receipt
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.reports.documents import write_receipt
from app.tenants.models import Party
from tests.factories.supply import pay


def test_the_second_print_is_a_copy_with_the_same_number(world, business_clock):
    receipt = pay(world, 5_000)
    with unit_of_work(world.tenant_id) as session:
        printed = [print_receipt(session, receipt=receipt) for _ in range(3)]
    assert [(p.number, p.is_copy) for p in printed] == [("T1-000001", False), ("T1-000001", True), ("T1-000001", True)]
    assert printed[0].content == printed[2].content


def test_what_it_says_does_not_change_when_the_customer_does(world, business_clock):
    receipt = pay(world, 5_000)
    with unit_of_work(world.tenant_id) as session:
        session.get_one(Party, (world.tenant_id, world.party_ids[0])).name = "另一人"
    with unit_of_work(world.tenant_id) as session:
        again = session.get_one(Receipt, (world.tenant_id, receipt.id))
        assert again.content == receipt.content


def test_a_receipt_of_another_property_is_not_there(world, business_clock):
    receipt = pay(world, 5_000)
    with unit_of_work(world.tenant_id) as session:
        assert access_receipt(session, public_id=receipt.public_id, allowed={world.property_id}).id == receipt.id
        with pytest.raises(NotFound):
            access_receipt(session, public_id=receipt.public_id, allowed=set())


def test_a_receipt_of_another_tenant_is_not_there(make_world, business_clock):
    ours, theirs = make_world(), make_world()
    receipt = pay(theirs, 5_000)
    with unit_of_work(ours.tenant_id) as session, pytest.raises(NotFound):
        access_receipt(session, public_id=receipt.public_id, allowed={ours.property_id, theirs.property_id})


def test_its_files_are_for_their_owner_only_also_over_a_draft_from_before(world, business_clock, tmp_path):
    receipt = pay(world, 5_000)
    (first, *_) = write_receipt(receipt, tmp_path)
    first.with_suffix(".part").touch(mode=0o644)
    assert {path.stat().st_mode & 0o777 for path in write_receipt(receipt, tmp_path)} == {0o600}
