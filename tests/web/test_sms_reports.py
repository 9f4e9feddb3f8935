"""`POST /webhooks/sms`: the provider's signed reports, and what is refused."""

import json

import pytest
from sqlalchemy import select

from app.kernel.unit_of_work import unit_of_work
from app.notify.models import Notice
from app.notify.service import queue_notice
from app.notify.sms import signed_headers

SECRET = "a secret of the provider and ours"


@pytest.fixture
def client(make_app):
    return make_app(SMS_SECRET=SECRET).test_client()


@pytest.fixture
def notice_id(world, business_clock):
    with unit_of_work(world.tenant_id) as session:
        notice = queue_notice(
            session, kind="zero", property_id=world.property_id, party_id=world.party_ids[0],
            subject=f"supply_account:{world.supply_account_ids[0]}", params={"account_number": "1"}, message_key="k",
        )  # fmt: skip
        return notice.id


def report(client, world, notice_id, secret=SECRET, **changes):
    said = {"message_id": "m-1", "reference": f"{world.tenant_id}.{notice_id}", "status": "delivered", "at": "x"}
    body = json.dumps(said | changes).encode()
    return client.post("/webhooks/sms", data=body, headers=signed_headers(secret, body))


def state(world):
    with unit_of_work(world.tenant_id) as session:
        return session.scalars(select(Notice.state)).one()


def test_a_signed_report_is_the_proof_and_repeating_it_changes_nothing(client, world, notice_id):
    assert [report(client, world, notice_id).status_code for _ in range(2)] == [204, 204]
    assert state(world) == "delivered"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"secret": "another"}, 401, "sms_signature_wrong"),
        ({"status": "read"}, 422, "sms_report_unreadable"),
        ({"reference": "x.y"}, 404, "not_found"),
        ({"reference": "1"}, 404, "not_found"),
        ({"reference": "999999.1"}, 404, "not_found"),
        ({"reference": f"{'9' * 30}.1"}, 404, "not_found"),
    ],
)
def test_what_is_no_report_of_ours_changes_nothing(client, world, notice_id, changes, status, code):
    answer = report(client, world, notice_id, **changes)
    assert (answer.status_code, answer.get_json()["error"], state(world)) == (status, code, "queued")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"message_id": 1}', b"\xff\xfe"])
def test_a_signed_body_that_is_no_report_is_unreadable(client, world, notice_id, body):
    answer = client.post("/webhooks/sms", data=body, headers=signed_headers(SECRET, body))
    assert (answer.status_code, answer.get_json()["error"]) == (422, "sms_report_unreadable")


def test_an_unsigned_one_is_not_even_read(client, world, notice_id):
    assert client.post("/webhooks/sms", data=b"{}").status_code == 401


def test_nested_brackets_are_unreadable_not_a_fault(client):
    body = b"[" * 100_000
    answer = client.post("/webhooks/sms", data=body, headers=signed_headers(SECRET, body))
    assert (answer.status_code, answer.get_json()["error"]) == (422, "sms_report_unreadable")


@pytest.mark.parametrize("strange", ["a\x00b", "a\ud800"])
def test_what_the_database_cannot_keep_is_left_out(client, world, notice_id, strange):
    assert report(client, world, notice_id, detail=strange, at=strange).status_code == 204
    assert state(world) == "delivered"
