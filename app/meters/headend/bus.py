"""A bus: one line to a gateway on which one question is in the air at a time.

Bytes that answer no question are noise or a sign of life; an answer must come from the meter that was asked and speak
of what was asked for.
"""

import asyncio
import socket
import time

from app.kernel.errors import AppError
from app.meters.drivers.base import Driver, Splitter

ANSWER_WITHIN_S = 2.0
CHUNK_BYTES = 4096
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class NoAnswer(AppError):
    """The meter did not answer in time."""

    code, status = "no_answer", 504
    message_zh = "表计未在规定时间内应答。请检查表计与网关之间的线路。"
    message_en = "The meter did not answer in time. Check the line between gateway and meter."


class LineDown(AppError):
    """The connection to the gateway is gone, or this head-end may no longer talk on it."""

    code, status = "line_down", 503
    message_zh = "与网关的连接已断开。恢复连接后将自动重试。"
    message_en = "The connection to the gateway is down. It is tried again when the gateway returns."


class Bus:
    """Questions and answers over one connection. `may_talk_until` is a monotonic instant that the lease moves on."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[bytes] | None = None
        self._splitter: Splitter | None = None
        self._question: tuple[Driver, bytes] | None = None
        self.closed = asyncio.Event()
        self.heard_at = time.monotonic()
        self.may_talk_until = self.heard_at
        _keep_alive(writer)

    async def listen(self, first: bytes = b"") -> None:
        """Take in whatever comes until the line ends; `first` came with the registration."""
        chunk = first
        try:
            while not self.closed.is_set():
                if chunk:
                    self._take(chunk)
                chunk = await self._reader.read(CHUNK_BYTES)
                if not chunk:
                    break
        except OSError:
            pass  # a line that breaks ends like one that is closed
        finally:
            self.close()

    async def ask(self, driver: Driver, request: bytes, *, within_s: float | None = None) -> bytes:
        """The frame that answers a request, ANSWER_WITHIN_S unless told. Raises NoAnswer, LineDown."""
        async with self._turn:
            self._answer = asyncio.get_running_loop().create_future()
            self._splitter, self._question = driver.splitter(), (driver, request)
            try:
                await self._send(request)
                async with asyncio.timeout(ANSWER_WITHIN_S if within_s is None else within_s):
                    return await self._answer
            except TimeoutError:
                raise NoAnswer from None
            finally:
                self._answer = self._splitter = self._question = None

    async def tell(self, frame: bytes) -> None:
        """Send what nobody answers: a broadcast. Raises LineDown."""
        async with self._turn:
            await self._send(frame)

    def close(self) -> None:
        """End the line; whoever waits for an answer hears LineDown."""
        self.closed.set()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LineDown())
        self._writer.close()

    def silent_s(self) -> float:
        """Seconds since the last byte."""
        return time.monotonic() - self.heard_at

    async def _send(self, frame: bytes) -> None:
        if self.closed.is_set() or time.monotonic() > self.may_talk_until:
            raise LineDown
        self._writer.write(frame)
        try:
            await self._writer.drain()
        except OSError:
            self.close()
            raise LineDown from None

    def _take(self, chunk: bytes) -> None:
        self.heard_at = time.monotonic()
        if self._splitter is None or self._question is None:
            return
        driver, request = self._question
        for frame in self._splitter.feed(chunk):
            if driver.answers(request, frame) and self._answer is not None and not self._answer.done():
                self._answer.set_result(frame)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Ask the kernel to find out about half-open connections, besides our own polls."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        raw.setsockopt(socket.IPPROTO_TCP, option, value)
