"""The street: every gateway and meter of a spec in one process, with a control port for panel and story."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.kernel.errors import AppError
from app.meters.simulator.bus import Bus, NoSuchMeter, Now
from app.meters.simulator.control import serve_control
from app.meters.simulator.gateway import LINES, Line
from app.meters.simulator.meter import MeterSpec, MeterState, SimMeter, fresh_state
from app.meters.simulator.spec import StreetSpec, load_spec

SAVE_EVERY_S = 5


class NoSuchGateway(AppError):
    """No gateway of the street has this number."""

    code = "no_such_gateway"
    status = 404
    message_zh = "模拟街区没有这个网关：{number}。"
    message_en = "The simulated street has no such gateway: {number}."


class BadRequest(AppError):
    """The control port was asked for something it does not know."""

    code = "bad_request"
    status = 400
    message_zh = "模拟街区不认识该请求。请给出 query，或 gateway/meter 与 set、press、register_wh。"
    message_en = "The street does not know this request. Give query, or gateway/meter with set, press, register_wh."


class Street:
    """All lines of a spec. `now` gives the business instant (aware); call inside a running event loop."""

    def __init__(self, spec: StreetSpec, now: Now) -> None:
        self.spec = spec
        remembered = _remembered(spec.state_path)
        self.lines: dict[str, Line] = {}
        self._bus_of: dict[str, Bus] = {}
        #: Where the control port listens, once it does.
        self.control_port = spec.control_port
        for gateway, meters in spec.gateways:
            bus = Bus([_meter(meter, remembered, now) for meter in meters], now)
            self.lines[gateway.number] = LINES[gateway.mode](gateway, bus)
            self._bus_of |= dict.fromkeys(bus.meters, bus)

    def line(self, number: str) -> Line:
        """A gateway by its number. Raises NoSuchGateway."""
        if number not in self.lines:
            raise NoSuchGateway(number=number)
        return self.lines[number]

    def bus_of(self, address: str) -> Bus:
        """The line a meter hangs on. Raises NoSuchMeter."""
        if address not in self._bus_of:
            raise NoSuchMeter(address=address)
        return self._bus_of[address]

    async def obey(self, request: Any) -> dict[str, Any]:
        """One request of the control port. Raises BadRequest, NoSuchGateway, NoSuchMeter, BadFault."""
        match request:
            case {"query": "street"}:
                return self.view()
            case {"query": str(name)}:
                return self.lines[name].view() if name in self.lines else self.bus_of(name).meter_view(name)
            case {"gateway": str(number), "set": dict(wanted)}:
                await self.line(number).set_faults(wanted)
                return self.line(number).view()
            case {"meter": str(address)}:
                return self._change_meter(address, request)
        raise BadRequest()

    def _change_meter(self, address: str, change: Any) -> dict[str, Any]:
        bus = self.bus_of(address)
        match change:
            case {"set": dict(wanted)}:
                bus.set_meter_faults(address, wanted)
            case {"press": True}:
                bus.meter(address).press_button()
            case {"register_wh": int(register_wh)} if register_wh >= 0:
                bus.meter(address).set_register(register_wh)
            case _:
                raise BadRequest()
        return bus.meter_view(address)

    def view(self) -> dict[str, Any]:
        """How much of the street is there and connected."""
        views = [line.view() for line in self.lines.values()]
        return {
            "gateways": [view["gateway"] for view in views],
            "connected": sum(view["connected"] for view in views),
            "meters": len(self._bus_of),
            "frames": sum(view["frames"] for view in views),
        }

    async def run(self, ready: Callable[["Street"], None] | None = None) -> None:
        """Serve every line and the control port until cancelled; `ready` is called once all are reachable."""
        control = await serve_control(self.spec.control_host, self.control_port, self.obey)
        self.control_port = control.sockets[0].getsockname()[1]
        try:
            for line in self.lines.values():
                await line.start()
                if line.spec.offline:
                    await line.set_faults({"offline": True})
            if ready is not None:
                ready(self)
            async with asyncio.TaskGroup() as group:
                for line in self.lines.values():
                    group.create_task(line.run())
                group.create_task(self._save_now_and_then())
        finally:
            control.close()
            self.save()

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            self.save()

    def save(self) -> None:
        """Write what the meters remember, so that a restart of the street changes nothing. Atomic."""
        path = self.spec.state_path
        if path is None:
            return
        meters = [bus.meter(address) for address, bus in self._bus_of.items()]
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_text(json.dumps({_key(meter.spec): meter.state.to_json() for meter in meters}))
        draft.replace(path)


def _key(spec: MeterSpec) -> str:
    """A meter set up anew with another register starts anew, so both are part of its name in the file."""
    return f"{spec.address} {spec.register_wh} {spec.register_at.isoformat() if spec.register_at else '-'}"


def _remembered(path: Path | None) -> dict[str, MeterState]:
    """States kept by an earlier run. A file that cannot be read counts as none: the street must start."""
    if path is None:
        return {}
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        return {key: MeterState.from_json(plain) for key, plain in json.loads(path.read_text()).items()}
    return {}


def _meter(spec: MeterSpec, remembered: dict[str, MeterState], now: Now) -> SimMeter:
    return SimMeter(spec, remembered.get(_key(spec)) or fresh_state(spec, now()))


async def run_street(spec: StreetSpec, *, now: Now, ready: Callable[[Street], None] | None = None) -> None:
    """Serve a street until cancelled."""
    await Street(spec, now).run(ready)


def serve_street(path: Path, *, now: Now, ready: Callable[[Street], None] | None = None) -> None:
    """Entry of the street process: serve the spec in a file until SIGTERM or SIGINT. Raises BadStreet."""
    asyncio.run(_until_stopped(load_spec(path), now, ready))


async def _until_stopped(spec: StreetSpec, now: Now, ready: Callable[[Street], None] | None) -> None:
    serving = asyncio.create_task(run_street(spec, now=now, ready=ready))
    loop = asyncio.get_running_loop()
    for stop in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving
