"""Residents prove a number and see what is theirs today: codes, sessions, roles, and what nobody may learn."""

import re
import threading
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.outbox import OutboxEvent
from app.kernel.unit_of_work import unit_of_work
from app.notify.fake_sms import FakeSmsServer
from app.notify.sender import use_provider
from app.notify.sms import HttpSms, SmsRefused, SmsUnavailable
from app.permissions import resident_codes
from app.permissions.resident_codes import (
    TRIES_MAX,
    ResidentCodeOver,
    ResidentCodeWrong,
    ResidentsBusy,
    ask_code,
    enter_code,
    prune_codes,
)
from app.permissions.resident_models import ResidentCode, ResidentPage, ResidentSession
from app.permissions.residents import (
    SESSION_IDLE_MAX,
    Resident,
    close_page,
    end_session,
    find_resident,
    place_of_page,
    prune_sessions,
    tenant_of_page,
)
from app.permissions.sign_in import SignInDelayed
from app.tenants.models import AuditRecord, Party, PartyRole
from app.tenants.phones import PhoneUnreadable
from tests.factories.residents import (
    PHONE,
    SEEDER,
    deliver_codes,
    end_roles,
    give_phone,
    phones,
    place_of,
    resident_token,
)
from tests.factories.world import World, build_sibling

HERE = "192.0.2.7"
STRANGER = "13999999999"
SECRET = "a secret of the provider and ours"


def ask(db: Database, world: World, phone: str = PHONE, *, address: str = HERE) -> str:
    place = place_of(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        return ask_code(session, place=place, phone=phone, address=address)


def enter(db: Database, world: World, token: str, typed: str) -> str:
    return enter_code(db, tenant_id=world.tenant_id, place=place_of(db, world), token=token, typed=typed, address=HERE)


def who(db: Database, world: World, token: str) -> Resident | None:
    with unit_of_work(world.tenant_id, db=db) as session:
        return find_resident(session, place=place_of(db, world), token=token)


def other_than(digits: str) -> str:
    return f"{(int(digits) + 1) % 1_000_000:06d}"


def set_all(db: Database, world: World, table: Any, **values: Any) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(table).values(**values))


def count(db: Database, world: World, table: Any) -> int:
    with unit_of_work(world.tenant_id, db=db) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def deeds(db: Database, world: World, prefix: str) -> list[tuple[str, str]]:
    with unit_of_work(world.tenant_id, db=db) as session:
        rows = session.execute(select(AuditRecord.deed, AuditRecord.result).order_by(AuditRecord.id))
        return [(deed, result) for deed, result in rows if deed.startswith(prefix)]


def test_a_number_on_file_gets_six_digits_and_they_open_a_session_once(db: Database, world: World) -> None:
    give_phone(db, world)
    token = ask(db, world, "138 0013 8000")
    with phones() as arrived:
        deliver_codes(world)
        deliver_codes(world)
    assert [sms.to for sms in arrived.sent] == ["+8613800138000"]
    found = who(db, world, enter(db, world, token, arrived.digits))
    assert found is not None
    assert list(found.homes.since) == [world.space_ids[0]]
    with pytest.raises(ResidentCodeOver):
        enter(db, world, token, arrived.digits)
    assert deeds(db, world, "resident:session") == [("resident:session:open", "done")]


def test_a_number_that_nobody_has_leaves_the_same_rows_and_no_message(db: Database, world: World) -> None:
    give_phone(db, world)
    for phone in (PHONE, STRANGER):
        ask(db, world, phone)
    with unit_of_work(world.tenant_id, db=db) as session:
        rows = session.scalars(select(ResidentCode).order_by(ResidentCode.id)).all()
        known, unknown = ({c.name for c in ResidentCode.__table__.c if getattr(r, c.name) is not None} for r in rows)
        events = session.scalars(select(OutboxEvent).where(OutboxEvent.kind == "residents.code_asked")).all()
    assert known == unknown
    assert len(events) == 2
    with phones() as arrived:
        deliver_codes(world)
    assert len(arrived.sent) == 1


