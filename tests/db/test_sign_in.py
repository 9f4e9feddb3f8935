"""Sign-in: the same answer for all who fail, a delay that grows, and sessions that end when they should."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from argon2 import Parameters, extract_parameters
from sqlalchemy import event, func, select, update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions import passwords
from app.permissions import sign_in as sign_in_module
from app.permissions.models import SignInAttempt, User, UserSession
from app.permissions.passwords import SignInBusy
from app.permissions.policy import Grant, Permission, Role
from app.permissions.service import (
    create_user,
    disable_user,
    grant_role,
    load_scope,
    revoke_all,
    set_password,
)
from app.permissions.sessions import (
    SESSION_IDLE_MAX,
    SESSION_LASTS,
    SignedIn,
    end_session,
    find_session,
    touch_session,
)
from app.permissions.sign_in import (
    ADDRESS_DELAYS_S,
    NAME_DELAYS_S,
    SignInDelayed,
    SignInDone,
    SignInRefused,
    delay_s,
    prune_sign_ins,
    sign_in,
)
from app.tenants.directory import find_tenant
from tests.factories.world import World, unique

PASSWORD = "晚霞 over the river"
OPERATOR = Actor.system("operator-cli")
HERE, THERE = "192.0.2.1", "198.51.100.9"


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


def enter(db: Database, login: str, password: str = PASSWORD, address: str = HERE) -> SignInDone:
    done = sign_in(db, login=login, password=password, address=address)
    assert isinstance(done, SignInDone)
    return done


def who(db: Database, done: SignInDone) -> SignedIn | None:
    with unit_of_work(done.tenant_id, db=db) as session:
        return find_session(session, token=done.token)


def fail(db: Database, login: str, times: int, address: str = HERE) -> None:
    for _ in range(times):
        with pytest.raises(SignInRefused):
            enter(db, login, "wrong password", address)


def age_attempts(db: Database, world: World, by: timedelta) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(SignInAttempt).values(at=SignInAttempt.at - by))


# --- sign-in ---


def test_the_right_password_opens_a_session_that_knows_the_person(db: Database, world: World, login: str) -> None:
    done = enter(db, f" {login.upper()} ")
    found = who(db, done)
    assert found is not None
    assert (found.login, found.name, found.tenant_id, found.tenant_kind) == (login, "周总", world.tenant_id, "demo")
    assert found.grants == (Grant("group_administrator", world.headquarters_id),)


def test_a_session_is_found_in_one_query(db: Database, login: str) -> None:
    done, statements = enter(db, login), []

    def count(*facts: object) -> None:
        statements.append(facts[2])

    event.listen(db.engine, "before_cursor_execute", count)
    with unit_of_work(done.tenant_id, db=db) as session:
        find_session(session, token=done.token)
    event.remove(db.engine, "before_cursor_execute", count)
    assert len(statements) == 1


def test_the_token_is_kept_nowhere(db: Database, login: str) -> None:
    done = enter(db, login)
    with unit_of_work(done.tenant_id, db=db) as session:
        kept = session.scalars(select(UserSession)).one()
        assert done.token.encode() not in kept.digest
        assert find_session(session, token=kept.digest.hex()) is None


def test_unknown_names_wrong_passwords_and_disabled_users_answer_alike(db: Database, login: str, world: World) -> None:
    said = []
    for name in (login, unique("nobody")):
        with pytest.raises(SignInRefused) as refused:
            # An unknown name is counted in any tenant: in one where HERE has failed too often, it would be delayed.
            enter(db, name, "wrong password", unique("address"))
        said.append((str(refused.value), refused.value.details))
    with unit_of_work(world.tenant_id, db=db) as session:
        user_of(session, login).disabled_at = wall_now()
    with pytest.raises(SignInRefused) as refused:
        enter(db, login)
    said.append((str(refused.value), refused.value.details))
    assert said[0] == said[1] == said[2]


def test_unknown_names_are_delayed_like_known_ones(db: Database, login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = wall_now()
    monkeypatch.setattr(sign_in_module, "wall_now", lambda: now)
    for name in (login, unique("nobody")):
        fail(db, name, 3, address=unique("address"))
        with pytest.raises(SignInDelayed) as delayed:
            enter(db, name, "wrong password", unique("address"))
        assert delayed.value.details == {"wait_s": 60}


def test_an_unknown_name_takes_as_long_as_a_known_one(
    db: Database, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes time is the hash, 25 ms of it: each try computes one, with the same costs, whoever is named."""
    costs: list[Parameters] = []

    class Counting:
        def verify(self, password_hash: str, password: str) -> bool:
            costs.append(extract_parameters(password_hash))
            return hasher.verify(password_hash, password)

    hasher = passwords._hasher
    monkeypatch.setattr(passwords, "_hasher", Counting())
    for name in (login, unique("nobody")):
        fail(db, name, 1, address=unique("address"))
    assert len(costs) == 2
    assert costs[0] == costs[1]


