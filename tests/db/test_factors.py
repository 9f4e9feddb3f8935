"""Second factors: each answer once, five wrong ones at most, and nothing for another address, person or challenge."""

import json
import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions import recovery, totp
from app.permissions.factor_models import RecoveryCode, SignInStep, UserFactor
from app.permissions.factors import (
    FactorNameMissing,
    LastFactor,
    accept,
    add_passkey,
    begin_totp,
    confirm_totp,
    list_factors,
    must_have_factor,
    remove_factor,
    rename_factor,
    renew_codes,
    secret_of,
    unconfirmed_totp,
)
from app.permissions.models import SecurityPolicy, SignInAttempt, User
from app.permissions.passkeys import (
    PasskeyHeld,
    PasskeyRefused,
    RelyingParty,
    assertion_options,
    registration_options,
    relying_party,
)
from app.permissions.policy import Role
from app.permissions.service import create_user, grant_role, set_password
from app.permissions.sessions import find_session
from app.permissions.sign_in import (
    FactorAsked,
    PasskeyUnknown,
    SignInDone,
    Visitor,
    answer_enrolment,
    answer_step,
    prune_sign_ins,
    sign_in,
    sign_in_with_passkey,
    step_of,
)
from app.permissions.step_up import Here, PasswordWrong, ask_passkey, check_password, is_fresh, show_factor
from app.permissions.steps import TRIES_MAX, FactorTriesSpent, FactorWrong, StepOver, new_challenge
from app.tenants.models import AuditRecord
from tests.factories.authenticator import ORIGIN, RP_ID, SoftKey, code, stand_mid_step
from tests.factories.world import World, unique

PASSWORD = "晚霞 over the river"
SEEDER = Actor.system("tests")
PARTY = RelyingParty(ORIGIN, RP_ID)
HERE = Visitor("192.0.2.1", "Chrome · Windows")


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of thirty seconds ends within a test."""
    stand_mid_step(monkeypatch)


@pytest.fixture
def session(world: World, db: Database) -> Iterator[Session]:
    """A unit of work of the world's tenant."""
    with unit_of_work(world.tenant_id, db=db) as open_session:
        yield open_session


def make_person(session: Session, world: World, role: Role = Role.PROPERTY_MANAGER) -> User:
    user = create_user(session, login=unique("p"), name="陈静怡", password=PASSWORD, by=SEEDER)
    grant_role(session, user=user, role=role, node_id=world.property_id, by=SEEDER)
    session.flush()
    return user


def give_app(session: Session, user: User, name: str = "手机") -> tuple[str, list[str]]:
    """(secret, recovery codes) of an authenticator app whose first code was one of two steps ago."""
    secret = secret_of(session, begin_totp(session, user=user, name=name))
    codes = confirm_totp(session, user=user, code=code(secret, steps=-1), by=SEEDER)
    return secret, codes


def give_key(session: Session, user: User) -> SoftKey:
    key, challenge = SoftKey(), new_challenge()
    options = json.loads(registration_options(PARTY, user=user, challenge=challenge, held=[]))
    add_passkey(
        session, user=user, party=PARTY, challenge=challenge, answer=key.create(options), name="钥匙", by=SEEDER
    )
    return key


def show(session: Session, user: User, answer: str, challenge: bytes | None = None) -> str | None:
    return accept(session, user_id=user.id, answer=answer, challenge=challenge, party=PARTY)


def asked_of(challenge: bytes) -> dict[str, Any]:
    return json.loads(assertion_options(PARTY, challenge=challenge, held=[]))


# --- codes ---


def test_a_code_counts_once_and_within_one_step(session: Session, world: World) -> None:
    user = make_person(session, world)
    secret, _codes = give_app(session, user)
    for steps in (-3, -2, 2, 3):
        assert show(session, user, code(secret, steps=steps)) is None
    now = code(secret)
    assert show(session, user, f" {now[:3]} {now[3:]} ") == "totp"
    assert show(session, user, now) is None
    assert show(session, user, code(secret, steps=-1)) is None


def test_the_code_that_confirmed_the_app_opens_nothing_more(session: Session, world: World) -> None:
    user = make_person(session, world)
    secret, _codes = give_app(session, user)
    assert show(session, user, code(secret, steps=-1)) is None


