"""Signing in with second factors: five wrong answers at most, five minutes, and nothing opens twice."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions import totp
from app.permissions.factor_models import SignInStep
from app.permissions.factors import (
    secret_of,
    unconfirmed_totp,
)
from app.permissions.models import SignInAttempt, User
from app.permissions.passkeys import (
    registration_options,
)
from app.permissions.service import set_password
from app.permissions.sessions import find_session
from app.permissions.sign_in import (
    FactorAsked,
    PasskeyUnknown,
    SignInDone,
    answer_enrolment,
    answer_step,
    prune_sign_ins,
    sign_in,
    sign_in_with_passkey,
    step_of,
)
from app.permissions.step_up import Here, PasswordWrong, ask_passkey, check_password, is_fresh, show_factor
from app.permissions.steps import TRIES_MAX, FactorTriesSpent, FactorWrong, StepOver, find_step, new_challenge
from app.tenants.models import AuditRecord
from tests.factories.authenticator import SoftKey, code, stand_mid_step
from tests.factories.factors import (
    HERE,
    PARTY,
    PASSWORD,
    SEEDER,
    asked_of,
    give_app,
    give_key,
    make_person,
    require,
)
from tests.factories.world import World


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of thirty seconds ends within a test."""
    stand_mid_step(monkeypatch)


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


def test_of_two_who_know_the_password_only_the_first_sets_up_a_factor(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        require(session, world)
        login = make_person(session, world).login
    first, second, key = asked(db, login), asked(db, login), SoftKey()
    with unit_of_work(world.tenant_id, db=db) as session:
        user = session.scalars(select(User).where(User.login == login)).one()
        secret = secret_of(session, unconfirmed_totp(session, user_id=user.id))
        challenge = find_step(session, token=first.step, purpose="enrol").challenge or b""
        options = json.loads(registration_options(PARTY, user=user, challenge=challenge, held=[]))
    answer_enrolment(db, token=second.step, answer=code(secret, steps=-1), name="x", party=PARTY, visitor=HERE)
    with pytest.raises(StepOver):
        answer_enrolment(db, token=first.step, answer=key.create(options), name="钥匙", party=PARTY, visitor=HERE)


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
