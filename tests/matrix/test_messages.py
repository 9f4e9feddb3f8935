"""What leaves by other doors than pages: readings that machines send (S03), calls to a group's own systems (S08)."""

import secrets

from sqlalchemy import select, text

from app.jobs.handlers import HANDLERS
from app.kernel.outbox import Delivery, OutboxDelivery, OutboxEvent
from app.kernel.unit_of_work import unit_of_work
from app.meters.models import Meter
from app.notify.webhook_models import WebhookDelivery, WebhookEndpoint
from tests.matrix.canaries import SEEN
from tests.matrix.table import NO_UUID
from tests.matrix.town import FOREIGN, OWN, SIBLING, Town


def _send(town: Town, body: object) -> tuple[int, str]:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    answer = town.ask(town.guests["token"], "POST", "/api/v1/readings", json=body, headers=headers)
    said = answer.get_json()
    (said.get("error") or {}).pop("reference", None)
    return answer.status_code, str(said)


def _number(town: Town, place: str) -> str:
    with unit_of_work(town.worlds[place].tenant_id, db=town.db) as session:
        return session.scalars(select(Meter.number).where(Meter.id == town.worlds[place].meter_ids[0])).one()


def test_a_machine_names_a_foreign_property_as_if_it_named_none(town: Town) -> None:
    readings = [{"meter": "0", "read_at": "2026-07-15T10:00:00+08:00", "register_wh": 1}]
    nobody = _send(town, {"property": NO_UUID, "readings": readings})
    assert nobody[0] == 404
    for place in (SIBLING, FOREIGN):
        assert _send(town, {"property": town.public_id(place), "readings": readings}) == nobody


def test_a_machine_reads_a_foreign_meter_as_if_it_were_none(town: Town) -> None:
    def said_of(number: str) -> tuple[int, str]:
        row = {"meter": number, "read_at": "2026-07-15T10:00:00+08:00", "register_wh": 1}
        return _send(town, {"readings": [row]})

    with town.writes() as written:
        nobody = said_of("no-such-meter")
        assert [said_of(_number(town, place)) for place in (SIBLING, FOREIGN)] == [nobody, nobody]
    assert "meter_unknown" in nobody[1]
    assert not set(written) & {"readings", "reading_cases", "meters"}


def test_a_property_s_system_is_told_nothing_of_the_sibling(town: Town) -> None:
    mine, sibling = town.worlds[OWN], town.worlds[SIBLING]
    with unit_of_work(mine.tenant_id, db=town.db) as session, session.begin_nested() as taken_back:
        asked = select(OutboxDelivery.event_id).where(OutboxDelivery.consumer == "webhooks")
        events = session.scalars(select(OutboxEvent).where(OutboxEvent.id.in_(asked))).all()
        assert events
        HANDLERS["webhooks"](session, [Delivery(e.id, e.kind, e.payload, 0, "", e.id, e.created_at) for e in events])
        told = {}
        for world in (mine, sibling):
            endpoints = select(WebhookEndpoint.id).where(WebhookEndpoint.node_id == world.property_id)
            query = select(WebhookDelivery.body).where(
                WebhookDelivery.endpoint_id.in_(endpoints), WebhookDelivery.event_id.in_([e.id for e in events])
            )
            told[world.property_id] = str(session.scalars(query).all())
        taken_back.rollback()
    ids = {place: town.public_id(place) for place in (OWN, SIBLING)}
    assert ids[OWN] in told[mine.property_id]
    assert ids[SIBLING] in told[sibling.property_id]
    assert ids[SIBLING] not in told[mine.property_id]
    assert SEEN.search(told[mine.property_id]) is None


def test_messages_to_residents_name_their_own_property_only(town: Town) -> None:
    """What waits to be sent is written from these rows: none at the property carries a word of another."""
    with unit_of_work(town.worlds[OWN].tenant_id, db=town.db) as session:
        rows = session.execute(
            text("SELECT params::text, proof::text FROM notices WHERE property_id = :mine"),
            {"mine": town.worlds[OWN].property_id},
        )
        assert [row for row in rows if SEEN.search(str(row))] == []