def test_of_two_people_who_type_the_same_code_at_once_one_is_let_in(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        user = make_person(session, world)
        secret, _codes = give_app(session, user)
    typed, said = code(secret), []

    def type_it() -> None:
        with unit_of_work(world.tenant_id, db=db) as own:
            said.append(accept(own, user_id=user.id, answer=typed, challenge=None, party=None))

    threads = [threading.Thread(target=type_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said, key=str) == [None] * 5 + ["totp"]


def test_an_unconfirmed_or_removed_app_counts_for_nothing(session: Session, world: World) -> None:
    user = make_person(session, world)
    secret = secret_of(session, begin_totp(session, user=user, name="手机"))
    session.flush()
    assert show(session, user, code(secret)) is None
    with pytest.raises(FactorWrong):
        confirm_totp(session, user=user, code="12345", by=SEEDER)
    confirm_totp(session, user=user, code=code(secret, steps=-1), by=SEEDER)
    remove_factor(session, user_id=user.id, public_id=list_factors(session, user_id=user.id)[0].public_id, by=SEEDER)
    assert show(session, user, code(secret)) is None
    assert session.scalars(select(UserFactor.secret_cipher)).one() is None


def test_the_secret_is_ciphertext_bound_to_its_row(session: Session, world: World) -> None:
    user = make_person(session, world)
    factor = begin_totp(session, user=user, name="手机")
    secret = secret_of(session, factor)
    assert factor.secret_cipher is not None
    assert secret.encode() not in factor.secret_cipher


def test_a_new_app_begun_replaces_the_one_never_confirmed(session: Session, world: World) -> None:
    user = make_person(session, world)
    first = secret_of(session, begin_totp(session, user=user, name="手机"))
    begin_totp(session, user=user, name="平板")
    session.flush()
    assert unconfirmed_totp(session, user_id=user.id).name == "平板"
    with pytest.raises(FactorWrong):
        confirm_totp(session, user=user, code=code(first), by=SEEDER)


@pytest.mark.parametrize(
    "typed", ["", " ", "12345", "1234567", "１２３４５６", "12345a", "-12345", "+12345", "{", "{}", "[]", "\x00"]
)
def test_what_nobody_can_read_is_no_code(session: Session, world: World, typed: str) -> None:
    user = make_person(session, world)
    give_app(session, user)
    assert show(session, user, typed) is None
    assert show(session, user, typed, new_challenge()) is None


# --- recovery codes ---


def test_ten_recovery_codes_are_good_once_each_and_kept_as_digests(session: Session, world: World) -> None:
    user = make_person(session, world)
    _secret, codes = give_app(session, user)
    assert len(set(codes)) == recovery.CODES == 10
    kept = b"".join(session.scalars(select(RecoveryCode.digest)).all())
    assert all(one.replace("-", "").encode() not in kept for one in codes)
    assert show(session, user, codes[0].upper().replace("-", " ")) == "recovery"
    assert show(session, user, codes[0]) is None
    assert recovery.codes_left(session, user_id=user.id) == 9


def test_new_recovery_codes_end_the_old_and_another_factor_brings_none(session: Session, world: World) -> None:
    user = make_person(session, world)
    _secret, old = give_app(session, user)
    new = renew_codes(session, user_id=user.id, by=SEEDER)
    assert show(session, user, old[1]) is None
    assert show(session, user, new[1]) == "recovery"
    _secret, more = give_app(session, user, name="平板")
    assert more == []


def test_a_recovery_code_of_somebody_else_is_none(session: Session, world: World) -> None:
    mine, theirs = make_person(session, world), make_person(session, world)
    give_app(session, mine)
    _secret, codes = give_app(session, theirs)
    assert show(session, mine, codes[0]) is None
    assert show(session, theirs, codes[0]) == "recovery"


# --- passkeys ---


def test_a_passkey_signs_its_challenge_once_higher_each_time(session: Session, world: World) -> None:
    user = make_person(session, world)
    key = give_key(session, user)
    for _turn in range(2):
        challenge = new_challenge()
        answer = key.get(asked_of(challenge))
        assert show(session, user, answer, challenge) == "passkey"
        assert show(session, user, answer, challenge) is None, "the counter stands where it stood"
    assert list_factors(session, user_id=user.id)[0].sign_count == 2


def test_a_counter_that_fell_back_is_a_copied_key(session: Session, world: World) -> None:
    user = make_person(session, world)
    key, challenge = give_key(session, user), new_challenge()
    key.count = 10
    assert show(session, user, key.get(asked_of(challenge)), challenge) == "passkey"
    key.count = 5
    assert show(session, user, key.get(asked_of(challenge)), challenge) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://tally.example.evil"}, {"origin": "http://tally.example"}, {"type": "webauthn.create"},
        {"challenge": "AAAA"}, {"origin": None}, {"challenge": 7}, {"type": ["webauthn.get"]},
    ],
)  # fmt: skip
def test_an_answer_for_another_site_or_question_is_refused(
    session: Session, world: World, wrong: dict[str, Any]
) -> None:
    user = make_person(session, world)
    key, challenge = give_key(session, user), new_challenge()
    assert show(session, user, key.get(asked_of(challenge), **wrong), challenge) is None


