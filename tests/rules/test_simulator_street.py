"""The street over real sockets on loopback: dialling in, being dialled, faults on demand, a restart."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.meters.drivers import DRIVERS, base
from app.meters.drivers.base import Readable, RelayAction
from app.meters.drivers.dialin import HEARTBEAT, Registration, RegistrationReader
from app.meters.simulator.control import StreetRefused, ask, hang_up
from app.meters.simulator.profile import METER_ZONE
from app.meters.simulator.spec import BadStreet, load_spec, street_of
from app.meters.simulator.street import BadRequest, NoSuchGateway, Street

driver = DRIVERS["dlt645-2007"]
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=METER_ZONE)
PATIENCE_S = 10


class HeadEnd:
    """The other end of the wire: takes registrations, asks questions."""

    def __init__(self) -> None:
        self.lines: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self.registrations: list[Registration] = []
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._greetings: set[asyncio.Task[None] | None] = set()
        self._arrived = asyncio.Condition()

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._welcome, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._greetings.add(asyncio.current_task())
        first = RegistrationReader()
        known = None
        while known is None and (chunk := await reader.read(64)):
            known = first.feed(chunk)
        if known is None:
            return
        async with self._arrived:
            self.registrations.append(known[0])
            self.lines[known[0].number] = (reader, writer)
            self._arrived.notify_all()

    async def go_home(self) -> None:
        for writer in self._writers:
            await hang_up(writer)
        await asyncio.gather(*filter(None, self._greetings))

    async def arrivals(self, count: int) -> None:
        async with self._arrived, asyncio.timeout(PATIENCE_S):
            await self._arrived.wait_for(lambda: len(self.registrations) >= count)

    async def ask(self, number: str, request: bytes) -> base.Reply:
        return await exchange(*self.lines[number], request)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> base.Reply:
    splitter = driver.splitter()
    writer.write(request)
    async with asyncio.timeout(PATIENCE_S):
        while chunk := await reader.read(4096):
            for raw in splitter.feed(chunk):
                assert driver.answers(request, raw)
                return driver.parse(raw)
    raise ConnectionResetError


def gateway(number: str, port: int, *addresses: str, mode: str = "dial_in", **more: Any) -> dict[str, Any]:
    meters = [{"address": address, "password": "02123456", "register_wh": 500_000} for address in addresses]
    return {"number": number, "mode": mode, "host": "127.0.0.1", "port": port, "redial_ms": 10, "meters": meters} | more


@asynccontextmanager
async def street(
    *gateways: dict[str, Any], state_path: Path | None = None, at: datetime = NOON
) -> AsyncIterator[Street]:
    up: asyncio.Future[Street] = asyncio.get_running_loop().create_future()
    spec = street_of({"gateways": list(gateways), "state_path": str(state_path) if state_path else None})
    serving = asyncio.create_task(Street(spec, lambda: at).run(up.set_result))
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield await up
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


def on_a_loop(story: Callable[[HeadEnd], Awaitable[None]]) -> None:
    async def told() -> None:
        head_end = HeadEnd()
        server = await head_end.listen()
        try:
            await story(head_end)
        finally:
            server.close()
            await head_end.go_home()

    asyncio.run(told())


def test_a_gateway_dials_in_says_who_it_is_and_answers_for_its_meters() -> None:
    async def story(head_end: HeadEnd) -> None:
        async with street(
            gateway("GW1", head_end.port, "000000000001", "000000000002"),
            gateway("GW2", head_end.port, "000000000003", secret="opensesame"),
        ) as built:
            await head_end.arrivals(2)
            assert set(head_end.registrations) == {
                Registration("GW1", None),
                Registration("GW2", "opensesame"),
            }
            for number, address in (("GW1", "000000000001"), ("GW1", "000000000002"), ("GW2", "000000000003")):
                reply = await head_end.ask(number, driver.build_read(address, Readable.TOTAL))
                assert reply == base.RegistersRead(address, {Readable.TOTAL: 500_000})
            trip = driver.build_relay(
                "000000000002",
                RelayAction.TRIP,
                password="02123456",
                operator="00000001",
                valid_until=datetime(2026, 11, 23, 12, 10),
            )
            assert await head_end.ask("GW1", trip) == base.Acknowledged("000000000002", "relay")
            assert (await built.obey({"query": "000000000002"}))["relay_open"]
            assert not (await built.obey({"query": "000000000001"}))["relay_open"]
            assert (await built.obey({"query": "street"}))["connected"] == 2

    on_a_loop(story)


def test_heartbeats_come_by_themselves() -> None:
    async def story(head_end: HeadEnd) -> None:
        async with street(gateway("GW1", head_end.port, "000000000001", heartbeat_ms=5)):
            await head_end.arrivals(1)
            reader, _ = head_end.lines["GW1"]
            async with asyncio.timeout(PATIENCE_S):
                assert await reader.readexactly(len(HEARTBEAT) * 2) == HEARTBEAT * 2

    on_a_loop(story)


def test_a_gateway_told_to_go_offline_hangs_up_and_dials_again_when_told_to_return() -> None:
    async def story(head_end: HeadEnd) -> None:
        async with street(gateway("GW1", head_end.port, "000000000001")) as built:
            await head_end.arrivals(1)
            reader, _ = head_end.lines["GW1"]
            view = await built.obey({"gateway": "GW1", "set": {"offline": True}})
            assert view["faults"]["offline"]
            assert await reader.read() == b""
            await built.obey({"gateway": "GW1", "set": {"offline": False}})
            await head_end.arrivals(2)
            reply = await head_end.ask("GW1", driver.build_read("000000000001", Readable.TOTAL))
            assert isinstance(reply, base.RegistersRead)

    on_a_loop(story)


def test_a_gateway_that_is_thrown_out_dials_again() -> None:
    async def story(head_end: HeadEnd) -> None:
        async with street(gateway("GW1", head_end.port, "000000000001")):
            await head_end.arrivals(1)
            await hang_up(head_end.lines["GW1"][1])
            await head_end.arrivals(2)
            assert head_end.registrations == [Registration("GW1", None)] * 2

    on_a_loop(story)


def test_a_late_answer_is_late_and_a_lost_one_never_comes() -> None:
    async def story(head_end: HeadEnd) -> None:
        async with street(gateway("GW1", head_end.port, "000000000001")) as built:
            await head_end.arrivals(1)
            request = driver.build_read("000000000001", Readable.TOTAL)
            await built.obey({"gateway": "GW1", "set": {"delay_ms": 60}})
            begun = time.monotonic()
            await head_end.ask("GW1", request)
            assert time.monotonic() - begun >= 0.06
            await built.obey({"gateway": "GW1", "set": {"delay_ms": 0, "drop_every": 1}})
            head_end.lines["GW1"][1].write(request)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await head_end.lines["GW1"][0].read(1)
            assert (await built.obey({"query": "GW1"}))["frames"] == 2

    on_a_loop(story)


def test_a_serial_server_is_dialled_and_can_go_offline_and_return() -> None:
    async def story(head_end: HeadEnd) -> None:
        async with street(gateway("GW9", 0, "000000000009", mode="serial")) as built:
            port = (await built.obey({"query": "GW9"}))["port"]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            request = driver.build_read("000000000009", Readable.TOTAL)
            reply = await exchange(reader, writer, b"\xfe\xfe\xfe\xfe" + request)
            assert reply == base.RegistersRead("000000000009", {Readable.TOTAL: 500_000})
            assert (await built.obey({"query": "GW9"}))["connected"]
            await built.obey({"gateway": "GW9", "set": {"offline": True}})
            assert await reader.read() == b""
            await hang_up(writer)
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port)
            await built.obey({"gateway": "GW9", "set": {"offline": False}})
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await exchange(reader, writer, request) == reply
            await hang_up(writer)

    on_a_loop(story)


def test_five_hundred_meters_behind_twenty_five_gateways_answer_together() -> None:
    async def story(head_end: HeadEnd) -> None:
        gateways = [gateway(f"GW{n}", head_end.port, *(f"{n:06d}{m:06d}" for m in range(20))) for n in range(25)]

        async def poll(n: int) -> int:
            for m in range(20):
                await head_end.ask(f"GW{n}", driver.build_read(f"{n:06d}{m:06d}", Readable.RELAY))
            return 20

        async with street(*gateways) as built:
            await head_end.arrivals(25)
            assert sum(await asyncio.gather(*(poll(n) for n in range(25)))) == 500
            assert (await built.obey({"query": "street"}))["frames"] == 500

    on_a_loop(story)


def test_the_control_port_answers_one_line_at_a_time_and_names_what_it_refuses() -> None:
    async def story(head_end: HeadEnd) -> None:
        async with street(gateway("GW1", head_end.port, "000000000001")) as built:
            reader, writer = await asyncio.open_connection("127.0.0.1", built.control_port)
            for line, error in [
                (b"what\n", "bad_json"),
                (b"\xff\xfe\n", "bad_json"),
                (b"[]\n", "bad_request"),
                (b'{"query": 1}\n', "bad_request"),
                (b'{"meter": "000000000001"}\n', "bad_request"),
                (b'{"meter": "000000000001", "register_wh": -1}\n', "bad_request"),
                (b'{"query": "000000000077"}\n', "no_such_meter"),
                (b'{"gateway": "GW7", "set": {}}\n', "no_such_gateway"),
                (b'{"gateway": "GW1", "set": {"mood": 1}}\n', "bad_fault"),
            ]:
                writer.write(line)
                assert json.loads(await reader.readline())["error"] == error
            await hang_up(writer)

            def from_outside() -> list[dict[str, Any]]:
                requests: list[dict[str, Any]] = [
                    {"meter": "000000000001", "register_wh": 999_999_990},
                    {"meter": "000000000001", "set": {"answer": "ack_only"}},
                    {"meter": "000000000001", "press": True},
                ]
                return [ask("127.0.0.1", built.control_port, request) for request in requests]

            register, faulty, pressed = await asyncio.to_thread(from_outside)
            assert register["register_wh"] == 999_999_990
            assert faulty["faults"]["answer"] == "ack_only"
            assert not pressed["relay_open"]
            with pytest.raises(StreetRefused, match="no such meter"):
                await asyncio.to_thread(ask, "127.0.0.1", built.control_port, {"query": "000000000077"})

    on_a_loop(story)


def test_asking_a_street_that_is_not_there_says_so() -> None:
    with pytest.raises(StreetRefused, match="running"):
        ask("127.0.0.1", 1, {"query": "street"}, timeout_s=1)


def test_requests_the_street_does_not_know_are_refused_by_name() -> None:
    async def story(head_end: HeadEnd) -> None:
        async with street(gateway("GW1", head_end.port, "000000000001")) as built:
            with pytest.raises(BadRequest):
                await built.obey({"fly": True})
            with pytest.raises(NoSuchGateway):
                built.line("GW2")

    on_a_loop(story)


def test_a_street_that_restarts_remembers_its_relays_and_registers(tmp_path: Path) -> None:
    state_path = tmp_path / "state" / "street.json"

    async def story(head_end: HeadEnd) -> None:
        gateways = gateway("GW1", head_end.port, "000000000001", "000000000002")
        async with street(gateways, state_path=state_path) as built:
            built.bus_of("000000000001").meter("000000000001").state.relay_open = True
        async with street(gateways, state_path=state_path, at=NOON + timedelta(days=1)) as built:
            tripped, lit = [await built.obey({"query": f"00000000000{n}"}) for n in (1, 2)]
            assert (tripped["relay_open"], tripped["register_wh"]) == (True, 500_000)
            assert not lit["relay_open"]
            assert lit["register_wh"] > 500_000

    on_a_loop(story)


@pytest.mark.parametrize(
    "left_behind", ["", "{", "[]", '{"000000000001 500000 -": {}}', '{"000000000001 500000 -": 1}']
)
def test_a_memory_that_cannot_be_read_does_not_stop_the_street(tmp_path: Path, left_behind: str) -> None:
    state_path = tmp_path / "street.json"
    state_path.write_text(left_behind)

    async def story(head_end: HeadEnd) -> None:
        async with street(gateway("GW1", head_end.port, "000000000001"), state_path=state_path) as built:
            assert (await built.obey({"query": "000000000001"}))["register_wh"] == 500_000

    on_a_loop(story)


def test_a_street_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "street.json"
    row = gateway("GW1", 7300, "000000000001") | {"meters": [
        {"address": "000000000001", "home": 3, "register_at": "2026-01-01T00:00:00+08:00"}]}  # fmt: skip
    path.write_text(json.dumps({"control": {"host": "127.0.0.1", "port": 7400}, "gateways": [row]}))
    spec = load_spec(path)
    ((line, (meter,)),) = spec.gateways
    assert (line.number, line.port, spec.control_port, spec.state_path) == ("GW1", 7300, 7400, None)
    assert (meter.home, meter.register_at) == (3, datetime(2026, 1, 1, tzinfo=METER_ZONE))


ONE = {"address": "000000000001"}


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        ([], "AttributeError"),
        ({}, "gateways"),
        ({"gateways": [{}]}, "meters"),
        ({"gateways": [gateway("GW1", 1) | {"colour": "red"}]}, "colour"),
        ({"gateways": [gateway("GW1", 1) | {"meters": [ONE | {"colour": "red"}]}]}, "colour"),
        ({"gateways": [gateway("GW1", 1), gateway("GW1", 2)]}, "gateway stands there twice"),
        ({"gateways": [gateway("GW1", 1) | {"meters": [ONE, ONE]}]}, "meter stands there twice"),
        ({"gateways": [gateway("GW1", 1, mode="pigeon")]}, "pigeon"),
        ({"gateways": [gateway("GW 1", 1)]}, "registration"),
        ({"gateways": [gateway("GW1", 70_000)]}, "port 70000"),
        ({"gateways": [gateway("GW1", 1, "1")]}, "meter address"),
        ({"gateways": [gateway("GW1", 1, "AAAAAAAAAAAA")]}, "wildcard"),
        ({"gateways": [gateway("GW1", 1) | {"meters": [ONE | {"password": "1"}]}]}, "password"),
        ({"gateways": [gateway("GW1", 1) | {"meters": [ONE | {"home": 18}]}]}, "home 18"),
        ({"gateways": [gateway("GW1", 1) | {"meters": [ONE | {"load_percent": -1}]}]}, "range"),
        ({"gateways": [gateway("GW1", 1) | {"meters": [ONE | {"register_at": "2026-01-01"}]}]}, "time zone"),
        ({"gateways": [gateway("GW1", 1) | {"meters": [ONE | {"register_at": "yesterday"}]}]}, "ValueError"),
        ({"control": {"host": "0.0.0.0"}, "gateways": []}, "loopback"),
        ({"control": {"port": "x"}, "gateways": []}, "ValueError"),
    ],
)
def test_a_street_that_cannot_be_built_says_why(plain: Any, reason: str) -> None:
    with pytest.raises(BadStreet, match=reason):
        street_of(plain)


@pytest.mark.parametrize("content", [None, "", "{", "\x00"])
def test_a_street_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "street.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadStreet):
        load_spec(path)


def test_the_street_process_says_when_it_is_ready_and_remembers_on_a_polite_kill(tmp_path: Path) -> None:
    path, state_path = tmp_path / "street.json", tmp_path / "state.json"
    line = gateway("GW9", 0, "000000000009", mode="serial")
    path.write_text(json.dumps({"gateways": [line], "state_path": str(state_path)}))
    program = (
        "import pathlib, sys; from datetime import UTC, datetime; "
        "from app.meters.simulator.street import serve_street; "
        "serve_street(pathlib.Path(sys.argv[1]), now=lambda: datetime.now(UTC), "
        "ready=lambda street: print(street.control_port, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        control_port = int(process.stdout.readline())
        ask("127.0.0.1", control_port, {"meter": "000000000009", "register_wh": 777_000})
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    (remembered,) = json.loads(state_path.read_text()).values()
    assert sum(remembered["steps"]) // (100 * 3_600_000_000) == 777_000
