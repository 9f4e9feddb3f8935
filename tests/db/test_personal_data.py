"""One person's numbers, changed and counted; everything about one person, given out; and erased so that nothing is left."""

import json
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlalchemy import create_engine, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.billing.erasure import ErasureAccountsOpen, ErasureMoneyOutstanding, ErasureRolesOpen, erase_person
from app.billing.models import SupplyAccount
from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.crypto import CipherBroken
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.notify.models import Notice
from app.notify.service import queue_notice
from app.reports.customer_export import everything_about
from app.reports.customers import account_ids_of, unmaskings_by_person, unmaskings_of
from app.tenants.models import AuditRecord, Party, PartyRole
from app.tenants.parties import find_parties, register_party
from app.tenants.personal_data import (
    Masked,
    NumberNotOnFile,
    PartyErased,
    Personal,
    PhoneNotOnFile,
    change_personal_data,
    masked,
    unmask,
)
from app.tenants.phones import BankAccountWrong, IdNumberWrong, PhoneUnreadable
from app.tenants.service import ReasonMissing
from tests.factories.history import pay
from tests.factories.world import World

CLERK = Actor.user(7, name="李经理", address="192.0.2.1")
NAME, PHONE, DOCUMENT, ACCOUNT = "欧阳雪琴", "13866667777", "11010519491231002X", "6222021234567890128"
FACTOR = {"factor": "fresh"}


@pytest.fixture
def session(world: World, db: Database) -> Iterator[Session]:
    with unit_of_work(world.tenant_id, db=db) as opened:
        yield opened


def full_party(session: Session, world: World) -> Party:
    """Somebody with everything on file."""
    party = register_party(session, property_id=world.property_id, name=NAME, phone=PHONE, id_number=DOCUMENT)
    given: dict[Personal, str | None] = {Personal.BANK_ACCOUNT: ACCOUNT}
    return change_personal_data(session, public_id=party.public_id, allowed={world.property_id}, given=given, by=CLERK)


def records(session: Session, party: Party) -> list[AuditRecord]:
    query = select(AuditRecord).where(AuditRecord.subject == f"parties:{party.id}").order_by(AuditRecord.id)
    return list(session.scalars(query))


def test_numbers_are_masked_and_each_is_shown_for_a_reason_under_its_own_name(session: Session, world: World) -> None:
    party, allowed = full_party(session, world), {world.property_id}
    assert masked(session, party=party) == Masked("138****7777", "****002X", "****0128")
    for kind, number in zip(Personal, (f"+86{PHONE}", DOCUMENT, ACCOUNT), strict=True):
        with pytest.raises(ReasonMissing):
            unmask(session, public_id=party.public_id, kind=kind, allowed=allowed, reason=" ", by=CLERK)
        with pytest.raises(NotFound):
            unmask(session, public_id=party.public_id, kind=kind, allowed=set(), reason="核对", by=CLERK)
        seen = unmask(session, public_id=party.public_id, kind=kind, allowed=allowed, reason="上门核对", by=CLERK)
        assert seen == number
    kept = [(r.deed, r.reason, r.property_id) for r in records(session, party)[1:]]
    assert kept == [
        (f"person:{what}:unmask", "上门核对", world.property_id) for what in ("phone", "document", "account")
    ]
    assert [row.deed for row in unmaskings_of(session, party_id=party.id)] == [
        "person:account:unmask", "person:document:unmask", "person:phone:unmask",
    ]  # fmt: skip


def test_what_is_not_on_file_cannot_be_shown(session: Session, world: World) -> None:
    party = register_party(session, property_id=world.property_id, name=NAME)
    for kind in Personal:
        with pytest.raises((PhoneNotOnFile, NumberNotOnFile)):
            unmask(session, public_id=party.public_id, kind=kind, allowed={world.property_id}, reason="核对", by=CLERK)


def test_a_change_says_what_changed_and_nothing_of_it(session: Session, world: World) -> None:
    party = full_party(session, world)
    given: dict[Personal, str | None] = {
        Personal.PHONE: "139 0000 1111", Personal.ID_NUMBER: None, Personal.BANK_ACCOUNT: ACCOUNT,
    }  # fmt: skip
    change_personal_data(session, public_id=party.public_id, allowed={world.property_id}, given=given, by=CLERK)
    kept = records(session, party)[-1]
    assert (kept.deed, kept.before, kept.after) == (
        "person:data:change", {"phone": "on file", "id_number": "on file"}, {"phone": "changed", "id_number": "none"},
    )  # fmt: skip
    assert masked(session, party=party) == Masked("139****1111", "", "****0128")
    assert party.id_number_blind is None
    assert find_parties(session, text="13900001111", allowed={world.property_id}) == [party]
    assert find_parties(session, text=DOCUMENT, allowed={world.property_id}) == []
    before = len(records(session, party))
    same: dict[Personal, str | None] = {Personal.PHONE: "+8613900001111"}
    change_personal_data(session, public_id=party.public_id, allowed={world.property_id}, given=same, by=CLERK)
    assert len(records(session, party)) == before


