"""Tenants, places and parties: how they are made, who reaches them, and what the audit log keeps."""

import uuid
from collections.abc import Callable, Iterator
from datetime import date

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.db import Database, TenantMixed, TenantUnset, current_tenant_id
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.tenants import audit
from app.tenants.keys import data_key
from app.tenants.models import AuditRecord, Node, Party, PartyRole, Property, Space
from app.tenants.parties import (
    RoleEndsBeforeBegin,
    RoleHeld,
    RoleUnknown,
    access_party,
    end_role,
    find_parties,
    give_role,
    phone_of,
    register_party,
)
from app.tenants.personal_data import PhoneNotOnFile, change_phone, masked_phone, unmask_phone
from app.tenants.phones import IdNumberWrong, PhoneUnreadable
from app.tenants.places import (
    AreaWrong,
    NameTaken,
    UsageClassUnknown,
    access_property,
    access_space,
    add_building,
    add_floor,
    add_space,
)
from app.tenants.service import (
    ParentIsProperty,
    ReasonMissing,
    TaxNumberTaken,
    add_legal_entity,
    add_property,
    add_region,
    create_tenant,
    halt_stops,
    resume_stops,
)
from tests.factories.world import World, unique

CLERK = Actor.user(7, name="李收银", address="192.0.2.1")


@pytest.fixture
def session(world: World, db: Database) -> Iterator[Session]:
    """A unit of work of the world's tenant."""
    with unit_of_work(world.tenant_id, db=db) as open_session:
        yield open_session


@pytest.fixture
def space(world: World, session: Session) -> Space:
    """The first home."""
    return session.scalars(select(Space).where(Space.id == world.space_ids[0])).one()


def party_of(session: Session, world: World, name: str = "王小明", phone: str | None = "13812345678") -> Party:
    return register_party(session, property_id=world.property_id, name=name, phone=phone)


def deeds(session: Session) -> list[tuple[str, str, str]]:
    session.flush()
    rows = session.scalars(select(AuditRecord).order_by(AuditRecord.id))
    return [(row.deed, row.subject, row.actor) for row in rows]


# --- tenants and their tree ---


def test_a_new_tenant_has_headquarters_a_legal_entity_and_a_key_of_its_own(db: Database) -> None:
    made = create_tenant(db, name="新集团", legal_entity_name="新公司", tax_number=unique("T"), kind="demo")
    with unit_of_work(made.tenant_id, db=db) as session:
        assert session.scalars(select(Node.kind)).all() == ["headquarters"]
        assert len(data_key(session).raw_by_version[1]) == 32
        region = add_region(session, parent_id=made.headquarters_id, name="华东")
        site = add_property(session, parent_id=region.id, name="和风苑", legal_entity_id=made.legal_entity_id)
        assert session.get_one(Node, (made.tenant_id, site.id)).kind == "property"


def test_nothing_hangs_below_a_property_or_a_stranger(session: Session, world: World) -> None:
    with pytest.raises(ParentIsProperty):
        add_region(session, parent_id=world.property_id, name="x")
    with pytest.raises(NotFound):
        add_region(session, parent_id=999_999, name="x")
    with pytest.raises(NotFound):
        add_property(session, parent_id=world.headquarters_id, name="x", legal_entity_id=999_999)


def test_a_tax_number_belongs_to_one_legal_entity_of_the_group(session: Session) -> None:
    add_legal_entity(session, name="甲", tax_number="91310000X")
    with pytest.raises(TaxNumberTaken):
        add_legal_entity(session, name="乙", tax_number="91310000X")


def test_units_of_work_of_two_tenants_do_not_nest(make_world: Callable[..., World], db: Database) -> None:
    mine, theirs = make_world().tenant_id, make_world().tenant_id
    with unit_of_work(mine, db=db):
        with pytest.raises(TenantMixed), unit_of_work(theirs, db=db):
            pass
        with pytest.raises(TenantMixed), db.without_tenant():
            pass
        with unit_of_work(mine, db=db):
            assert current_tenant_id() == mine
    with pytest.raises(TenantUnset):
        current_tenant_id()


def test_the_kill_switch_is_thrown_with_a_reason_and_both_ways_are_kept(session: Session, world: World) -> None:
    with pytest.raises(ReasonMissing):
        halt_stops(session, property_id=world.property_id, reason=" ", by=CLERK)
    halt_stops(session, property_id=world.property_id, reason="台风预警", by=CLERK)
    site = session.scalars(select(Property).where(Property.id == world.property_id)).one()
    assert (site.stops_halted, site.stops_halted_reason) == (True, "台风预警（李收银）")
    resume_stops(session, property_id=world.property_id, by=CLERK)
    assert (site.stops_halted, site.stops_halted_reason) == (False, None)
    subject = f"properties:{world.property_id}"
    assert deeds(session) == [("stop:switch:halt", subject, "user:7"), ("stop:switch:resume", subject, "user:7")]
    with pytest.raises(NotFound):
        halt_stops(session, property_id=999_999, reason="台风", by=CLERK)


# --- places ---


