"""Webhooks against a receiver that runs beside us and checks signatures as the documentation says."""

import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.jobs import handlers
from app.kernel import outbound
from app.kernel.actor import Actor
from app.kernel.clock import wall_now
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.outbound import AddressForbidden, NoAnswer, Outbound
from app.kernel.outbox import OutboxDelivery, tell
from app.kernel.unit_of_work import unit_of_work
from app.notify import webhook_log, webhook_rules, webhooks
from app.notify.webhook_models import WebhookDelivery, WebhookEndpoint
from app.notify.webhook_rules import ATTEMPTS_MAX, BACK_OFF, DEAD_MAX, KINDS, PING, next_try
from app.notify.webhook_sender import send_webhooks
from app.notify.webhooks import WebhookDisabled, WebhookKindsUnknown, WebhookNameMissing, WebhooksTooMany
from app.settings import Settings
from app.tenants.models import AuditRecord, Tenant
from tests.conftest import MovableClock
from tests.factories.history import pay
from tests.factories.hooks import Hook, receiver, self_signed
from tests.factories.world import World, add_property

BY = Actor.system("tests")


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with receiver() as running:
        yield running


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, hook: Hook, business_clock: MovableClock) -> None:
    monkeypatch.setenv("WEBHOOKS_TO_LOOPBACK", "1")
    hook.set(secret="", status=200, location="", drip=0, bytes=0)
    # Other tests of this worker make groups that are no demos: that is looked at in a test of its own.
    monkeypatch.setattr(webhooks, "to_loopback", lambda _session, settings: settings.webhooks_to_loopback == "1")


def add(session: Session, world: World, hook: Hook, **wishes: object) -> tuple[WebhookEndpoint, str]:
    given = {
        "node_id": world.headquarters_id, "name": "财务系统", "url": hook.url, "kinds": ["payments.succeeded"],
        "by": BY, "settings": Settings.from_env(),
    }  # fmt: skip
    endpoint, secret = webhooks.add_endpoint(session, **(given | wishes))  # type: ignore[arg-type]
    hook.set(secret=secret)
    return endpoint, secret


def deliveries(db: Database, world: World) -> list[WebhookDelivery]:
    with unit_of_work(world.tenant_id, db=db) as session:
        return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))


def mine(hook: Hook, world_deliveries: list[WebhookDelivery]) -> list[dict[str, object]]:
    ids = {str(d.public_id) for d in world_deliveries}
    return [said for said in hook.seen() if said["id"] in ids]


def make_due(db: Database, world: World) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(WebhookDelivery).values(not_before=wall_now()))


