"""What may be called from inside: the table of S25, names that resolve to something private, names that change."""

from collections.abc import Iterable
from ipaddress import ip_address

import pytest

from app.kernel.outbound import AddressForbidden, NoAnswer, Outbound, is_public

PUBLIC = "93.184.215.14"

#: Written out in the address itself.
SPELLED = (
    "https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://0x7f.1/", "https://0x7f000001/",
    "https://2130706433/", "https://0177.0.0.1/", "https://017700000001/", "https://0/", "https://0.0.0.0/",
    "https://10.0.0.8/", "https://172.16.3.4/", "https://192.168.1.1/", "https://100.64.0.1/", "https://169.254.169.254/",
    "https://100.100.100.200/", "https://168.63.129.16/", "https://192.0.0.192/", "https://198.18.0.1/",
    "https://192.0.2.7/", "https://224.0.0.1/", "https://255.255.255.255/", "https://240.0.0.1/", "https://[::1]/",
    "https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2001:0:1::1]/",
    "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[fc00::1]/", "https://[fd00:ec2::254]/",
    "https://[ff02::1]/", "https://[2001:db8::1]/", "https://[100::1]/", "https://127.0.0.1./", "https://localhost/",
    "https://localhost./", "https://metadata/", "https://①②⑦.0.0.1/", "https://127.0.0.1%2f@example.com/",
)  # fmt: skip

#: Not the way an address may be written.
SHAPED = (
    "http://example.com/", "https://example.com:8080/", "https://example.com:22/", "https://example.com:80/",
    "https://user:pass@example.com/", "https://example.com@127.0.0.1/", "https://example.com#@127.0.0.1/",
    "https://example.com\\@127.0.0.1/", "ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL",
    "//example.com/", "example.com", "", "https://", "https:///x", "https://exa mple.com/", "https://example.com/\r\nX: y",
    "https://example.com:99999/", "https://example.com/" + "a" * 600, "https://[::1/", "HTTPS://例子.中国/",
)  # fmt: skip

#: What a name may resolve to; one bad address among good ones is enough.
RESOLVED = (
    ["127.0.0.1"], ["10.1.2.3"], ["169.254.169.254"], ["100.64.0.1"], ["::1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"],
    ["64:ff9b::a9fe:a9fe"], ["fd00::1"], [PUBLIC, "127.0.0.1"], ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "10.0.0.1"],
    ["0.0.0.0"],
)  # fmt: skip


class Names:
    """A name server that gives its answers in turn, and counts how often it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int) -> Iterable[str]:
        self.asked += 1
        if not self.answers:
            raise OSError("no such name")
        return self.answers.pop(0)


def refused(outbound: Outbound, url: str) -> bool:
    try:
        outbound.post(url, body=b"{}", headers={})
    except AddressForbidden:
        return True
    return False


@pytest.mark.parametrize("url", [*SPELLED, *SHAPED])
def test_what_is_refused_by_its_spelling_asks_no_name_server(url: str) -> None:
    names = Names([PUBLIC])
    assert refused(Outbound(resolve=names), url)
    with pytest.raises(AddressForbidden):
        Outbound(resolve=names).check_url(url)
    assert names.asked == 0


@pytest.mark.parametrize("addresses", RESOLVED)
@pytest.mark.parametrize("loopback", [False, True])
def test_a_name_that_leads_inside_is_refused(addresses: list[str], loopback: bool) -> None:
    assert refused(Outbound(resolve=Names(addresses), loopback=loopback), "https://hooks.example.com/in")


def test_the_catalogue_asks_for_forty_payloads() -> None:
    assert len({*SPELLED, *SHAPED}) + len(RESOLVED) >= 40


@pytest.mark.parametrize("names", [Names(), Names([]), Names(["nonsense"])])
def test_a_name_that_leads_nowhere_may_lead_somewhere_later(names: Names) -> None:
    with pytest.raises(NoAnswer):
        Outbound(resolve=names).post("https://hooks.example.com/in", body=b"", headers={})


@pytest.mark.parametrize(
    "url",
    ["https://example.com/", "https://example.com:8443/a?b=c", "https://93.184.215.14/", "https://a-b.example.co.uk/x",
     "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/"],
)  # fmt: skip
def test_ordinary_addresses_are_fine(url: str) -> None:
    assert Outbound(resolve=Names()).check_url(url).geturl() == url


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://127.0.0.1:9000/in", True), ("http://localhost:9000/in", True), ("https://127.0.0.1:9443/", True),
        ("http://[::1]:9000/", True), ("http://example.com/", False), ("http://10.0.0.1:9000/", False),
        ("http://169.254.169.254/", False), ("https://example.com:9000/", False), ("http://127.1:9000/", False),
    ],
)  # fmt: skip
def test_loopback_opens_loopback_and_nothing_else(url: str, good: bool) -> None:
    door = Outbound(loopback=True, resolve=Names(["10.0.0.1"]))
    if good:
        assert door.check_url(url).geturl() == url
    else:
        with pytest.raises(AddressForbidden):
            door.check_url(url)


def test_localhost_that_resolves_elsewhere_is_not_loopback() -> None:
    assert refused(Outbound(loopback=True, resolve=Names([PUBLIC])), "http://localhost:9000/")


@pytest.mark.parametrize(
    ("address", "public"),
    [(PUBLIC, True), ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True), ("223.5.5.5", True), ("192.168.0.1", False),
     ("2001:20::1", False), ("3fff::1", False), ("5f00::1", False)],
)  # fmt: skip
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public