def test_wrong_digits_answer_alike_for_known_and_unknown_and_end_after_five(db: Database, world: World) -> None:
    give_phone(db, world)
    said = []
    for phone in (PHONE, STRANGER):
        token = ask(db, world, phone)
        with phones() as arrived:
            deliver_codes(world)
        wrong = other_than(arrived.digits) if arrived.sent else "000000"
        refused = []
        for _try in range(TRIES_MAX + 1):
            with pytest.raises((ResidentCodeWrong, ResidentCodeOver)) as caught:
                enter(db, world, token, wrong)
            refused.append(caught.type)
        said.append(refused)
    assert said[0] == said[1] == [ResidentCodeWrong] * (TRIES_MAX - 1) + [ResidentCodeOver] * 2
    assert deeds(db, world, "resident:session:refuse") == [("resident:session:refuse", "refused")] * TRIES_MAX * 2


def test_the_right_digits_after_five_wrong_ones_open_nothing(db: Database, world: World) -> None:
    give_phone(db, world)
    token = ask(db, world)
    with phones() as arrived:
        deliver_codes(world)
    for _try in range(TRIES_MAX):
        with pytest.raises((ResidentCodeWrong, ResidentCodeOver)):
            enter(db, world, token, other_than(arrived.digits))
    with pytest.raises(ResidentCodeOver):
        enter(db, world, token, arrived.digits)
    assert count(db, world, ResidentSession) == 0


def test_guesses_sent_at_once_count_each_other(db: Database, world: World) -> None:
    give_phone(db, world)
    token = ask(db, world)
    with phones() as arrived:
        deliver_codes(world)
    refused: list[type] = []

    def guess() -> None:
        try:
            enter(db, world, token, other_than(arrived.digits))
        except (ResidentCodeWrong, ResidentCodeOver) as caught:
            refused.append(type(caught))

    crowd = [threading.Thread(target=guess) for _ in range(10)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(timeout=60)
    assert sorted(kind.__name__ for kind in refused) == ["ResidentCodeOver"] * 6 + ["ResidentCodeWrong"] * 4


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "一二三四五六", "000000 or 1=1", "１２３４５６"])
def test_what_is_no_code_is_a_wrong_one(db: Database, world: World, typed: str) -> None:
    token = ask(db, world, STRANGER)
    with pytest.raises(ResidentCodeWrong):
        enter(db, world, token, typed)


@pytest.mark.parametrize("token", ["", "x", "é" * 40, "../../etc/passwd", "0" * 100])
def test_digits_for_a_code_that_nobody_asked_for_are_over(db: Database, world: World, token: str) -> None:
    with pytest.raises(ResidentCodeOver):
        enter(db, world, token, "123456")
    assert who(db, world, token) is None


def test_a_code_is_over_after_five_minutes_and_is_not_sent_late(db: Database, world: World) -> None:
    give_phone(db, world)
    first, second = ask(db, world), ask(db, world)
    with phones() as arrived:
        set_all(db, world, ResidentCode, expires_at=wall_now() - timedelta(seconds=1))
        deliver_codes(world)
    assert arrived.sent == []
    for token in (first, second):
        with pytest.raises(ResidentCodeOver):
            enter(db, world, token, "123456")


def test_a_code_of_one_property_opens_nothing_at_another(db: Database, world: World) -> None:
    sibling = build_sibling(db, world, name="翠湖天地")
    give_phone(db, world)
    give_phone(db, sibling)
    token = ask(db, world)
    with phones() as arrived:
        deliver_codes(world)
    with pytest.raises(ResidentCodeOver):
        enter(db, sibling, token, arrived.digits)
    own = enter(db, world, token, arrived.digits)
    assert who(db, world, own) is not None
    assert who(db, sibling, own) is None


def test_what_is_no_phone_number_is_said_to_be(db: Database, world: World) -> None:
    with pytest.raises(PhoneUnreadable):
        ask(db, world, "12345")


def test_asking_for_one_number_waits_longer_each_time_known_or_not(db: Database, world: World) -> None:
    give_phone(db, world)
    for phone in (PHONE, STRANGER):
        for number in range(3):
            ask(db, world, phone, address=f"192.0.2.{number}")
        with pytest.raises(SignInDelayed):
            ask(db, world, phone, address="192.0.2.9")


