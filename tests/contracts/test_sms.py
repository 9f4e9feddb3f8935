"""The SMS wire format, examined from both sides: our client against the provider, the provider's reports against us."""

import json
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from app.notify import sms
from app.notify.fake_sms import FakeSmsServer
from app.notify.sms import (
    SIGNATURE,
    TIMESTAMP,
    HttpSms,
    SignatureWrong,
    Sms,
    SmsRefused,
    SmsUnavailable,
    check_signature,
    sign,
    signed_headers,
)

SECRET = "a secret of the provider and ours"
NOW_S = 1_784_000_000
#: Minted by hand: HMAC-SHA256("k", "1700000000\n{}").
KNOWN = "a044eb980a7351ad45b01a0f16ee0717ec2a39004e463426c6389e13b581ce98"


@pytest.fixture
def provider() -> Iterator[FakeSmsServer]:
    server = FakeSmsServer(("127.0.0.1", 0), secret=SECRET, report_url="")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(provider: FakeSmsServer) -> Iterator[HttpSms]:
    http = HttpSms(address(provider), SECRET)
    yield http
    http.close()


def address(provider: FakeSmsServer) -> str:
    return f"http://127.0.0.1:{provider.server_address[1]}"


def message(key: str = "k1", to: str = "+8613800000000") -> Sms:
    return Sms(to, "【和风苑】余额不足", key, "7.12")


def tell(provider: FakeSmsServer, **knobs: int) -> None:
    body = json.dumps(knobs).encode()
    urllib.request.urlopen(urllib.request.Request(f"{address(provider)}/control", data=body), timeout=5).close()


def received(provider: FakeSmsServer) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"{address(provider)}/messages", timeout=5) as answer:
        return json.load(answer)


def test_a_message_arrives_as_it_was_written(provider, client):
    assert client.send(message()) == "m-000001"
    phone = received(provider)[0]
    assert (phone["to"], phone["text"], phone["reference"]) == ("+8613800000000", "【和风苑】余额不足", "7.12")


def test_the_same_key_is_one_message(provider, client):
    assert [client.send(message()) for _ in range(3)] == ["m-000001"] * 3
    assert client.send(message(key="k2")) == "m-000002"
    assert len(received(provider)) == 2


def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_key(provider, client):
    tell(provider, drop=1)
    with pytest.raises(SmsUnavailable):
        client.send(message())
    assert client.send(message()) == "m-000001"
    assert len(received(provider)) == 1


@pytest.mark.parametrize(
    ("knob", "failure"), [({"fail": 1}, SmsUnavailable), ({"refuse": 1}, SmsRefused)], ids=["fail", "refuse"]
)
def test_later_and_never_are_told_apart(provider, client, knob, failure):
    tell(provider, **knob)
    with pytest.raises(failure):
        client.send(message())
    assert client.send(message()) == "m-000001"


def test_a_number_that_is_none_is_refused(client):
    with pytest.raises(SmsRefused, match="bad_number"):
        client.send(message(to="13800000000"))


def test_another_secret_is_refused(provider):
    stranger = HttpSms(address(provider), "another secret")
    with pytest.raises(SmsRefused, match="signature"):
        stranger.send(message())
    stranger.close()


def test_nobody_at_the_other_end():
    nobody = HttpSms("http://127.0.0.1:1", SECRET)
    with pytest.raises(SmsUnavailable):
        nobody.send(message())
    nobody.close()


def test_the_signature_is_what_the_page_says():
    """Recomputed with a second tool: printf '1700000000\\n{}' | openssl dgst -sha256 -hmac k."""
    assert sign("k", timestamp="1700000000", body=b"{}") == KNOWN


def mutants(headers: dict[str, str], body: bytes) -> Iterator[tuple[str | None, str | None, bytes]]:
    stamp, signature = headers[TIMESTAMP], headers[SIGNATURE]
    yield None, signature, body
    yield stamp, None, body
    yield "", "", b""
    yield stamp + "0", signature, body
    for i in range(len(stamp)):
        yield stamp[:i] + str((int(stamp[i]) + 1) % 10) + stamp[i + 1 :], signature, body
    for i in range(len(signature)):
        yield stamp, signature[:i] + ("0" if signature[i] != "0" else "1") + signature[i + 1 :], body
    for i in range(len(body)):
        yield stamp, signature, body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :]


def test_any_single_byte_changed_is_refused():
    """P03, for the reports of this provider."""
    body = b'{"message_id": "m-1", "reference": "7.12", "status": "delivered", "at": "x"}'
    headers = signed_headers(SECRET, body)
    check_signature(SECRET, timestamp=headers[TIMESTAMP], signature=headers[SIGNATURE], body=body)
    tried = 0
    for stamp, signature, changed in mutants(headers, body):
        with pytest.raises(SignatureWrong):
            check_signature(SECRET, timestamp=stamp, signature=signature, body=changed)
        tried += 1
    assert tried > 140


@pytest.mark.parametrize(
    ("off_s", "good"), [(-600, False), (-301, False), (-299, True), (0, True), (299, True), (301, False)]
)
def test_a_signature_is_good_for_five_minutes(monkeypatch, off_s, good):
    """P04. The second in which it was signed does not end meanwhile."""
    monkeypatch.setattr(sms, "now_s", lambda: NOW_S)
    stamp = str(NOW_S + off_s)
    signature = sign(SECRET, timestamp=stamp, body=b"{}")
    if good:
        check_signature(SECRET, timestamp=stamp, signature=signature, body=b"{}")
    else:
        with pytest.raises(SignatureWrong):
            check_signature(SECRET, timestamp=stamp, signature=signature, body=b"{}")


def test_without_a_secret_nothing_is_signed():
    headers = signed_headers("", b"{}")
    with pytest.raises(SignatureWrong):
        check_signature("", timestamp=headers[TIMESTAMP], signature=headers[SIGNATURE], body=b"{}")
