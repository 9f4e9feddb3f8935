"""Users, passwords, grants and API tokens."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions.models import ApiToken, User
from app.permissions.passwords import PasswordCommon, PasswordTooLong, PasswordTooShort, hash_password, matches
from app.permissions.policy import Permission, Role
from app.permissions.service import (
    LastAdministrator,
    LoginTaken,
    LoginUnreadable,
    RoleNotKnown,
    create_user,
    disable_user,
    grant_role,
    load_scope,
    withdraw_role,
)
from app.permissions.tokens import (
    TokenExpired,
    TokenExpiresTooEarly,
    TokenUnknown,
    find_token,
    issue_token,
    revoke_token,
)
from app.tenants.directory import enter as enter_directory
from app.tenants.models import AuditRecord
from tests.factories.world import World, unique

PASSWORD = "晚霞 over the river"
OPERATOR = Actor.system("operator-cli")
HERE = "192.0.2.1"


@pytest.fixture
def login(world: World, db: Database) -> str:
    """The sign-in name of a group administrator."""
    name = unique("boss")
    with unit_of_work(world.tenant_id, db=db) as session:
        user = create_user(session, login=name, name="周总", password=PASSWORD, by=OPERATOR)
        grant_role(session, user=user, role=Role.GROUP_ADMINISTRATOR, node_id=world.headquarters_id, by=OPERATOR)
    return name


@pytest.fixture
def session(world: World, db: Database) -> Iterator[Session]:
    """A unit of work of the world's tenant."""
    with unit_of_work(world.tenant_id, db=db) as open_session:
        yield open_session


def user_of(session: Session, login: str) -> User:
    return session.scalars(select(User).where(User.login == login)).one()


# --- passwords and names ---