def test_a_key_for_another_name_and_one_of_another_person_are_refused(session: Session, world: World) -> None:
    user, other = make_person(session, world), make_person(session, world)
    key, challenge = give_key(session, user), new_challenge()
    assert show(session, other, key.get(asked_of(challenge)), challenge) is None
    key.rp_id = "evil.example"
    assert show(session, user, key.get(asked_of(challenge)), challenge) is None


def test_a_registration_for_another_site_a_garbled_one_and_a_known_one_are_refused(
    session: Session, world: World
) -> None:
    user, challenge = make_person(session, world), new_challenge()
    options = json.loads(registration_options(PARTY, user=user, challenge=challenge, held=[]))
    key = SoftKey()
    for answer in (key.create(options, origin="https://evil.example"), "{}", "nothing", "[1]", "{" * 5000):
        with pytest.raises(PasskeyRefused):
            add_passkey(session, user=user, party=PARTY, challenge=challenge, answer=answer, name="x", by=SEEDER)
    for refused in (None, PasskeyHeld):
        if refused is None:
            add_passkey(
                session, user=user, party=PARTY, challenge=challenge, answer=key.create(options), name="x", by=SEEDER
            )
            continue
        with pytest.raises(refused):
            add_passkey(
                session, user=user, party=PARTY, challenge=challenge, answer=key.create(options), name="x", by=SEEDER
            )


def test_garbled_answers_open_nothing_and_break_nothing(session: Session, world: World) -> None:
    user = make_person(session, world)
    key, challenge, dice = give_key(session, user), new_challenge(), random.Random(20261123)
    good = key.get(asked_of(challenge))
    for _turn in range(300):
        at = dice.randrange(len(good) - 80)
        garbled = (
            good[:at]
            + dice.choice(["", "\\", '"', "A", "é", "\ud7ff", "0" * 40, "}"])
            + good[at + dice.randrange(1, 9) :]
        )
        if garbled != good:
            assert show(session, user, garbled, challenge) in (None, "passkey")
    assert show(session, user, "{" + "9" * 20_000 + "}", challenge) is None


@pytest.mark.parametrize(
    ("address", "party"),
    [
        ("https://tally.example", RelyingParty("https://tally.example", "tally.example")),
        ("https://tally.example:8443", RelyingParty("https://tally.example:8443", "tally.example")),
        ("http://localhost:8080", RelyingParty("http://localhost:8080", "localhost")),
        ("http://127.0.0.1:8080", None), ("https://[::1]", None), ("http://tally.example", None), ("", None),
    ],
)  # fmt: skip
def test_passkeys_are_for_a_name_behind_tls(address: str, party: RelyingParty | None) -> None:
    assert relying_party(address) == party


# --- keeping them ---


def test_a_factor_has_a_name_and_is_ones_own(session: Session, world: World) -> None:
    user, other = make_person(session, world), make_person(session, world)
    give_app(session, user)
    mine = list_factors(session, user_id=user.id)[0].public_id
    rename_factor(session, user_id=user.id, public_id=mine, name="  新  手机 ", by=SEEDER)
    assert list_factors(session, user_id=user.id)[0].name == "新 手机"
    for name in ("", "   ", "x" * 61):
        with pytest.raises(FactorNameMissing):
            rename_factor(session, user_id=user.id, public_id=mine, name=name, by=SEEDER)
    for deed in (
        lambda: rename_factor(session, user_id=other.id, public_id=mine, name="x", by=SEEDER),
        lambda: remove_factor(session, user_id=other.id, public_id=mine, by=SEEDER),
    ):
        with pytest.raises(NotFound):
            deed()


def require(session: Session, world: World, *, required: bool = True) -> None:
    session.merge(
        SecurityPolicy(
            tenant_id=world.tenant_id, second_factor_required=required, session_hours_max=12, session_idle_min=120,
            approval_hours_max=72, audit_keep_days=180,
        )
    )  # fmt: skip
    session.flush()


