"""Second factors: each answer once, five wrong ones at most, and nothing for another address, person or challenge."""

import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.unit_of_work import unit_of_work
from app.permissions import recovery
from app.permissions.factor_models import RecoveryCode, UserFactor
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
from app.permissions.passkeys import (
    PasskeyHeld,
    PasskeyRefused,
    RelyingParty,
    registration_options,
    relying_party,
)
from app.permissions.policy import Role
from app.permissions.steps import FactorWrong, new_challenge
from tests.factories.authenticator import SoftKey, code, stand_mid_step
from tests.factories.factors import (
    PARTY,
    SEEDER,
    asked_of,
    give_app,
    give_key,
    make_person,
    require,
    show,
)
from tests.factories.world import World


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of thirty seconds ends within a test."""
    stand_mid_step(monkeypatch)


@pytest.fixture
def session(world: World, db: Database) -> Iterator[Session]:
    """A unit of work of the world's tenant."""
    with unit_of_work(world.tenant_id, db=db) as open_session:
        yield open_session


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