@pytest.mark.parametrize(
    ("password", "refusal"),
    [
        ("short", PasswordTooShort),
        ("九个字的密码还不够", PasswordTooShort),
        ("x" * 129, PasswordTooLong),
        ("1234567890", PasswordCommon),
        ("Password123", PasswordCommon),
        ("aaaaaaaaaaaa", PasswordCommon),
        ("abababababab", PasswordCommon),
        ("my-zhou.boss-pass", PasswordCommon),
    ],
)
def test_a_password_that_would_be_guessed_is_refused(password: str, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        hash_password(password, login="Zhou.Boss")


def test_a_password_is_kept_as_argon2id_and_matched() -> None:
    kept = hash_password(PASSWORD, login="boss")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert matches(kept, PASSWORD)
    assert not matches(kept, PASSWORD + " ")
    assert not matches(None, PASSWORD)
    assert not matches("not a hash", PASSWORD)


@pytest.mark.parametrize("login", ["ab", "13812345678", "+8613812345678", "张三三", "a b c", "-abc", "x" * 65])
def test_a_sign_in_name_is_plain_and_no_phone_number(session: Session, login: str) -> None:
    with pytest.raises(LoginUnreadable):
        create_user(session, login=login, name="x", password=PASSWORD, by=OPERATOR)


def test_a_sign_in_name_is_taken_once_over_all_tenants(make_world, db: Database, login: str) -> None:
    other = make_world()
    with unit_of_work(other.tenant_id, db=db) as session, pytest.raises(LoginTaken):
        create_user(session, login=login.upper() + " ", name="x", password=PASSWORD, by=OPERATOR)


# --- grants ---


def test_a_role_at_headquarters_reaches_every_property_and_one_at_a_property_only_that(
    session: Session, world: World, login: str
) -> None:
    cashier = create_user(session, login=unique("till"), name="李收银", password=PASSWORD, by=OPERATOR)
    grant_role(session, user=cashier, role=Role.CASHIER, node_id=world.property_id, by=OPERATOR)
    boss = load_scope(session, user_id=user_of(session, login).id)
    till = load_scope(session, user_id=cashier.id)
    assert boss.nodes(Permission.MONEY_TOPUP_REVERSE) == {world.headquarters_id, world.property_id}
    assert not boss.nodes(Permission.MONEY_TOPUP_SELL)
    assert till.nodes(Permission.MONEY_TOPUP_SELL) == {world.property_id}
    assert not till.allows(Permission.MONEY_TOPUP_REVERSE, world.property_id)


def test_a_grant_is_given_once_and_withdrawn_once(session: Session, world: World) -> None:
    user = create_user(session, login=unique("till"), name="x", password=PASSWORD, by=OPERATOR)
    for _ in range(2):
        grant_role(session, user=user, role=Role.CASHIER, node_id=world.property_id, by=OPERATOR)
    withdraw_role(session, user=user, role=Role.CASHIER, node_id=world.property_id, by=OPERATOR)
    with pytest.raises(NotFound):
        withdraw_role(session, user=user, role=Role.CASHIER, node_id=world.property_id, by=OPERATOR)
    with pytest.raises(RoleNotKnown):
        grant_role(session, user=user, role="king", node_id=world.property_id, by=OPERATOR)
    with pytest.raises(NotFound):
        grant_role(session, user=user, role=Role.CASHIER, node_id=999_999, by=OPERATOR)
    assert load_scope(session, user_id=user.id).permissions == frozenset()
    session.flush()
    kept = session.scalars(select(AuditRecord.deed).order_by(AuditRecord.id)).all()
    assert kept == ["user:account:create", "user:grant:give", "user:grant:withdraw"]


def test_the_last_administrator_cannot_be_sent_away(session: Session, world: World, login: str) -> None:
    boss = user_of(session, login)
    for away in (
        lambda: disable_user(session, user=boss, by=OPERATOR),
        lambda: withdraw_role(
            session, user=boss, role=Role.GROUP_ADMINISTRATOR, node_id=world.headquarters_id, by=OPERATOR
        ),
    ):
        with pytest.raises(LastAdministrator):
            away()


# --- API tokens ---


def issue(session: Session, world: World, *, lasts: timedelta = timedelta(days=1)) -> str:
    return issue_token(
        session,
        node_id=world.property_id,
        name="抄表系统",
        permissions=[Permission.READING_IMPORT_LOAD],
        expires_at=wall_now() + lasts,
        by=OPERATOR,
    )


def test_a_token_opens_one_property_for_what_it_names(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        raw = issue(session, world)
        assert raw.encode() not in session.scalars(select(ApiToken.digest)).one()
    found = find_token(db, raw)
    assert (found.tenant_id, found.property_ids, found.name) == (world.tenant_id, {world.property_id}, "抄表系统")
    assert found.allows(Permission.READING_IMPORT_LOAD, world.property_id)
    assert not found.allows(Permission.READING_IMPORT_LOAD, world.headquarters_id)
    assert not found.allows(Permission.MONEY_TOPUP_SELL, world.property_id)
    assert str(found.actor(HERE)) == f"api_token:{found.token_id}"


def test_a_token_that_was_revoked_has_expired_or_never_was_is_refused(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        revoked, expired = issue(session, world), issue(session, world, lasts=timedelta(hours=1))
        first, second = session.scalars(select(ApiToken).order_by(ApiToken.id))
        revoke_token(session, token_id=first.id, allowed={world.property_id}, by=OPERATOR)
        revoke_token(session, token_id=first.id, allowed={world.property_id}, by=OPERATOR)
        second.created_at -= timedelta(hours=2)
        second.expires_at -= timedelta(hours=2)
        with pytest.raises(NotFound):
            revoke_token(session, token_id=second.id, allowed=set(), by=OPERATOR)
    for raw in (revoked, "th_nothing", ""):
        with pytest.raises(TokenUnknown):
            find_token(db, raw)
    with pytest.raises(TokenExpired):
        find_token(db, expired)


def test_a_token_is_issued_for_a_property_of_ours_and_for_the_future(session: Session, world: World) -> None:
    with pytest.raises(TokenExpiresTooEarly):
        issue(session, world, lasts=timedelta(seconds=-1))
    world.property_id = 999_999
    with pytest.raises(NotFound):
        issue(session, world)


def test_the_use_of_a_token_is_noted_at_most_once_a_minute(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        raw = issue(session, world)
    used = []
    for _ in range(2):
        find_token(db, raw)
        with unit_of_work(world.tenant_id, db=db) as session:
            used.append(session.scalars(select(ApiToken.last_used_at)).one())
    assert used[0] is not None
    assert used[0] == used[1]


def test_the_directory_knows_only_what_it_was_made_for(session: Session) -> None:
    with pytest.raises(ValueError, match="shoe size"):
        enter_directory(session, kind="shoe size", value="44")