@pytest.mark.parametrize(
    ("kind", "typed", "refusal"),
    [
        (Personal.PHONE, "123", PhoneUnreadable),
        (Personal.ID_NUMBER, "110105194912310021", IdNumberWrong),
        (Personal.BANK_ACCOUNT, "62 22", BankAccountWrong),
    ],
)
def test_what_is_wrong_changes_nothing(
    session: Session, world: World, kind: Personal, typed: str, refusal: type[Exception]
) -> None:
    party = full_party(session, world)
    before = masked(session, party=party)
    with pytest.raises(refusal):
        change_personal_data(
            session, public_id=party.public_id, allowed={world.property_id}, given={kind: typed}, by=CLERK
        )
    assert masked(session, party=party) == before


def test_customers_are_found_by_their_whole_id_number(session: Session, world: World) -> None:
    party = full_party(session, world)
    assert find_parties(session, text=DOCUMENT.lower(), allowed={world.property_id}) == [party]
    assert find_parties(session, text=DOCUMENT, allowed=set()) == []


def test_looks_are_counted_by_person_within_scope(session: Session, world: World, db: Database) -> None:
    party = full_party(session, world)
    for _ in range(3):
        unmask(
            session,
            public_id=party.public_id,
            kind=Personal.PHONE,
            allowed={world.property_id},
            reason="核对",
            by=CLERK,
        )
    now = wall_now()
    starts = {"day": now - timedelta(days=1), "week": now - timedelta(days=7), "month": now - timedelta(days=30)}
    (row,) = unmaskings_by_person(session, allowed={world.property_id}, **starts)
    assert (row[0], tuple(row[2:])) == ("user:7", (3, 3, 3))
    assert unmaskings_by_person(session, allowed=set(), **starts) == []
    later = {name: now + timedelta(minutes=1) for name in ("day", "week")} | {"month": starts["month"]}
    (row,) = unmaskings_by_person(session, allowed={world.property_id}, **later)
    assert tuple(row[2:]) == (0, 0, 3)


def test_everything_about_a_person_is_in_their_export(world: World, db: Database) -> None:
    pay(db, world, 0, fen=5_000)
    with unit_of_work(world.tenant_id, db=db) as session:
        party = session.scalars(select(Party).where(Party.id == world.party_ids[0])).one()
        given: dict[Personal, str | None] = {
            Personal.PHONE: PHONE, Personal.ID_NUMBER: DOCUMENT, Personal.BANK_ACCOUNT: ACCOUNT,
        }  # fmt: skip
        allowed = {world.property_id}
        change_personal_data(session, public_id=party.public_id, allowed=allowed, given=given, by=CLERK)
        unmask(session, public_id=party.public_id, kind=Personal.PHONE, allowed=allowed, reason="核对", by=CLERK)
        notify(session, world, party)
        told = everything_about(session, party=party)
        assert account_ids_of(session, party_id=party.id) == [world.supply_account_ids[0]]
    (master,) = told["person"]
    assert (master["phone"], master["id_number"], master["bank_account"]) == (f"+86{PHONE}", DOCUMENT, ACCOUNT)
    assert [role["role"] for role in told["roles"]] == ["contract"]
    assert [account["available_fen"] for account in told["accounts"]] == [5_000]
    assert [line["amount_fen"] for line in told["statements"]] == [5_000]
    assert [(one["amount_fen"], bool(one["receipt"])) for one in told["payments"]] == [(5_000, True)]
    assert [notice["kind"] for notice in told["notices"]] == ["alarm_1"]
    assert [one["what"] for one in told["unmaskings"]] == ["person:phone:unmask"]
    assert json.loads(json.dumps(told)) == told
    assert told["statements"][0]["account"] == told["accounts"][0]["number"]


def notify(session: Session, world: World, party: Party) -> Notice:
    notice = queue_notice(
        session, kind="alarm_1", property_id=world.property_id, party_id=party.id, message_key=f"k{party.id}",
        subject=f"supply_account:{world.supply_account_ids[0]}", params={"typed": f"请联系{NAME} {PHONE}"},
    )  # fmt: skip
    assert notice is not None
    return notice


def erase(session: Session, world: World, party: Party, *, reason: str = "本人申请") -> Party:
    return erase_person(
        session, public_id=party.public_id, allowed={world.property_id}, reason=reason, by=CLERK, facts=FACTOR
    )