def test_one_address_asks_for_twenty_numbers_and_then_waits(db: Database, world: World) -> None:
    for number in range(20):
        ask(db, world, f"1380000{number:04d}")
    with pytest.raises(SignInDelayed):
        ask(db, world, "13800009999")
    ask(db, world, "13800009999", address="192.0.2.200")


def test_a_property_is_asked_so_often_an_hour(db: Database, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident_codes, "ASKED_HOUR_MAX", 2)
    ask(db, world, "13800000001")
    ask(db, world, "13800000002")
    with pytest.raises(ResidentsBusy):
        ask(db, world, "13800000003")
    set_all(db, world, ResidentCode, created_at=wall_now() - timedelta(hours=1, seconds=1))
    ask(db, world, "13800000003")


def test_above_the_days_limit_nothing_is_sent_and_that_is_written_down(db: Database, world: World) -> None:
    for number in range(2):
        give_phone(db, world, number, phone=f"1380000000{number}")
    place_of(db, world)
    set_all(db, world, ResidentPage, codes_day_max=1)
    with phones() as arrived:
        for number in range(2):
            ask(db, world, f"1380000000{number}")
            deliver_codes(world)
    assert len(arrived.sent) == 1
    assert deeds(db, world, "resident:code") == [("resident:code:withhold", "refused")]


def test_a_provider_that_refuses_costs_a_code_and_one_that_is_away_is_tried_again(db: Database, world: World) -> None:
    give_phone(db, world)
    token = ask(db, world)
    with phones(SmsUnavailable(error="503")):
        deliver_codes(world)
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalars(select(ResidentCode.sent_at)).one() is None
    with phones() as arrived, unit_of_work(world.tenant_id, db=db) as session:
        taken = resident_codes.take_code(session, code_id=session.scalars(select(ResidentCode.id)).one())
        assert taken is not None
        first = taken[2]
    assert arrived.sent == []
    assert who(db, world, enter(db, world, token, first)) is not None
    ask(db, world)
    with phones(SmsRefused(error="blocked")):
        deliver_codes(world)


def test_the_code_comes_over_the_providers_wire_and_is_kept_nowhere_here(db: Database, world: World) -> None:
    server = FakeSmsServer(("127.0.0.1", 0), secret=SECRET, report_url="")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    provider = HttpSms(f"http://127.0.0.1:{server.server_address[1]}", SECRET)
    use_provider(provider)
    give_phone(db, world)
    token = ask(db, world)
    deliver_codes(world)
    use_provider(None)
    provider.close()
    server.shutdown()
    thread.join()
    server.server_close()
    (message,) = server.phones.messages.values()
    assert message["to"] == "+8613800138000"
    assert message["text"].startswith("【和风苑】")
    digits = re.findall(r"[0-9]{6}", message["text"])
    with unit_of_work(world.tenant_id, db=db) as session:
        kept = [str(said) for said in session.scalars(select(OutboxEvent.payload))]
        kept += [f"{r.actor} {r.subject} {r.facts} {r.after}" for r in session.scalars(select(AuditRecord))]
    assert [said for said in kept if digits[0] in said or "13800138000" in said] == []
    assert who(db, world, enter(db, world, token, digits[0])) is not None


def test_who_moves_out_sees_nothing_with_the_next_request(db: Database, world: World, business_clock: Any) -> None:
    token = resident_token(db, world)
    assert who(db, world, token) is not None
    today = place_of(db, world).today
    end_roles(db, world, on=today + timedelta(days=1))
    assert who(db, world, token) is not None
    end_roles(db, world, on=today)
    assert who(db, world, token) is None


def test_a_role_that_has_not_begun_shows_nothing_yet(db: Database, world: World, business_clock: Any) -> None:
    token = resident_token(db, world)
    set_all(db, world, PartyRole, began_on=place_of(db, world).today + timedelta(days=1))
    assert who(db, world, token) is None


@pytest.mark.parametrize("change", ["changed", "erased"])
def test_a_changed_or_erased_number_ends_its_sessions(db: Database, world: World, change: str) -> None:
    token = resident_token(db, world)
    if change == "changed":
        give_phone(db, world, phone="13800138001")
    else:
        set_all(db, world, Party, phone_blind=None)
    assert who(db, world, token) is None


