"""The guard of every call to an address that somebody typed: nothing inside the installation can be reached by it.

A name is resolved once, every address it resolves to is judged, and the connection goes to a judged address, with the
name kept for TLS and the Host header: a name that changes its mind between the look and the call changes nothing (DNS
rebinding). https only, on two ports; no redirects, no proxies of the environment, a limit on time and on what is read.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore

from app.kernel.errors import AppError

PORTS = frozenset({443, 8443})
URL_MAX = 500
ANSWER_BYTES_MAX = 64 * 1024
CONNECT_S, ANSWER_S, WHOLE_S = 5.0, 10.0, 15.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
AGENT = "Tallyhouse-Webhooks/1"

Address = IPv4Address | IPv6Address
Seconds = float  # allow: float - deadlines of sockets, near neither money nor energy
#: What a connection may fail with; answers that are no HTTP among them.
_LOST = (
    httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)  # fmt: skip
#: Name and port to addresses, as `socket.getaddrinfo` finds them.
Resolve = Callable[[str, int], Iterable[str]]

#: What `is_global` of the standard library lets through or what may change with its version: said here once for all.
FORBIDDEN = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        # a metadata service that stands on a public address; the others stand on the link or on 100.64.0.0/10
        "168.63.129.16/32",
    )
)  # fmt: skip
#: The only part of IPv6 that is given out to the world; within it, what carries an IPv4 address or is for documents.
UNICAST = IPv6Network("2000::/3")
FORBIDDEN_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))


class AddressForbidden(AppError):
    """The address is none of the public internet, or none that may be called."""

    code, status = "address_forbidden", 422
    message_zh = "不能调用这个地址：{reason}。请填写公网上的 https 地址（端口 443 或 8443），不带用户名和密码。"
    message_en = (
        "This address may not be called: {reason}. Use an https address on the public internet (port 443 or 8443), "
        "without user name and password."
    )


class NoAnswer(AppError):
    """The other side did not answer, or not as agreed; it may do so later."""

    code, status = "outbound_no_answer", 502
    message_zh = "对方没有正常应答（{reason}）。请检查对方系统后重试。"
    message_en = "The other side did not answer as it should ({reason}). Look at it and try again."


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, the beginning of the body, how long it took."""

    status: int
    body: bytes
    took_ms: int


