"""The sockets of the street: gateways that dial in to a head-end, and serial servers that are dialled.

Both carry the raw frames of the meters on one line, one request after the other, as an RS-485 line would.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from app.meters.drivers.dialin import HEARTBEAT, registration_packet
from app.meters.drivers.dlt645.frame import FrameSplitter
from app.meters.simulator.bus import Bus
from app.meters.simulator.control import hang_up
from app.meters.simulator.faults import faults_view

CHUNK_BYTES = 4096
CONNECT_S_MAX = 5


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    """A gateway as installed: its number, how it is reached, how patient it is (by the wall clock)."""

    number: str
    mode: str  # dial_in | serial
    host: str
    port: int
    secret: str | None = None
    heartbeat_ms: int = 30_000
    redial_ms: int = 1_000
    #: Installed without power: away from the start, until somebody brings it back.
    offline: bool = False


def _no_delay(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def answer_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bus: Bus) -> None:
    """Answer the frames of one connection, in order, until the other side hangs up."""
    splitter = FrameSplitter()
    while chunk := await reader.read(CHUNK_BYTES):
        for raw in splitter.feed(chunk):
            sent = bus.answer(raw)
            if sent is None:
                continue
            if sent.delay_ms:
                await asyncio.sleep(sent.delay_ms / 1000)
            writer.write(sent.raw)
            await writer.drain()


class SimGateway:
    """A gateway that dials in: registers, beats, answers; dials again whenever the line falls."""

    def __init__(self, spec: GatewaySpec, bus: Bus) -> None:
        self.spec = spec
        self.bus = bus
        self._online = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        #: Connections made since the start.
        self.dials = 0

    async def start(self) -> None:
        """Be free to dial; nothing listens here."""
        self._online.set()

    async def run(self) -> None:
        """Dial, serve, dial again, until cancelled."""
        while True:
            await self._online.wait()
            with suppress(OSError, TimeoutError):
                await self._one_connection()
            await asyncio.sleep(self.spec.redial_ms / 1000)

    async def _one_connection(self) -> None:
        async with asyncio.timeout(CONNECT_S_MAX):
            reader, writer = await asyncio.open_connection(self.spec.host, self.spec.port)
        self._writer = writer
        self.dials += 1
        _no_delay(writer)
        beats = asyncio.create_task(self._beat(writer))
        try:
            writer.write(registration_packet(self.spec.number, self.spec.secret))
            await answer_frames(reader, writer, self.bus)
        finally:
            self._writer = None
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)
            await hang_up(writer)

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(self.spec.heartbeat_ms / 1000)
            writer.write(HEARTBEAT)
            await writer.drain()

    async def set_faults(self, wanted: Mapping[str, Any]) -> None:
        """Set some faults; `offline` hangs up at once. Raises BadFault."""
        self.bus.faults = self.bus.faults.changed(wanted)
        if not self.bus.faults.offline:
            self._online.set()
            return
        self._online.clear()
        if self._writer is not None:
            self._writer.close()

    def view(self) -> dict[str, Any]:
        """Whether it is connected, and its faults."""
        return _view(self.spec, self.bus, connected=self._writer is not None, port=self.spec.port)


class SimSerialServer:
    """A serial server: listens, is dialled by the head-end, and hands bytes to its line."""

    def __init__(self, spec: GatewaySpec, bus: Bus) -> None:
        self.spec = spec
        self.bus = bus
        #: Where it listens; given by the system when the spec says 0.
        self.port = spec.port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._close()

    async def start(self) -> None:
        """Listen; `port` is known afterwards. Raises OSError where the port is taken."""
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._serve, self.spec.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for writer in tuple(self._writers):
            await hang_up(writer)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        _no_delay(writer)
        try:
            with suppress(OSError):
                await answer_frames(reader, writer, self.bus)
        finally:
            self._writers.discard(writer)
            await hang_up(writer)

    async def set_faults(self, wanted: Mapping[str, Any]) -> None:
        """Set some faults; `offline` stops listening and hangs up. Raises BadFault."""
        self.bus.faults = self.bus.faults.changed(wanted)
        await (self._close() if self.bus.faults.offline else self.start())

    def view(self) -> dict[str, Any]:
        """Whether it is connected, and its faults."""
        return _view(self.spec, self.bus, connected=bool(self._writers), port=self.port)


def _view(spec: GatewaySpec, bus: Bus, *, connected: bool, port: int) -> dict[str, Any]:
    return {
        "gateway": spec.number,
        "mode": spec.mode,
        "connected": connected,
        "port": port,
        "frames": bus.frames,
        "meters": sorted(bus.meters),
        "faults": faults_view(bus.faults),
    }


#: A gateway of either kind: `start()`, then `run()` until cancelled; `set_faults()` and `view()` at any time.
Line = SimGateway | SimSerialServer

LINES: dict[str, type[SimGateway] | type[SimSerialServer]] = {
    "dial_in": SimGateway,
    "serial": SimSerialServer,
}