@pytest.mark.parametrize(
    "values",
    [
        {"expires_at": wall_now() - timedelta(seconds=1)},
        {"seen_at": wall_now() - SESSION_IDLE_MAX - timedelta(seconds=1)},
        {"revoked_at": wall_now()},
    ],
)
def test_a_session_ends_by_its_limits(db: Database, world: World, values: dict[str, Any]) -> None:
    token = resident_token(db, world)
    set_all(db, world, ResidentSession, **values)
    assert who(db, world, token) is None


def test_signing_out_everywhere_ends_every_phone_of_the_number_and_no_other(db: Database, world: World) -> None:
    first, second = resident_token(db, world), resident_token(db, world)
    other = resident_token(db, world, 1, phone="13800138001")
    for everywhere, left in ((False, [second, other]), (True, [other])):
        with unit_of_work(world.tenant_id, db=db) as session:
            token = second if everywhere else first
            mine = find_resident(session, place=place_of(db, world), token=token)
            assert mine is not None
            end_session(session, resident=mine, by=SEEDER, everywhere=everywhere)
        assert [t for t in (first, second, other) if who(db, world, t)] == left


def test_one_number_of_several_parties_sees_the_rooms_of_all(db: Database, world: World) -> None:
    token = resident_token(db, world, 0)
    give_phone(db, world, 2)
    found = who(db, world, token)
    assert found is not None
    assert sorted(found.homes.since) == [world.space_ids[0], world.space_ids[2]]


def test_a_closed_page_is_no_address_and_ends_sessions(db: Database, world: World) -> None:
    token, place = resident_token(db, world), place_of(db, world)
    assert tenant_of_page(db, public_id=place.public_id) == world.tenant_id
    with unit_of_work(world.tenant_id, db=db) as session:
        for _twice in range(2):
            close_page(session, property_id=world.property_id, by=SEEDER, allowed=[world.property_id])
    with pytest.raises(NotFound):
        tenant_of_page(db, public_id=place.public_id)
    with unit_of_work(world.tenant_id, db=db) as session, pytest.raises(NotFound):
        place_of_page(session, public_id=place.public_id)
    assert who(db, world, token) is None  # opened again meanwhile, and the session stays ended
    assert deeds(db, world, "resident:page") == [
        ("resident:page:open", "done"), ("resident:page:close", "done"), ("resident:page:open", "done"),
    ]  # fmt: skip


def test_a_page_is_opened_only_where_one_may(db: Database, make_world: Callable[..., World]) -> None:
    world, stranger = make_world(), make_world()
    for property_id in (world.property_id, world.headquarters_id):
        with unit_of_work(world.tenant_id, db=db) as session, pytest.raises(NotFound):
            close_page(session, property_id=property_id, by=SEEDER, allowed=[stranger.property_id])


def test_what_is_over_is_forgotten(db: Database, world: World) -> None:
    resident_token(db, world)
    ask(db, world, STRANGER)
    with unit_of_work(world.tenant_id, db=db) as session:
        prune_codes(session)
        prune_sessions(session)
    assert (count(db, world, ResidentCode), count(db, world, ResidentSession)) == (1, 1)
    set_all(db, world, ResidentCode, created_at=wall_now() - timedelta(days=1, seconds=1))
    set_all(db, world, ResidentSession, expires_at=wall_now() - SESSION_IDLE_MAX - timedelta(seconds=1))
    with unit_of_work(world.tenant_id, db=db) as session:
        prune_codes(session)
        prune_sessions(session)
    assert (count(db, world, ResidentCode), count(db, world, ResidentSession)) == (0, 0)


def test_the_first_day_of_a_room_is_the_earliest_role_of_today(db: Database, world: World) -> None:
    token = resident_token(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        role = {"property_id": world.property_id, "party_id": world.party_ids[0], "space_id": world.space_ids[0]}
        session.add(PartyRole(**role, role="owner", began_on=date(2026, 5, 1)))
        session.add(PartyRole(**role, role="payer", began_on=date(2026, 1, 1), ended_on=date(2026, 2, 1)))
    found = who(db, world, token)
    assert found is not None
    assert found.homes.since == {world.space_ids[0]: date(2026, 5, 1)}