def test_a_space_stands_on_a_floor_of_a_building(session: Session, world: World) -> None:
    building = add_building(session, property_id=world.property_id, name="B座")
    basement = add_floor(session, building=building, level=-1)
    shop = add_space(session, floor=basement, name="B1-01", usage_class="commercial", area_cm2=455_000)
    assert (basement.name, shop.building_id, shop.property_id) == ("B1", building.id, world.property_id)


def test_names_of_places_are_taken_once_where_they_are_looked_for(session: Session, world: World) -> None:
    building = add_building(session, property_id=world.property_id, name="B座")
    floor = add_floor(session, building=building, level=3)
    add_space(session, floor=floor, name="301", usage_class="residential")
    for again in (
        lambda: add_building(session, property_id=world.property_id, name="B座"),
        lambda: add_floor(session, building=building, level=3),
        lambda: add_space(session, floor=floor, name="301", usage_class="residential"),
    ):
        with pytest.raises(NameTaken):
            again()
    with pytest.raises(UsageClassUnknown):
        add_space(session, floor=floor, name="302", usage_class="castle")
    with pytest.raises(AreaWrong):
        add_space(session, floor=floor, name="302", usage_class="residential", area_cm2=0)
    with pytest.raises(NotFound):
        add_building(session, property_id=999_999, name="x")


# --- parties ---


@pytest.mark.parametrize("text", ["13812345678", "+86 138-1234-5678", "5678", "王", "王小明"])
def test_a_party_is_found_by_number_last_four_or_beginning_of_the_name(
    session: Session, world: World, text: str
) -> None:
    party = party_of(session, world)
    party_of(session, world, name="李四", phone="13900000000")
    assert find_parties(session, text=text, allowed={world.property_id}) == [party]


@pytest.mark.parametrize("text", ["", "  ", "小明", "13812345679", "5679", "%", "_"])
def test_what_does_not_match_finds_nobody(session: Session, world: World, text: str) -> None:
    party_of(session, world)
    assert find_parties(session, text=text, allowed={world.property_id}) == []


def test_nonsense_is_refused_before_anything_is_written(session: Session, world: World) -> None:
    with pytest.raises(PhoneUnreadable):
        party_of(session, world, phone="12")
    with pytest.raises(IdNumberWrong):
        register_party(session, property_id=world.property_id, name="x", id_number="12")
    with pytest.raises(NotFound):
        register_party(session, property_id=999_999, name="x")
    assert session.scalars(select(Party).where(Party.name == "x")).all() == []


def test_a_changed_number_is_found_and_the_old_one_is_not(session: Session, world: World) -> None:
    party = party_of(session, world)
    change_phone(session, party=party, phone="13700001111")
    assert phone_of(session, party=party) == "+8613700001111"
    assert find_parties(session, text="1111", allowed={world.property_id}) == [party]
    assert find_parties(session, text="13812345678", allowed={world.property_id}) == []


def test_a_number_is_shown_whole_only_for_a_reason_that_is_kept(session: Session, world: World) -> None:
    party = party_of(session, world)
    allowed = {world.property_id}
    assert masked_phone(session, party=party) == "138****5678"
    with pytest.raises(ReasonMissing):
        unmask_phone(session, public_id=party.public_id, allowed=allowed, reason="", by=CLERK)
    number = unmask_phone(session, public_id=party.public_id, allowed=allowed, reason="上门核对", by=CLERK)
    assert number == "+8613812345678"
    assert deeds(session) == [("person:phone:unmask", f"parties:{party.id}", "user:7")]
    kept = session.scalars(select(AuditRecord)).one()
    assert (kept.reason, kept.address, kept.property_id) == ("上门核对", "192.0.2.1", world.property_id)


def test_without_a_number_there_is_nothing_to_show(session: Session, world: World) -> None:
    party = party_of(session, world, phone=None)
    assert masked_phone(session, party=party) == ""
    with pytest.raises(PhoneNotOnFile):
        unmask_phone(session, public_id=party.public_id, allowed={world.property_id}, reason="核对", by=CLERK)


def test_roles_begin_end_and_stay_as_history(session: Session, world: World, space: Space) -> None:
    party, allowed = party_of(session, world), {world.property_id}
    held = give_role(session, party=party, space=space, role="occupant", began_on=date(2026, 7, 1))
    with pytest.raises(RoleHeld):
        give_role(session, party=party, space=space, role="occupant", began_on=date(2026, 7, 2))
    with pytest.raises(RoleEndsBeforeBegin):
        end_role(session, role_id=held.id, ended_on=date(2026, 6, 30), allowed=allowed)
    end_role(session, role_id=held.id, ended_on=date(2026, 8, 1), allowed=allowed)
    again = give_role(session, party=party, space=space, role="occupant", began_on=date(2026, 9, 1))
    with pytest.raises(NotFound):
        end_role(session, role_id=held.id, ended_on=date(2026, 8, 2), allowed=allowed)
    rows = session.scalars(select(PartyRole).where(PartyRole.party_id == party.id).order_by(PartyRole.id))
    assert [(row.id, row.ended_on) for row in rows] == [(held.id, date(2026, 8, 1)), (again.id, None)]
    with pytest.raises(RoleUnknown):
        give_role(session, party=party, space=space, role="ghost", began_on=date(2026, 9, 1))


