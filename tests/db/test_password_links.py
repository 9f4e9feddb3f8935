"""Links for choosing a password: one use, half an hour, the same answer whoever asks."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.jobs.password_links import send_links
from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.outbox import finish, take
from app.kernel.unit_of_work import unit_of_work
from app.notify.sender import use_provider
from app.notify.sms import HttpSms, Sms, SmsRefused, SmsUnavailable
from app.permissions.factor_models import PasswordLink
from app.permissions.models import User
from app.permissions.password_links import LinkOver, ask_link, is_open, make_link, prune_links, use_link
from app.permissions.passwords import PasswordCommon, PasswordTooShort
from app.permissions.service import create_user, disable_user
from app.permissions.sessions import find_session
from app.permissions.sign_in import SignInDone, SignInRefused, sign_in
from app.tenants.directory import find_tenant
from app.tenants.keys import data_key, place
from app.tenants.models import AuditRecord
from tests.factories.world import World, unique

OLD, NEW = "晚霞 over the river", "seven lamps on the bridge"
SEEDER = Actor.system("tests")
HERE = "192.0.2.1"


@pytest.fixture
def person(db: Database, world: World) -> User:
    """Somebody with a phone on file."""
    with unit_of_work(world.tenant_id, db=db) as session:
        user = create_user(session, login=unique("p"), name="陈静怡", password=OLD, by=SEEDER)
        where = place(table="users", column="phone_cipher", row=user.public_id)
        user.phone_cipher = data_key(session).encrypt("+8613812345678", where)
        return user


def link_for(db: Database, person: User) -> str:
    with unit_of_work(person.tenant_id, db=db) as session:
        return make_link(session, user=session.get_one(User, (person.tenant_id, person.id)), by=SEEDER)


def enter(db: Database, person: User, password: str) -> SignInDone:
    done = sign_in(db, login=person.login, password=password, address=HERE)
    assert isinstance(done, SignInDone)
    return done


def test_a_link_chooses_a_password_once_and_ends_every_session(db: Database, person: User) -> None:
    before, token = enter(db, person, OLD), link_for(db, person)
    assert is_open(db, token=token)
    use_link(db, token=token, password=NEW, address=HERE)
    assert not is_open(db, token=token)
    with pytest.raises(LinkOver):
        use_link(db, token=token, password=NEW, address=HERE)
    with unit_of_work(person.tenant_id, db=db) as session:
        assert find_session(session, token=before.token) is None
        deeds = session.scalars(select(AuditRecord.deed).order_by(AuditRecord.id)).all()
    assert deeds[-3:] == ["user:password_link:make", "user:password:change", "user:password_link:use"]
    with pytest.raises(SignInRefused):
        enter(db, person, OLD)
    assert enter(db, person, NEW).user_id == person.id


@pytest.mark.parametrize("password", ["short", "1qaz2wsx3edc"])
def test_a_refused_password_leaves_the_link_good(db: Database, person: User, password: str) -> None:
    token = link_for(db, person)
    with pytest.raises((PasswordTooShort, PasswordCommon)):
        use_link(db, token=token, password=password, address=HERE)
    assert is_open(db, token=token)


def test_a_link_ends_by_time_by_a_newer_one_and_with_its_person(db: Database, person: User) -> None:
    first, second = link_for(db, person), link_for(db, person)
    assert (is_open(db, token=first), is_open(db, token=second)) == (False, True)
    with unit_of_work(person.tenant_id, db=db) as session:
        session.execute(update(PasswordLink).values(expires_at=wall_now()))
    assert not is_open(db, token=second)
    third = link_for(db, person)
    with unit_of_work(person.tenant_id, db=db) as session:
        disable_user(session, user=session.get_one(User, (person.tenant_id, person.id)), by=SEEDER)
    with pytest.raises(LinkOver):
        use_link(db, token=third, password=NEW, address=HERE)


def test_of_many_who_use_a_link_at_once_one_does(db: Database, person: User) -> None:
    token, said = link_for(db, person), []

    def use(number: int) -> None:
        try:
            use_link(db, token=token, password=f"{NEW} {number}", address=HERE)
            said.append("used")
        except LinkOver:
            said.append("over")

    threads = [threading.Thread(target=use, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["over"] * 4 + ["used"]


@pytest.mark.parametrize("token", ["", "x", "..%2f", "é" * 90, "\x00", "' OR 1=1 --"])
def test_a_link_nobody_made_is_over(db: Database, token: str) -> None:
    assert not is_open(db, token=token)
    with pytest.raises(LinkOver):
        use_link(db, token=token, password=NEW, address=HERE)


def test_the_token_is_kept_nowhere_and_forgotten_after_a_day(db: Database, person: User) -> None:
    token = link_for(db, person)
    with unit_of_work(person.tenant_id, db=db) as session:
        assert token.encode() not in session.scalars(select(PasswordLink.digest)).one()
        session.execute(update(PasswordLink).values(expires_at=wall_now() - timedelta(days=2)))
        prune_links(session)
        assert session.scalars(select(PasswordLink)).all() == []
    with db.without_tenant() as connection:
        assert find_tenant(connection, kind="password_link", value=token) is None


# --- asking ---


class Letterbox(HttpSms):
    """A provider that keeps what it was given, or fails as told."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__("http://127.0.0.1:9", "secret")
        self.kept: list[Sms] = []
        self.failure = failure

    def send(self, sms: Sms) -> str:
        if self.failure is not None:
            raise self.failure
        self.kept.append(sms)
        return "m-1"


