"""Guessing, spraying and flooding: slow for whoever tries, and neither slow nor shut for anybody else."""

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.kernel.actor import Actor
from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions import passwords
from app.permissions.common_passwords import common_passwords, is_common
from app.permissions.models import SignInAttempt
from app.permissions.password_links import ask_link
from app.permissions.passwords import CHECKED_AT_ONCE, WAITING_MAX, SignInBusy, hashing
from app.permissions.service import create_user
from app.permissions.sign_in import SignInDelayed, SignInDone, SignInRefused, sign_in
from bench import signin as bench
from tests.factories.world import World, unique

PASSWORD = "晚霞 over the river"
SEEDER = Actor.system("tests")
HOME, THERE = "192.0.2.1", "198.51.100.9"


def make_people(db: Database, world: World, count: int) -> list[str]:
    with unit_of_work(world.tenant_id, db=db) as session:
        return [
            create_user(session, login=unique("p"), name="x", password=PASSWORD, by=SEEDER).login for _ in range(count)
        ]


def try_once(db: Database, login: str, password: str, address: str) -> str:
    try:
        sign_in(db, login=login, password=password, address=address)
    except (SignInRefused, SignInDelayed) as refused:
        return refused.code
    return "in"


def test_one_password_sprayed_over_many_names_is_looked_at_twenty_times(db: Database, world: World) -> None:
    (victim,) = make_people(db, world, 1)
    assert try_once(db, victim, PASSWORD, HOME) == "in"
    names = [victim, *(unique("spray") for _ in range(120))]
    # Names that nobody has are counted in groups chosen by their digests; those of one group are counted together.
    said = Counter(try_once(db, name, "Password-2026!", THERE) for name in names)
    assert said["in"] == 0
    assert said["sign_in_refused"] >= 1
    with unit_of_work(world.tenant_id, db=db) as session:
        counted = select(func.count()).select_from(SignInAttempt).where(SignInAttempt.address == THERE)
        assert (session.scalar(counted) or 0) <= 20
    assert try_once(db, victim, PASSWORD, HOME) == "in"


def test_a_name_is_guessed_at_three_times_and_its_owner_is_let_in_at_home(db: Database, world: World) -> None:
    (victim,) = make_people(db, world, 1)
    assert try_once(db, victim, PASSWORD, HOME) == "in"
    said = [try_once(db, victim, f"guess {number}", f"203.0.113.{number}") for number in range(40)]
    assert said == ["sign_in_refused"] * 3 + ["sign_in_delayed"] * 37
    assert try_once(db, victim, PASSWORD, HOME) == "in"


def test_few_passwords_are_checked_at_once_and_who_waits_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAIT_S_MAX", 0.01)
    with ExitStack() as turns:
        for _turn in range(CHECKED_AT_ONCE):
            turns.enter_context(hashing())
        with pytest.raises(SignInBusy) as busy, hashing():
            pass
        assert busy.value.details == {"wait_s": 2}
    with hashing():
        pass


def test_a_full_queue_answers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAIT_S_MAX", 3_600)
    with ExitStack() as turns:
        for _turn in range(CHECKED_AT_ONCE):
            turns.enter_context(hashing())
        for _place in range(WAITING_MAX):
            assert passwords._queue.acquire(blocking=False)
            turns.callback(passwords._queue.release)
        with pytest.raises(SignInBusy), hashing():
            pass
    with hashing():
        pass


def test_who_is_told_to_wait_has_not_failed(db: Database, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = make_people(db, world, 1)
    monkeypatch.setattr(passwords, "WAIT_S_MAX", 0.01)
    with ExitStack() as turns:
        for _turn in range(CHECKED_AT_ONCE):
            turns.enter_context(hashing())
        for _turn in range(9):
            with pytest.raises(SignInBusy):
                sign_in(db, login=name, password=PASSWORD, address=HOME)
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalar(select(func.count()).select_from(SignInAttempt)) == 0
    assert isinstance(sign_in(db, login=name, password=PASSWORD, address=HOME), SignInDone)


@pytest.mark.long
def test_two_hundred_tries_tell_nothing_about_who_exists(db: Database, world: World) -> None:
    names = make_people(db, world, 200)
    known, unknown = [], []
    for number, name in enumerate(names):
        for times, login in ((known, name), (unknown, unique("nobody"))):
            began = time.perf_counter()
            assert try_once(db, login, "wrong password", f"203.0.{number}.{len(times) % 250}") == "sign_in_refused"
            times.append(time.perf_counter() - began)
    assert abs(statistics.median(known) - statistics.median(unknown)) < 0.020


@pytest.mark.long
def test_asking_for_links_two_hundred_times_tells_nothing_either(db: Database, world: World) -> None:
    names = make_people(db, world, 200)
    known, unknown = [], []
    for number, name in enumerate(names):
        for times, login in ((known, name), (unknown, unique("nobody"))):
            began = time.perf_counter()
            ask_link(db, login=login, address=f"203.0.{number}.{len(times) % 250}")
            times.append(time.perf_counter() - began)
    assert abs(statistics.median(known) - statistics.median(unknown)) < 0.020


@pytest.mark.long
def test_a_flood_of_sign_ins_leaves_the_other_pages_fast(
    make_world: Callable[..., World], tmp_path: Path, database_urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_urls[0])
    world = make_world()
    names = bench.people(world)
    with bench.served(str(tmp_path)) as port:
        reader = bench.Browser(port)
        reader.ask("GET", "/sign-in")
        assert reader.sign_in(names[0], bench.PASSWORD, "198.51.100.1") == 302
        answers = Counter[int]()
        flooding = threading.Thread(target=bench.flood, args=(port, names, answers))
        flooding.start()
        times = bench.ask_pages(reader, bench.FLOOD_S)
        flooding.join()
        reader.close()
    assert bench.p95(times) <= 500
    assert answers[0] + answers[500] == 0


# --- the list ---


@pytest.mark.parametrize(
    "password",
    [
        "1qaz2wsx3edc", "qwertyuiop123", "woaini1314520", "WoAiNi5201314", "p@ssw0rd2026", "Admin@123456", "zhanghao123456",
        "13812345678", "+8613812345678", "1990-01-01", "19900101abc", "abcabcabcabc", "2345678901", "9876543210",
        "wuye@12345", "mimamimamima", "beijing2024", "qwer1234qwer", "88888888886", "tallyhouse1", "asdfghjkl123",
    ],
)  # fmt: skip
def test_what_is_tried_first_is_refused(password: str) -> None:
    assert is_common(password)


@pytest.mark.parametrize(
    "password",
    [
        "晚霞 over the river",
        "correct horse 7 staple",
        "seven lamps on the bridge",
        "明月几时有把酒问青天",
        "kV7-plum-9-otter",
    ],
)
def test_a_sentence_of_ones_own_is_taken(password: str) -> None:
    assert not is_common(password)


def test_the_list_is_long_and_holds_nothing_shorter_than_a_password_may_be() -> None:
    assert len(common_passwords()) > 5_000
    assert min(len(word) for word in common_passwords()) >= 10