# --- who reaches them ---


@pytest.fixture
def sibling_id(session: Session, world: World) -> int:
    """A second property of the same tenant."""
    name = "CANARY_SIBLING"
    return add_property(session, parent_id=world.headquarters_id, name=name, legal_entity_id=world.legal_entity_id).id


def test_a_sibling_property_s_things_answer_like_things_that_are_not_there(
    session: Session, world: World, space: Space, sibling_id: int
) -> None:
    party = party_of(session, world)
    node = session.get_one(Node, (world.tenant_id, world.property_id))
    nobody = uuid.uuid4()
    for allowed in ({sibling_id}, set[int]()):
        for asked in (
            lambda scope: access_space(session, public_id=space.public_id, allowed=scope),
            lambda scope: access_space(session, public_id=nobody, allowed=scope),
            lambda scope: access_party(session, public_id=party.public_id, allowed=scope),
            lambda scope: access_party(session, public_id=nobody, allowed=scope),
            lambda scope: access_property(session, property_id=world.property_id, allowed=scope),
            lambda scope: access_property(session, property_id=node.public_id, allowed=scope),
            lambda scope: access_property(session, property_id=nobody, allowed=scope),
            lambda scope: unmask_phone(session, public_id=party.public_id, allowed=scope, reason="核对", by=CLERK),
        ):
            with pytest.raises(NotFound) as refused:
                asked(allowed)
            assert (refused.value.details, str(refused.value)) == ({}, str(NotFound()))
    assert deeds(session) == []


def test_within_scope_the_same_things_are_there(session: Session, world: World, space: Space) -> None:
    allowed = {world.property_id}
    party = party_of(session, world)
    node = session.get_one(Node, (world.tenant_id, world.property_id))
    assert access_space(session, public_id=space.public_id, allowed=allowed) is space
    assert access_party(session, public_id=party.public_id, allowed=allowed) is party
    assert access_property(session, property_id=world.property_id, allowed=allowed).id == world.property_id
    assert access_property(session, property_id=node.public_id, allowed=allowed).id == world.property_id


def test_a_search_never_leaves_the_scope(session: Session, world: World, sibling_id: int) -> None:
    register_party(session, property_id=sibling_id, name="CANARY_SIBLING", phone="13812345678")
    for text in ("13812345678", "5678", "CANARY"):
        assert find_parties(session, text=text, allowed={world.property_id}) == []
        assert find_parties(session, text=text, allowed=set()) == []
        assert len(find_parties(session, text=text, allowed={sibling_id})) == 1


def test_another_tenant_s_things_are_not_there_even_within_a_scope_that_names_them(
    make_world: Callable[..., World], db: Database
) -> None:
    mine, theirs = make_world(), make_world()
    with unit_of_work(theirs.tenant_id, db=db) as session:
        foreign = session.scalars(select(Space)).all()[0]
        party = register_party(session, property_id=theirs.property_id, name="CANARY_T2", phone="13812345678")
    with unit_of_work(mine.tenant_id, db=db) as session:
        allowed = {mine.property_id, theirs.property_id}
        with pytest.raises(NotFound):
            access_space(session, public_id=foreign.public_id, allowed=allowed)
        with pytest.raises(NotFound):
            access_party(session, public_id=party.public_id, allowed=allowed)
        assert find_parties(session, text="CANARY", allowed=allowed) == []
        assert find_parties(session, text="5678", allowed=allowed) == []


# --- the audit log ---


def test_a_record_s_hash_is_that_of_what_is_read_back(session: Session, world: World) -> None:
    facts = {"when": date(2026, 7, 1), "amount_fen": 5_000, "name": "值班", "nested": {"b": 1, "a": [None, True]}}
    audit.record(session, deed="x:y:z", subject="t:1", actor=Actor.system("worker"), facts=facts)
    session.flush()
    session.expire_all()
    kept = session.scalars(select(AuditRecord)).one()
    assert audit.hash_of(kept) == kept.row_hash
    assert (kept.actor, kept.address, kept.result) == ("system:worker", None, "done")


@pytest.mark.parametrize("field", ["deed", "subject", "actor", "facts", "result", "property_id", "address"])
def test_a_changed_record_has_another_hash(session: Session, world: World, field: str) -> None:
    audit.record(session, deed="x:y:z", subject="t:1", actor=CLERK, facts={"a": 1})
    session.flush()
    kept = session.scalars(select(AuditRecord)).one()
    session.expunge(kept)
    setattr(kept, field, {"a": 2} if field == "facts" else 9 if field == "property_id" else "other")
    assert audit.hash_of(kept) != kept.row_hash


@pytest.mark.parametrize(
    ("actor", "text"),
    [(Actor.user(7), "user:7"), (Actor.api_token(3), "api_token:3"), (Actor.system("headend"), "system:headend")],
)
def test_an_actor_is_kept_as_an_id_never_as_a_name(actor: Actor, text: str) -> None:
    assert str(actor) == text