@pytest.fixture
def letterbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Letterbox]]:
    """Install a provider for the test."""
    monkeypatch.setenv("PUBLIC_URL", "https://tally.example/")
    opened: list[Letterbox] = []

    def install(failure: Exception | None = None) -> Letterbox:
        opened.append(Letterbox(failure))
        use_provider(opened[-1])
        return opened[-1]

    yield install
    use_provider(None)
    for one in opened:
        one.close()


def deliver(db: Database, tenant_id: int) -> None:
    with unit_of_work(tenant_id, db=db) as session:
        taken = take(session, consumer="password_links", limit=50)
        send_links(session, taken)
        finish(session, ids=[delivery.id for delivery in taken])


def links(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(PasswordLink)) or 0


def test_the_link_comes_to_the_phone_on_file_from_our_own_address(
    db: Database, person: User, letterbox: Callable[..., Letterbox]
) -> None:
    box = letterbox()
    for _turn in range(2):
        ask_link(db, login=f" {person.login.upper()} ", address=HERE)
    deliver(db, person.tenant_id)
    assert [sms.to for sms in box.kept] == ["+8613812345678"]
    base, _slash, rest = box.kept[0].text.partition("https://tally.example/password/")
    assert base.startswith("【账房】")
    use_link(db, token=rest.split()[0], password=NEW, address=HERE)


def test_who_has_no_phone_or_no_provider_gets_no_link(
    db: Database, world: World, person: User, letterbox: Callable[..., Letterbox]
) -> None:
    letterbox(SmsRefused(error="blocked"))
    ask_link(db, login=person.login, address=HERE)
    with unit_of_work(world.tenant_id, db=db) as session:
        phoneless = create_user(session, login=unique("p"), name="x", password=OLD, by=SEEDER)
    ask_link(db, login=phoneless.login, address=HERE)
    deliver(db, world.tenant_id)
    with unit_of_work(world.tenant_id, db=db) as session:
        refused = select(AuditRecord).where(AuditRecord.deed == "user:password_link:send").order_by(AuditRecord.id)
        told = {record.subject: record.facts["why"] for record in session.scalars(refused)}
    assert told == {f"users:{person.id}": "sms_refused", f"users:{phoneless.id}": "no_phone"}


def test_a_provider_that_is_away_is_tried_again(
    db: Database, person: User, letterbox: Callable[..., Letterbox]
) -> None:
    letterbox(SmsUnavailable(error="503"))
    ask_link(db, login=person.login, address=HERE)
    with pytest.raises(SmsUnavailable):
        deliver(db, person.tenant_id)
    with unit_of_work(person.tenant_id, db=db) as session:
        assert links(session) == 0
    box = letterbox()
    deliver(db, person.tenant_id)
    assert len(box.kept) == 1


def test_asking_for_a_name_that_nobody_has_leaves_an_event_that_does_nothing(
    db: Database, world: World, letterbox: Callable[..., Letterbox]
) -> None:
    box = letterbox()
    ask_link(db, login=unique("nobody"), address=HERE)
    with unit_of_work(world.tenant_id, db=db) as session:
        send_links(session, take(session, consumer="password_links", limit=50))
        assert links(session) == 0
    assert box.kept == []


def test_asking_too_often_is_not_heard_and_not_answered_otherwise(
    db: Database, person: User, letterbox: Callable[..., Letterbox]
) -> None:
    box = letterbox()
    for _turn in range(6):
        ask_link(db, login=person.login, address=HERE)
        deliver(db, person.tenant_id)
    assert len(box.kept) == 3
    assert enter(db, person, OLD).token, "asking for links delays no sign-in"
