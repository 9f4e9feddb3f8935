"""Own roles, grants with an end, and who may give what to whom."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import Grant, OwnRole, User
from app.permissions.people import enable_user, rename_user, set_phone
from app.permissions.policy import ROLES, SELLING, Permission, Role
from app.permissions.reach import DutiesJoined, OwnRights, RightsBeyondYours, refuse_out_of_reach
from app.permissions.roles import (
    PermissionOfPlatform,
    PermissionUnknown,
    RoleEmpty,
    RoleNameMissing,
    RoleNameTaken,
    change_own_role,
    copy_role,
    find_role,
    own_roles,
    withdraw_role_definition,
)
from app.permissions.security_policies import Asked, PolicyOutOfBounds, change_security_policy, security_policy
from app.permissions.service import (
    GrantEndsTooEarly,
    LastAdministrator,
    NameMissing,
    RoleNotKnown,
    create_user,
    disable_user,
    grant_role,
    load_scope,
    withdraw_role,
)
from app.permissions.view_as import begin_view, end_view
from app.tenants.models import AuditRecord
from app.tenants.phones import PhoneUnreadable
from tests.factories.world import World, add_property, unique

PASSWORD = "晚霞 over the river"
OPERATOR = Actor.system("operator-cli")
SOON = timedelta(hours=1)
READER = [Permission.PROPERTY_WALL_READ.value, Permission.ACCOUNT_SUPPLY_READ.value]


@pytest.fixture
def session(world: World, db: Database) -> Iterator[Session]:
    """A unit of work of the world's tenant."""
    with unit_of_work(world.tenant_id, db=db) as open_session:
        yield open_session


def make(session: Session, world: World, role: str | None = None, *, at: int | None = None) -> User:
    """A person with one grant, at headquarters for administrators."""
    user = create_user(session, login=unique("p"), name="王芳", password=PASSWORD, by=OPERATOR)
    here = world.headquarters_id if role == Role.GROUP_ADMINISTRATOR else world.property_id
    if role is not None:
        grant_role(session, user=user, role=role, node_id=at or here, by=OPERATOR)
    session.flush()
    return user


def by(user: User) -> Actor:
    return Actor.user(user.id, name=user.name)


@pytest.fixture
def boss(session: Session, world: World) -> User:
    """A group administrator."""
    return make(session, world, Role.GROUP_ADMINISTRATOR)


@pytest.fixture
def manager(session: Session, world: World) -> User:
    """A manager of the world's property."""
    return make(session, world, Role.PROPERTY_MANAGER)


def last_record(session: Session) -> AuditRecord:
    session.flush()
    return session.scalars(select(AuditRecord).order_by(AuditRecord.id.desc()).limit(1)).one()


# --- own roles ---


def test_a_copy_of_a_role_gives_what_it_holds_where_it_is_given(session: Session, world: World, boss: User) -> None:
    role = copy_role(session, based_on="cashier", name=" 夜间  查询 ", permissions=READER, by=by(boss))
    assert (role.name, role.code[:4], role.permissions) == ("夜间 查询", "own:", sorted(READER))
    told = last_record(session)
    assert (told.deed, told.after["permissions"]) == ("user:role:copy", sorted(READER))
    person = make(session, world, role.code)
    scope = load_scope(session, user_id=person.id)
    assert {p.value for p in scope.permissions} == set(READER)
    assert scope.nodes(Permission.PROPERTY_WALL_READ) == {world.property_id}


def test_a_change_of_a_role_reaches_its_holders_and_ends_their_sessions(
    session: Session, world: World, boss: User
) -> None:
    role = copy_role(session, based_on="cashier", name="查询", permissions=READER, by=by(boss))
    person, other = make(session, world, role.code), make(session, world, Role.CASHIER)
    versions = person.session_version, other.session_version
    change_own_role(session, role=role, name="查询", permissions=READER, by=by(boss))
    assert person.session_version == versions[0]
    change_own_role(session, role=role, name="抄表查询", permissions=[Permission.METER_METER_READ], by=by(boss))
    session.refresh(person)
    assert (person.session_version, other.session_version) == (versions[0] + 1, versions[1])
    assert load_scope(session, user_id=person.id).permissions == {Permission.METER_METER_READ}
    told = last_record(session)
    assert (told.before["name"], told.after["name"], told.facts["holders"]) == ("查询", "抄表查询", 1)