def test_the_last_factor_stays_where_one_is_required(session: Session, world: World) -> None:
    require(session, world)
    user = make_person(session, world)
    give_app(session, user)
    app = list_factors(session, user_id=user.id)[0].public_id
    with pytest.raises(LastFactor):
        remove_factor(session, user_id=user.id, public_id=app, by=SEEDER)
    give_key(session, user)
    remove_factor(session, user_id=user.id, public_id=app, by=SEEDER)
    assert [factor.kind for factor in list_factors(session, user_id=user.id)] == ["passkey"]


@pytest.mark.parametrize(
    ("role", "required", "must"),
    [
        (Role.PROPERTY_MANAGER, True, True), (Role.CASHIER, True, True), (Role.READ_ONLY, True, False),
        (Role.ENERGY_MANAGER, True, False), (Role.PROPERTY_MANAGER, False, False),
    ],
)  # fmt: skip
def test_who_moves_money_power_or_rights_must_have_one(
    session: Session, world: World, role: Role, required: bool, must: bool
) -> None:
    require(session, world, required=required)
    assert must_have_factor(session, user_id=make_person(session, world, role).id) is must


def test_real_groups_ask_for_factors_unasked_and_demos_do_not(make_world, db: Database) -> None:
    for kind, must in (("real", True), ("demo", False)):
        world = make_world(kind=kind)
        with unit_of_work(world.tenant_id, db=db) as session:
            assert must_have_factor(session, user_id=make_person(session, world).id) is must


# --- signing in with them ---


def enter(db: Database, login: str) -> SignInDone | FactorAsked:
    return sign_in(db, login=login, password=PASSWORD, address=HERE.address, going="/rooms")


def asked(db: Database, login: str) -> FactorAsked:
    found = enter(db, login)
    assert isinstance(found, FactorAsked)
    return found


def answer(db: Database, step: str, said: str) -> tuple[SignInDone, str | None]:
    return answer_step(db, token=step, answer=said, party=PARTY, visitor=HERE)


@pytest.fixture
def guarded(db: Database, world: World) -> tuple[str, str, list[str]]:
    """(login, secret, recovery codes) of somebody with an authenticator app."""
    with unit_of_work(world.tenant_id, db=db) as session:
        user = make_person(session, world)
        return user.login, *give_app(session, user)


def test_the_password_alone_opens_nothing_for_who_has_a_factor(
    db: Database, world: World, guarded: tuple[str, str, list[str]]
) -> None:
    login, secret, _codes = guarded
    step = asked(db, login)
    assert step.purpose == "second_factor"
    with unit_of_work(world.tenant_id, db=db) as session:
        assert find_session(session, token=step.step) is None
    done, going = answer(db, step.step, code(secret))
    assert going == "/rooms"
    with unit_of_work(world.tenant_id, db=db) as session:
        found = find_session(session, token=done.token)
    assert found is not None
    assert is_fresh(found.factor_at)
    assert found.factor_kinds == {"totp"}
    with pytest.raises(StepOver):
        answer(db, step.step, code(secret, steps=1))


def test_five_wrong_codes_end_the_step_and_count_against_the_name(
    db: Database, world: World, guarded: tuple[str, str, list[str]]
) -> None:
    login, secret, _codes = guarded
    step = asked(db, login)
    refusals = []
    for _turn in range(TRIES_MAX):
        with pytest.raises((FactorWrong, StepOver)) as refused:
            answer(db, step.step, "000000" if code(secret) != "000000" else "000001")
        refusals.append(type(refused.value))
    assert refusals == [FactorWrong] * (TRIES_MAX - 1) + [StepOver]
    with pytest.raises(StepOver):
        answer(db, step.step, code(secret))
    with unit_of_work(world.tenant_id, db=db) as session:
        assert len(session.scalars(select(SignInAttempt)).all()) == TRIES_MAX + 1
        told = session.scalars(select(AuditRecord).where(AuditRecord.deed == "user:session:refuse")).all()
    assert [(record.facts["reason"], record.address, record.result) for record in told] == [
        ("factor", HERE.address, "refused")
    ] * TRIES_MAX