def resolve_name(host: str, port: int) -> list[str]:
    """Every address of a name, asked once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Outbound:
    """The door to the outside. `loopback` also lets http and https to this machine's own loopback through, and nothing
    else: for tests, and for a demo whose groups are alone.
    """

    loopback: bool = False
    resolve: Resolve = resolve_name
    #: What TLS trusts; None is the system's own list.
    tls: ssl.SSLContext | None = None

    def check_url(self, url: str) -> SplitResult:
        """The parts of an address that may be called as far as can be told without asking for its name.

        Raises AddressForbidden.
        """
        parts, port = _split(url)
        here, literal = self._is_here(parts), _literal(parts.hostname or "")
        if literal is None and "." not in (parts.hostname or "") and not here:
            raise AddressForbidden(reason="a name without a domain")
        if literal is not None and not (here or is_public(literal)):
            raise AddressForbidden(reason="not a public address")
        if parts.scheme != "https" and not (here and parts.scheme == "http"):
            raise AddressForbidden(reason="not https")
        if port not in PORTS and not here:
            raise AddressForbidden(reason=f"port {port}")
        return parts

    def post(self, url: str, *, body: bytes, headers: dict[str, str]) -> Answer:
        """Post to a judged address. Every status is an answer, redirects too: none is followed.

        Raises AddressForbidden, NoAnswer.
        """
        return self.send("POST", url, body=body, headers=headers)

    def send(self, method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str]) -> Answer:
        """The same for any method. Raises AddressForbidden, NoAnswer."""
        parts = self.check_url(url)
        address = self._judged(parts)
        began = time.monotonic()
        try:
            with self._pool(address, began + WHOLE_S) as pool, _ask(pool, method, parts, body, headers) as answer:
                said = _beginning(answer)
        except (*_LOST, ssl.SSLError, OSError, UnicodeError) as lost:
            raise NoAnswer(reason=type(lost).__name__) from lost
        return Answer(answer.status, said, int((time.monotonic() - began) * 1000))

    def _judged(self, parts: SplitResult) -> Address:
        """The address to connect to: the first of those the name has, when all of them may be called."""
        host, port = parts.hostname or "", parts.port or _port_of(parts.scheme)
        try:
            found = [ip_address(text.partition("%")[0]) for text in self.resolve(host, port)]
        except (OSError, UnicodeError, ValueError) as lost:
            raise NoAnswer(reason="name not found") from lost
        if not found:
            raise NoAnswer(reason="name not found")
        here = self._is_here(parts)
        if not all(address.is_loopback if here else is_public(address) for address in found):
            raise AddressForbidden(reason="not a public address")
        return found[0]

    def _is_here(self, parts: SplitResult) -> bool:
        """Whether loopback is let through and the host says so in so many letters."""
        return self.loopback and parts.hostname in LOOPBACK

    def _pool(self, address: Address, until: Seconds) -> httpcore.ConnectionPool:
        tls = self.tls or ssl.create_default_context()
        pinned = _Pinned(str(address), until)
        return httpcore.ConnectionPool(ssl_context=tls, max_connections=1, network_backend=pinned)


class _Pinned(httpcore.NetworkBackend):
    """Connects to one address whatever the name says; TLS and the Host header go on speaking of the name."""

    def __init__(self, address: str, until: Seconds) -> None:
        self._address, self._until, self._real = address, until, httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: Seconds | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        """A connection to the judged address."""
        return _Hurried(self._real.connect_tcp(self._address, port, timeout=CONNECT_S), self._until)


class _Hurried(httpcore.NetworkStream):
    """A stream with one deadline for everything: who sends a byte every few seconds does not keep us for hours."""

    def __init__(self, real: httpcore.NetworkStream, until: Seconds) -> None:
        self._real, self._until = real, until

    def _left(self) -> Seconds:
        left = min(self._until - time.monotonic(), ANSWER_S)
        if left <= 0:
            raise httpcore.ReadTimeout("over")
        return left

    def read(self, max_bytes: int, timeout: Seconds | None = None) -> bytes:
        """Some bytes."""
        return self._real.read(max_bytes, timeout=self._left())

    def write(self, buffer: bytes, timeout: Seconds | None = None) -> None:
        """All bytes."""
        self._real.write(buffer, timeout=self._left())

    def close(self) -> None:
        """End it."""
        self._real.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: Seconds | None = None
    ) -> httpcore.NetworkStream:
        """The same stream under TLS."""
        return _Hurried(self._real.start_tls(ssl_context, server_hostname, timeout=self._left()), self._until)

    def get_extra_info(self, info: str) -> Any:
        """What the connection knows of itself."""
        return self._real.get_extra_info(info)


def is_public(address: Address) -> bool:
    """Is it an address of the public internet, whatever it is wrapped in?"""
    if isinstance(address, IPv6Address):
        return address in UNICAST and not any(address in network for network in FORBIDDEN_V6)
    return address.is_global and not any(address in network for network in FORBIDDEN)


def _split(url: str) -> tuple[SplitResult, int]:
    """Parts and port of an address with nothing unusual in it. Raises AddressForbidden."""
    if not url or len(url) > URL_MAX or not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        raise AddressForbidden(reason="unusual characters, or too long")
    try:
        parts = urlsplit(url)
        port = parts.port or _port_of(parts.scheme)
    except ValueError as wrong:
        raise AddressForbidden(reason="unreadable") from wrong
    if not parts.hostname or "@" in parts.netloc or parts.fragment or "%" in parts.netloc:
        raise AddressForbidden(reason="user name, fragment or no host")
    return parts, port


def _port_of(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _literal(host: str) -> Address | None:
    """The address written out in a host, None for a name.

    127.1, 0x7f.1 and 2130706433 are addresses to the C library and names to nobody: refused, unless spelled in full.
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    last = host.rstrip(".").rpartition(".")[2]
    if ":" in host or not last or last.isdigit() or last.lower().startswith("0x") or host.endswith("."):
        raise AddressForbidden(reason="an address that is not spelled in full")
    return None


def _ask(
    pool: httpcore.ConnectionPool, method: str, parts: SplitResult, body: bytes, headers: Mapping[str, str]
) -> AbstractContextManager[httpcore.Response]:
    sent = {
        **headers, "Host": parts.netloc, "User-Agent": AGENT, "Accept-Encoding": "identity", "Connection": "close",
        "Content-Length": str(len(body)),
    }  # fmt: skip
    return pool.stream(method, parts.geturl(), headers=list(sent.items()), content=body)


def _beginning(answer: httpcore.Response) -> bytes:
    """What is read of a body, as it came: packed, a small one may unpack to a large one."""
    read = b""
    for chunk in answer.iter_stream():
        read += chunk
        if len(read) >= ANSWER_BYTES_MAX:
            break
    return read[:ANSWER_BYTES_MAX]