def test_a_payment_is_told_signed_with_ids_and_figures_only(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        add(session, world, hook)
    pay(db, world, 0, fen=5_000)
    handlers.drain(world.tenant_id, "webhooks")
    (kept,) = deliveries(db, world)
    (told,) = mine(hook, [kept])
    assert (kept.state, kept.attempts, kept.last_status, kept.last_error) == ("delivered", 1, 200, None)
    assert (told["good"], told["signatures"], told["body"]) == (True, 1, kept.body)
    assert kept.body["type"] == "payments.succeeded"
    assert sorted(kept.body["data"]) == [
        "account", "account_number", "amount_fen", "channel", "payment", "property", "received_at",
    ]  # fmt: skip
    assert kept.body["data"]["amount_fen"] == 5_000


def test_an_endpoint_hears_of_its_own_branch_and_of_what_it_asked_for(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        sibling = add_property(session, world, name="隔壁苑")
        add(session, world, hook, node_id=sibling, name="隔壁")
        add(session, world, hook, kinds=["commands.ended"], name="只听命令")
        theirs = add(session, world, hook, node_id=world.property_id)[0].id
    pay(db, world, 0, fen=5_000)
    handlers.drain(world.tenant_id, "webhooks")
    assert [d.endpoint_id for d in deliveries(db, world)] == [theirs]


def test_an_event_handed_over_twice_is_written_down_once(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        add(session, world, hook)
    pay(db, world, 0, fen=5_000)
    handlers.drain(world.tenant_id, "webhooks")
    with unit_of_work(world.tenant_id, db=db) as session:
        again = update(OutboxDelivery).where(OutboxDelivery.consumer == "webhooks")
        session.execute(again.values(state="waiting"))
    handlers.drain(world.tenant_id, "webhooks")
    assert len(mine(hook, deliveries(db, world))) == 1


def test_events_whose_thing_is_gone_or_that_nobody_describes_are_told_to_nobody(
    db: Database, world: World, hook: Hook
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        add(session, world, hook, kinds=KINDS)
        tell(session, kind="payments.succeeded", payload={"payment_id": 10**9, "supply_account_id": 1})
        tell(session, kind=webhooks.ASKED, payload={"endpoint_id": 1})
    handlers.drain(world.tenant_id, "webhooks")
    assert deliveries(db, world) == []


def test_a_failure_is_tried_again_later_and_later_then_given_up(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        webhooks.ping(session, endpoint=add(session, world, hook)[0], by=BY)
    hook.set(status=500)
    waits = []
    for _attempt in range(ATTEMPTS_MAX):
        make_due(db, world)
        assert send_webhooks(world.tenant_id) == 1
        (kept,) = deliveries(db, world)
        assert kept.last_at is not None
        waits.append(kept.not_before - kept.last_at)
    assert tuple(waits[:-1]) == BACK_OFF
    assert (kept.state, kept.attempts, kept.last_status, kept.last_error) == ("dead", 8, 500, "http_500")
    assert timedelta(hours=22) < sum(BACK_OFF, timedelta()) < timedelta(hours=24)
    assert next_try(ATTEMPTS_MAX, wall_now()) is None
    assert send_webhooks(world.tenant_id) == 0


def test_what_is_sent_again_keeps_its_id(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        endpoint = add(session, world, hook)[0]
        webhooks.ping(session, endpoint=endpoint, by=BY)
        endpoint_id = endpoint.public_id
    for _twice in range(2):
        handlers.drain(world.tenant_id, "webhooks")
        (kept,) = deliveries(db, world)
        with unit_of_work(world.tenant_id, db=db) as session:
            again = webhook_log.access_delivery(session, public_id=kept.public_id, allowed=[world.headquarters_id])
            webhooks.send_again(session, delivery=again, by=BY)
    assert [said["id"] for said in mine(hook, [kept])] == [str(kept.public_id)] * 2
    with unit_of_work(world.tenant_id, db=db) as session:
        endpoint = webhooks.access_endpoint(session, public_id=endpoint_id, allowed=[world.headquarters_id])
        webhooks.switch_off(session, endpoint=endpoint, why="person", by=BY)
        for refused in (
            lambda: webhooks.ping(session, endpoint=endpoint, by=BY),
            lambda: webhooks.send_again(
                session, by=BY, delivery=webhook_log.access_delivery(
                    session, public_id=kept.public_id, allowed=[world.headquarters_id]
                ),
            ),
        ):  # fmt: skip
            with pytest.raises(WebhookDisabled):
                refused()


@pytest.mark.parametrize(("status", "pings", "why"), [(500, DEAD_MAX, "dead"), (410, 1, "gone")])
def test_an_endpoint_that_never_answers_well_is_switched_off_and_the_log_says_so(
    db: Database, world: World, hook: Hook, status: int, pings: int, why: str
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        endpoint = add(session, world, hook)[0]
        for _each in range(pings):
            webhooks.ping(session, endpoint=endpoint, by=BY)
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(WebhookDelivery).values(attempts=ATTEMPTS_MAX - 1))
    hook.set(status=status)
    for _each in range(pings):
        send_webhooks(world.tenant_id)
    with unit_of_work(world.tenant_id, db=db) as session:
        found = session.scalars(select(WebhookEndpoint)).one()
        off = session.scalars(select(AuditRecord).where(AuditRecord.deed == "api:webhook:disable")).one()
        assert (found.disabled_why, off.actor, (off.after or {})["disabled"]) == (why, "system:webhooks", why)
        webhooks.switch_on(session, endpoint=found, by=BY)
        assert (found.disabled_at, found.dead_in_a_row) == (None, 0)


def test_a_success_in_between_begins_the_count_anew(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        endpoint = add(session, world, hook)[0]
        endpoint.dead_in_a_row = DEAD_MAX - 1
        webhooks.ping(session, endpoint=endpoint, by=BY)
    send_webhooks(world.tenant_id)
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalars(select(WebhookEndpoint.dead_in_a_row)).one() == 0


def test_a_silent_endpoint_keeps_no_other_waiting(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        closed = add(session, world, hook, url="http://localhost:1/", name="关着")[0]
        for _each in range(3):
            webhooks.ping(session, endpoint=closed, by=BY)
        webhooks.ping(session, endpoint=add(session, world, hook)[0], by=BY)
    assert send_webhooks(world.tenant_id) == 2
    kept = deliveries(db, world)
    assert [(d.state, d.attempts) for d in kept] == [("waiting", 1), ("waiting", 0), ("waiting", 0), ("delivered", 1)]
    assert (kept[0].last_error or "").startswith("outbound_no_answer")


def test_both_secrets_sign_for_a_day_after_a_change(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        endpoint, old = add(session, world, hook)
        new = webhooks.rotate_secret(session, endpoint=endpoint, by=BY)
        assert webhooks.good_secrets(session, endpoint) == [new, old]
        assert new.encode() not in endpoint.secret_cipher
    for secret in (old, new):
        hook.set(secret=secret)
        with unit_of_work(world.tenant_id, db=db) as session:
            webhooks.ping(session, endpoint=session.scalars(select(WebhookEndpoint)).one(), by=BY)
        send_webhooks(world.tenant_id)
    assert [(said["good"], said["signatures"]) for said in mine(hook, deliveries(db, world))] == [(True, 2)] * 2
    with unit_of_work(world.tenant_id, db=db) as session:
        session.execute(update(WebhookEndpoint).values(secret_old_until=wall_now()))
        webhooks.forget_old_secrets(session)
        session.expire_all()
        assert webhooks.good_secrets(session, session.scalars(select(WebhookEndpoint)).one()) == [new]


def test_the_log_never_holds_a_secret(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        endpoint, secret = add(session, world, hook)
        other = webhooks.rotate_secret(session, endpoint=endpoint, by=BY)
        webhooks.change_endpoint(
            session, endpoint=endpoint, name="新名", url=hook.url, kinds=[KINDS[0]], by=BY, settings=Settings.from_env()
        )
        records = session.scalars(select(AuditRecord).where(AuditRecord.deed.like("api:webhook:%"))).all()
    assert [r.deed for r in sorted(records, key=lambda r: r.id)] == [
        "api:webhook:add", "api:webhook:rotate", "api:webhook:change",
    ]  # fmt: skip
    said = str([(r.before, r.after, r.facts) for r in records])
    assert secret not in said
    assert other not in said


@pytest.mark.parametrize(
    ("wishes", "refusal"),
    [
        ({"name": " "}, WebhookNameMissing),
        ({"kinds": []}, WebhookKindsUnknown),
        ({"kinds": ["readings.arrived"]}, WebhookKindsUnknown),
        ({"kinds": [PING]}, WebhookKindsUnknown),
        ({"url": "https://169.254.169.254/latest/meta-data/"}, AddressForbidden),
        ({"url": "http://example.com/"}, AddressForbidden),
    ],
)
def test_what_is_not_registered(
    db: Database, world: World, hook: Hook, wishes: dict[str, object], refusal: type[Exception]
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session, pytest.raises(refusal):
        add(session, world, hook, **wishes)


def test_there_is_an_end_to_endpoints(db: Database, world: World, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "ENDPOINTS_MAX", 1)
    with unit_of_work(world.tenant_id, db=db) as session:
        add(session, world, hook)
        with pytest.raises(WebhooksTooMany):
            add(session, world, hook)


def test_not_there_and_not_yours_are_one(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        endpoint = add(session, world, hook)[0]
        with pytest.raises(NotFound):
            webhooks.access_endpoint(session, public_id=endpoint.public_id, allowed=[world.property_id])
        assert webhooks.list_endpoints(session, allowed=[world.property_id]) == []


def test_a_redirect_is_an_answer_and_is_not_followed(db: Database, world: World, hook: Hook) -> None:
    hook.set(status=302, location="http://169.254.169.254/latest/meta-data/")
    with unit_of_work(world.tenant_id, db=db) as session:
        webhooks.ping(session, endpoint=add(session, world, hook)[0], by=BY)
    send_webhooks(world.tenant_id)
    (kept,) = deliveries(db, world)
    assert (kept.state, kept.last_status, kept.last_error) == ("waiting", 302, "http_302")


def test_deliveries_are_forgotten_after_a_while(db: Database, world: World, hook: Hook) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        webhooks.ping(session, endpoint=add(session, world, hook)[0], by=BY)
    send_webhooks(world.tenant_id)
    with unit_of_work(world.tenant_id, db=db) as session:
        webhook_log.prune_deliveries(session, ended_before=wall_now() + timedelta(days=1))
    assert deliveries(db, world) == []


# --- the door, against a receiver with TLS ---


def test_loopback_is_for_demo_groups_alone(db: Database, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    on, off = Settings.from_env(ENV | {"WEBHOOKS_TO_LOOPBACK": "1"}), Settings.from_env(ENV)
    with unit_of_work(world.tenant_id, db=db) as session:
        alone = session.scalar(select(Tenant.id).where(Tenant.kind != "demo").limit(1)) is None
        assert (webhooks.to_loopback(session, on), webhooks.to_loopback(session, off)) == (alone, False)
        session.execute(update(Tenant).where(Tenant.id == world.tenant_id).values(kind="real"))
        assert not webhooks.to_loopback(session, on)
        session.rollback()


def test_tls_speaks_of_the_name_and_connects_to_the_judged_address(tmp_path: Path) -> None:
    certificate, asked = self_signed(tmp_path, "localhost"), []

    def names(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    with receiver(certificate) as tls:
        door = Outbound(loopback=True, resolve=names, tls=ssl.create_default_context(cafile=str(certificate)))
        assert door.post(tls.url, body=b"{}", headers={}).status == 200
        assert (asked, tls.seen()[0]["host"], tls.seen()[0]["sni"]) == (
            ["localhost"], f"localhost:{tls.port}", "localhost",
        )  # fmt: skip
        with pytest.raises(AddressForbidden):
            door.post(tls.url, body=b"{}", headers={})


def test_a_certificate_of_another_name_or_of_nobody_is_refused(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "other.example")
    with receiver(certificate) as tls:
        for trusted in (ssl.create_default_context(cafile=str(certificate)), None):
            with pytest.raises(NoAnswer):
                Outbound(loopback=True, tls=trusted).post(tls.url, body=b"{}", headers={})
        assert tls.seen() == []


def test_a_long_answer_is_cut_and_a_slow_one_is_broken_off(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    hook.set(bytes=5 * outbound.ANSWER_BYTES_MAX)
    assert len(Outbound(loopback=True).post(hook.url, body=b"{}", headers={}).body) == outbound.ANSWER_BYTES_MAX
    monkeypatch.setattr(outbound, "WHOLE_S", 1)
    hook.set(drip=1)
    with pytest.raises(NoAnswer):
        Outbound(loopback=True).post(hook.url, body=b"{}", headers={})


def test_the_shape_is_that_of_standard_webhooks() -> None:
    """The published example of the standard: id, timestamp, body and secret with the signature they make."""
    made = webhook_rules.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )  # fmt: skip
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


ENV = {
    "DATABASE_URL": "x",
    "REDIS_URL": "x",
    "SECRET_KEY": "x",
    "KEY_ENCRYPTION_KEY": "00" * 32,
    "AUDIT_KEY": "a0" * 32,
}