def test_nobody_is_erased_who_is_still_somebody_here(session: Session, world: World) -> None:
    party = session.scalars(select(Party).where(Party.id == world.party_ids[1])).one()
    with pytest.raises(ReasonMissing):
        erase(session, world, party, reason="")
    with pytest.raises(ErasureRolesOpen) as refused:
        erase(session, world, party)
    assert refused.value.details == {"count": 1}
    session.execute(update(PartyRole).where(PartyRole.party_id == party.id).values(ended_on=date(2026, 7, 20)))
    with pytest.raises(ErasureAccountsOpen):
        erase(session, world, party)
    session.execute(update(SupplyAccount).where(SupplyAccount.party_id == party.id).values(state="closed"))
    erase(session, world, party)
    with pytest.raises(PartyErased):
        erase(session, world, party)
    with pytest.raises(NotFound):
        erase_person(session, public_id=party.public_id, allowed=set(), reason="本人申请", by=CLERK, facts=FACTOR)


def test_nobody_is_erased_while_money_is_owed(world: World, db: Database) -> None:
    pay(db, world, 2, fen=700)
    with unit_of_work(world.tenant_id, db=db) as session:
        party = session.scalars(select(Party).where(Party.id == world.party_ids[2])).one()
        session.execute(update(PartyRole).where(PartyRole.party_id == party.id).values(ended_on=date(2026, 7, 20)))
        session.execute(update(SupplyAccount).where(SupplyAccount.party_id == party.id).values(state="closed"))
        with pytest.raises(ErasureMoneyOutstanding):
            erase(session, world, party)


def test_after_erasing_nothing_of_the_person_is_left_in_any_table(world: World, db: Database, owner_url: str) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        party = full_party(session, world)
        notify(session, world, party)
        blobs = [party.phone_cipher, party.phone_blind, party.phone_last4_blind, party.id_number_cipher,
                 party.id_number_blind, party.bank_account_cipher]  # fmt: skip
        public_id = party.public_id
    traces = [NAME, NAME[:3], PHONE, DOCUMENT, ACCOUNT, *(bytes(blob or b"").hex() for blob in blobs)]
    assert all(len(trace) > 2 for trace in traces)
    assert found_in_tables(owner_url, world.tenant_id, traces) != []
    with unit_of_work(world.tenant_id, db=db) as session:
        party = session.scalars(select(Party).where(Party.public_id == public_id)).one()
        erase(session, world, party)
        assert (party.name, party.erased_at is not None) == ("已删除", True)
        kept = records(session, party)[-1]
        assert (kept.deed, kept.reason, kept.facts) == ("person:data:erase", "本人申请", {"notices": 1, **FACTOR})
        notice = session.scalars(select(Notice).where(Notice.party_id == party.id)).one()
        assert (notice.state, notice.params) == ("cancelled", {})
    assert found_in_tables(owner_url, world.tenant_id, traces) == []
    with unit_of_work(world.tenant_id, db=db) as session:
        for words in (NAME, PHONE, PHONE[-4:], DOCUMENT):
            assert find_parties(session, text=words, allowed={world.property_id}) == []
        party = session.scalars(select(Party).where(Party.public_id == public_id)).one()
        with pytest.raises(PartyErased):
            unmask(
                session, public_id=public_id, kind=Personal.PHONE, allowed={world.property_id}, reason="核对", by=CLERK
            )
        with pytest.raises(PartyErased):
            change_personal_data(
                session, public_id=public_id, allowed={world.property_id}, given={Personal.PHONE: PHONE}, by=CLERK
            )


def found_in_tables(owner_url: str, tenant_id: int, traces: list[str]) -> list[tuple[str, str]]:
    """(table, trace) wherever a row of the tenant holds one in any column: text, JSON or bytes."""
    engine = create_engine(make_url(owner_url).set(drivername="postgresql+psycopg"))
    found = []
    with engine.connect() as owner:
        owner.execute(text(f"SET LOCAL app.tenant_id TO '{int(tenant_id)}'"))
        tables = owner.scalars(
            text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
                 " AND NOT relispartition AND relname <> 'alembic_version'")
        ).all()  # fmt: skip
        for table in tables:
            for row in owner.scalars(text(f'SELECT t::text FROM "{table}" t')):
                found += [(table, trace) for trace in traces if trace in row]
    engine.dispose()
    return found


def test_a_moved_ciphertext_is_a_named_refusal(session: Session, world: World) -> None:
    party = full_party(session, world)
    other = register_party(session, property_id=world.property_id, name="另一人", phone="13812340000")
    other.phone_cipher, other.id_number_cipher = party.phone_cipher, party.phone_cipher
    for kind in (Personal.PHONE, Personal.ID_NUMBER):
        with pytest.raises(CipherBroken) as refused:
            unmask(session, public_id=other.public_id, kind=kind, allowed={world.property_id}, reason="核对", by=CLERK)
        assert refused.value.code == "cipher_broken"