def test_a_thousand_guesses_get_at_most_five_answers(
    db: Database, world: World, guarded: tuple[str, str, list[str]]
) -> None:
    login, secret, _codes = guarded
    step, judged = asked(db, login), 0
    near = {code(secret, steps=steps) for steps in range(-3, 4)}
    guesses = [f"{n:06d}" for n in range(1100) if f"{n:06d}" not in near][:1000]
    for guess in guesses:
        try:
            answer(db, step.step, guess)
        except FactorWrong:
            judged += 1
        except StepOver:
            continue
    assert judged == TRIES_MAX - 1
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalars(select(SignInStep.tries)).one() == TRIES_MAX


def test_a_step_lasts_five_minutes_and_not_longer_than_the_password(
    db: Database, world: World, guarded: tuple[str, str, list[str]]
) -> None:
    login, secret, codes = guarded
    late = asked(db, login)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(SignInStep).values(expires_at=wall_now() - timedelta(seconds=1)))
    with pytest.raises(StepOver):
        answer(db, late.step, code(secret))
    outlived = asked(db, login)
    with unit_of_work(world.tenant_id, db=db) as session:
        user = session.scalars(select(User).where(User.login == login)).one()
        set_password(session, user=user, password="another long one", by=SEEDER)
    with pytest.raises(StepOver):
        answer(db, outlived.step, codes[0])


@pytest.mark.parametrize("token", ["", "x", "é" * 50, "' OR 1=1 --", "\x7f"])
def test_a_step_nobody_began_is_over(db: Database, token: str) -> None:
    with pytest.raises(StepOver):
        answer(db, token, "123456")
    with pytest.raises(StepOver):
        step_of(db, token=token, purpose="enrol")


def test_a_step_of_one_kind_is_none_of_another(db: Database, guarded: tuple[str, str, list[str]]) -> None:
    login, secret, _codes = guarded
    step = asked(db, login)
    with pytest.raises(StepOver):
        answer_enrolment(db, token=step.step, answer=code(secret), name="x", party=PARTY, visitor=HERE)


