"""Notices: one message per key, sent between two transactions, proved by the provider's report."""

import json
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from app.kernel.errors import NotFound
from app.kernel.outbox import OutboxDelivery
from app.kernel.unit_of_work import unit_of_work
from app.notify import sender
from app.notify.fake_sms import FakeSmsServer
from app.notify.models import Notice
from app.notify.render import KINDS, Place, render_notice
from app.notify.sender import NoPhone, NoProvider, send_waiting, use_provider
from app.notify.service import DeliveryReport, queue_notice, record_report
from app.notify.sms import HttpSms
from app.tenants.models import Party
from app.tenants.parties import register_party
from tests.factories.world import World

SECRET = "a secret of the provider and ours"
PARAMS = {"episode": 1, "account_number": "00000001", "available_fen": -2_010, "overdraft_fen": 2_000}


@pytest.fixture
def provider() -> Iterator[FakeSmsServer]:
    server = FakeSmsServer(("127.0.0.1", 0), secret=SECRET, report_url="")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    http = HttpSms(f"http://127.0.0.1:{server.server_address[1]}", SECRET)
    use_provider(http)
    yield server
    use_provider(None)
    http.close()
    server.shutdown()
    thread.join()
    server.server_close()


def queue(world: World, *, key: str = "k1", phone: str | None = "13812345678", kind: str = "zero") -> int | None:
    with unit_of_work(world.tenant_id) as session:
        party = register_party(session, property_id=world.property_id, name="住户", phone=phone)
        notice = queue_notice(
            session,
            kind=kind,
            property_id=world.property_id,
            party_id=party.id,
            subject=f"supply_account:{world.supply_account_ids[0]}",
            params=PARAMS,
            message_key=key,
        )
        return notice.id if notice else None


def notice(world: World, id_: int | None = None) -> Notice:
    with unit_of_work(world.tenant_id) as session:
        query = select(Notice).order_by(Notice.id.desc()).limit(1)
        return session.scalars(query if id_ is None else select(Notice).where(Notice.id == id_)).one()


def retry_now(world: World) -> None:
    with unit_of_work(world.tenant_id) as session:
        session.execute(update(OutboxDelivery).values(not_before=notice(world).queued_at.replace(year=2020)))


def report(id_: int, *, delivered: bool = True, provider_id: str = "m-000001") -> DeliveryReport:
    return DeliveryReport(id_, provider_id, delivered, "2026-07-15T02:00:00Z")


def test_a_notice_goes_out_and_its_report_is_the_proof(world, business_clock, provider):
    id_ = queue(world)
    assert send_waiting(world.tenant_id) == 1
    assert (notice(world).state, notice(world).provider_id) == ("sent", "m-000001")
    message = next(iter(provider.phones.messages.values()))
    assert (message["to"], message["reference"]) == ("+8613812345678", f"{world.tenant_id}.{id_}")
    assert "-¥20.10" in message["text"]
    with unit_of_work(world.tenant_id) as session:
        assert record_report(session, report=report(id_)) is True
        assert record_report(session, report=report(id_)) is False
    proved = notice(world)
    assert (proved.state, proved.delivered_at) == ("delivered", business_clock.now())
    assert "138" not in json.dumps(proved.proof) + json.dumps(proved.params)


def test_the_same_key_is_queued_once(world, business_clock):
    assert queue(world) is not None
    assert queue(world) is None


def test_a_report_that_overtakes_its_answer_is_kept(world, business_clock, provider, monkeypatch):
    """The provider's report may be here before our own second transaction."""
    id_ = queue(world)
    send = sender._send

    def send_and_be_overtaken(draft):
        result = send(draft)
        with unit_of_work(world.tenant_id) as session:
            record_report(session, report=report(id_, provider_id=result.provider_id))
        return result

    monkeypatch.setattr(sender, "_send", send_and_be_overtaken)
    send_waiting(world.tenant_id)
    assert notice(world).state == "delivered"
    assert send_waiting(world.tenant_id) == 0