def test_what_a_stranger_typed_is_not_kept(db: Database, world: World, login: str) -> None:
    fail(db, login, 1)
    with unit_of_work(world.tenant_id, db=db) as session:
        kept = session.scalars(select(SignInAttempt)).one()
    assert len(kept.login) == 64
    assert login not in kept.login


@pytest.mark.parametrize(("failures", "wait_s"), [(0, 0), (2, 0), (3, 60), (4, 300), (5, 900), (50, 900)])
def test_the_delay_grows_with_the_failures(failures: int, wait_s: int) -> None:
    assert delay_s(failures) == wait_s


@pytest.mark.parametrize(("failures", "wait_s"), [(19, 0), (20, 60), (22, 300), (500, 300)])
def test_an_address_may_fail_more_often_because_an_office_shares_it(failures: int, wait_s: int) -> None:
    assert delay_s(failures, ADDRESS_DELAYS_S) == wait_s


def test_never_more_than_five_tries_in_a_quarter_of_an_hour() -> None:
    at_s, tries = 0, []
    for failures in range(12):
        at_s += delay_s(failures)
        tries.append(at_s)
    assert max(sum(begin <= at < begin + 900 for at in tries) for begin in tries) <= 5
    assert NAME_DELAYS_S[-1] == 900


def test_after_the_delay_the_right_password_opens_and_wipes_the_slate(db: Database, world: World, login: str) -> None:
    fail(db, login, 3)
    with pytest.raises(SignInDelayed):
        enter(db, login)
    age_attempts(db, world, timedelta(seconds=61))
    enter(db, login)
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalar(select(func.count()).select_from(SignInAttempt)) == 0


def test_an_address_with_many_failures_stays_open_to_who_signed_in_from_it(db: Database, login: str) -> None:
    done = enter(db, login)
    with unit_of_work(done.tenant_id, db=db) as session:
        session.add_all(SignInAttempt(login=unique("x"), address=HERE, at=wall_now()) for _ in range(25))
        create_user(session, login=(newcomer := unique("new")), name="新人", password=PASSWORD, by=OPERATOR)
    assert enter(db, login).user_id == done.user_id
    with pytest.raises(SignInDelayed):
        enter(db, newcomer)


def test_strangers_cannot_keep_a_person_out_of_the_office_they_work_in(db: Database, login: str) -> None:
    enter(db, login, address=HERE)
    fail(db, login, 3, address=THERE)
    with pytest.raises(SignInDelayed):
        enter(db, login, address=THERE)
    assert enter(db, login, address=HERE).token


def test_one_address_that_tries_many_names_is_slowed(db: Database, world: World) -> None:
    names = []
    with unit_of_work(world.tenant_id, db=db) as session:
        for _ in range(21):
            names.append(unique("spray"))
            session.add(User(login=names[-1], name="x", password_hash="none"))
            session.add(SignInAttempt(login=names[-1], address=THERE, at=wall_now()))
    with unit_of_work(world.tenant_id, db=db) as session:
        create_user(session, login=(name := unique("victim")), name="x", password=PASSWORD, by=OPERATOR)
    with pytest.raises(SignInDelayed):
        enter(db, name, address=THERE)
    assert enter(db, name, address=HERE).token