def test_who_must_have_a_factor_sets_one_up_before_anything_else(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        require(session, world)
        login = make_person(session, world).login
    step = asked(db, login)
    assert step.purpose == "enrol"
    with unit_of_work(world.tenant_id, db=db) as session:
        secret = secret_of(session, unconfirmed_totp(session, user_id=step.user_id))
    with pytest.raises(FactorWrong):
        answer_enrolment(db, token=step.step, answer="12", name="x", party=PARTY, visitor=HERE)
    done, going, codes = answer_enrolment(
        db, token=step.step, answer=code(secret, steps=-1), name="x", party=PARTY, visitor=HERE
    )
    assert (len(codes), going) == (10, "/rooms")
    assert asked(db, login).purpose == "second_factor"
    with unit_of_work(world.tenant_id, db=db) as session:
        assert find_session(session, token=done.token) is not None


def test_a_passkey_may_be_the_one_that_is_set_up(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        require(session, world)
        login = make_person(session, world).login
    step, key = asked(db, login), SoftKey()
    with unit_of_work(world.tenant_id, db=db) as session:
        challenge = session.scalars(select(SignInStep.challenge)).one()
        user = session.scalars(select(User).where(User.login == login)).one()
        options = json.loads(registration_options(PARTY, user=user, challenge=challenge or b"", held=[]))
    _done, _going, codes = answer_enrolment(
        db, token=step.step, answer=key.create(options), name="钥匙", party=PARTY, visitor=HERE
    )
    assert len(codes) == 10


# --- a passkey alone ---


def alone(db: Database, key: SoftKey, challenge: bytes, **wrong: Any) -> SignInDone:
    return sign_in_with_passkey(
        db, answer=key.get(asked_of(challenge), **wrong), challenge=challenge, party=PARTY, visitor=HERE
    )


@pytest.fixture
def key(db: Database, world: World) -> SoftKey:
    """The passkey of somebody."""
    with unit_of_work(world.tenant_id, db=db) as session:
        return give_key(session, make_person(session, world))


def test_a_passkey_that_verified_its_holder_is_both_factors(db: Database, world: World, key: SoftKey) -> None:
    done = alone(db, key, new_challenge())
    with unit_of_work(world.tenant_id, db=db) as session:
        found = find_session(session, token=done.token)
    assert found is not None
    assert (found.opened_by, is_fresh(found.factor_at)) == ("passkey", True)


def test_a_passkey_that_only_saw_a_touch_does_not_stand_alone(db: Database, key: SoftKey) -> None:
    key.verifies = False
    with pytest.raises(PasskeyUnknown):
        alone(db, key, new_challenge())


def test_an_answer_sent_twice_opens_one_session(db: Database, key: SoftKey) -> None:
    """Authenticators without a counter always say 0: the challenge itself is used up."""
    challenge = new_challenge()
    key.count = -1
    said = key.get(asked_of(challenge))
    given = {"answer": said, "challenge": challenge, "party": PARTY, "visitor": HERE}
    assert sign_in_with_passkey(db, **given).token
    with pytest.raises(PasskeyUnknown):
        sign_in_with_passkey(db, **given)


@pytest.mark.parametrize("handle", [b"", b"x", bytes(20), b"\xff" * 20, b"\x7f" + b"\xff" * 19, bytes(64)])
def test_a_handle_of_nobody_is_refused(db: Database, key: SoftKey, handle: bytes) -> None:
    key.handle = handle
    with pytest.raises(PasskeyUnknown):
        alone(db, key, new_challenge())


def test_a_disabled_person_has_no_passkey(db: Database, world: World, key: SoftKey) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(User).values(disabled_at=wall_now()))
    with pytest.raises(PasskeyUnknown):
        alone(db, key, new_challenge())


# --- once more ---


@pytest.fixture
def inside(db: Database, world: World, guarded: tuple[str, str, list[str]]) -> tuple[Here, str]:
    """(session, secret) of somebody signed in."""
    login, secret, codes = guarded
    done, _going = answer(db, asked(db, login).step, codes[9])
    return Here(done.tenant_id, done.user_id, done.token, HERE.address), secret


def test_a_factor_shown_again_is_fresh_for_five_minutes(db: Database, inside: tuple[Here, str]) -> None:
    own, secret = inside
    show_factor(db, own, answer=code(secret), party=PARTY)
    with unit_of_work(own.tenant_id, db=db) as session:
        found = find_session(session, token=own.token)
    assert found is not None
    assert found.factor_at is not None
    assert is_fresh(found.factor_at)
    assert not is_fresh(found.factor_at - timedelta(minutes=5))
    assert not is_fresh(None)


def test_a_stolen_session_has_five_guesses_in_five_minutes(db: Database, inside: tuple[Here, str]) -> None:
    own, secret = inside
    for _turn in range(TRIES_MAX):
        with pytest.raises(FactorWrong):
            show_factor(db, own, answer="nonsense", party=PARTY)
    with pytest.raises(FactorTriesSpent):
        show_factor(db, own, answer=code(secret), party=PARTY)
    with pytest.raises(FactorTriesSpent):
        check_password(db, own, password=PASSWORD)
    with unit_of_work(own.tenant_id, db=db) as session:
        session.execute(update(SignInStep).values(expires_at=wall_now()))
    show_factor(db, own, answer=code(secret), party=PARTY)


def test_a_passkey_serves_once_more_too(db: Database, world: World, inside: tuple[Here, str]) -> None:
    own, _secret = inside
    with unit_of_work(world.tenant_id, db=db) as session:
        key = give_key(session, session.scalars(select(User).where(User.id == own.user_id)).one())
    stale = key.get(asked_of(ask_passkey(db, own, purpose="step_up")))
    fresh = key.get(asked_of(ask_passkey(db, own, purpose="step_up")))
    with pytest.raises(FactorWrong):
        show_factor(db, own, answer=stale, party=PARTY)
    with pytest.raises(FactorWrong):
        show_factor(db, own, answer=fresh, party=PARTY)
    again = key.get(asked_of(ask_passkey(db, own, purpose="step_up")))
    show_factor(db, own, answer=again, party=PARTY)


def test_the_present_password_is_asked_for(db: Database, inside: tuple[Here, str]) -> None:
    own, _secret = inside
    with pytest.raises(PasswordWrong):
        check_password(db, own, password="something else")
    check_password(db, own, password=PASSWORD)


def test_steps_that_ended_are_forgotten(db: Database, world: World, guarded: tuple[str, str, list[str]]) -> None:
    asked(db, guarded[0])
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(SignInStep).values(expires_at=wall_now() - timedelta(hours=1)))
        prune_sign_ins(session)
        assert session.scalars(select(SignInStep)).all() == []


def test_steps_of_thirty_seconds_are_told_apart() -> None:
    secret, now = totp.new_secret(), wall_now()
    step = totp.step_at(now)
    assert totp.find_step(secret, totp.code_at(secret, step), now=now, last_step=None) == step
    assert totp.find_step(secret, totp.code_at(secret, step - 1), now=now, last_step=step - 1) is None