def test_a_provider_that_is_away_gets_it_later_and_once(world, business_clock, provider):
    queue(world)
    provider.phones.knobs.update(fail=1, drop=1)
    send_waiting(world.tenant_id)
    assert notice(world).state == "queued"
    retry_now(world)
    send_waiting(world.tenant_id)
    assert notice(world).state == "queued"
    retry_now(world)
    send_waiting(world.tenant_id)
    assert (notice(world).state, notice(world).attempts) == ("sent", 3)
    assert len(provider.phones.messages) == 1


def test_after_five_tries_it_has_failed_and_the_ladder_hears_of_it(world, business_clock, provider):
    queue(world)
    provider.phones.knobs.update(fail=99)
    for _ in range(5):
        send_waiting(world.tenant_id)
        retry_now(world)
    assert (notice(world).state, notice(world).proof) == ("failed", {"unsent": "sms_unavailable"})
    assert send_waiting(world.tenant_id) == 0


@pytest.mark.parametrize(
    ("phone", "knobs", "why"),
    [(None, {}, NoPhone.code), ("13812345678", {"refuse": 1}, "sms_refused")],
    ids=["no phone", "refused"],
)
def test_what_can_never_arrive_is_undeliverable_at_once(world, business_clock, provider, phone, knobs, why):
    provider.phones.knobs.update(knobs)
    queue(world, phone=phone)
    send_waiting(world.tenant_id)
    assert (notice(world).state, notice(world).proof) == ("undeliverable", {"unsent": why})


def test_without_a_provider_nothing_is_pretended(world, business_clock, monkeypatch):
    monkeypatch.delenv("SMS_URL", raising=False)
    use_provider(None)
    queue(world)
    send_waiting(world.tenant_id)
    assert (notice(world).state, notice(world).proof) == ("undeliverable", {"unsent": NoProvider.code})


@pytest.mark.parametrize("wrong", [{"provider_id": "m-999999"}, {"id_": 10**9}])
def test_a_report_about_another_message_is_not_ours(world, business_clock, provider, wrong):
    id_ = queue(world)
    send_waiting(world.tenant_id)
    with unit_of_work(world.tenant_id) as session, pytest.raises(NotFound):
        record_report(session, report=report(**({"id_": id_} | wrong)))
    assert notice(world).state == "sent"


def test_what_was_delivered_stays_delivered(world, business_clock, provider):
    id_ = queue(world)
    send_waiting(world.tenant_id)
    with unit_of_work(world.tenant_id) as session:
        record_report(session, report=report(id_))
        assert record_report(session, report=report(id_, delivered=False)) is False
    assert notice(world).state == "delivered"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hours_left", [None, 3, 50])
def test_every_template_speaks_both_languages(kind, hours_left):
    params = PARAMS | {"hours_left": hours_left, "stop_from": "2026-07-16T00:00:00+00:00"}
    place = Place("和风苑", "Asia/Shanghai")
    zh, en = (render_notice(kind=kind, params=params, place=place, locale=locale) for locale in ("zh", "en"))
    assert zh.startswith("【和风苑】户号 00000001")
    assert en.startswith("[和风苑] Account 00000001")
    assert en.replace("和风苑", "").isascii() or "¥" in en
    if kind == "last_warning":
        assert "07-16 08:00" in zh


def test_a_tenants_notice_cannot_be_reported_from_another(make_world, business_clock, provider):
    ours, theirs = make_world(), make_world()
    id_ = queue(theirs)
    send_waiting(theirs.tenant_id)
    with unit_of_work(ours.tenant_id) as session, pytest.raises(NotFound):
        record_report(session, report=report(id_))
    with unit_of_work(theirs.tenant_id) as session:
        assert session.scalars(select(Party.id).where(Party.name == "住户")).one()