def test_guesses_sent_in_parallel_count_each_other(db: Database, login: str) -> None:
    said: list[str] = []

    def guess() -> None:
        try:
            enter(db, login, "wrong password")
        except (SignInRefused, SignInDelayed, SignInBusy) as refused:
            said.append(refused.code)

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 12
    assert said.count("sign_in_refused") <= 3
    assert set(said) <= {"sign_in_refused", "sign_in_delayed", "sign_in_busy"}


def test_old_failures_are_forgotten(db: Database, world: World, login: str) -> None:
    fail(db, login, 2)
    age_attempts(db, world, timedelta(days=2))
    with unit_of_work(world.tenant_id, db=db) as session:
        prune_sign_ins(session)
        assert session.scalar(select(func.count()).select_from(SignInAttempt)) == 0


def test_sessions_of_last_month_leave_the_directory_too(db: Database, world: World, login: str) -> None:
    old, young = enter(db, login), enter(db, login, address=THERE)
    with unit_of_work(world.tenant_id, db=db) as session:
        oldest = update(UserSession).where(UserSession.address == HERE)
        session.execute(oldest.values(created_at=UserSession.created_at - timedelta(days=31)))
        prune_sign_ins(session)
    with db.without_tenant() as connection:
        assert find_tenant(connection, kind="session", value=old.token) is None
        assert find_tenant(connection, kind="session", value=young.token) == world.tenant_id
    assert who(db, young) is not None


# --- sessions end ---


def end_by_leaving(session: Session, login: str, token: str) -> None:
    end_session(session, token=token)


def end_by_password(session: Session, login: str, token: str) -> None:
    set_password(session, user=user_of(session, login), password="another long one", by=OPERATOR)


def end_by_revoking(session: Session, login: str, token: str) -> None:
    revoke_all(session, user=user_of(session, login), by=OPERATOR)


def end_by_grant(session: Session, login: str, token: str) -> None:
    user = user_of(session, login)
    node_id = max(load_scope(session, user_id=user.id).nodes(Permission.PROPERTY_WALL_READ))
    grant_role(session, user=user, role=Role.READ_ONLY, node_id=node_id, by=OPERATOR)


def end_by_disabling(session: Session, login: str, token: str) -> None:
    user = user_of(session, login)
    other = create_user(session, login=unique("vice"), name="副总", password=PASSWORD, by=OPERATOR)
    node_id = load_scope(session, user_id=user.id).nodes(Permission.USER_SESSION_MANAGE)
    grant_role(session, user=other, role=Role.GROUP_ADMINISTRATOR, node_id=min(node_id), by=OPERATOR)
    disable_user(session, user=user, by=OPERATOR)


def end_by_age(session: Session, login: str, token: str) -> None:
    session.execute(update(UserSession).values(expires_at=UserSession.expires_at - SESSION_LASTS))


def end_by_idleness(session: Session, login: str, token: str) -> None:
    session.execute(update(UserSession).values(seen_at=UserSession.seen_at - SESSION_IDLE_MAX))


@pytest.mark.parametrize(
    "end",
    [
        end_by_leaving,
        end_by_password,
        end_by_revoking,
        end_by_grant,
        end_by_disabling,
        end_by_age,
        end_by_idleness,
    ],
)
def test_a_session_that_ended_is_dead_with_the_next_request(db: Database, world: World, login: str, end) -> None:
    done = enter(db, login)
    assert who(db, done) is not None
    with unit_of_work(world.tenant_id, db=db) as session:
        end(session, login, done.token)
    assert who(db, done) is None


def test_a_session_in_use_stays_open(db: Database, world: World, login: str) -> None:
    done = enter(db, login)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(
            update(UserSession).values(seen_at=UserSession.seen_at - SESSION_IDLE_MAX + timedelta(minutes=1))
        )
        touch_session(session, token=done.token)
        session.execute(update(UserSession).values(seen_at=UserSession.seen_at - timedelta(minutes=2)))
    assert who(db, done) is not None


def test_a_token_of_another_tenant_or_of_nobody_finds_nothing(make_world, db: Database, login: str) -> None:
    done, other = enter(db, login), make_world()
    with unit_of_work(other.tenant_id, db=db) as session:
        assert find_session(session, token=done.token) is None
        assert find_session(session, token="") is None
        end_session(session, token=done.token)
    assert who(db, done) is not None