def test_a_withdrawn_role_gives_nothing_and_is_given_no_more(session: Session, world: World, boss: User) -> None:
    role = copy_role(session, based_on="read_only", name="查询", permissions=READER, by=by(boss))
    person = make(session, world, role.code)
    version = person.session_version
    withdraw_role_definition(session, role=role, by=by(boss))
    session.refresh(person)
    assert person.session_version == version + 1
    assert load_scope(session, user_id=person.id).permissions == frozenset()
    assert own_roles(session) == []
    with pytest.raises(RoleNotKnown):
        grant_role(session, user=person, role=role.code, node_id=world.property_id, by=OPERATOR)
    with pytest.raises(NotFound):
        find_role(session, code=role.code)
    copy_role(session, based_on="read_only", name="查询", permissions=READER, by=by(boss))  # the name is free again


@pytest.mark.parametrize(
    ("based_on", "name", "permissions", "refusal"),
    [
        ("king", "x", READER, RoleNotKnown),
        ("platform_operator", "x", READER, RoleNotKnown),
        ("cashier", "  ", READER, RoleNameMissing),
        ("cashier", "长" * 61, READER, RoleNameMissing),
        ("cashier", "x", [], RoleEmpty),
        ("cashier", "x", [*READER, "moon:cheese:eat"], PermissionUnknown),
        ("cashier", "x", [*READER, "platform:key:rotate"], PermissionOfPlatform),
        ("cashier", "x", ["money:topup:sell", "money:refund:give"], DutiesJoined),
        ("cashier", "x", ["money:shift:own", "approval:money:decide"], DutiesJoined),
    ],
)
def test_a_role_that_must_not_be_is_refused(
    session: Session, boss: User, based_on: str, name: str, permissions: list[str], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        copy_role(session, based_on=based_on, name=name, permissions=permissions, by=by(boss))


def test_two_roles_have_two_names(session: Session, boss: User) -> None:
    copy_role(session, based_on="cashier", name="查询", permissions=READER, by=by(boss))
    other = copy_role(session, based_on="cashier", name="查询二", permissions=READER, by=by(boss))
    with pytest.raises(RoleNameTaken):
        change_own_role(session, role=other, name="查询", permissions=READER, by=by(boss))


def test_nobody_puts_into_a_role_what_they_do_not_hold_nor_changes_a_role_they_hold(
    session: Session, world: World, boss: User
) -> None:
    editor_of_roles = copy_role(
        session, based_on="group_administrator", name="角色管理", permissions=["user:role:edit", *READER], by=by(boss)
    )
    editor = make(session, world, editor_of_roles.code, at=world.headquarters_id)
    with pytest.raises(RightsBeyondYours):
        copy_role(session, based_on="cashier", name="x", permissions=["money:refund:give"], by=by(editor))
    with pytest.raises(OwnRights):
        change_own_role(session, role=editor_of_roles, name="y", permissions=READER, by=by(editor))
    with pytest.raises(OwnRights):
        withdraw_role_definition(session, role=editor_of_roles, by=by(editor))
    richer = copy_role(session, based_on="cashier", name="退款", permissions=["money:refund:give"], by=by(boss))
    change_own_role(session, role=richer, name="退款", permissions=["money:refund:give", *READER], by=by(editor))
    with pytest.raises(RightsBeyondYours):
        change_own_role(session, role=richer, name="退款", permissions=READER, by=by(editor))


def test_a_changed_role_may_not_join_in_one_hand_what_is_kept_apart(session: Session, world: World, boss: User) -> None:
    role = copy_role(session, based_on="read_only", name="查询", permissions=READER, by=by(boss))
    cashier = make(session, world, Role.CASHIER)
    grant_role(session, user=cashier, role=role.code, node_id=world.property_id, by=by(boss))
    with pytest.raises(DutiesJoined):
        change_own_role(session, role=role, name="查询", permissions=[*READER, "money:refund:give"], by=by(boss))


# --- grants ---


def test_a_grant_ends_by_itself_and_can_be_given_anew(session: Session, world: World, boss: User) -> None:
    person = make(session, world)
    facts = {"user": person, "role": Role.READ_ONLY, "node_id": world.property_id, "by": by(boss)}
    grant_role(session, **facts, ends_at=wall_now() + SOON)
    assert load_scope(session, user_id=person.id).permissions == ROLES[Role.READ_ONLY]
    session.execute(update(Grant).where(Grant.user_id == person.id).values(ends_at=wall_now() - SOON))
    assert load_scope(session, user_id=person.id).permissions == frozenset()
    grant_role(session, **facts)
    assert load_scope(session, user_id=person.id).permissions == ROLES[Role.READ_ONLY]
    assert last_record(session).after == {"role": "read_only", "node_id": world.property_id, "ends_at": None}
    with pytest.raises(GrantEndsTooEarly):
        grant_role(session, **facts, ends_at=wall_now())


def test_administrators_and_managers_appoint_a_cashier_though_they_never_sell(
    session: Session, world: World, boss: User, manager: User
) -> None:
    for giver in (boss, manager):
        person = make(session, world)
        grant_role(session, user=person, role=Role.CASHIER, node_id=world.property_id, by=by(giver))
        assert load_scope(session, user_id=person.id).permissions >= SELLING
        withdraw_role(session, user=person, role=Role.CASHIER, node_id=world.property_id, by=by(giver))


@pytest.mark.parametrize("role", [Role.GROUP_ADMINISTRATOR, Role.GROUP_FINANCE, Role.PLATFORM_OPERATOR])
def test_a_manager_gives_nothing_of_headquarters(session: Session, world: World, manager: User, role: Role) -> None:
    with pytest.raises(RightsBeyondYours):
        grant_role(session, user=make(session, world), role=role, node_id=world.property_id, by=by(manager))


def test_nobody_but_the_platform_makes_a_platform_operator_and_an_administrator_may_send_one_away(
    session: Session, world: World, boss: User
) -> None:
    facts = {"role": Role.PLATFORM_OPERATOR, "node_id": world.headquarters_id}
    operator = make(session, world)
    with pytest.raises(RightsBeyondYours):
        grant_role(session, user=operator, **facts, by=by(boss))
    grant_role(session, user=operator, **facts, by=OPERATOR)
    disable_user(session, user=operator, by=by(boss))
    withdraw_role(session, user=operator, **facts, by=by(boss))


def test_a_place_outside_the_givers_scope_answers_like_none(session: Session, world: World, manager: User) -> None:
    elsewhere = add_property(session, world, name="翠湖天地")
    person = make(session, world, Role.CASHIER, at=elsewhere)
    for node_id in (elsewhere, world.headquarters_id, 999_999):
        with pytest.raises(NotFound):
            grant_role(session, user=person, role=Role.READ_ONLY, node_id=node_id, by=by(manager))
    with pytest.raises(NotFound):
        withdraw_role(session, user=person, role=Role.CASHIER, node_id=elsewhere, by=by(manager))


def test_nobody_changes_their_own_grants_or_state(session: Session, world: World, boss: User) -> None:
    make(session, world, Role.GROUP_ADMINISTRATOR)
    facts = {"user": boss, "node_id": world.headquarters_id, "by": by(boss)}
    with pytest.raises(OwnRights):
        grant_role(session, **facts, role=Role.READ_ONLY)
    with pytest.raises(OwnRights):
        withdraw_role(session, **facts, role=Role.GROUP_ADMINISTRATOR)
    with pytest.raises(OwnRights):
        disable_user(session, user=boss, by=by(boss))


def test_who_holds_for_a_week_gives_for_no_longer(session: Session, world: World, boss: User) -> None:
    deputy, person = make(session, world), make(session, world)
    week = wall_now() + timedelta(days=7)
    at = {"node_id": world.headquarters_id}
    grant_role(session, user=deputy, role=Role.GROUP_ADMINISTRATOR, **at, by=by(boss), ends_at=week)
    for ends_at in (None, week + SOON):
        with pytest.raises(RightsBeyondYours):
            grant_role(session, user=person, role=Role.GROUP_AUDITOR, **at, by=by(deputy), ends_at=ends_at)
    grant_role(session, user=person, role=Role.GROUP_AUDITOR, **at, by=by(deputy), ends_at=week)


def test_two_grants_of_one_person_keep_apart_taking_money_and_giving_it_back(
    session: Session, world: World, boss: User
) -> None:
    cashier = make(session, world, Role.CASHIER)
    elsewhere = add_property(session, world, name="翠湖天地")
    for giver in (by(boss), OPERATOR):
        for node_id in (world.property_id, world.headquarters_id):
            with pytest.raises(DutiesJoined):
                grant_role(session, user=cashier, role=Role.PROPERTY_FINANCE, node_id=node_id, by=giver)
    grant_role(session, user=cashier, role=Role.PROPERTY_FINANCE, node_id=elsewhere, by=by(boss))


def test_the_last_administrator_stays_and_one_for_a_week_does_not_stand_in(
    session: Session, world: World, boss: User
) -> None:
    deputy = make(session, world)
    admin = {"role": Role.GROUP_ADMINISTRATOR, "node_id": world.headquarters_id}
    grant_role(session, user=deputy, **admin, by=OPERATOR, ends_at=wall_now() + SOON)
    for away in (
        lambda: withdraw_role(session, user=boss, **admin, by=by(deputy)),
        lambda: disable_user(session, user=boss, by=by(deputy)),
        lambda: grant_role(session, user=boss, **admin, by=OPERATOR, ends_at=wall_now() + SOON),
    ):
        with pytest.raises(LastAdministrator):
            away()
    grant_role(session, user=deputy, **admin, by=OPERATOR)
    withdraw_role(session, user=boss, **admin, by=by(deputy))


# --- people ---


def test_a_manager_changes_nobody_who_holds_more_than_they(
    session: Session, world: World, boss: User, manager: User
) -> None:
    elsewhere = add_property(session, world, name="翠湖天地")
    cashier, abroad = make(session, world, Role.CASHIER), make(session, world, Role.CASHIER)
    grant_role(session, user=abroad, role=Role.READ_ONLY, node_id=elsewhere, by=OPERATOR)
    rename_user(session, user=cashier, name=" 王  小芳 ", by=by(manager))
    assert cashier.name == "王 小芳"
    assert last_record(session).deed == "user:account:rename"
    for person in (boss, abroad, make(session, world)):
        with pytest.raises(RightsBeyondYours):
            rename_user(session, user=person, name="x", by=by(manager))
        with pytest.raises(RightsBeyondYours):
            refuse_out_of_reach(session, user=person, by=by(manager))
    with pytest.raises(NameMissing):
        rename_user(session, user=cashier, name=" ", by=by(manager))


def test_a_person_is_disabled_and_let_in_again(session: Session, world: World, boss: User) -> None:
    person = make(session, world, Role.CASHIER)
    disable_user(session, user=person, by=by(boss))
    assert person.disabled_at is not None
    enable_user(session, user=person, by=by(boss))
    assert person.disabled_at is None
    assert last_record(session).deed == "user:account:enable"


def test_a_phone_is_kept_unreadable_and_forgotten_on_wish(session: Session, world: World, boss: User) -> None:
    person = make(session, world, Role.CASHIER)
    set_phone(session, user=person, phone="138 1234 5678", by=by(boss))
    assert person.phone_cipher is not None
    assert b"13812345678" not in person.phone_cipher
    assert last_record(session).facts == {"known": True}
    with pytest.raises(PhoneUnreadable):
        set_phone(session, user=person, phone="12", by=by(boss))
    set_phone(session, user=person, phone=" ", by=by(boss))
    assert person.phone_cipher is None


# --- view as ---


def test_an_administrator_views_as_others_and_nobody_sees_more_that_way(
    session: Session, world: World, boss: User, manager: User
) -> None:
    cashier = make(session, world, Role.CASHIER)
    begin_view(session, token="t", user=cashier, by=by(boss))
    assert last_record(session).deed == "user:view:begin"
    end_view(session, token="t", user_id=cashier.id, by=by(boss))
    assert last_record(session).deed == "user:view:end"
    with pytest.raises(RightsBeyondYours):
        begin_view(session, token="t", user=boss, by=by(manager))
    with pytest.raises(OwnRights):
        begin_view(session, token="t", user=boss, by=by(boss))
    disable_user(session, user=cashier, by=by(boss))
    with pytest.raises(NotFound):
        begin_view(session, token="t", user=cashier, by=by(boss))


# --- the tenant's policy ---


def test_a_demo_asks_for_no_second_factor_and_a_real_group_does(make_world, db: Database) -> None:
    for kind, asks in (("demo", False), ("real", True)):
        with unit_of_work(make_world(kind=kind).tenant_id, db=db) as session:
            assert security_policy(session) == Asked(asks, 12, 120, 72, 180)


def test_a_policy_is_changed_within_bounds_and_noted(session: Session, boss: User) -> None:
    change_security_policy(session, asked=Asked(False), by=by(boss))
    assert session.scalar(select(AuditRecord.id).where(AuditRecord.deed == "user:policy:change")) is None
    change_security_policy(session, asked=Asked(True, session_idle_min=30), by=by(boss), facts={"factor": "fresh"})
    told = last_record(session)
    assert told.before == {"second_factor_required": False, "session_idle_min": 120}
    assert (told.after, told.facts) == (
        {"second_factor_required": True, "session_idle_min": 30},
        {"factor": "fresh"},
    )
    change_security_policy(session, asked=Asked(True, audit_keep_days=365), by=by(boss))
    assert security_policy(session) == Asked(True, 12, 120, 72, 365)
    with pytest.raises(PolicyOutOfBounds):
        change_security_policy(session, asked=Asked(True, audit_keep_days=179), by=by(boss))


def test_what_an_own_role_kept_from_an_older_version_gives_nothing(session: Session, world: World) -> None:
    names = ["property:wall:read", "moon:cheese:eat"]
    session.add(OwnRole(code="own:old", name="旧", based_on="cashier", permissions=names, changed_at=wall_now()))
    session.flush()
    person = make(session, world, "own:old")
    assert load_scope(session, user_id=person.id).permissions == {Permission.PROPERTY_WALL_READ}
