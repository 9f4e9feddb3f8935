"""Both chains, the ledger's and the audit log's: what is altered, removed or moved after the fact is named."""

import pytest
from sqlalchemy import text

from app.billing.ledger.seals import LEDGER
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.tenants.seals import AUDIT, seal_chain, verify_chain
from tests.factories.supply import pay
from tests.factories.world import build_world

CHAINS = {"ledger": LEDGER, "audit": AUDIT}

#: What somebody with the owner's password might do to record {id}, the first of three.
TAMPERING = [
    ("ledger", "UPDATE ledger_entries SET actor = 'user:99' WHERE id = {id}"),
    ("ledger", "UPDATE ledger_entries SET event_at = event_at - interval '1 day' WHERE id = {id}"),
    ("ledger", "UPDATE ledger_entries SET hash_version = 2 WHERE id = {id}"),
    ("ledger", "UPDATE ledger_postings SET amount_fen = amount_fen + 1 WHERE entry_id = {id}"),
    ("ledger", "UPDATE ledger_postings SET memo = '退款' WHERE entry_id = {id}"),
    ("ledger", "DELETE FROM ledger_postings WHERE entry_id = {id}"),
    ("audit", "UPDATE audit_records SET actor = 'user:99' WHERE id = {id}"),
    ("audit", "UPDATE audit_records SET facts = facts || '{{\"amount_fen\": 1}}' WHERE id = {id}"),
    ("audit", "UPDATE audit_records SET at = at - interval '1 second' WHERE id = {id}"),
]


def as_owner(owner_url, world, sql):
    owner = Database(owner_url)
    with unit_of_work(world.tenant_id, db=owner) as session:
        assert session.execute(text(sql)).rowcount == 1
    owner.engine.dispose()


def verify(world, name):
    with unit_of_work(world.tenant_id) as session:
        return verify_chain(session, CHAINS[name])


def seal(world):
    with unit_of_work(world.tenant_id) as session:
        return [seal_chain(session, chain) for chain in CHAINS.values()]


def first_record(world, name):
    table = {"ledger": "ledger_entries", "audit": "audit_records"}[name]
    with unit_of_work(world.tenant_id) as session:
        return session.execute(text(f"SELECT min(id) FROM {table}")).scalar_one()


@pytest.fixture
def tampered(db, business_clock):
    """Three top-ups in a tenant that is about to be tampered with, so that nobody asks for its invariants."""
    world = build_world(db, spaces=1)
    for amount_fen in (100, 200, 300):
        pay(world, amount_fen)
    return world


@pytest.mark.parametrize("name", CHAINS)
def test_records_wait_then_are_sealed_once_and_stay_intact(world, business_clock, name):
    pay(world, 100)
    assert (verify(world, name).unsealed, verify(world, name).intact) == (1, True)
    assert seal(world) == [1, 1]
    assert seal(world) == [0, 0]
    pay(world, 200)
    seal(world)
    report = verify(world, name)
    assert (report.blocks, report.sealed, report.unsealed, report.intact) == (2, 2, 0, True)


@pytest.mark.parametrize("sealed_before", [True, False])
@pytest.mark.parametrize(("name", "sql"), TAMPERING, ids=[sql[:52] for _, sql in TAMPERING])
def test_what_was_altered_is_named_whether_sealed_or_not(tampered, owner_url, name, sql, sealed_before):
    world = tampered
    if sealed_before:
        seal(world)
    first = first_record(world, name)
    as_owner(owner_url, world, sql.format(id=first))
    report = verify(world, name)
    assert (report.intact, report.first_bad_record_id) == (False, first)


def test_a_record_removed_after_its_seal_is_named(tampered, owner_url):
    seal(tampered)
    first = first_record(tampered, "audit")
    as_owner(owner_url, tampered, f"DELETE FROM audit_records WHERE id = {first}")
    assert verify(tampered, "audit").first_bad_record_id == first


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_resealed_by_somebody_is_broken_where_it_was_cut(tampered, owner_url, name):
    seal(tampered)
    pay(tampered, 400)
    seal(tampered)
    as_owner(owner_url, tampered, f"UPDATE seal_blocks SET size = size + 1 WHERE chain = '{name}' AND block_no = 1")
    assert verify(tampered, name).first_bad_block_no == 1
    as_owner(owner_url, tampered, f"UPDATE seal_blocks SET size = size - 1 WHERE chain = '{name}' AND block_no = 1")
    place = f"chain = '{name}' AND position = 0 AND block_no = 2"
    as_owner(owner_url, tampered, f"DELETE FROM sealed_records WHERE {place}")
    assert verify(tampered, name).first_bad_block_no == 2
